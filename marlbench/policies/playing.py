"""One row of a task, played by a trained policy and drawn step by step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from marlbench.environments import drawing
from marlbench.environments.encoding import Picture
from marlbench.environments.keys import row_keys
from marlbench.policies.evaluating import Mode, protocol_for
from marlbench.policies.trained import Rebuilt
from marlbench.training.reel import Reel
from marlbench.training.watching import PLAY_STREAM, Moment, watch


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


def frames(
    rebuilt: Rebuilt, mode: Mode | None, episodes: int, seed: int, row: int, most: int | None = None
) -> Iterator[Frame]:
    """Play episodes of their own, one after another.

    Args:
        rebuilt: one cell.
        mode: which actions; None for the protocol's.
        seed: other seeds give other episodes.
        row: which row of that stream; each row is another episode.
        most: frames of an episode, spread evenly, which come when it is over; None for every step as it happens.

    Raises:
        MarlbenchError: the task cannot be drawn.
    """
    cell, policy = rebuilt.cells[0], rebuilt.policy
    protocol = protocol_for(rebuilt, mode)
    environment = rebuilt.environment(1)

    def draw(picture: Callable[[], Picture], episode: int, moment: Moment) -> Frame:
        return Frame(picture(), episode, moment.time, float(moment.returned[0]), bool(moment.over[0]))

    try:
        for episode in range(episodes):
            keys = row_keys([cell.seed], PLAY_STREAM + seed, row + episode + 1, rebuilt.device)[-1:]
            reel = None if most is None else Reel[Callable[[], Frame]](most)
            for moment in watch(environment, policy, protocol, keys):
                if bool(moment.step.ended[0]) and not rebuilt.draws_final:
                    continue
                if reel is None:
                    yield draw(partial(environment.render, 0), episode, moment)
                else:
                    reel.add(partial(draw, environment.record(0), episode, moment))
            if reel is not None and most is not None:
                for frame in reel.chosen(most):
                    yield frame()
    finally:
        environment.close()


def captioned(frame: Frame, title: str, episodes: int) -> Picture:
    """The picture with a line below it: cell, episode, step and return so far."""
    where = f"step {frame.step}" + (f" · episode {frame.episode + 1} of {episodes}" if episodes > 1 else "")
    return drawing.captioned(frame.picture, title, where, f"return {frame.returned:.4g}")
