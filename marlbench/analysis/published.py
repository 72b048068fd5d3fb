"""Numbers of papers, read from files and set beside our own: shown, with where they come from, and never pooled.

A file `results/published/NAME.yaml` holds tables; docs/comparison.md describes its keys. Every table says how far
its numbers can be trusted:

    code        read in the authors' own code or result files
    paper       read in the paper
    reimpl      read in somebody else's re-implementation
    figure      read off a plot
    unverified  recalled, not checked: never a claim
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

import marlbench
from marlbench.catalog.document import Document, read_document
from marlbench.catalog.provenance import first_problem, validate
from marlbench.errors import ConfigurationError, UsageError, did_you_mean

if TYPE_CHECKING:
    from marlbench.analysis.comparison import Row

SUFFIX = ".yaml"

Label = Literal["code", "paper", "reimpl", "figure", "unverified"]
Finite = Annotated[float, Field(allow_inf_nan=False)]


class Table(BaseModel):
    """Numbers that share everything but task and algorithm."""

    model_config = ConfigDict(extra="forbid")
    suites: list[str] = Field(min_length=1, description="suites whose tasks of these names are meant")
    backend: str = Field(description="implementation of the task that was measured, as ours are called")
    metric: str = Field(description="metric of ours that the numbers are of, once multiplied by `factor`")
    label: Label = Field(description="how far the numbers can be trusted")
    source: str = Field(min_length=1, description="where they stand")
    protocol: str = Field(min_length=1, description="how they were measured")
    steps: int | None = Field(None, ge=1, description="environment steps of training")
    factor: Finite = Field(1.0, description="from the unit of the paper to ours")
    differences: list[str] = Field(
        default_factory=list, description="what differs from our task; with any, no score is computed"
    )
    results: dict[str, dict[str, Finite]] = Field(
        min_length=1, description="task -> algorithm -> number, in the unit of the paper"
    )


class File(BaseModel):
    """A file of published numbers."""

    model_config = ConfigDict(extra="forbid")
    schema_: Literal[1] = Field(alias="schema")
    published: str = Field(description="the name of the file, without its suffix")
    title: str
    tables: list[Table] = Field(min_length=1)


@dataclass(frozen=True)
class PublishedRow:
    """One published number beside one of our tasks.

    Attributes:
        value: in the unit of our metric; `as_published` is what stands in the source.
        score: on the scale of our task; None where the metric, or anything named in `differences`, is another.
        label: see the module.
    """

    task: str
    backend: str
    algorithm: str
    metric: str
    value: float
    as_published: float
    score: float | None
    steps: int | None
    label: str
    source: str
    protocol: str
    differences: tuple[str, ...]


@dataclass(frozen=True)
class Published:
    """The content of a file."""

    name: str
    title: str
    tables: tuple[Table, ...]

    def beside(self, suite: str, rows: Sequence[Row]) -> list[PublishedRow]:
        """The numbers of those tasks of the suite that have a row, in the order of the file.

        Raises:
            UsageError: there is none.
        """
        cells = {row.cell.task: row.cell for row in rows}
        found = []
        for table in self.tables:
            if suite not in table.suites:
                continue
            for task, numbers in table.results.items():
                if task not in cells:
                    continue
                score = cells[task].score
                low, high = float(score["low"]), float(score["high"])
                differences = list(table.differences)
                if score["metric"] != table.metric:
                    differences.append(f"its metric is {table.metric}, ours {score['metric']}")
                scored = not differences
                if table.backend not in {row.cell.backend for row in rows if row.cell.task == task}:
                    differences.append(f"measured with {table.backend}")
                if table.steps not in (None, cells[task].steps):
                    differences.append(f"{table.steps:,} steps of training")
                for algorithm, number in numbers.items():
                    value = number * table.factor
                    found.append(
                        PublishedRow(
                            task=task,
                            backend=table.backend,
                            algorithm=algorithm,
                            metric=table.metric,
                            value=value,
                            as_published=number,
                            score=(value - low) / (high - low) if scored else None,
                            steps=table.steps,
                            label=table.label,
                            source=table.source,
                            protocol=table.protocol,
                            differences=tuple(differences),
                        )
                    )
        if not found:
            tasks = sorted(
                {f"{of}/{task}" for table in self.tables for of in table.suites for task in table.results}
            )
            shown = ", ".join(tasks[:8]) + (f" and {len(tasks) - 8} more" if len(tasks) > 8 else "")
            raise UsageError(
                f"--against {self.name}: it has no number of a task of {suite} that is compared here.",
                f"It has numbers of: {shown}.",
            )
        return found


def packaged_directory() -> Path:
    """The numbers that came with marlbench: inside a wheel, beside the package in an editable install."""
    package = Path(marlbench.__file__).resolve().parent
    inside = package / "data" / "published"
    return inside if inside.is_dir() else package.parent / "results" / "published"


def names() -> list[str]:
    """The names that `load` knows."""
    return sorted(path.stem for path in packaged_directory().glob(f"*{SUFFIX}"))


def load(name: str) -> Published:
    """Published numbers, by the name of a file of ours or by path (with a separator or the suffix .yaml).

    Raises:
        ConfigurationError: there is no such file, or it says what cannot be used; with file, line and key.
    """
    if os.sep in name or name.endswith((SUFFIX, ".yml")):
        path = Path(name).expanduser().absolute()
    elif name in names():
        path = packaged_directory() / f"{name}{SUFFIX}"
    else:
        raise ConfigurationError(f"there are no published numbers '{name}'.", did_you_mean(name, names()))
    return check(read_document(path))


def check(document: Document) -> Published:
    """The published numbers of a parsed file.

    Raises:
        ConfigurationError: it says what cannot be used; with file, line and key.
    """
    if not isinstance(document.value, dict):
        raise document.error((), "a file of published numbers is a mapping.", "See docs/comparison.md.")
    try:
        file = validate(File, document.value)
    except ValidationError as error:
        raise document.error(*first_problem(error, File, document.value)) from None
    if file.published != document.path.stem:
        raise document.error(
            ("published",), f"'{file.published}' is not the name of the file.", f"Write {document.path.stem}."
        )
    seen: dict[tuple[str, str, str, str], int] = {}
    for place, table in enumerate(file.tables):
        for suite in table.suites:
            for task, numbers in table.results.items():
                for algorithm in numbers:
                    key = (suite, task, table.source, algorithm)
                    if key in seen:
                        location = ("tables", place, "results", task, algorithm)
                        raise document.error(
                            location, f"tables[{seen[key]}] has it of the same source already."
                        )
                    seen[key] = place
    return Published(file.published, file.title, tuple(file.tables))
