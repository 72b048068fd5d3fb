"""One row of a task, played by a trained policy and drawn step by step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from marlbench.environments.keys import derive, row_keys, uniform
from marlbench.policies.evaluating import PLAY_STREAM, Mode, protocol_for
from marlbench.policies.trained import Rebuilt
from marlbench.training.evaluation import cut_memory

Picture = NDArray[np.uint8]


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
    chosen = "sampled" if protocol.policy == "behaviour" else protocol.policy
    environment = rebuilt.environment(1)
    try:
        for episode in range(episodes):
            keys = row_keys([cell.seed], PLAY_STREAM + seed, row + episode + 1, rebuilt.device)[-1:]
            step = environment.reset(keys)
            agents = len(environment.specification.agents)
            memory = torch.zeros(1, agents, policy.memory_size) if policy.memory_size else None
            memory = None if memory is None else memory.to(rebuilt.device)
            noise, total, time, over = torch.zeros(0), 0.0, 0, False
            yield Frame(environment.render(0), episode, 0, 0.0, False)
            while not over:
                if count := policy.uniforms(chosen):
                    drawn = uniform(derive(keys, time + (1 << 40)), agents * count)
                    noise = policy.noise(drawn.view(1, agents, count))
                action, memory = policy.act(step, memory, noise, chosen)
                step = environment.step(action)
                memory = cut_memory(memory, step)
                time += 1
                total += float(step.reward.mean())
                over = bool(step.ended[0]) or (protocol.kind == "continuing" and time == protocol.length)
                if rebuilt.draws_final or not bool(step.ended[0]):
                    yield Frame(environment.render(0), episode, time, total, over)
    finally:
        environment.close()


def captioned(frame: Frame, title: str, episodes: int) -> Picture:
    """The picture with a line below it: cell, episode, step and return so far."""
    from marlbench.environments.drawing import Canvas

    width = frame.picture.shape[1]
    total = f"return {frame.returned:.4g}"
    where = f"step {frame.step}" + (f" · episode {frame.episode + 1} of {episodes}" if episodes > 1 else "")
    # Small pictures, as of pixels of a game, are enlarged until the line fits.
    wide = max(width, 320)
    factor = max(1, wide // width)
    strip = Canvas(max(wide, width * factor), 46, background=(38, 44, 54))
    strip.text(12, 14, title, 13, (255, 255, 255), "lm", bold=True)
    strip.text(12, 33, where, 12, (205, 210, 216))
    strip.text(strip.width - 12, 33, total, 12, (205, 210, 216), "rm")
    picture = frame.picture.repeat(factor, 0).repeat(factor, 1)
    if picture.shape[1] < strip.width:
        pad = strip.width - picture.shape[1]
        picture = np.pad(picture, ((0, 0), (pad // 2, pad - pad // 2), (0, 0)), constant_values=250)
    return np.concatenate([picture, strip.pixels()])
