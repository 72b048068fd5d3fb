"""How often verdicts are wrong: under the null, on skewed runs, at several places, against the best of several."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from scipy import stats

from marlbench.analysis.studies.judging import judge, plausible_best
from marlbench.analysis.studies.spreads import spread
from marlbench.analysis.studies.verdicts import rule
from marlbench.catalog.study import Place, Spot
from marlbench.catalog.study_types import Claim, Holds

TRIALS = 600
Draw = Callable[[np.random.Generator, int], np.ndarray[Any, Any]]


def claim(contrast: dict[str, Any], **more: Any) -> Claim:
    return Claim.model_validate(
        {"says": "so", "source": "x", "contrast": contrast, "holds": {"above": 0}, **more}
    )


def group(task: str, label: str) -> Spot:
    return Spot(task, label, {"task": task, "algorithm": label})


def normal(generator: np.random.Generator, n: int) -> np.ndarray[Any, Any]:
    return generator.normal(size=n)


def two_modes(generator: np.random.Generator, n: int) -> np.ndarray[Any, Any]:
    """Cooperate or defect: what social dilemmas end in; the mean is 0."""
    return (generator.random(n) < 0.5) - 0.5 + 0.05 * generator.normal(size=n)


def skewed(generator: np.random.Generator, n: int) -> np.ndarray[Any, Any]:
    return generator.exponential(size=n) - 1


SIDES: dict[str, dict[str, Any]] = {"a": {"algorithm": "new"}, "b": {"algorithm": "old"}}
DIFFERENCE = {"kind": "difference", **SIDES}
BEST = {"kind": "difference", "a": {"algorithm": "new"}, "b": {"algorithm": "*", "best": True}}


def wrong(
    of: Claim, places: list[Place], draw: Draw, n: int, error: float, trials: int = TRIALS
) -> tuple[int, int]:
    """How often a claim of no effect holds, and does not hold, where there is none."""
    generator = np.random.default_rng(3)
    keys = {
        (one.task, one.label) for p in places for members in p.members.values() for one in members.values()
    }
    counts = {"holds": 0, "does not hold": 0, "undecided": 0}
    for _ in range(trials):
        spreads = {key: spread(draw(generator, n).tolist(), of.statistic) for key in sorted(keys)}
        counts[rule(judge(of, places, spreads, error, True).estimate, of.holds)] += 1
    return counts["holds"], counts["does not hold"]


def most(probability: float, trials: int = TRIALS) -> int:
    """So often at most, but for one chance in 10,000."""
    return int(stats.binom.ppf(0.9999, trials, probability))


@pytest.mark.parametrize("n", [3, 5, 10])
@pytest.mark.parametrize("statistic", ["mean", "iqm"])
def test_false_verdicts_of_a_difference(n: int, statistic: str) -> None:
    places = [Place({}, {"a": {"": group("x", "new")}, "b": {"": group("x", "old")}})]
    holds, fails = wrong(claim(DIFFERENCE, statistic=statistic), places, normal, n, 0.05)
    assert max(holds, fails) <= most(0.025)
    assert holds + fails > 0


@pytest.mark.parametrize("draw", [two_modes, skewed])
def test_false_verdicts_where_runs_are_not_normal(draw: Draw) -> None:
    places = [Place({}, {"a": {"": group(t, "new")}, "b": {"": group(t, "old")}}) for t in "xyz"]
    assert max(wrong(claim(DIFFERENCE), places, draw, 5, 0.05)) <= most(0.03)


def test_false_verdicts_of_a_trend() -> None:
    levels = {str(level): group("x", f"level-{level}") for level in range(4)}
    trend = claim({"kind": "trend", "of": {}, "over": "B", "per": "range"})
    assert max(wrong(trend, [Place({}, {"of": levels})], normal, 3, 0.05)) <= most(0.025)


def test_false_verdicts_against_the_best_of_several() -> None:
    """All alike: who is the best of four is chance, and the largest of four means lies above what it estimates."""
    rivals = {f"old-{number}": group("x", f"old-{number}") for number in range(4)}
    places = [Place({}, {"a": {"": group("x", "new")}, "b": rivals})]
    holds, fails = wrong(claim(BEST), places, normal, 5, 0.1)
    assert holds <= most(0.05)
    assert fails <= most(0.05)
    # Taken for a fixed rival, the best of these runs would seem better than it is.
    generator, naive = np.random.default_rng(3), 0
    one = [Place({}, {"a": places[0].members["a"], "b": {"old-0": rivals["old-0"]}})]
    for _ in range(TRIALS):
        new, old = normal(generator, 5), [normal(generator, 5) for _ in range(4)]
        best = max(old, key=lambda runs: float(runs.mean()))
        spreads = {("x", label): spread(of.tolist(), "mean") for label, of in (("new", new), ("old-0", best))}
        naive += rule(judge(claim(BEST), one, spreads, 0.1, True).estimate, Holds(above=0)) == "does not hold"
    assert naive > most(0.05)


def test_the_best_one_is_hardly_ever_left_out() -> None:
    generator = np.random.default_rng(5)
    truth = {"first": 0.3, "second": 0.25, "third": -2.0}
    place = Place({}, {"a": {"": group("x", "new")}, "b": {name: group("x", name) for name in truth}})
    of = claim(BEST)
    left_out = alone = 0
    for _ in range(300):
        runs = {
            ("x", name): spread((mean + generator.normal(size=6)).tolist(), "mean")
            for name, mean in truth.items()
        }
        found = plausible_best("b", [place], runs, 0.05, True, of)
        left_out += "first" not in found
        alone += "third" not in found
    assert left_out <= most(0.05, 300)
    assert alone > 150


def test_every_place_counts() -> None:
    """One of three places has no effect: that the claim holds everywhere is then hardly ever said."""
    places = [Place({"task": t}, {"a": {"": group(t, "new")}, "b": {"": group(t, "old")}}) for t in "xyz"]
    of = claim(DIFFERENCE, places="every")
    generator, holds, fails = np.random.default_rng(11), 0, 0
    shift: Mapping[tuple[str, str], float] = {("y", "new"): 5.0, ("z", "new"): 5.0}
    for _ in range(TRIALS):
        spreads = {
            (t, label): spread((shift.get((t, label), 0.0) + generator.normal(size=5)).tolist(), "mean")
            for t in "xyz"
            for label in ("new", "old")
        }
        judged = judge(of, places, spreads, 0.1, True)
        assert judged.worst == "task x"
        verdict = rule(judged.estimate, of.holds)
        holds, fails = holds + (verdict == "holds"), fails + (verdict == "does not hold")
    assert holds <= most(0.05)
    assert fails <= most(0.05)


def test_the_share_of_a_gap_that_may_be_nothing_is_no_number() -> None:
    from marlbench.analysis.studies.contrasts import UndefinedError

    of = claim({"kind": "gap_closed", **SIDES, "oracle": {"algorithm": "oracle"}}, holds={"above": 0.5})
    place = Place({"task": "x"}, {role: {"": group("x", role)} for role in ("a", "b", "oracle")})
    runs = {"a": [1.0, 1.1, 0.9], "b": [0.0, 0.1, -0.1], "oracle": [0.1, 0.0, 0.2]}
    spreads = {("x", name): spread(values, "mean") for name, values in runs.items()}
    with pytest.raises(UndefinedError, match="not told to be better than b at task x"):
        judge(of, [place], spreads, 0.05, True)
    spreads["x", "oracle"] = spread([2.0, 2.1, 1.9], "mean")
    assert judge(of, [place], spreads, 0.05, True).estimate.point == pytest.approx(0.5)
    with pytest.raises(UndefinedError, match="not told to be better"):
        judge(of, [place], spreads, 0.05, False)


def test_an_oracle_that_is_worse_leaves_no_gap_to_close() -> None:
    """Who is worse than b then closes more than all of a gap of the wrong sign."""
    from marlbench.analysis.studies.contrasts import UndefinedError

    of = claim({"kind": "gap_closed", **SIDES, "oracle": {"algorithm": "oracle"}}, holds={"above": 0.5})
    place = Place({"task": "x"}, {role: {"": group("x", role)} for role in ("a", "b", "oracle")})
    runs = {"a": [-5.0, -5.1, -4.9], "b": [0.0, 0.1, -0.1], "oracle": [-1.0, -1.1, -0.9]}
    spreads = {("x", name): spread(values, "mean") for name, values in runs.items()}
    with pytest.raises(UndefinedError, match="not told to be better than b"):
        judge(of, [place], spreads, 0.05, True)


@pytest.mark.parametrize(
    ("low", "high", "holds", "verdict"),
    [
        (0.1, 0.5, {"above": 0}, "holds"),
        (-0.1, 0.5, {"above": 0}, "undecided"),
        (0.0, 0.5, {"above": 0}, "undecided"),
        (-0.5, -0.1, {"above": 0}, "does not hold"),
        (-0.5, 0.0, {"above": 0}, "undecided"),
        (-0.5, -0.1, {"below": 0}, "holds"),
        (0.1, 0.2, {"below": 0}, "does not hold"),
        (0.1, 0.2, {"between": [0, 1]}, "holds"),
        (-0.1, 0.2, {"between": [0, 1]}, "undecided"),
        (1.1, 1.2, {"between": [0, 1]}, "does not hold"),
        (-3, -1, {"between": [0, 1]}, "does not hold"),
        (None, None, {"above": 0}, "undecided"),
    ],
)
def test_the_rule(low: float | None, high: float | None, holds: dict[str, Any], verdict: str) -> None:
    from marlbench.analysis.resampling import Estimate

    assert rule(Estimate(0.0, low, high), Holds(**holds)) == verdict
