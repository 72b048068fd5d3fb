"""Running statistics of value targets against their definition."""

from __future__ import annotations

import torch

from marlbench.algorithms.value_normalisation import DECAY, ValueNormalisation

CPU = torch.device("cpu")


def rollouts(count: int) -> list[torch.Tensor]:
    """Targets of two learners, whose scales differ and drift."""
    generator = torch.Generator().manual_seed(3)
    scale = torch.tensor([[1.0], [50.0]])
    return [scale * (torch.randn(2, 30, generator=generator) + 0.1 * number) for number in range(count)]


def test_statistics_are_the_bias_corrected_moving_averages() -> None:
    drawn = rollouts(12)
    normalisation = ValueNormalisation(2, CPU)
    for targets in drawn:
        normalisation.update(targets, None)
    weights = torch.tensor([DECAY ** (len(drawn) - 1 - number) for number in range(len(drawn))]).double()
    weights = (weights / weights.sum()).view(-1, 1)
    mean = (weights * torch.stack([t.double().mean(1) for t in drawn])).sum(0)
    square = (weights * torch.stack([t.double().square().mean(1) for t in drawn])).sum(0)
    torch.testing.assert_close(normalisation.mean.flatten().double(), mean, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(
        normalisation.variance.flatten().double(), square - mean.square(), rtol=1e-4, atol=1e-4
    )


def test_samples_of_no_weight_do_not_count() -> None:
    (targets,) = rollouts(1)
    weight = (torch.arange(30) < 20).float().expand(2, -1)
    weighed, few = ValueNormalisation(2, CPU), ValueNormalisation(2, CPU)
    weighed.update(torch.where(weight > 0, targets, 1e6), weight)
    few.update(targets[:, :20], None)
    torch.testing.assert_close(weighed.mean, few.mean)
    torch.testing.assert_close(weighed.variance, few.variance)


def test_the_first_rollout_comes_out_standard_and_back() -> None:
    (targets,) = rollouts(1)
    normalisation = ValueNormalisation(2, CPU)
    normalisation.update(targets, None)
    normal = normalisation.normalise(targets)
    torch.testing.assert_close(normal.mean(1), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(normal.var(1, correction=0), torch.ones(2))
    torch.testing.assert_close(normalisation.restore(normal), targets)


def test_constant_targets_divide_nothing_by_zero() -> None:
    normalisation = ValueNormalisation(1, CPU)
    normalisation.update(torch.full((1, 8), 3.0), None)
    assert torch.equal(normalisation.normalise(torch.full((1, 8), 3.0)), torch.zeros(1, 8))


def test_state_goes_on_where_it_was() -> None:
    drawn = rollouts(4)
    whole, torn = ValueNormalisation(2, CPU), ValueNormalisation(2, CPU)
    for targets in drawn[:2]:
        whole.update(targets, None)
    torn.load_state_dict(whole.state_dict())
    for targets in drawn[2:]:
        whole.update(targets, None)
        torn.update(targets, None)
    assert torch.equal(torn.mean, whole.mean)
    assert torch.equal(torn.variance, whole.variance)
