"""Peak memory and CPU time of replaying a long trace from a file, through the reader of traces.

    python benchmarks/stream_trace.py --requests 100000000 --pages 4194304 --folder DIR

Writes a CSV trace of 36 bytes a request into a new folder under DIR (the system's for temporary files by default),
replays it in a process of its own, which reads it twice, prints JSON and deletes the trace. Peak memory is the resident
memory of that process, libraries included.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

BLOCK = 1_000_000
DIFFERENT = 8
REPLAY = """
import json, resource, sys, time
from marlbench.environments.storage.parameters import StorageParameters
from marlbench.environments.storage.simulation import replay

kibibytes = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
imported, began = kibibytes(), time.process_time()
parameters = StorageParameters(workload="trace", trace=sys.argv[1], requests=None)
measures = replay(parameters, sys.argv[2])
print(json.dumps({
    "peak_megabytes": round(kibibytes() * 1024 / 1e6),
    "of_that_after_imports": round(imported * 1024 / 1e6),
    "cpu_seconds": round(time.process_time() - began, 1),
    "measures": measures,
}))
"""


def digits(values: NDArray[np.int64], width: int) -> NDArray[np.uint8]:
    """Numbers in decimal with leading zeros, as text: uint8 [value, width]."""
    powers = 10 ** np.arange(width - 1, -1, -1)
    return (48 + values[:, None] // powers % 10).astype(np.uint8)


def block(pages: int, random: np.random.Generator) -> NDArray[np.uint8]:
    """Lines of requests of 4 to 32 KiB, some pages far more popular than others, every 100 us in the mean.

    The first four characters of each line, zeros, are for a number: what goes before the nine digits of its time.
    """
    times = np.cumsum(random.integers(0, 200, BLOCK))
    page = (random.random(BLOCK) ** 3 * (pages - 8)).astype(np.int64)
    comma = np.full((BLOCK, 1), ord(","), np.uint8)
    return np.hstack(
        [
            digits(times, 13),
            comma,
            digits(4096 * page, 12),
            comma,
            digits(4096 * random.integers(1, 9, BLOCK), 5),
            comma,
            np.where(random.random((BLOCK, 1)) < 0.4, ord("w"), ord("r")).astype(np.uint8),
            np.full((BLOCK, 1), ord("\n"), np.uint8),
        ]
    )


def write(path: Path, requests: int, pages: int, seed: int = 0) -> None:
    """A trace whose blocks of a million requests are a few that come again and again, later each time."""
    random = np.random.default_rng(seed)
    several = [block(pages, random) for _ in range(min(DIFFERENT, -(-requests // BLOCK)))]
    with path.open("wb") as file:
        for number in range(-(-requests // BLOCK)):
            lines = several[number % len(several)]
            lines[:, :4] = digits(np.array([number]), 4)
            file.write(lines[: requests - number * BLOCK].data)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--requests", type=int, default=100_000_000)
    arguments.add_argument("--pages", type=int, default=4 << 20, help="of 4 KiB, most of which are requested")
    arguments.add_argument("--placement", default="lru", help="the built-in player")
    arguments.add_argument("--folder", type=Path, help="where the trace is written for a while")
    asked = arguments.parse_args()
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        path = Path(folder) / "trace.csv"
        write(path, asked.requests, asked.pages)
        size = path.stat().st_size
        command = [sys.executable, "-c", REPLAY, str(path), asked.placement]
        found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    print(json.dumps({"requests": asked.requests, "megabytes": round(size / 1e6), **found}, indent=2))


if __name__ == "__main__":
    main()
