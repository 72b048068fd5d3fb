"""What a command line says about cells: seeds and overrides."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from marlbench.catalog.document import parse
from marlbench.catalog.types import SEED_LIMIT
from marlbench.errors import ConfigurationError, UsageError

# More seeds than anyone trains, few enough that a slip of the finger does not fill the memory.
MAXIMUM_SEEDS = 100_000

_RANGE = re.compile(r"([0-9]{1,10})(?:-([0-9]{1,10}))?")
_FORMS = "Write 5 for seeds 0 to 4, 0-9 for a range, 3,7 for a list."


def parse_seeds(text: str) -> tuple[int, ...]:
    """Seeds as users write them: `5` is 0 to 4, `0-9` and `7-7` are ranges with both ends, `3,7,10-12` is a
    list.

    Raises:
        UsageError: other text, no seed, a seed given twice, seeds of 2**31 or more, over 100,000 seeds.
    """
    text = text.strip()
    parts = [_RANGE.fullmatch(part.strip()) for part in text.split(",")]
    if len(parts) == 1 and parts[0] is not None and parts[0][2] is None:
        parts = [_RANGE.fullmatch(f"0-{int(text) - 1}")]
    seeds: list[int] = []
    for part in parts:
        if part is None:
            raise UsageError(f"seeds: '{text}' cannot be read.", _FORMS)
        first = int(part[1])
        last = first if part[2] is None else int(part[2])
        if last < first:
            raise UsageError(f"seeds: '{text}' has a range that ends before it begins.", _FORMS)
        if last >= SEED_LIMIT:
            raise UsageError(f"seeds: '{text}' has a seed that is not below 2**31.", _FORMS)
        if last - first + 1 + len(seeds) > MAXIMUM_SEEDS:
            raise UsageError(f"seeds: '{text}' are more than {MAXIMUM_SEEDS:,} seeds.", _FORMS)
        seeds.extend(range(first, last + 1))
    if len(set(seeds)) != len(seeds):
        raise UsageError(f"seeds: '{text}' has a seed twice.", _FORMS)
    return tuple(seeds)


def format_seeds(seeds: Sequence[int]) -> str:
    """The shortest text of ranges that `parse_seeds` reads as these seeds, in this order."""
    ranges: list[list[int]] = []
    for seed in seeds:
        if ranges and seed == ranges[-1][1] + 1:
            ranges[-1][1] = seed
        else:
            ranges.append([seed, seed])
    if len(ranges) == 1 and ranges[0][0] == ranges[0][1]:
        # A number alone is a count.
        return f"{ranges[0][0]}-{ranges[0][0]}"
    return ",".join(f"{first}-{last}" if last > first else f"{first}" for first, last in ranges)


@dataclass(frozen=True)
class Override:
    """One `--set TARGET.FIELD=VALUE`; `text` is the option as typed."""

    target: str
    field: str
    value: Any
    text: str


def parse_overrides(texts: Iterable[str]) -> tuple[Override, ...]:
    """Read `--set` options; values are written as in a suite file: `3e-4`, `true`, `[64, 64]`, `{groups: 2}`.

    Raises:
        UsageError: an option that is not KEY=VALUE, or whose value is not strict YAML on one line.
    """
    return tuple(_override(text) for text in texts)


def _override(text: str) -> Override:
    path, equals, value = text.partition("=")
    target, _, field = path.strip().rpartition(".")
    if not equals or not target or not field or "\n" in text:
        raise UsageError(
            f"--set {text}: this is not KEY=VALUE.",
            "Write for instance --set algorithm.learning_rate=3e-4, --set ippo.epochs=8, --set task.agents=5 "
            "or --set protocol.episodes=64.",
        )
    try:
        parsed = parse(f"value: {value.strip()}".encode(), Path(text)).value["value"]
    except ConfigurationError as error:
        raise UsageError(f"--set {text}: the value cannot be read.", str(error).rpartition(": ")[2]) from None
    return Override(target, field, parsed, f"--set {text}")
