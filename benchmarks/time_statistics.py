"""Prints the time that the four aggregates take with 50,000 shared resamples: `python time_statistics.py`.

Ten algorithms, ten seeds, twenty tasks, scores of no meaning. Imports are not counted.
"""

from __future__ import annotations

import json
import time

import numpy as np

from marlbench.analysis.statistics import AGGREGATES, aggregates

RESAMPLES = 50_000


def main() -> None:
    generator = np.random.default_rng(0)
    scores = {f"algorithm {number}": generator.beta(2, 2, size=(10, 20)) for number in range(10)}
    wall, cpu = time.perf_counter(), time.process_time()
    found = aggregates(scores, resamples=RESAMPLES)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    assert all(of[name].low is not None for of in found.values() for name in AGGREGATES)
    print(json.dumps({"wall_seconds": wall, "cpu_seconds": cpu}))


if __name__ == "__main__":
    main()
