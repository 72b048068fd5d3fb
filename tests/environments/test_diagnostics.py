"""The optima that the diagnostic tasks claim, by playing them."""

from __future__ import annotations

import torch
from torch import Tensor

from marlbench.environments.diagnostics.masked_choice import MaskedChoice, MaskedChoiceParameters
from marlbench.environments.diagnostics.point_pursuit import PointPursuit, PointPursuitParameters
from marlbench.environments.diagnostics.recall import Recall, RecallParameters
from marlbench.environments.keys import row_keys

CPU = torch.device("cpu")
ROWS = 400


def played(environment, choose) -> tuple[dict[str, Tensor], Tensor]:
    """Metrics and the return of each agent over one episode of every row."""
    step = environment.reset(row_keys([3], 0, ROWS, CPU))
    returns = torch.zeros(ROWS, len(environment.specification.agents))
    memory = None
    while not step.any_ended:
        action, memory = choose(step, memory)
        step = environment.step(action)
        returns += step.reward
    assert bool(step.ended.all())
    return step.metrics, returns


def test_recall_pays_those_who_remember():
    environment = Recall(RecallParameters(agents=2, cues=3, delay=4), ROWS, CPU)

    def remember(step, memory):
        memory = step.observation[..., :3].argmax(-1) if memory is None else memory
        return memory, memory

    metrics, returns = played(environment, remember)
    assert bool((metrics["success_rate"] == 1).all())
    assert bool((returns == 1).all())


def test_recall_pays_one_in_as_many_as_there_are_cues_to_those_who_do_not():
    environment = Recall(RecallParameters(agents=2, cues=3, delay=4), ROWS, CPU)
    metrics, _ = played(environment, lambda step, memory: (torch.zeros(ROWS, 2, dtype=torch.int64), None))
    # 800 fair draws: four standard errors.
    assert abs(float(metrics["success_rate"].mean()) - 1 / 3) < 4 * (2 / 9 / 800) ** 0.5


def test_masked_choice_has_no_regret_for_the_last_available_action():
    environment = MaskedChoice(MaskedChoiceParameters(), ROWS, CPU)

    def last(step, memory):
        order = torch.arange(6) + 1
        return (step.available_actions * order).argmax(-1), None

    metrics, _ = played(environment, last)
    torch.testing.assert_close(metrics["regret"], torch.zeros(ROWS))
    assert bool((metrics["illegal_rate"] == 0).all())


def test_masked_choice_counts_what_was_not_available():
    environment = MaskedChoice(MaskedChoiceParameters(), ROWS, CPU)
    seen = []

    def first(step, memory):
        seen.append(step.available_actions[..., 0])
        return torch.zeros(ROWS, 2, dtype=torch.int64), None

    metrics, returns = played(environment, first)
    illegal = (~torch.stack(seen)).float().mean((0, 2))
    torch.testing.assert_close(metrics["illegal_rate"], illegal)
    # Where it was available the first action pays nothing.
    torch.testing.assert_close(returns[:, 0], -illegal * 8)
    assert 0.3 < float(illegal.mean()) < 0.5


def test_point_pursuit_is_solved_by_closing_each_coordinate_at_full_speed():
    environment = PointPursuit(PointPursuitParameters(), ROWS, CPU)
    metrics, returns = played(environment, lambda step, memory: ((step.observation / 0.2).clamp(-1, 1), None))
    torch.testing.assert_close(metrics["shortfall"], torch.zeros(ROWS), atol=2e-5, rtol=0)
    assert float(returns.mean()) < -1


def test_point_pursuit_is_not_solved_better_by_anything_tried():
    environment = PointPursuit(PointPursuitParameters(length=5), ROWS, CPU)
    generator = torch.Generator().manual_seed(0)
    for scale in (0.0, 0.5, 1.0):

        def near(step, memory, scale=scale):
            noise = torch.randn(step.observation.shape, generator=generator)
            return (step.observation / 0.2 + scale * noise).clamp(-1, 1), None

        metrics, _ = played(environment, near)
        assert float(metrics["shortfall"].min()) > -2e-5
