"""The on-policy methods in training: exact resume, what they compute of a rollout, members apart from each other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from marlbench.algorithms.actor_critic import ActorCritic
from marlbench.algorithms.distributions import mask_logits
from marlbench.algorithms.samples import Batch
from marlbench.environments.contract import Step
from marlbench.errors import ConfigurationError
from marlbench.training.evaluation import cut_memory
from marlbench.training.trainer import Trainer

from .cells import make_cells
from .resuming import CPU, check_resumes_exactly, finish

SMALL = {"rollout_length": 16, "hidden": (8,)}
EPOCHS = {"epochs": 2, "minibatches": 2}
MEMORY = {"recurrent_units": 6, "sequence_length": 4}
METHODS: dict[str, dict[str, Any]] = {
    "ippo": {**SMALL, **EPOCHS},
    "mappo": {**SMALL, **EPOCHS},
    "a2c": {**SMALL, "critic": "central"},
}


@pytest.mark.parametrize("environment", ["ragged", "turns", "point_pursuit"])
@pytest.mark.parametrize("memory", [{}, MEMORY], ids=["memoryless", "recurrent"])
@pytest.mark.parametrize("method", METHODS)
def test_resumed_anywhere_it_ends_bit_for_bit_the_same(
    method: str, memory: dict[str, Any], environment: str, tmp_path: Path
) -> None:
    hyperparameters = {**METHODS[method], **memory}
    if environment == "ragged":
        hyperparameters["sharing"] = "independent"
    cells = make_cells(method, environment, seeds=(3, 8), steps=280, hyperparameters=hyperparameters)
    check_resumes_exactly(cells, tmp_path)


@pytest.mark.parametrize("sharing", ["shared", "independent", {"groups": 2}])
@pytest.mark.parametrize("memory", [{}, MEMORY], ids=["memoryless", "recurrent"])
def test_a_value_for_the_team_resumes_exactly(memory: dict[str, Any], sharing: Any, tmp_path: Path) -> None:
    hyperparameters = {**METHODS["mappo"], **memory, "critic_input": "team_state", "sharing": sharing}
    cells = make_cells("mappo", "ragged", seeds=(3, 8), steps=280, hyperparameters=hyperparameters)
    check_resumes_exactly(cells, tmp_path)


@pytest.mark.parametrize("sharing", ["shared", "independent", {"groups": 2}])
@pytest.mark.parametrize("memory", [{}, MEMORY], ids=["memoryless", "recurrent"])
def test_a_value_for_the_team_is_that_of_agents_who_see_and_get_the_same(
    memory: dict[str, Any], sharing: Any, tmp_path: Path
) -> None:
    """One sample for all agents is as many equal ones, where nobody is told apart and rewards are common."""
    parameters = []
    for sees in ("state", "team_state"):
        hyperparameters = {
            **SMALL,
            **memory,
            "epochs": 3,
            "minibatches": 1,
            "sharing": sharing,
            "agent_identity": False,
            "critic_input": sees,
            "learning_rate": 1e-2,
        }
        cells = make_cells("mappo", "ragged", seeds=(0, 1), steps=300, hyperparameters=hyperparameters)
        trainer = Trainer(cells, tmp_path / sees, CPU)
        assert isinstance(trainer.algorithm, ActorCritic)
        before = trainer.algorithm.stack.flat.detach().clone()
        for _ in range(40):
            trainer.advance()
        assert float((trainer.algorithm.stack.flat.detach() - before).abs().max()) > 0.01
        parameters.append(trainer.algorithm.stack.flat.detach())
    torch.testing.assert_close(*parameters, atol=1e-4, rtol=1e-3)


def test_a_value_for_the_team_is_refused_where_agents_take_turns(tmp_path: Path) -> None:
    hyperparameters = {**SMALL, "critic_input": "team_state"}
    with pytest.raises(ConfigurationError, match="agents skip steps"):
        Trainer(make_cells("mappo", "turns", hyperparameters=hyperparameters), tmp_path, CPU)


def first_batch(algorithm: ActorCritic) -> dict[str, Any]:
    """Filled at the first update of the next `learn`: the batch, and the log-probabilities and values now."""
    seen: dict[str, Any] = {}
    real = algorithm.loss

    def loss(batch: Batch, log_probability: Tensor, entropy: Tensor, value: Tensor) -> Any:
        if not seen:
            seen.update(batch=batch, now=log_probability.detach(), value=value.detach())
        return real(batch, log_probability, entropy, value)

    algorithm.loss = loss  # type: ignore[method-assign]
    return seen


@pytest.mark.parametrize("option", ["shared", "independent"])
@pytest.mark.parametrize("environment", ["ragged", "turns"])
def test_unrolled_sequences_say_what_was_said_when_acting(
    environment: str, option: str, tmp_path: Path
) -> None:
    """Probabilities of a recurrent actor: as it acted, before learning, and at the first update."""
    hyperparameters = {**SMALL, **MEMORY, "epochs": 1, "minibatches": 1, "sharing": option, "value_clip": 0.2}
    # Large steps in between make the memory depend on where it was emptied.
    cells = make_cells(
        "mappo",
        environment,
        seeds=(0, 1),
        steps=400,
        hyperparameters={**hyperparameters, "learning_rate": 0.1},
    )
    trainer = Trainer(cells, tmp_path, CPU)
    algorithm = trainer.algorithm
    assert isinstance(algorithm, ActorCritic)
    # In the ragged task the second rollout begins in the middle of episodes, with memory.
    for _ in range(16):
        trainer.advance()
    assert trainer.memory is not None
    assert environment == "turns" or float(trainer.memory.abs().sum()) > 0.0
    seen = first_batch(algorithm)
    said = []
    for _ in range(16):
        logits, _ = algorithm.actor.outputs(trainer.view, trainer.memory)
        masked = mask_logits(logits.detach(), algorithm.actor.available(trainer.view))
        before = torch.log_softmax(masked, -1)
        trainer.advance()
        if algorithm.rollout.time:
            action = algorithm.rollout.filled("action")[:, -1]
            chosen = before.view(*action.shape, -1).gather(-1, action.unsqueeze(-1))
            said.append(algorithm.sharing.fold(chosen).squeeze(-1))
    batch: Batch = seen["batch"]
    assert batch.log_probability is not None
    torch.testing.assert_close(seen["now"], batch.log_probability, atol=1e-5, rtol=1e-5)
    assert batch.value is not None
    torch.testing.assert_close(seen["value"], batch.value, atol=1e-5, rtol=1e-5)
    # The last joint step was cleared with the rollout; each other one must be found among the samples.
    known = batch.log_probability.unsqueeze(1)
    spoken = torch.cat(said, 1).unsqueeze(2)
    assert float((known - spoken).abs().amin(2).max()) < 1e-5
    assert float(batch.log_probability.std()) > 0.01


def test_the_memory_of_a_critic_runs_on_from_rollout_to_rollout(tmp_path: Path) -> None:
    """Unrolled over a rollout, a critic says what it would have said step by step from the first on."""
    hyperparameters = {
        **METHODS["ippo"],
        **MEMORY,
        "minibatches": 1,
        "value_clip": 0.2,
        "learning_rate": 1e-30,
    }
    cells = make_cells("ippo", "ragged", seeds=(0, 1), steps=400, hyperparameters=hyperparameters)
    trainer = Trainer(cells, tmp_path, CPU)
    algorithm = trainer.algorithm
    assert isinstance(algorithm, ActorCritic)
    network = algorithm.critic.network
    memory: Tensor | None = torch.zeros(2 * 4, 2, 6)
    for rollout in range(2):
        seen = first_batch(algorithm)
        values = []
        for _ in range(16):
            folded = [algorithm.actor.folded(value) for value in (trainer.view.observation, memory)]
            value, after = network.step(algorithm.stack.parameters, *folded)
            values.append(value.detach().squeeze(-1))
            assert after is not None
            trainer.advance()
            memory = cut_memory(algorithm.actor.unfolded(after.detach(), 8), trainer.view)
        found = seen["batch"].value.sort(1).values
        torch.testing.assert_close(found, torch.cat(values, 1).sort(1).values, atol=1e-5, rtol=1e-5)
        assert rollout == 0 or float(found.std()) > 1e-3


@pytest.mark.parametrize("environment", ["ragged", "turns"])
@pytest.mark.parametrize("method", METHODS)
def test_a_scale_of_rewards_is_an_environment_whose_rewards_are_scaled(
    method: str, environment: str, tmp_path: Path
) -> None:
    # Bit for bit: a power of two changes no digits.
    scale, found = 0.25, []
    for number, (option, outside) in enumerate(((scale, 1.0), (1.0, scale), (1.0, 1.0))):
        hyperparameters = {**METHODS[method], "reward_scale": option}
        cells = make_cells(method, environment, seeds=(0, 1), steps=400, hyperparameters=hyperparameters)
        trainer = Trainer(cells, tmp_path / str(number), CPU)
        algorithm, play = trainer.algorithm, trainer.environment.step
        assert isinstance(algorithm, ActorCritic)

        def scaled(action: Tensor, play: Any = play, factor: float = outside) -> Step:
            step: Step = play(action)
            return replace(step, reward=step.reward * factor)

        trainer.environment.step = scaled  # type: ignore[method-assign]
        # The values of the second rollout are those of a critic that has learnt from the first.
        for _ in range(2):
            seen = first_batch(algorithm)
            for _ in range(16):
                trainer.advance()
            batch: Batch = seen["batch"]
            found.append((batch.advantage, batch.target, algorithm.policy.parameters()))
    inside, beside, unscaled = found[:2], found[2:4], found[4:]
    for ours, theirs, plain in zip(inside, beside, unscaled, strict=True):
        for mine, other in zip(ours, theirs, strict=True):
            assert torch.equal(mine, other)
        assert not torch.allclose(ours[1], plain[1])


def test_death_masking(tmp_path: Path) -> None:
    """Who does not act: zeros and an identity for the critic, which learns from it, and nothing for the actor."""
    hyperparameters = {**SMALL, "epochs": 1, "critic_input": "state_and_observation"}
    trainer = Trainer(make_cells("mappo", "turns", hyperparameters=hyperparameters), tmp_path, CPU)
    assert isinstance(trainer.algorithm, ActorCritic)
    seen = first_batch(trainer.algorithm)
    for _ in range(16):
        trainer.advance()
    batch: Batch = seen["batch"]
    assert batch.weight is not None
    assert batch.critic_weight is not None
    idle = batch.weight == 0.0
    assert float(idle.float().mean()) == 0.5
    assert bool((batch.critic_weight == 1.0).all())
    assert bool((batch.critic_input[idle][:, :-2] == 0.0).all())
    assert bool((batch.critic_input[idle][:, -2:].sum(-1) == 1.0).all())
    assert bool((batch.critic_input[~idle][:, :-2] != 0.0).any())


def test_targets_are_normalised_and_values_restored(tmp_path: Path) -> None:
    """The reward of this task is 1 a step, so targets are far from standard before they are normalised."""
    hyperparameters = {**SMALL, "epochs": 1, "value_clip": None, "trace_decay": 1.0}
    trainer = Trainer(make_cells("mappo", "ragged", hyperparameters=hyperparameters), tmp_path, CPU)
    algorithm = trainer.algorithm
    assert isinstance(algorithm, ActorCritic)
    seen = first_batch(algorithm)
    for _ in range(16):
        trainer.advance()
    target = seen["batch"].target
    torch.testing.assert_close(target.mean(1), torch.zeros(1), atol=1e-5, rtol=0)
    torch.testing.assert_close(target.std(1, correction=0), torch.ones(1))
    normalisation = algorithm.critic.normalisation
    assert normalisation is not None
    # Episodes have 1 to 9 steps of reward 1.
    restored = normalisation.restore(target)
    assert float(restored.max()) > 2.0
    assert float(restored.max()) < 9.5


@pytest.mark.parametrize(
    ("method", "environment"), [("mappo", "point_pursuit"), ("a2c", "ragged"), ("ippo", "turns")]
)
def test_a_seed_learns_the_same_alone_and_beside_others(
    method: str, environment: str, tmp_path: Path
) -> None:
    hyperparameters = {**METHODS[method], **MEMORY, "value_normalisation": True}

    def last(seeds: tuple[int, ...]) -> Tensor:
        cells = make_cells(method, environment, seeds=seeds, steps=200, hyperparameters=hyperparameters)
        trainer = Trainer(cells, tmp_path / str(len(seeds)), CPU)
        finish(trainer)
        return trainer.findings.last

    torch.testing.assert_close(last((4, 5, 6))[1], last((5,))[0], atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("method", METHODS)
def test_a_diverged_member_disturbs_nobody(method: str, tmp_path: Path) -> None:
    hyperparameters = {**METHODS[method], **MEMORY}
    cells = make_cells(method, "point_pursuit", seeds=(0, 1, 2), steps=300, hyperparameters=hyperparameters)
    calm, hurt = (Trainer(cells, tmp_path / name, CPU) for name in ("calm", "hurt"))
    finish(calm)
    for _ in range(20):
        hurt.advance()
    poisoned = hurt.algorithm.policy.parameters()
    poisoned[1].fill_(torch.nan)
    hurt.algorithm.policy.load_parameters(poisoned)
    finish(hurt)
    assert hurt.outcome(1)["status"] == "diverged"
    for member in (0, 2):
        assert hurt.outcome(member) == calm.outcome(member)


def test_fresh_episodes_leave_no_memory_behind(tmp_path: Path) -> None:
    hyperparameters = {**METHODS["mappo"], **MEMORY}
    trainer = Trainer(make_cells("mappo", "ragged", hyperparameters=hyperparameters), tmp_path, CPU)
    algorithm = trainer.algorithm
    assert isinstance(algorithm, ActorCritic)
    for _ in range(16 + 5):
        trainer.advance()
    assert algorithm.critic.memory is not None
    assert float(algorithm.critic.memory.abs().sum()) > 0.0
    assert algorithm.rows_restarted() == 5
    assert float(algorithm.critic.memory.abs().sum()) == 0.0
    assert algorithm.rollout.time == 0
