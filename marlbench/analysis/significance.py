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

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from math import comb, prod
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from marlbench.analysis.deals import all_deals, random_deals
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
    return _tests(found, alternative, permutations, seed)[0]


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
    return corrected(_tests(samples(scores), "two-sided", permutations, seed))


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


def least_p(n: int, m: int) -> float:
    """The least two-sided p-value that n runs of X and m of Y on one task can have, whatever their scores."""
    return min(1.0, (2 if n == m else 1) / comb(n + m, n))


def not_told_apart(best: str, tests: Iterable[Test], level: float = LEVEL) -> set[str]:
    """Those whose difference to `best` is not significant, or could not be tested."""
    return {
        test.y if test.x == best else test.x
        for test in tests
        if best in (test.x, test.y) and (test.adjusted is None or test.adjusted > level)
    }


def _tests(found: Mapping[str, Sample], alternative: Alternative, permutations: int, seed: int) -> list[Test]:
    """The tests of all pairs. Those with the same numbers of runs are dealt out alike, in one product."""
    alike: dict[tuple[tuple[int, ...], ...], list[tuple[str, str]]] = {}
    for x, y in combinations(found, 2):
        counts = tuple(found[name].counts.tolist() for name in (x, y))
        alike.setdefault(tuple(map(tuple, counts)), []).append((x, y))
    tests: dict[tuple[str, str], Test] = {}
    for pairs in alike.values():
        tasks = [
            _Task([(found[x], found[y]) for x, y in pairs], place)
            for place in range(found[pairs[0][0]].tasks)
        ]
        apart = np.sum([task.observed for task in tasks], axis=0)
        difference = apart[0] / len(tasks)
        spread = all(found[name].spreads for name in pairs[0])
        p = _probabilities(apart, tasks, alternative, permutations, seed) if spread else [None] * len(pairs)
        for (x, y), apart_by, of_pair in zip(pairs, difference.tolist(), p, strict=True):
            tests[x, y] = Test(x, y, apart_by, of_pair, of_pair)
    return [tests[pair] for pair in combinations(found, 2)]


def _probabilities(
    apart: Floats, tasks: Sequence[_Task], alternative: Alternative, permutations: int, seed: int
) -> list[float]:
    """p of each pair; `apart` is the sum over tasks of differences and squared errors, [2, pair]."""
    exact = prod(comb(task.n + task.m, task.n) for task in tasks) <= permutations
    dealt = _every(tasks) if exact else _some(tasks, permutations, seed)
    # Equal statistics may differ in their last bits, depending on the order of summation.
    scale = np.maximum(np.abs(dealt[0]).max(axis=0), np.abs(apart[0]))
    observed, statistic = _welch(apart, scale), _welch(dealt, scale)
    slack = np.where(np.isfinite(observed), 1e-9 * np.maximum(1.0, np.abs(observed)), 0.0)
    if alternative == "two-sided":
        extreme = np.abs(statistic) >= np.abs(observed) - slack
    elif alternative == "greater":
        extreme = statistic >= observed - slack
    else:
        extreme = statistic <= observed + slack
    count = np.count_nonzero(extreme, axis=0)
    p = count / len(statistic) if exact else (1 + count) / (1 + len(statistic))
    return p.tolist()


def _welch(found: Floats, scale: Floats) -> Floats:
    """The statistic of differences and squared errors, [2, ..., pair]; infinite where nothing spreads."""
    difference, error = found
    difference = np.where(np.abs(difference) <= 1e-12 * scale, 0.0, difference)
    error = np.sqrt(np.where(error <= 1e-24 * scale**2, 0.0, error))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(difference == 0, 0.0, difference / error)


class _Task:
    """The runs of several pairs on one task, [run, pair]: the first `n` of each pool are X's, the rest Y's."""

    def __init__(self, pairs: Sequence[tuple[Sample, Sample]], place: int) -> None:
        columns = [(x.values[x.strata[place]], y.values[y.strata[place]]) for x, y in pairs]
        self.n, self.m = map(len, columns[0])
        pool = np.stack([np.concatenate(of_pair) for of_pair in columns], axis=1)
        # Differences and spreads do not change with the origin; near their mean, squares lose no digits.
        self.pool = pool - pool.mean(axis=0)
        self.squares = self.pool**2
        self.observed = self.dealt((np.arange(len(pool)) < self.n)[None])[:, 0]

    def dealt(self, to_x: NDArray[np.bool_]) -> Floats:
        """Differences of means and squared errors, [2, deal, pair]; `to_x` is [deal, run]."""
        chosen = to_x.astype(np.float64)
        sums, squares = chosen @ self.pool, chosen @ self.squares
        rest, squares_rest = self.pool.sum(axis=0) - sums, self.squares.sum(axis=0) - squares
        error = np.zeros_like(sums)
        for total, square, count in ((sums, squares, self.n), (rest, squares_rest, self.m)):
            if count > 1:
                error += np.maximum(square - total**2 / count, 0) / (count - 1) / count
        return np.stack([sums / self.n - rest / self.m, error])


def _every(tasks: Sequence[_Task]) -> Floats:
    """Every way to deal out every task's runs, [2, way, pair]."""
    found = np.zeros((2, 1, tasks[0].pool.shape[1]))
    for task in tasks:
        dealt = task.dealt(all_deals(task.n, task.m))
        found = (found[:, :, None] + dealt[:, None]).reshape(2, -1, found.shape[2])
    return found


def _some(tasks: Sequence[_Task], permutations: int, seed: int) -> Floats:
    """Runs dealt out at random, every task by itself, [2, permutation, pair]."""
    found = np.zeros((2, permutations, tasks[0].pool.shape[1]))
    for place, task in enumerate(tasks):
        found += task.dealt(random_deals(task.n, task.m, permutations, seed, place))
    return found
