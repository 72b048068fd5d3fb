"""The page: what it says, and how that becomes HTML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from marlbench.analysis.report.gallery import Plate


@dataclass(frozen=True)
class Head:
    """The head of a column: `text` for words instead of numbers, `code` for what a person copies."""

    name: str
    text: bool = False
    code: bool = False


@dataclass(frozen=True)
class Row:
    """One line of a table, its first cell being its head.

    Attributes:
        faint: it is shown beside the others, and not one of them.
        colour: that of its algorithm in the figures.
    """

    cells: tuple[str, ...]
    best: bool = False
    faint: bool = False
    colour: str = ""


@dataclass(frozen=True)
class Table:
    """One table of the page."""

    name: str
    caption: str
    heads: tuple[Head, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Part:
    """A task, or the tasks of one backend."""

    name: str
    about: str
    tables: tuple[Table, ...]
    plates: Sequence[Plate]


@dataclass(frozen=True)
class Page:
    """Everything that a report says.

    Attributes:
        heading: suite, preset, how much is done.
        warning: what must be read before anything else; "" for nothing.
        findings: the summary, one sentence or two each.
        notes: what a reader must know before trusting the numbers.
        commands: (what it is for, the lines to type).
        files: whether the figures lie beside the page as files.
    """

    suite: str
    title: str
    description: str
    heading: str
    warning: str
    findings: tuple[str, ...]
    notes: tuple[str, ...]
    overall: tuple[Part, ...]
    tasks: tuple[Part, ...]
    method: tuple[str, ...]
    settings: tuple[Table, ...]
    commands: tuple[tuple[str, str], ...]
    provenance: tuple[Table, ...]
    suite_digest: str
    suite_text: str
    cells: Table
    version: str
    files: bool = field(default=True)

    @property
    def contents(self) -> list[tuple[str, str]]:
        """(anchor, name) of the sections."""
        found = [("summary", "Summary")]
        if self.overall:
            found.append(("overall", "Over all tasks"))
        if self.tasks:
            found.append(("tasks", "Task by task"))
        found += [(f"task-{part.name}", part.name) for part in self.tasks]
        return [
            *found,
            ("method", "How it was measured"),
            ("reproduce", "Reproduce"),
            ("cells", "Cells"),
        ]


def render(page: Page) -> str:
    """The page as HTML that needs nothing else: no network, no script, no file."""
    import jinja2

    here = resources.files("marlbench.analysis.report")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, keep_trailing_newline=True
    )
    template = environment.from_string(here.joinpath("report.html.j2").read_text(encoding="utf-8"))
    css = here.joinpath("report.css").read_text(encoding="utf-8")
    return template.render(page=page, css=css)
