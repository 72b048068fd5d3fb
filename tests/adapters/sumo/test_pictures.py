"""Pictures of signals: what they are drawn from follows the episode, and asking for them changes nothing."""

from __future__ import annotations

import torch

from marlbench.adapters.sumo.signals.environment import Signals
from marlbench.adapters.sumo.signals.parameters import SignalsParameters
from marlbench.environments.keys import row_keys

from .conftest import CPU


def test_an_episode_in_pictures() -> None:
    watched, plain = (Signals(SignalsParameters(network="cologne1", end=25_260), 1, CPU) for _ in range(2))
    greedy = torch.full((1, 1), -2)
    try:
        for environment in (watched, plain):
            environment.reset(row_keys([3], 0, 1, CPU))
        watched.step(greedy)
        plain.step(greedy)
        frames = [watched.record(0)]
        for _ in range(5):
            seen, other = watched.step(greedy), plain.step(greedy)
            assert torch.equal(seen.observation, other.observation)
            frames.append(watched.record(0))
        assert seen.any_ended
        for name, value in seen.metrics.items():
            assert torch.equal(value, other.metrics[name]), name
        pictures = watched.artifacts(0)
        assert set(pictures) == {"queues.png", "delays.png"}
        for picture in (*pictures.values(), frames[0](), frames[4]()):
            assert picture.shape[2] == 3
            assert len(torch.from_numpy(picture.copy()).view(-1, 3).unique(dim=0)) > 3
        story = watched.workers.tell(0, "story")
        assert story.standing.shape == (7, 1)
        assert story.delays
        assert min(story.delays.values()) >= 0
    finally:
        watched.close()
        plain.close()
