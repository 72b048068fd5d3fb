"""`make bench`: times marlbench beside BenchMARL, in one run on one core, and writes out/speed.json and out/speed.md.

Samples of all rows are taken in turn, so that a machine that becomes slower slows all of them; figures are medians.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections import defaultdict
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from measure import HERE, Failed, cores
from rows import ROWS, Sample, medians

OUT = HERE / "out"
# What takes minutes is timed once.
ONCE = {"quickstart", "replay"}


@dataclass
class Line:
    """What the table says of one row."""

    name: str
    measured: str
    verdict: str


def conditions(repeats: int) -> dict[str, Any]:
    """What the figures were taken on."""
    described = Path("/proc/cpuinfo")
    lines = described.read_text().splitlines() if described.exists() else []
    models = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": models[0] if models else platform.processor(),
        "cores": len(cores()) or os.cpu_count(),
        "load_average": os.getloadavg()[0],
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        "marlbench": version("marlbench"),
        "torch": version("torch"),
        "repeats": repeats,
    }


def take(names: list[str], repeats: int) -> tuple[dict[str, dict[str, list[Sample]]], dict[str, str]]:
    """Samples of every row and series in turn, and what went wrong with the others."""
    samples: dict[str, dict[str, list[Sample]]] = {name: defaultdict(list) for name in names}
    problems: dict[str, str] = {}
    for name in names:
        if name == "gpu" and not torch.cuda.is_available():
            problems[name] = "not measured: there is no GPU here"
    for repeat in range(repeats):
        for name in names:
            row = ROWS[name]
            if name in problems or (repeat and name in ONCE):
                continue
            try:
                if repeat == 0:
                    row.prepare()
                for series, sample in row.figures.items():
                    print(f"{repeat + 1}/{repeats} {name}: {series}", file=sys.stderr, flush=True)
                    samples[name][series].append(sample())
            except Failed as error:
                print(error, file=sys.stderr, flush=True)
                problems[name] = f"failed: {str(error).splitlines()[0]}"
    return samples, problems


def judged(samples: dict[str, dict[str, list[Sample]]], problems: dict[str, str]) -> list[Line]:
    told = []
    for name, taken in samples.items():
        if name in problems:
            told.append(Line(name, problems[name], "-" if problems[name].startswith("not") else "FAILS"))
        else:
            said, kept = ROWS[name].judge(medians(taken))
            told.append(Line(name, said, "passes" if kept else "FAILS"))
    return told


def markdown(told: list[Line], where: dict[str, Any]) -> str:
    table = ["| work | floor | measured (medians) | |", "|---|---|---|---|"]
    table += [
        f"| {ROWS[one.name].work} | {ROWS[one.name].floor} | {one.measured} | {one.verdict} |" for one in told
    ]
    described = ", ".join(
        f"{name.replace('_', ' ')} {value}" for name, value in where.items() if value is not None
    )
    return "\n".join([*table, "", f"On: {described}.", ""])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=f"rows to measure, of {', '.join(ROWS)}; default: all")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(ROWS):
        parser.error(f"there is no row {', '.join(sorted(unknown))}; known: {', '.join(ROWS)}")
    names = [name for name in ROWS if name in arguments.names or not arguments.names]
    where = conditions(arguments.repeats)
    samples, problems = take(names, arguments.repeats)
    told = judged(samples, problems)
    OUT.mkdir(exist_ok=True)
    document = {
        "schema": 1,
        "conditions": where,
        "rows": [
            {"name": one.name, "work": ROWS[one.name].work, "floor": ROWS[one.name].floor}
            | {"measured": one.measured, "verdict": one.verdict, "samples": samples[one.name]}
            for one in told
        ],
    }
    (OUT / "speed.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    text = markdown(told, where)
    (OUT / "speed.md").write_text(text, encoding="utf-8")
    print(text)
    return 1 if any(one.verdict == "FAILS" for one in told) else 0


if __name__ == "__main__":
    sys.exit(main())
