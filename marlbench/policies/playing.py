"""One row of a task, played by a trained policy and drawn step by step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from marlbench.environments import drawing
from marlbench.environments.encoding import Picture
from marlbench.environments.keys import row_keys
from marlbench.policies.evaluating import Mode, protocol_for
from marlbench.policies.trained import Rebuilt
from marlbench.training.watching import PLAY_STREAM, watch


@dataclass(frozen=True)
class Frame:
    """One moment of a play.

    Attributes:
        picture: uint8 [height, width, 3].
        episode, step: from 0; step 0 is the start of an episode.
        returned: rewards of the episode so far, averaged over agents.
        over: whether the episode ended here.
    """

    picture: Picture
    episode: int
    step: int
    returned: float
    over: bool


def frames(rebuilt: Rebuilt, mode: Mode | None, episodes: int, seed: int, row: int) -> Iterator[Frame]:
    """Play episodes of their own, one after another.

    Args:
        rebuilt: one cell.
        mode: which actions; None for the protocol's.
        seed: other seeds give other episodes.
        row: which row of that stream; each row is another episode.

    Raises:
        MarlbenchError: the task cannot be drawn.
    """
    cell, policy = rebuilt.cells[0], rebuilt.policy
    protocol = protocol_for(rebuilt, mode)
    environment = rebuilt.environment(1)
    try:
        for episode in range(episodes):
            keys = row_keys([cell.seed], PLAY_STREAM + seed, row + episode + 1, rebuilt.device)[-1:]
            for moment in watch(environment, policy, protocol, keys):
                over = bool(moment.over[0])
                if rebuilt.draws_final or not bool(moment.step.ended[0]):
                    returned = float(moment.returned[0])
                    yield Frame(environment.render(0), episode, moment.time, returned, over)
    finally:
        environment.close()


def captioned(frame: Frame, title: str, episodes: int) -> Picture:
    """The picture with a line below it: cell, episode, step and return so far."""
    where = f"step {frame.step}" + (f" · episode {frame.episode + 1} of {episodes}" if episodes > 1 else "")
    return drawing.captioned(frame.picture, title, where, f"return {frame.returned:.4g}")
