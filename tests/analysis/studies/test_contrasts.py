"""Spreads and contrasts against scipy, closed forms, enumeration and finite differences."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import pytest
from scipy import stats

from marlbench.analysis.studies.contrasts import UndefinedError, gap, linear
from marlbench.analysis.studies.spreads import Spread, spread
from marlbench.catalog.study import Place, Spot
from marlbench.catalog.study_types import Difference, GapClosed, Level, Ratio, Side, Trend

GENERATOR = np.random.default_rng(7)


def spot(name: str) -> Spot:
    return Spot("task", name, {"task": "task", "algorithm": name})


def place(**roles: str | Mapping[str, str]) -> Place:
    """Role -> name of its group, or for a trend level -> name."""
    members = {
        role: {level: spot(name) for level, name in ({"": of} if isinstance(of, str) else of).items()}
        for role, of in roles.items()
    }
    return Place({}, members)


def spreads(values: Mapping[str, Sequence[float]], statistic: Any = "mean") -> dict[tuple[str, str], Spread]:
    return {("task", name): spread(of, statistic) for name, of in values.items()}


DIFFERENCE = Difference(kind="difference", a=Side(), b=Side())
RATIO = Ratio(kind="ratio", a=Side(), b=Side())
LEVEL = Level(kind="level", of=Side())
GAP = GapClosed(kind="gap_closed", a=Side(), b=Side(), oracle=Side())


def trend(**more: Any) -> Trend:
    return Trend(kind="trend", of=Side(), over="B", **more)


@pytest.mark.parametrize(("sizes", "error"), [((3, 3), 0.05), ((5, 9), 0.01), ((2, 20), 0.1)])
def test_a_difference_of_means_is_welchs(sizes: tuple[int, int], error: float) -> None:
    a, b = GENERATOR.normal(2, 3, sizes[0]), GENERATOR.normal(0, 0.5, sizes[1])
    of = spreads({"a": a, "b": b})
    found = linear(DIFFERENCE, [place(a="a", b="b")], of).estimate(of, error)
    expected = stats.ttest_ind(a, b, equal_var=False).confidence_interval(1 - error)
    assert (found.point, found.low, found.high) == pytest.approx((a.mean() - b.mean(), *expected))


def test_a_level_is_students() -> None:
    values = GENERATOR.normal(2, 3, 6)
    of = spreads({"a": values})
    found = linear(LEVEL, [place(of="a")], of).estimate(of, 0.02)
    assert (found.low, found.high) == pytest.approx(stats.ttest_1samp(values, 0).confidence_interval(0.98))


def test_a_difference_of_interquartile_means_is_yuens() -> None:
    a, b = GENERATOR.normal(1, 3, 11), GENERATOR.normal(0, 1, 8)
    of = spreads({"a": a, "b": b}, "iqm")
    contrast = linear(DIFFERENCE, [place(a="a", b="b")], of)
    deviation, freedom = contrast.scale(of)
    expected = stats.ttest_ind(a, b, equal_var=False, trim=0.25)
    assert contrast.value / deviation == pytest.approx(expected.statistic)
    # scipy takes another formula of the same degrees of freedom for trimmed samples: Yuen's, as here.
    assert 2 * stats.t.sf(abs(contrast.value / deviation), freedom) == pytest.approx(expected.pvalue)


@pytest.mark.parametrize("n", [3, 5])
def test_the_variance_of_a_median_is_that_of_all_resamples(n: int) -> None:
    values = GENERATOR.normal(size=n)
    medians = [np.median(drawn) for drawn in product(values, repeat=n)]
    found = spread(values.tolist(), "median")
    assert (found.value, found.variance) == pytest.approx((np.median(values), np.var(medians)))


def test_places_weigh_the_same() -> None:
    values = {name: GENERATOR.normal(size=size) for name, size in (("a", 4), ("b", 9), ("c", 5), ("d", 5))}
    of = spreads(values)
    found = linear(DIFFERENCE, [place(a="a", b="b"), place(a="c", b="d")], of)
    mean = {name: float(value.mean()) for name, value in values.items()}
    variance = {name: float(value.var(ddof=1)) / len(value) for name, value in values.items()}
    assert found.value == pytest.approx((mean["a"] - mean["b"] + mean["c"] - mean["d"]) / 2)
    assert found.scale(of)[0] ** 2 == pytest.approx(sum(variance.values()) / 4)


def test_a_side_against_several_counts_as_one_group_of_runs() -> None:
    values = {name: GENERATOR.normal(size=5) for name in "abc"}
    of = spreads(values)
    found = linear(DIFFERENCE, [place(a="a", b="c"), place(a="b", b="c")], of)
    variance = {name: float(value.var(ddof=1)) / 5 for name, value in values.items()}
    assert found.scale(of)[0] ** 2 == pytest.approx((variance["a"] + variance["b"]) / 4 + variance["c"])


@pytest.mark.parametrize(
    ("contrast", "places"),
    [
        (DIFFERENCE, [place(a="a", b="b"), place(a="c", b="b")]),
        (RATIO, [place(a="a", b="b"), place(a="c", b="d")]),
        (GAP, [place(a="a", b="b", oracle="d"), place(a="b", b="c", oracle="d")]),
        (LEVEL, [place(of="a"), place(of="d")]),
        (trend(), [place(of={"0.1": "a", "0.5": "b", "2": "c"})]),
        (trend(per="range", order=["x", "y"]), [place(of={"x": "a", "y": "b", "z": "c"})]),
    ],
)
def test_slopes_are_derivatives(contrast: Any, places: list[Place]) -> None:
    means = {"a": 3.0, "b": 2.0, "c": 1.0, "d": 7.0}

    def value(changed: Mapping[str, float]) -> float:
        of = {("task", name): Spread(3, mean, 1.0, 2) for name, mean in changed.items()}
        return linear(contrast, places, of).value

    slopes = linear(contrast, places, {("task", k): Spread(3, v, 1.0, 2) for k, v in means.items()}).slopes
    for name, mean in means.items():
        step = 1e-6
        numeric = (value({**means, name: mean + step}) - value({**means, name: mean - step})) / (2 * step)
        assert slopes.get(("task", name), 0.0) == pytest.approx(numeric, abs=1e-7)


def test_values_of_contrasts() -> None:
    of = {("task", k): Spread(3, v, 0.01, 2) for k, v in {"a": 3.0, "b": 2.0, "c": 8.0, "d": 2.0}.items()}
    ratio = linear(RATIO, [place(a="a", b="b"), place(a="c", b="d")], of).estimate(of, 0.05)
    assert ratio.point == pytest.approx(math.sqrt(1.5 * 4.0))
    assert ratio.low is not None
    assert ratio.high is not None
    assert ratio.low * ratio.high == pytest.approx(ratio.point**2)
    share = linear(GAP, [place(a="a", b="b", oracle="c")], of)
    assert share.value == pytest.approx((3 - 2) / (8 - 2))
    assert gap(place(a="a", b="b", oracle="c"), of, "").value == pytest.approx(6.0)


def test_a_trend_is_the_least_squares_line() -> None:
    levels = {"0.1": "a", "0.3": "b", "0.9": "c", "1.5": "d"}
    values = {name: GENERATOR.normal(size=6) for name in levels.values()}
    of = spreads(values)
    x = np.repeat([float(level) for level in levels], 6)
    fitted = np.polyfit(x, np.concatenate(list(values.values())), 1)[0]
    assert linear(trend(), [place(of=levels)], of).value == pytest.approx(fitted)
    assert linear(trend(per="range"), [place(of=levels)], of).value == pytest.approx(1.4 * fitted)


def test_what_has_no_value_is_told() -> None:
    of = {("task", k): Spread(3, v, 1.0, 2) for k, v in {"a": 1.0, "b": -1.0, "c": -1.0}.items()}
    with pytest.raises(UndefinedError, match="positive"):
        linear(RATIO, [place(a="a", b="b")], of)
    with pytest.raises(UndefinedError, match="no gap"):
        linear(GAP, [place(a="a", b="b", oracle="c")], of)
    with pytest.raises(UndefinedError, match="two levels"):
        linear(trend(order=["p", "q"]), [place(of={"p": "a", "z": "b"})], of)
    with pytest.raises(UndefinedError, match="no place"):
        linear(LEVEL, [], of)


def test_one_run_has_no_interval_and_equal_runs_have_no_width() -> None:
    of = spreads({"a": [1.0], "b": [2.0, 3.0]})
    assert linear(DIFFERENCE, [place(a="a", b="b")], of).estimate(of, 0.05).low is None
    of = spreads({"a": [1.0, 1.0], "b": [0.0, 0.0]})
    found = linear(DIFFERENCE, [place(a="a", b="b")], of).estimate(of, 0.05)
    assert (found.low, found.high) == (1.0, 1.0)
