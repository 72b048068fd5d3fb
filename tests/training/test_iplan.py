"""iPLAN in training: exact resume with every ablation, whom it remembers, when it learns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from marlbench.algorithms.iplan import IPLAN, IPLANHyperparameters
from marlbench.errors import ConfigurationError
from marlbench.training.trainer import Trainer

from .cells import make_cells
from .resuming import CPU, check_resumes_exactly

SMALL: dict[str, Any] = {
    "hidden": (8,),
    "recurrent_units": 6,
    "rollout_length": 16,
    "update_episodes": None,
    "inference_interval": 16,
    "inference_warm_up": 70,
    "history": 3,
    "predicted_steps": 2,
    "instant_batch": 7,
    "encoder_units": 5,
    "decoder_units": 6,
    "behaviour_latent": 3,
    "attention_units": 4,
    "instant_latent": 5,
    "epochs": 2,
}
ABLATIONS: dict[str, dict[str, Any]] = {
    "iplan": {},
    "iplan_hard": {"behaviour": "hard"},
    "ippo_bm": {"instant": False},
    "ippo_gat": {"behaviour": "none"},
    "ippo": {"behaviour": "none", "instant": False},
    "shared": {"sharing": "shared", "agent_identity": True, "sequence_length": 4},
}


@pytest.mark.parametrize("ablation", ABLATIONS)
def test_resumed_anywhere_it_ends_bit_for_bit_the_same(ablation: str, tmp_path: Path) -> None:
    hyperparameters = {**SMALL, **ABLATIONS[ablation]}
    parameters = {"episode_length": 7, "walker": ablation == "iplan"}
    protocol = {
        "kind": "episodic",
        "policy": "greedy",
        "evaluations": 2,
        "episodes": 2,
        "absolute_episodes": 3,
    }
    cells = make_cells("iplan", "navigation", (3, 8), 200, 4, hyperparameters, parameters, protocol)
    check_resumes_exactly(cells, tmp_path)


def test_histories_and_latents_are_of_vehicles_not_of_rows(tmp_path: Path) -> None:
    """On a highway where vehicles change their rows: what is remembered, kept by hand for each of them."""
    hyperparameters = {**SMALL, "behaviour_rate": 0.3, "rollout_length": 32, "inference_interval": 32}
    parameters = {"agents": 2, "others": 20, "lanes": 3, "length": 6}
    cells = make_cells("iplan", "highway", (1,), 96, 2, hyperparameters, parameters)
    trainer = Trainer(cells, tmp_path, CPU)
    algorithm = trainer.algorithm
    assert isinstance(algorithm, IPLAN)
    policy, networks = algorithm.intent, algorithm.intent.behaviour
    assert networks is not None
    total, moved, known = 22, 0, {}
    rows: dict[tuple[int, int, int], int] = {}
    for _ in range(14):
        step = trainer.view
        assert step.identity is not None
        assert trainer.memory is not None
        fresh = ~trainer.memory.flatten(2).any(-1)
        trainer.advance()
        after = policy.recollection.split(trainer.memory[..., algorithm.actor.memory_size :])
        for row in range(2):
            for agent in range(2):
                learner = {
                    name: value[agent : agent + 1]
                    for name, value in algorithm.behaviour_stack.parameters.items()
                }
                seen = dict(
                    zip(
                        step.identity[row, agent].tolist(),
                        step.observation[row, agent].view(15, 5),
                        strict=True,
                    )
                )
                for vehicle in range(total):
                    key = (row, agent, vehicle)
                    if key not in known or bool(fresh[row, agent]):
                        known[key] = (torch.zeros(3, 5), torch.zeros(3))
                    history, latent = known[key]
                    history = torch.cat([history[1:], seen.get(vehicle, torch.zeros(5)).unsqueeze(0)])
                    if vehicle in seen:
                        place = step.identity[row, agent].tolist().index(vehicle)
                        moved += rows.get(key, place) != place
                        rows[key] = place
                        with torch.no_grad():
                            encoded = networks.encode(learner, history.view(1, 3, 1, 5))[0, 0]
                        latent = 0.7 * latent + 0.3 * encoded
                    known[key] = (history, latent)
                    if bool(trainer.view.ended[row]):
                        assert not after["history"][row, agent].any()
                        continue
                    torch.testing.assert_close(after["history"][row, agent, :, vehicle], history)
                    torch.testing.assert_close(
                        after["behaviour"][row, agent, vehicle], latent, rtol=0, atol=1e-5
                    )
    assert moved > 5


def test_what_the_critic_says_stays_when_its_scale_moves(tmp_path: Path) -> None:
    """PopArt: values in units of the rewards, of the same observations, before and after targets are counted in."""
    hyperparameters = {**SMALL, "learning_rate": 1e-30}
    cells = make_cells("iplan", "navigation", (1, 2), 200, 4, hyperparameters, {"episode_length": 7})
    trainer = Trainer(cells, tmp_path, CPU)
    algorithm = trainer.algorithm
    assert isinstance(algorithm, IPLAN)
    critic = algorithm.critic
    assert critic.normalisation is not None
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(6, 20, critic.network.inputs, generator=generator)

    def said() -> Tensor:
        value, _ = critic.network.step(critic.stack.parameters, features, torch.zeros(6, 20, 6))
        return critic.normalisation.restore(value.detach().squeeze(-1))  # type: ignore[union-attr]

    for _ in range(15):
        trainer.advance()
    before = said()
    for _ in range(2):
        trainer.advance()
    assert critic.normalisation.rollouts == 1
    assert float(critic.normalisation.mean.abs().max()) > 1.0
    torch.testing.assert_close(said(), before, rtol=1e-4, atol=1e-4)


def test_inference_learns_after_its_warm_up_and_is_told(tmp_path: Path) -> None:
    cells = make_cells("iplan", "navigation", (1,), 256, 4, SMALL, {"episode_length": 7})
    trainer = Trainer(cells, tmp_path, CPU)
    algorithm = trainer.algorithm
    assert isinstance(algorithm, IPLAN)
    first = algorithm.behaviour_stack.flat.detach().clone()
    while trainer.steps < 64:
        trainer.advance()
    # These are fewer than the warm-up.
    assert torch.equal(algorithm.behaviour_stack.flat, first)
    while trainer.steps < 128:
        trainer.advance()
    assert not torch.equal(algorithm.behaviour_stack.flat, first)
    assert set(algorithm.inferences) == {"behaviour_loss", "instant_loss"}


@pytest.mark.parametrize("given", [{"inference_interval": 5}, {"rollout_length": 17}])
def test_intervals_that_leave_nothing_to_predict_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="inference_interval"):
        IPLANHyperparameters(**{**SMALL, **given}).resolved(50)


def test_the_published_schedule() -> None:
    """256 episodes of 8 rows between updates of the policy, 8 between those of inference."""
    highway, navigation = IPLANHyperparameters().resolved(90), IPLANHyperparameters().resolved(50)
    assert (highway.rollout_length, highway.inference_interval) == (2880, 90)
    assert (navigation.rollout_length, navigation.inference_interval) == (1600, 50)
