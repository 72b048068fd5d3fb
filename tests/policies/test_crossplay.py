from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from marlbench.algorithms.base import Mode, Policy
from marlbench.catalog.matrix import Matrix
from marlbench.environments.contract import Step
from marlbench.errors import USAGE
from marlbench.policies import crossplay, evaluating, trained
from marlbench.store import naming
from marlbench.store.store import Store

from .conftest import Typed

CPU = torch.device("cpu")


class Counting(Policy):
    """Takes `base` plus the number of steps that it remembers; draws as many uniforms as it is told."""

    def __init__(self, base: int, memory_size: int, drawn: int) -> None:
        self.base, self.memory_size, self.drawn = base, memory_size, drawn
        self.seen: list[Tensor] = []

    def uniforms(self, mode: Mode) -> int:
        return self.drawn

    def act(
        self, step: Step, memory: Tensor | None, noise: Tensor, mode: Mode
    ) -> tuple[Tensor, Tensor | None]:
        self.seen.append(noise)
        shape = step.observation.shape[:2]
        if memory is None:
            return torch.full(shape, self.base), None
        assert memory.shape == (*shape, self.memory_size)
        return self.base + memory[..., 0].long(), memory + 1


def test_each_agent_is_played_by_its_policy_with_its_own_memory_and_noise() -> None:
    policies = [Counting(0, 0, 1), Counting(100, 2, 3), Counting(200, 1, 0), Counting(300, 5, 7)]
    joint = crossplay.JointPolicy(policies, [1, 0, 1, 2])
    assert joint.memory_size == 3
    assert joint.uniforms("sampled") == 4
    nothing = torch.zeros(2, 4)
    step = Step(
        *(torch.zeros(2, 4, 1), nothing, nothing, nothing, nothing, nothing, nothing, nothing),
        ended=torch.zeros(2, dtype=torch.bool),
        any_ended=False,
        final_observation=nothing,
        final_state=nothing,
        final_available_actions=nothing,
    )
    memory: Tensor | None = torch.zeros(2, 4, 3)
    noise = torch.arange(4.0).expand(2, 4, 4)
    for time in range(3):
        action, memory = joint.act(step, memory, noise, "sampled")
        assert action.tolist() == [[100 + time, 0, 100 + time, 200 + time]] * 2
    assert policies[0].seen[0][0, 0].tolist() == [0.0]
    assert policies[1].seen[0][0, 0].tolist() == [1.0, 2.0, 3.0]


def test_self_play_is_what_the_policy_does_alone(tiny: tuple[Path, Matrix]) -> None:
    store = Store.open(tiny[0] / "results")
    names = ("ippo/spread/s0", "iql/spread/s1", "random/spread/s0")
    teams = [trained.rebuild(store, naming.find(store, name), "best", CPU)[1] for name in names]
    found = crossplay.cross_play(teams, ["agent_1"], None, 6, 0)
    assert (found.first, found.rest) == (("agent_1",), ("agent_0", "agent_2"))
    for index, team in enumerate(teams[:2]):
        alone = evaluating.play(
            team, team.policy, found.protocol, [0], evaluating.CROSS_PLAY_STREAM, 6
        ).values["return_mean"][0]
        np.testing.assert_allclose(found.values[index, index], alone.numpy(), rtol=1e-5)
    assert not np.allclose(found.values[0, 1], found.values[1, 0])
    assert found.self_play == pytest.approx(found.values.mean(2).trace() / 3)


def test_the_gap_and_its_interval() -> None:
    values = np.full((4, 4, 5), 1.0) + 3.0 * np.eye(4)[:, :, None]
    found = crossplay.CrossPlay.__new__(crossplay.CrossPlay)
    found.__dict__.update(cells=(None,) * 4, values=values)
    gap = found.gap()
    assert (found.self_play, found.cross_play) == (4.0, 1.0)
    assert (gap.mean, gap.low, gap.high) == (3.0, 3.0, 3.0)
    found.__dict__.pop("means")
    found.__dict__.update(cells=(None,) * 2, values=values[:2, :2])
    assert found.gap().low is None


def test_the_command(typed: Typed) -> None:
    code, out, _ = typed("crossplay", "tiny/stag/ippo", "iql/stag/s0", "--json", "--episodes", "3")
    document = json.loads(out)
    assert code == 0
    assert [cell["name"] for cell in document["cells"]] == [
        "tiny/stag/ippo/s0",
        "tiny/stag/ippo/s1",
        "tiny/stag/iql/s0",
    ]
    assert (document["row_plays"], document["column_plays"]) == (["agent_0"], ["agent_1"])
    assert np.array(document["values"]).shape == (3, 3, 3)
    code, out, _ = typed("crossplay", "ippo/stag", "--episodes", "3")
    assert code == 0
    assert "row plays agent_0; column plays agent_1" in out
    assert "gap" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["ippo/stag/s0"], "there is one, tiny/stag/ippo/s0"),
        (["ippo/stag/s0", "ippo/stag/s0"], "at least two policies"),
        (["ippo/stag/s0", "ippo/spread/s0"], "not trained on the same task"),
        (["ippo/stag", "--assign", "agent_7"], "no agent 'agent_7'"),
        (["ippo/stag", "--assign", "agent_0,agent_1"], "names every agent"),
        (["ipo/stag"], "Did you mean 'ippo/stag'?"),
    ],
)
def test_what_cannot_be_paired(typed: Typed, words: list[str], message: str) -> None:
    code, out, said = typed("crossplay", *words)
    assert (code, out) == (USAGE, "")
    assert message in said
