"""The deep Q-learner: exact resume, members apart, lookups against plain forward passes, updates against a slow one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from marlbench.errors import ConfigurationError
from marlbench.training.trainer import Trainer

from .cells import make_cells
from .resuming import CPU, check_resumes_exactly, finish

SMALL = {"hidden": (8,), "batch": 40, "replay_transitions": 600, "target_interval": 40, "n_step": 3}
ONLINE = {"kind": "online", "policy": "behaviour", "evaluations": 4, "window": 40}
LEVEL = {"metric": "cooperation_level", "low": 0.0, "high": 1.0, "source": "tests"}
LATTICE = {"side": 6}


def lattice(
    tmp_path: Path, seeds: tuple[int, ...] = (3,), steps: int = 160, **hyperparameters: Any
) -> Trainer:
    cells = make_cells(
        "dqn",
        "spatial_prisoners_dilemma",
        seeds=seeds,
        steps=steps,
        rows=1,
        hyperparameters={**SMALL, **hyperparameters},
        parameters=LATTICE,
        protocol=ONLINE,
        score=LEVEL,
    )
    return Trainer(cells, tmp_path, CPU)


@pytest.mark.parametrize(
    ("environment", "parameters", "hyperparameters"),
    [
        ("spatial_prisoners_dilemma", LATTICE, {}),
        ("spatial_prisoners_dilemma", LATTICE, {"sharing": {"groups": 5}, "augmentation": True}),
        ("ragged", {}, {"batch": 6, "sharing": "independent"}),
        ("matrix_game:stag_hunt", {"rounds": 7}, {"batch": 6}),
    ],
)
def test_resumed_anywhere_it_ends_bit_for_bit_the_same(
    environment: str, parameters: dict[str, Any], hyperparameters: dict[str, Any], tmp_path: Path
) -> None:
    continuing = environment == "spatial_prisoners_dilemma"
    episodic = {
        "kind": "episodic",
        "policy": "greedy",
        "evaluations": 2,
        "episodes": 2,
        "absolute_episodes": 2,
    }
    cells = make_cells(
        "dqn",
        environment,
        seeds=(3, 8),
        steps=160,
        rows=1 if continuing else 3,
        hyperparameters={**SMALL, **hyperparameters},
        parameters=parameters,
        protocol=ONLINE if continuing else episodic,
        score=LEVEL if continuing else None,
    )
    check_resumes_exactly(cells, tmp_path, least=2)


@pytest.mark.parametrize("sharing", ["shared", {"groups": 4}])
def test_a_member_learns_the_same_whoever_trains_beside_it(sharing: Any, tmp_path: Path) -> None:
    last = []
    for seeds in ((5,), (4, 5, 6)):
        trainer = lattice(tmp_path / str(len(seeds)), seeds, sharing=sharing)
        finish(trainer)
        last.append(trainer.findings.last[seeds.index(5)])
    torch.testing.assert_close(last[0], last[1], atol=1e-5, rtol=1e-4)


def without_table(trainer: Trainer) -> None:
    """Observations count as plain features from now on."""
    learner: Any = trainer.algorithm
    learner.actor.bits.encode = lambda observation: None


@pytest.mark.parametrize("options", [{}, {"sharing": {"groups": 4}}, {"augmentation": True}])
def test_looking_up_gives_what_plain_forward_passes_give(options: dict[str, Any], tmp_path: Path) -> None:
    looked_up, plain = lattice(tmp_path / "a", (3, 8), **options), lattice(tmp_path / "b", (3, 8), **options)
    without_table(plain)
    for _ in range(48):
        looked_up.advance()
        plain.advance()
        assert torch.equal(looked_up.view.observation, plain.view.observation)
    kept: Any = plain.algorithm
    assert kept.replay.values["observation"].dtype == torch.float32
    torch.testing.assert_close(
        looked_up.algorithm.policy.parameters(), plain.algorithm.policy.parameters(), atol=1e-6, rtol=1e-5
    )


def test_the_replay_turns_to_features_when_an_observation_is_not_of_bits(tmp_path: Path) -> None:
    trainer, same = lattice(tmp_path / "a"), lattice(tmp_path / "b")
    for step in range(80):
        if step == 37:
            without_table(trainer)
        trainer.advance()
        same.advance()
    torch.testing.assert_close(
        trainer.algorithm.policy.parameters(), same.algorithm.policy.parameters(), atol=1e-6, rtol=1e-5
    )


class Plain:
    """One learner in float64: transitions in lists, loops over samples, gradients by torch's own modules."""

    def __init__(self, parameters: dict[str, Tensor], options: Any) -> None:
        self.options = options
        self.model, self.target = self._network(parameters), self._network(parameters)
        self.optimiser = torch.optim.AdamW(
            self.model.parameters(), options.learning_rate, weight_decay=options.weight_decay
        )

    @staticmethod
    def _network(parameters: dict[str, Tensor]) -> torch.nn.Sequential:
        first, second = parameters["values.0.weight"][0], parameters["values.1.weight"][0]
        layers = torch.nn.Sequential(
            torch.nn.Linear(*first.shape), torch.nn.ReLU(), torch.nn.Linear(*second.shape)
        ).double()
        with torch.no_grad():
            for layer, number in ((layers[0], 0), (layers[2], 1)):
                layer.weight.copy_(parameters[f"values.{number}.weight"][0].T)
                layer.bias.copy_(parameters[f"values.{number}.bias"][0, 0])
        return layers

    def update(self, history: list[dict[str, Tensor]], samples: list[tuple[int, int]]) -> None:
        """`history` holds one joint step after the other, `samples` are (step, agent)."""
        options, losses = self.options, []
        for time, agent in samples:
            steps = options.n_step if time + options.n_step <= len(history) else 1
            reward = sum(
                options.discount**k * float(history[time + k]["reward"][agent]) for k in range(steps)
            )
            after = history[time + steps - 1]["following"][agent].double()
            with torch.no_grad():
                best = int(self.model(after).argmax())
                target = reward + options.discount**steps * float(self.target(after)[best])
            value = self.model(history[time]["observation"][agent].double())[history[time]["action"][agent]]
            error = (value - target).abs()
            delta = options.huber_threshold
            losses.append(0.5 * error**2 if error < delta else delta * (error - 0.5 * delta))
        self.optimiser.zero_grad()
        torch.stack(losses).mean().backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), options.maximum_gradient_norm)
        self.optimiser.step()


def test_updates_are_those_of_a_plain_learner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Values, 5-step returns with 1-step ones at the end, double DQN, Huber, clipping, decay, target copies."""
    trainer = lattice(tmp_path, n_step=5, replay_transitions=36 * 12, learning_rate=1e-2, target_interval=24)
    learner: Any = trainer.algorithm
    plain = Plain({name: value.detach() for name, value in learner.stack.parameters.items()}, learner.options)
    history: list[dict[str, Tensor]] = []
    draw, observe = learner._draw, learner.observe

    def remembering(step: Any, memory: Any, action: Tensor, following: Any) -> None:
        history.append(
            {
                "observation": step.observation[0].clone(),
                "action": action[0].clone(),
                "reward": following.reward[0].clone(),
                "following": following.observation[0].clone(),
            }
        )
        del history[:-12]
        observe(step, memory, action, following)

    def drawing() -> dict[str, Tensor]:
        state = learner.generators[0].get_state()
        drawn = torch.rand(2, 1, learner.options.batch, generator=learner.generators[0], dtype=torch.float64)
        learner.generators[0].set_state(state)
        number = (drawn[0, 0] * 36 * len(history)).long()
        plain.update(history, [(int(n) // 36, int(n) % 36) for n in number])
        return draw()

    monkeypatch.setattr(learner, "_draw", drawing)
    monkeypatch.setattr(learner, "observe", remembering)
    copies = 0
    for _ in range(80):
        before = learner.copied_at
        trainer.advance()
        if learner.copied_at != before:
            copies += 1
            plain.target.load_state_dict(plain.model.state_dict())
    assert copies == 3
    for number, layer in ((0, plain.model[0]), (1, plain.model[2])):
        found = learner.stack.parameters[f"values.{number}.weight"][0].detach().double()
        torch.testing.assert_close(found.T, layer.weight.detach(), atol=1e-5, rtol=1e-4)
    assert trainer.time == 0


def test_temperature_falls_and_learning_ends_before_the_end(tmp_path: Path) -> None:
    trainer = lattice(tmp_path, temperature_start=0.5, learning_fraction=0.8)
    actor: Any = trainer.algorithm.policy
    first_half, at_end = [], None
    for step in range(160):
        trainer.advance()
        if step < 64:
            first_half.append(actor.temperature)
        if step == 128:
            at_end = trainer.algorithm.policy.parameters()
    # The exploration intensity of the paper: B = 0.025 + 0.75 tau_init.
    assert sum(first_half) / 64 == pytest.approx(0.025 + 0.75 * 0.5, abs=0.01)
    assert actor.temperature == pytest.approx(0.1)
    assert at_end is not None
    assert torch.equal(at_end, trainer.algorithm.policy.parameters())


def test_the_last_window_tells_the_gap_between_action_values(tmp_path: Path) -> None:
    trainer = lattice(tmp_path, (3, 8))
    policy: Any = trainer.algorithm.policy
    gaps = []
    while not trainer.finished:
        observation = trainer.view.observation.clone()
        before = trainer.steps
        trainer.advance()
        if before >= 120:
            values = policy.values(observation).detach()
            gaps.append((values[..., 0] - values[..., 1]).abs().mean(1))
    expected = torch.stack(gaps).double().mean(0)
    for member in range(2):
        absolute = trainer.outcome(member)["absolute"]
        # Updates come after the step whose gap was counted, and there are few of them.
        assert absolute["action_value_gap"] == pytest.approx(float(expected[member]), rel=0.05)


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    for environment, message in (("turns", "skip steps"), ("point_pursuit", "discrete actions")):
        with pytest.raises(ConfigurationError, match=message):
            Trainer(make_cells("dqn", environment), tmp_path, CPU)
