"""Which differences between algorithms are more than chance: pairwise permutation tests with Holm's correction.

The statistic is Welch's, the difference of means over its standard error, which Colas et al. 2019 ("A Hitchhiker's
Guide to Statistical Comparisons of Reinforcement Learning Algorithms", arXiv 1904.06979) recommend for runs of
unequal spread. Over several tasks, differences and squared errors are summed task by task:

    T = sum_t (mean x_t - mean y_t) / sqrt(sum_t (var x_t / n_t + var y_t / m_t))

Its distribution is not Student's, for scores of a few seeds are far from normal (a task is often solved or not),
but that of all ways to deal the runs of a task out to X and Y again (Fisher's permutation test, stratified by
task). It is exact for any number of runs where X and Y are alike, and being divided by its error it stays valid
for many runs where only their means are (Janssen 1997; Chung & Romano 2013, arXiv 1304.5939). Agarwal et al. 2021
prefer intervals to tests; a test only decides which values of a table are marked.

The fewest seeds limit what can be shown: with n runs each on one task no p-value is below 2 / binomial(2n, n), which
is .1 for three, .03 for four, .008 for five.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from math import comb, prod
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from marlbench.analysis.resampling import SEED, Floats, Sample, samples

# Fewer ways to deal the runs out than this are all taken; of more, this many are drawn.
PERMUTATIONS = 10_000
LEVEL = 0.05

Alternative = Literal["two-sided", "greater", "less"]


@dataclass(frozen=True)
class Test:
    """X against Y.

    Attributes:
        difference: mean over tasks of (mean of X - mean of Y).
        p: probability of a statistic at least as extreme if X and Y were alike; None where a task has a single
            run of X or Y, for then its spread is not known.
        adjusted: `p` after Holm's correction over the family of tests it was made with.
    """

    x: str
    y: str
    difference: float
    p: float | None
    adjusted: float | None

    __test__ = False  # not one of pytest's


def permutation_test(
    x: ArrayLike,
    y: ArrayLike,
    *,
    alternative: Alternative = "two-sided",
    permutations: int = PERMUTATIONS,
    seed: int = SEED,
) -> Test:
    """The stratified permutation test of X against Y; `adjusted` equals `p`, there being one test.

    Args:
        x, y: float [run, task], NaN where a task has fewer runs; the same tasks, any number of runs.
        alternative: what is to be shown: that X differs from Y, is greater, or is less.
        permutations: of so many or fewer ways to deal the runs out all are taken, and p is exact; else as many
            are drawn, and p = (1 + those at least as extreme) / (1 + permutations) (Phipson & Smyth 2010).

    Raises:
        ValueError: they do not have the same number of tasks, a task has no run, or a score is infinite.
    """
    found = samples({"x": x, "y": y})
    return _test("x", "y", found["x"], found["y"], alternative, permutations, seed)


def pairwise_tests(
    scores: Mapping[str, ArrayLike],
    *,
    permutations: int = PERMUTATIONS,
    seed: int = SEED,
) -> tuple[Test, ...]:
    """Two-sided tests of every pair of algorithms, corrected after Holm over all of them.

    Args:
        scores: of each algorithm, float [run, task], NaN where a task has fewer runs; the same tasks for all.

    Raises:
        ValueError: as `permutation_test`.
    """
    found = samples(scores)
    tests = [
        _test(x, y, found[x], found[y], "two-sided", permutations, seed) for x, y in combinations(found, 2)
    ]
    return corrected(tests)


def corrected(tests: Iterable[Test]) -> tuple[Test, ...]:
    """The tests with `adjusted` as Holm's correction over all of them that have a p."""
    tests = tuple(tests)
    adjusted = iter(holm([test.p for test in tests if test.p is not None]))
    return tuple(test if test.p is None else replace(test, adjusted=next(adjusted)) for test in tests)


def holm(p: Sequence[float]) -> list[float]:
    """Adjusted p-values: rejecting those below a level errs in any of them with at most that probability.

    Holm 1979: of m ordered p-values the k-th (from 0) is multiplied by m - k, and none is below the one before.
    """
    order = np.argsort(p, kind="stable")
    factors = len(p) - np.arange(len(p))
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(np.maximum.accumulate(np.asarray(p, dtype=np.float64)[order] * factors), 1.0)
    return adjusted.tolist()


def not_told_apart(best: str, tests: Iterable[Test], level: float = LEVEL) -> set[str]:
    """Those whose difference to `best` is not significant, or could not be tested."""
    return {
        test.y if test.x == best else test.x
        for test in tests
        if best in (test.x, test.y) and (test.adjusted is None or test.adjusted > level)
    }


def _test(
    name: str, other: str, x: Sample, y: Sample, alternative: Alternative, permutations: int, seed: int
) -> Test:
    tasks = [_Task(x.values[of_x], y.values[of_y]) for of_x, of_y in zip(x.strata, y.strata, strict=True)]
    apart = np.array([task.observed for task in tasks]).sum(axis=0)
    difference = float(apart[0]) / len(tasks)
    if not (x.spreads and y.spreads):
        return Test(name, other, difference, None, None)
    exact = prod(task.ways for task in tasks) <= permutations
    drawn = _every(tasks) if exact else _some(tasks, permutations, seed)
    # Equal statistics may differ in their last bits, depending on the order of summation.
    scale = max(float(np.abs(drawn[0]).max()), abs(float(apart[0])))
    observed, statistic = _welch(apart[:, None], scale)[0], _welch(drawn, scale)
    slack = 1e-9 * max(1.0, abs(observed)) if np.isfinite(observed) else 0.0
    if alternative == "two-sided":
        extreme = np.abs(statistic) >= abs(observed) - slack
    elif alternative == "greater":
        extreme = statistic >= observed - slack
    else:
        extreme = statistic <= observed + slack
    count = int(np.count_nonzero(extreme))
    p = count / len(statistic) if exact else (1 + count) / (1 + len(statistic))
    return Test(name, other, difference, p, p)


def _welch(found: Floats, scale: float) -> Floats:
    """The statistic of differences and squared errors, [2, permutation]; infinite where nothing spreads."""
    difference, error = found
    difference = np.where(np.abs(difference) <= 1e-12 * scale, 0.0, difference)
    error = np.sqrt(np.where(error <= 1e-24 * scale**2, 0.0, error))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(difference == 0, 0.0, difference / error)


class _Task:
    """The runs of X and Y on one task, the first `n` of the pool being X's."""

    def __init__(self, x: Floats, y: Floats) -> None:
        self.n, self.m = len(x), len(y)
        pool = np.concatenate([x, y])
        # Differences and spreads do not change with the origin; near their mean, squares lose no digits.
        pool = pool - pool.mean()
        self.moments = np.stack([pool, pool**2], axis=1)
        self.ways = comb(self.n + self.m, self.n)
        self.observed = self.dealt((np.arange(len(pool)) < self.n)[None])[:, 0]

    def dealt(self, to_x: NDArray[np.bool_]) -> Floats:
        """Difference of means and its squared error, [2, permutation]; `to_x` is [permutation, run]."""
        sums = to_x.astype(np.float64) @ self.moments
        rest = self.moments.sum(axis=0) - sums
        mean_x, mean_y = sums[:, 0] / self.n, rest[:, 0] / self.m
        error = np.zeros(len(to_x))
        for (total, squares), count, mean in ((sums.T, self.n, mean_x), (rest.T, self.m, mean_y)):
            if count > 1:
                error += np.maximum(squares - total * mean, 0) / (count - 1) / count
        return np.stack([mean_x - mean_y, error])


def _every(tasks: Sequence[_Task]) -> Floats:
    """Every way to deal out every task's runs, [2, ways]."""
    found = np.zeros((2, 1))
    for task in tasks:
        dealt = task.dealt(_all_deals(task.n, task.m))
        found = (found[:, :, None] + dealt[:, None, :]).reshape(2, -1)
    return found


def _some(tasks: Sequence[_Task], permutations: int, seed: int) -> Floats:
    """Runs dealt out at random, every task by itself, [2, permutation]."""
    found = np.zeros((2, permutations))
    for place, task in enumerate(tasks):
        found += task.dealt(_random_deals(task.n, task.m, permutations, seed, place))
    return found


# A table asks for the same deals for every pair of algorithms, and making them takes longer than using them.
@functools.lru_cache(maxsize=32)
def _all_deals(n: int, m: int) -> NDArray[np.bool_]:
    """Every way to give X n of n + m runs, [way, run]."""
    chosen = np.array(list(combinations(range(n + m), n)))
    deals = np.zeros((len(chosen), n + m), dtype=bool)
    np.put_along_axis(deals, chosen, True, axis=1)
    return deals


@functools.lru_cache(maxsize=32)
def _random_deals(n: int, m: int, permutations: int, seed: int, place: int) -> NDArray[np.bool_]:
    """Random ways to give X n of n + m runs, [permutation, run]; independent for every `place`."""
    generator = np.random.default_rng([seed, place])
    rank = generator.random((permutations, n + m), dtype=np.float32).argsort(axis=1)
    return rank < n
