"""Makes rliable_reference.json: what rliable says of scores that anyone can draw again.

python -m venv /tmp/rliable
/tmp/rliable/bin/pip install 'rliable==1.2.0' 'pandas<3' 'arch<8'
/tmp/rliable/bin/python tests/analysis/rliable_reference.py > tests/analysis/rliable_reference.json
"""

import json
import sys

RESAMPLES = 200_000
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


def main() -> None:
    import numpy as np
    from rliable import library, metrics

    cases = []
    for seed, runs, tasks, alpha, beta in CASES:
        scores = np.random.default_rng(seed).beta(alpha, beta, size=(runs, tasks)).round(6)
        points, intervals = library.get_interval_estimates(
            {"method": scores},
            lambda sample: np.array([metrics.aggregate_iqm(sample)]),
            method="percentile",
            reps=RESAMPLES,
            confidence_interval_size=0.95,
        )
        low, high = intervals["method"][:, 0]
        cases.append(
            {
                "scores": scores.tolist(),
                "iqm": float(points["method"][0]),
                "low": float(low),
                "high": float(high),
            }
        )
    json.dump({"rliable": "1.2.0", "resamples": RESAMPLES, "cases": cases}, sys.stdout)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
