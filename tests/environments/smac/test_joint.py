"""Several scenarios in one task: every row is a row of its scenario, in a block of its own."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from marlbench.environments.keys import row_keys
from marlbench.environments.smac.joint import JointParameters, JointSmac
from marlbench.environments.smac.smac import Smac, SmacParameters

CPU = torch.device("cpu")
NAMES = ("3m", "2s3z", "5m_vs_6m")


def test_rows_are_those_of_their_scenarios() -> None:
    rows = 8
    joint = JointSmac(JointParameters(scenarios=NAMES, episode_limit=9), rows, CPU)
    keys = row_keys([4], 0, rows, CPU)
    shown = joint.reset(keys)
    which = shown.state[:, :3].argmax(1)
    assert torch.equal(shown.state[:, :3].sum(1), torch.ones(rows))
    # With these keys, every scenario has some.
    assert set(which.tolist()) == {0, 1, 2}
    singles = [Smac(SmacParameters(scenario=name), 1, CPU) for name in NAMES]
    sizes = [one.specification.observation_size for one in singles]
    of_state = [one.specification.state_size for one in singles]
    actions = [one.specification.action.count for one in singles]  # type: ignore[union-attr]
    envs = [Smac(SmacParameters(scenario=NAMES[int(task)], episode_limit=9), 1, CPU) for task in which]
    steps = [env.reset(keys[row : row + 1]) for row, env in enumerate(envs)]
    ended = 0
    for time in range(20):
        chosen = torch.zeros(rows, 5, dtype=torch.int64)
        for row, (env, step) in enumerate(zip(envs, steps, strict=True)):
            task = int(which[row])
            team = len(env.specification.agents)
            own = shown.observation[row, :, 3 + sum(sizes[:task]) : 3 + sum(sizes[: task + 1])]
            assert torch.equal(own[:team], step.observation[0])
            assert torch.equal(shown.observation[row].sum(1)[team:], torch.zeros(5 - team))
            assert float(shown.observation[row, :team, 3:].abs().sum()) == pytest.approx(
                float(step.observation.abs().sum()), rel=1e-5
            )
            begin = 3 + sum(of_state[:task])
            assert torch.equal(shown.state[row, begin : begin + of_state[task]], step.state[0])
            first = sum(actions[:task])
            own_actions = shown.available_actions[row, :, first : first + actions[task]]
            assert torch.equal(own_actions[:team], step.available_actions[0])
            assert int(shown.available_actions[row].sum()) == int(step.available_actions.sum()) + 5 - team
            legal = step.available_actions[0].float()
            legal *= torch.rand(legal.shape, generator=torch.Generator().manual_seed(100 * time + row))
            action = legal.argmax(1)
            chosen[row] = first
            chosen[row, :team] = first + action
            steps[row] = env.step(action.unsqueeze(0))
        shown = joint.step(chosen)
        for row, step in enumerate(steps):
            assert bool(shown.ended[row]) == bool(step.ended[0])
            assert torch.equal(shown.reward[row, :1], step.reward[0, :1])
            assert bool(shown.truncated[row].all()) == bool(step.truncated[0].all())
            if bool(step.ended[0]):
                ended += 1
                assert float(shown.metrics["dead_enemies"][row]) == float(step.metrics["dead_enemies"][0])
    assert ended


def test_a_row_is_drawn_as_its_battle() -> None:
    joint = JointSmac(JointParameters(scenarios=NAMES), 4, CPU)
    keys = row_keys([1], 0, 4, CPU)
    which = joint.reset(keys).state[:, :3].argmax(1)
    alone = Smac(SmacParameters(scenario=NAMES[int(which[2])]), 1, CPU)
    alone.reset(keys[2:3])
    assert (joint.render(2) == alone.render(0)).all()
    assert (joint.record(2)() == alone.render(0)).all()


@pytest.mark.parametrize("names", [("3m", "4m"), ("3m", "3m"), ("3m",)])
def test_scenarios_are_checked(names: tuple[str, ...]) -> None:
    with pytest.raises(ValidationError):
        JointParameters(scenarios=names)
