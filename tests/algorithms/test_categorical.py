"""C51: projections by hand and by brute force, slopes against automatic differentiation in float64."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from marlbench.algorithms.categorical import Support
from marlbench.algorithms.value_heads import CategoricalHead, ExpectedHead, Lesson

CPU = torch.device("cpu")


def brute_force(support: Support, probability: Tensor, reward: float, discount: float) -> list[float]:
    """Algorithm 1 of arXiv 1707.06887, atom by atom in plain numbers."""
    found = [0.0] * support.atoms
    for atom, mass in enumerate(probability.tolist()):
        moved = reward + discount * (support.low + atom * support.spacing)
        place = (min(max(moved, support.low), support.high) - support.low) / support.spacing
        lower = min(int(place), support.atoms - 1)
        upper = min(lower + 1, support.atoms - 1)
        share = place - lower
        found[lower] += mass * (1.0 - share)
        found[upper] += mass * share
    return found


@settings(max_examples=80, deadline=None)
@given(
    atoms=st.integers(2, 12),
    low=st.floats(-20, 5),
    width=st.floats(0.5, 40),
    reward=st.floats(-30, 30),
    discount=st.sampled_from([0.0, 0.1, 0.9, 0.99, 1.0]),
    seed=st.integers(0, 1000),
)
def test_the_projection_is_that_of_the_paper(
    atoms: int, low: float, width: float, reward: float, discount: float, seed: int
) -> None:
    support = Support(low, low + width, atoms, CPU)
    probability = torch.rand(atoms, generator=torch.Generator().manual_seed(seed)).softmax(-1)
    found = support.project(probability, torch.tensor(reward), torch.tensor(discount))
    expected = torch.tensor(brute_force(support, probability, reward, discount))
    # Where a value of size z lies among atoms d apart is known to eps z / d.
    rounding = torch.finfo(torch.float32).eps * max(abs(support.low), abs(support.high)) / support.spacing
    torch.testing.assert_close(found, expected, atol=max(2e-5, rounding), rtol=0)
    assert found.sum().item() == pytest.approx(1.0, abs=1e-5)


def test_projections_worked_by_hand() -> None:
    support = Support(0.0, 4.0, 5, CPU)
    certain = torch.tensor([0.0, 0.0, 1.0, 0.0, 0.0])
    cases = [
        # 1 + 0.5 x 2 = 2: on an atom.
        (1.0, 0.5, [0, 0, 1, 0, 0]),
        # 0.25 + 0.5 x 2 = 1.25: between the atoms 1 and 2.
        (0.25, 0.5, [0, 0.75, 0.25, 0, 0]),
        # 3 + 2 = 5 and -1 + 0 = -1 lie beyond the ends.
        (3.0, 1.0, [0, 0, 0, 0, 1]),
        (-1.0, 0.0, [1, 0, 0, 0, 0]),
    ]
    for reward, discount, expected in cases:
        found = support.project(certain, torch.tensor(reward), torch.tensor(discount))
        assert found.tolist() == pytest.approx(expected)


def test_a_projection_keeps_the_mean_of_what_fits() -> None:
    support = Support(-10.0, 10.0, 51, CPU)
    probability = torch.randn(7, 51).softmax(-1)
    reward, discount = torch.linspace(-1, 1, 7), torch.full((7,), 0.9)
    found = support.mean(support.project(probability, reward, discount))
    torch.testing.assert_close(found, reward + 0.9 * support.mean(probability), atol=1e-4, rtol=1e-4)


def test_a_support_has_an_order() -> None:
    with pytest.raises(ValueError, match="last above the first"):
        Support(1.0, 1.0, 5, CPU)


def lesson(actions: int) -> Lesson:
    generator = torch.Generator().manual_seed(3)
    shape = (2, 6)
    return Lesson(
        observation=torch.zeros(*shape, 1),
        action=torch.randint(0, actions, shape, generator=generator),
        reward=torch.rand(shape, generator=generator),
        discount=torch.tensor([0.9, 0.9, 0.0, 0.81, 0.9, 0.0]).expand(shape),
        following=torch.zeros(*shape, 1),
    )


@pytest.mark.parametrize("way", ["slope", "slope_compiled", "slope_of_tensors"])
def test_the_slope_of_the_cross_entropy_is_its_derivative(way: str) -> None:
    head, taught = CategoricalHead(3, Support(0.0, 5.0, 7, CPU)), lesson(3)
    outputs, behind = torch.randn(2, 6, 21, dtype=torch.float64), torch.randn(2, 6, 21)
    outputs.requires_grad_()
    total = torch.zeros((), dtype=torch.float64)
    for learner in range(2):
        for sample in range(6):
            older = behind[learner, sample].view(3, 7).softmax(-1)
            best = int((older @ torch.linspace(0, 5, 7)).argmax())
            target = brute_force(
                head.returns,
                older[best],
                float(taught.reward[learner, sample]),
                float(taught.discount[learner, sample]),
            )
            action = int(taught.action[learner, sample])
            chances = outputs[learner, sample].view(3, 7)[action].log_softmax(-1)
            total = total - (torch.tensor(target, dtype=torch.float64) * chances).sum()
    total.backward()
    slope, loss = getattr(head, way)(outputs.detach().float(), behind, taught)
    assert outputs.grad is not None
    torch.testing.assert_close(slope, outputs.grad.float(), atol=1e-5, rtol=1e-4)
    assert loss.sum().item() == pytest.approx(total.item(), rel=1e-5)


def test_compiled_slopes_are_those_of_tensors() -> None:
    generator = torch.Generator().manual_seed(0)
    head = CategoricalHead(3, Support(-2.0, 8.0, 51, CPU))
    outputs, behind = 4 * torch.randn(2, 3, 40, 153, generator=generator)
    taught = Lesson(
        observation=torch.zeros(3, 40, 1),
        action=torch.randint(0, 3, (3, 40), generator=generator),
        reward=10 * torch.randn(3, 40, generator=generator),
        discount=torch.rand(3, 40, generator=generator),
        following=torch.zeros(3, 40, 1),
    )
    found, expected = (way(outputs, behind, taught) for way in (head.slope_compiled, head.slope_of_tensors))
    torch.testing.assert_close(found[0], expected[0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found[1], expected[1], atol=2e-5, rtol=1e-5)


def test_outputs_that_are_no_numbers_stay_none() -> None:
    head, taught = CategoricalHead(3, Support(0.0, 5.0, 7, CPU)), lesson(3)
    outputs, behind = torch.zeros(2, 2, 6, 21)
    outputs[1], behind[1] = torch.nan, torch.nan
    slope, loss = head.slope(outputs, behind, taught)
    assert slope[0].isfinite().all()
    assert loss[0].isfinite().all()
    assert loss[1].isnan().all()
    assert slope[1].isnan().any(-1).all()


def test_the_slope_of_expected_returns_is_the_derivative_of_half_the_squared_error() -> None:
    head, taught = ExpectedHead(3), lesson(3)
    outputs, behind = torch.randn(2, 6, 3, requires_grad=True), torch.randn(2, 6, 3)
    target = taught.reward + taught.discount * behind.max(-1).values
    error = outputs.gather(-1, taught.action.unsqueeze(-1)).squeeze(-1) - target
    (0.5 * error.square()).sum().backward()
    slope, loss = head.slope(outputs.detach(), behind, taught)
    assert outputs.grad is not None
    torch.testing.assert_close(slope, outputs.grad)
    torch.testing.assert_close(loss, (0.5 * error.square()).detach())
