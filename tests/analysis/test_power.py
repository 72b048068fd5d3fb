"""The rates that a reference promises, simulated with the gate's own decision on distributions it has not seen.

False alarms must stay within the rate for every shape: the test is exact. The power rests on the spread that ten
reference runs show, so it is an average over references, and tasks whose spread is too large are refused.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from marlbench.analysis.permutation import smallest
from marlbench.analysis.power import Criterion, is_worse, needed, power_of, widening
from marlbench.analysis.sizing import FALSE_ALARM_RATE, LOSS, POWER, SCORE_FACTOR, rule_for

COMPARISONS = 6
REFERENCE_RUNS = 10

Draw = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]
SHAPES: dict[str, Draw] = {
    "no spread": lambda generator, shape: np.full(shape, 0.8),
    "normal": lambda generator, shape: generator.normal(0.8, 0.04, shape),
    "wide normal": lambda generator, shape: generator.normal(0.8, 0.2, shape),
    "skewed": lambda generator, shape: 0.9 - generator.exponential(0.05, shape),
    "two humps": lambda generator, shape: np.where(generator.random(shape) < 0.6, 0.85, 0.75),
    "solved or not": lambda generator, shape: np.where(generator.random(shape) < 0.7, 1.0, 0.1),
    "heavy tails": lambda generator, shape: 0.8 + 0.02 * generator.standard_t(2, shape),
}
# Those on which ten runs can notice the loss at all.
NARROW = ("no spread", "normal", "skewed", "two humps")


@pytest.mark.parametrize("shape", SHAPES)
def test_false_alarms_of_a_whole_gate(shape: str) -> None:
    """Gates of several scores and throughputs in which nothing changed: at most 1 % of them may say otherwise."""
    gates, draw = 3000, SHAPES[shape]
    generator = np.random.default_rng(7)
    rule = rule_for(COMPARISONS)
    alarmed = np.zeros(gates, dtype=bool)
    for fresh in (5, 8):
        for level, factor in (
            (rule.score_level, rule.score_factor),
            (rule.throughput_level, rule.throughput_factor),
        ):
            before = draw(generator, (gates, COMPARISONS // 2, REFERENCE_RUNS))
            after = draw(generator, (gates, COMPARISONS // 2, fresh))
            alarmed |= is_worse(before, after, level, factor).any(1)
    # Three standard errors of a share of .01 of 3000 are .0054.
    assert alarmed.mean() <= FALSE_ALARM_RATE + 0.0055


def test_the_test_alone_keeps_its_level_where_the_factor_gives_no_help() -> None:
    """With a factor near one only the p-value decides: its level is reached, and not exceeded."""
    generator = np.random.default_rng(3)
    before, after = generator.exponential(1.0, (20_000, 10)), generator.exponential(1.0, (20_000, 5))
    rate = is_worse(before, after, 0.01, 0.999999).mean()
    assert 0.007 < rate < 0.0125


@pytest.mark.parametrize("shape", NARROW)
def test_a_loss_of_a_fifth_is_found(shape: str) -> None:
    """References drawn anew, sized by their own spread, and fresh runs of a method that lost a fifth."""
    draw, criterion = SHAPES[shape], _criterion()
    generator = np.random.default_rng(11)
    mean = draw(generator, (200_000,)).mean()
    found, refused = [], 0
    for _ in range(8):
        reference = draw(generator, (REFERENCE_RUNS,))
        size = needed(reference, criterion, REFERENCE_RUNS)
        if size is None:
            refused += 1
            continue
        fresh = draw(generator, (300, size.runs)) - LOSS * mean
        before = np.broadcast_to(reference, (300, REFERENCE_RUNS))
        found.append(is_worse(before, fresh, criterion.level, criterion.factor).mean())
    assert refused <= 4
    assert np.mean(found) >= POWER


@pytest.mark.parametrize("shape", ["wide normal", "solved or not"])
def test_what_cannot_be_told_from_chance_is_refused(shape: str) -> None:
    reference = SHAPES[shape](np.random.default_rng(5), (REFERENCE_RUNS,))
    assert reference.std() > 0.1
    assert needed(reference, _criterion(), REFERENCE_RUNS) is None


def test_without_spread_as_many_runs_as_the_level_needs() -> None:
    criterion = _criterion()
    size = needed(np.full(REFERENCE_RUNS, 0.8), criterion, REFERENCE_RUNS)
    assert size is not None
    assert size.power == 1.0
    assert smallest(REFERENCE_RUNS, size.runs) <= criterion.level < smallest(REFERENCE_RUNS, size.runs - 1)


def test_more_runs_and_a_larger_loss_are_noticed_more_often() -> None:
    reference = np.random.default_rng(2).normal(0.8, 0.07, REFERENCE_RUNS)
    criterion = _criterion()
    assert power_of(reference, 5, criterion) < power_of(reference, 9, criterion)
    larger = Criterion(criterion.level, criterion.factor, 0.4, criterion.power)
    assert power_of(reference, 5, criterion) < power_of(reference, 5, larger)


def test_widened_spread_is_above_the_true_one_in_most_references() -> None:
    generator = np.random.default_rng(1)
    drawn = generator.normal(0.0, 1.0, (5000, REFERENCE_RUNS))
    assert (drawn.std(axis=1) * widening(REFERENCE_RUNS) >= 1.0).mean() == pytest.approx(0.8, abs=0.02)


def _criterion() -> Criterion:
    return Criterion(rule_for(COMPARISONS).score_level, SCORE_FACTOR, LOSS, POWER)
