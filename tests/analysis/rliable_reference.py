"""Makes rliable_reference.json: what rliable says of scores that anyone can draw again.

python -m venv /tmp/rliable
/tmp/rliable/bin/pip install 'rliable==1.2.0' 'pandas<3' 'arch<8'
/tmp/rliable/bin/python tests/analysis/rliable_reference.py > tests/analysis/rliable_reference.json
"""

import json
import sys

RESAMPLES = 200_000
PAIR_RESAMPLES = 20_000
# Seed, runs, tasks and the parameters of the beta distribution that the scores are drawn from. The ends of an
# interval are atoms of a discrete distribution; cases where two atoms contend for an end are of no use.
CASES = [
    (0, 2, 1, 2.0, 2.0),
    (1, 3, 1, 2.0, 5.0),
    (2, 5, 1, 5.0, 1.0),
    (3, 10, 1, 0.5, 0.5),
    (5, 5, 3, 2.0, 5.0),
    (6, 10, 5, 0.5, 0.5),
    (7, 10, 26, 5.0, 2.0),
]
# Seed, runs of X, runs of Y, tasks, decimals of the scores: with one decimal there are ties.
PAIRS = [(11, 10, 10, 5, 6), (12, 7, 10, 6, 6), (13, 10, 10, 6, 1)]


def drawn(seed, runs, tasks, alpha, beta, digits=6):
    import numpy as np

    return np.random.default_rng(seed).beta(alpha, beta, size=(runs, tasks)).round(digits)


def estimated(library, scores, function, resamples):
    """rliable's points and both ends of its intervals, as lists."""
    import numpy as np

    points, intervals = library.get_interval_estimates(
        {"method": scores},
        function,
        method="percentile",
        reps=resamples,
        confidence_interval_size=0.95,
        random_state=np.random.RandomState(0),
    )
    return [np.asarray(found).tolist() for found in (points["method"], *intervals["method"])]


def improvement(x, y):
    """What rliable's metric says of two arrays, without its Mann-Whitney tests: those take an hour."""
    import numpy as np

    left, right = x[:, None], y[None]
    return np.array([np.mean((left > right) + 0.5 * (left == right))])


def main() -> None:
    import numpy as np
    from rliable import library, metrics

    aggregates = {
        "iqm": metrics.aggregate_iqm,
        "median": metrics.aggregate_median,
        "mean": metrics.aggregate_mean,
        # Half of what is there to be had, so that some scores lie above the target and are cut off.
        "optimality_gap": lambda scores: metrics.aggregate_optimality_gap(scores, gamma=0.5),
    }
    cases = []
    for seed, runs, tasks, alpha, beta in CASES:
        scores = drawn(seed, runs, tasks, alpha, beta)
        found = estimated(
            library, scores, lambda sample: np.array([of(sample) for of in aggregates.values()]), RESAMPLES
        )
        cases.append(
            {"scores": scores.tolist(), **dict(zip(aggregates, zip(*found, strict=True), strict=True))}
        )

    profiles = []
    thresholds = np.linspace(0.05, 0.95, 10)
    for seed, runs, tasks, alpha, beta in CASES[4:]:
        scores = drawn(seed, runs, tasks, alpha, beta)
        of_case = {"scores": scores.tolist(), "thresholds": thresholds.tolist()}
        for kind, of_runs in (("runs", True), ("tasks", False)):
            points, bands = library.create_performance_profile(
                {"method": scores}, thresholds, use_score_distribution=of_runs, reps=20_000
            )
            of_case[kind] = [points["method"].tolist(), *bands["method"].tolist()]
        profiles.append(of_case)

    pairs = []
    for seed, of_x, of_y, tasks, digits in PAIRS:
        x, y = drawn(seed, of_x, tasks, 3.0, 2.0, digits), drawn(seed + 100, of_y, tasks, 2.0, 2.0, digits)
        found = estimated(library, (x, y), improvement, PAIR_RESAMPLES)
        assert abs(found[0][0] - metrics.probability_of_improvement(x, y)) < 1e-12
        pairs.append({"x": x.tolist(), "y": y.tolist(), "improvement": [one[0] for one in found]})

    # Scores [run, task, evaluation] that grow over training.
    growth = np.linspace(0.2, 1.0, 4)
    traces = (drawn(21, 10, 5, 2.0, 2.0)[:, :, None] * growth).round(6)
    curve = estimated(
        library,
        traces,
        lambda sample: np.array([metrics.aggregate_iqm(sample[..., step]) for step in range(len(growth))]),
        RESAMPLES // 4,
    )
    json.dump(
        {
            "rliable": "1.2.0",
            "resamples": RESAMPLES,
            "cases": cases,
            "profiles": profiles,
            "pairs": pairs,
            "curve": {"scores": traces.tolist(), "iqm": curve},
        },
        sys.stdout,
    )
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
