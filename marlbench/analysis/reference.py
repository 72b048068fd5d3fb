"""References: what runs are compared against, as files that a person can review.

A reference is one JSON object: what was measured and how, the runs, and by which rule later runs are judged. Its
numbers are rounded to six digits before anything is decided with them, so that what the file shows is all there is.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

import marlbench
from marlbench.catalog.document import shown
from marlbench.catalog.fields import NAME_PATTERN, Model, Name, Positive
from marlbench.catalog.provenance import first_problem, validate
from marlbench.errors import ConfigurationError, StoreError, did_you_mean
from marlbench.store import durable

SCHEMA = 1
DIGITS = 6
SUFFIX = ".json"

_FLAT_LIST = re.compile(r"\[\s*([^\[\]{}]*?)\s*\]")
_LINE = 110


class Selection(Model):
    """What of a suite is measured: the options of `marlbench run`."""

    suite: Annotated[str, Field(min_length=1)]
    tasks: tuple[str, ...] = ()
    algorithms: tuple[str, ...] = ()
    preset: str | None = None
    steps: Positive | None = None
    overrides: tuple[str, ...] = ()


class Rule(Model):
    """When fresh runs are a regression. Every comparison has its own level; together they keep the rate.

    Attributes:
        false_alarm_rate: at most this probability that anything is called a regression when nothing changed.
        power: with this probability `loss` and `slowdown` are noticed.
        loss: the share of the mean score that has to be noticed.
        score_factor: scores are worse only below this times the reference's mean.
        score_level: and only with at most this p-value.
        slowdown: the share of the throughput that has to be noticed.
        throughput_factor, throughput_level: as for scores.
    """

    false_alarm_rate: Annotated[float, Field(gt=0, lt=1)]
    power: Annotated[float, Field(gt=0, lt=1)]
    loss: Annotated[float, Field(gt=0, lt=1)]
    score_factor: Annotated[float, Field(gt=0, lt=1)]
    score_level: Annotated[float, Field(gt=0, lt=1)]
    slowdown: Annotated[float, Field(gt=0, lt=1)]
    throughput_factor: Annotated[float, Field(gt=0, lt=1)]
    throughput_level: Annotated[float, Field(gt=0, lt=1)]


class Measured(Model):
    """How the score of a task is defined: what `catalog.types.Score` says, but for the source."""

    metric: Name
    low: float
    high: float


class Entry(Model):
    """One algorithm on one task.

    Attributes:
        algorithm: its name in the suite.
        fresh: how many runs are compared with these: of the first seeds.
        score_power: simulated probability that so many notice the loss.
        throughput_power: that they notice the slowdown; None where the throughput is too noisy to be judged.
        seconds: processor time of one run, its start included.
        seeds, scores: of the runs.
        throughput: of the runs, environment steps per calibration loop.
        identity: of the cells, without the seed.
    """

    task: Name
    algorithm: Name
    score: Measured
    fresh: Positive
    score_power: float
    throughput_power: float | None
    seconds: float
    seeds: Annotated[list[int], Field(min_length=2)]
    scores: list[float]
    throughput: list[float]
    identity: dict[str, Any]

    @property
    def name(self) -> str:
        return f"{self.task}/{self.algorithm}"


class Reference(Model):
    """A reference file.

    Attributes:
        version: of this form.
        command: what measured it.
        created: date, ISO 8601.
        code: commit that was measured, and the hash of its files.
        machine: where; for people.
        versions: of the main packages.
        calibration: version of the calibration loop.
    """

    version: Annotated[int, Field(alias="schema", ge=SCHEMA, le=SCHEMA)]
    name: Name
    selection: Selection
    command: str
    created: str
    code: dict[str, str | None]
    machine: dict[str, Any]
    versions: dict[str, str]
    calibration: int
    rule: Rule
    entries: Annotated[list[Entry], Field(min_length=1)]


def find(name: str) -> Path:
    """The file of a reference: a path, or a name in ./results/reference or among those that come with marlbench.

    Raises:
        ConfigurationError: there is none.
    """
    if "/" in name or name.endswith(SUFFIX):
        return Path(name).expanduser().absolute()
    if not re.fullmatch(NAME_PATTERN.strip("^$"), name):
        raise ConfigurationError(
            f"'{name}' is not the name of a reference.", "Give a name, or the path of a file."
        )
    known: dict[str, Path] = {}
    for directory in (Path.cwd() / "results" / "reference", packaged_directory()):
        for file in sorted(directory.glob(f"*{SUFFIX}")) if directory.is_dir() else ():
            known.setdefault(file.stem, file)
    if name not in known:
        hint = did_you_mean(name, known) or f"`marlbench reference create SUITE --name {name}` makes one."
        raise ConfigurationError(f"no reference is called '{name}'.", hint)
    return known[name]


def packaged_directory() -> Path:
    """The references that came with marlbench: inside a wheel, beside the package in an editable install."""
    package = Path(marlbench.__file__).resolve().parent
    inside = package / "data" / "reference"
    return inside if inside.is_dir() else package.parent / "results" / "reference"


def read(path: Path) -> Reference:
    """Read and check a file.

    Raises:
        ConfigurationError: it is missing, no reference, or contradicts itself.
    """
    try:
        document = durable.read(path)
    except (ValueError, StoreError) as error:
        raise ConfigurationError(f"{shown(path)}: cannot be read: {error}.") from None
    if document is None:
        raise ConfigurationError(f"{shown(path)}: there is no such file.")
    version = document.get("schema")
    if isinstance(version, int) and version > SCHEMA:
        raise ConfigurationError(
            f"{shown(path)}: version {version} is newer than this marlbench, which reads {SCHEMA}.",
            "Update marlbench.",
        )
    try:
        reference = validate(Reference, document)
    except ValidationError as error:
        location, problem, hint = first_problem(error, Reference, document)
        raise ConfigurationError(f"{shown(path)}: {'.'.join(map(str, location))}: {problem}", hint) from None
    for entry in reference.entries:
        counts = {len(entry.seeds), len(entry.scores), len(entry.throughput)}
        if len(counts) != 1 or entry.fresh > len(entry.seeds) or len(set(entry.seeds)) != len(entry.seeds):
            raise ConfigurationError(
                f"{shown(path)}: {entry.name}: seeds, scores, throughput and fresh do not fit together.",
                "The file was changed by hand: take it from the repository again.",
            )
    return reference


def write(path: Path, reference: Reference) -> None:
    """Write a file that `read` reads, and that shows in a diff which numbers changed.

    Raises:
        Unwritable: the old content is still there.
    """
    durable.make_directory(path.parent)
    durable.write(path, dump(reference).encode())


def dump(reference: Reference) -> str:
    """JSON with two spaces a level and lists of plain values on one line where they fit."""
    document = reference.model_dump(mode="json", by_alias=True)
    text = json.dumps(document, indent=2, allow_nan=False, ensure_ascii=False)

    def joined(match: re.Match[str]) -> str:
        line = "[" + re.sub(r"\s*\n\s*", " ", match[1]) + "]"
        return line if len(line) <= _LINE else match[0]

    return _FLAT_LIST.sub(joined, text) + "\n"


def rounded(value: float) -> float:
    """A number as the file holds it."""
    return float(f"{value:.{DIGITS}g}")
