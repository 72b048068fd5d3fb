"""The tables of a report, from the blocks that every format of a comparison prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from marlbench.analysis.layout import Block, Entry
from marlbench.analysis.marks import BEST, TIED
from marlbench.analysis.report.page import Head, Row, Table

if TYPE_CHECKING:
    from marlbench.catalog.cell import Cell

_WORDS = {BEST: "best", TIED: "not told from the best"}
_RUNS = Head("runs")


def about(title: str, cell: Cell) -> str:
    """A line below the task's name: what it is, what is measured, which implementation."""
    low, high = float(cell.score["low"]), float(cell.score["high"])
    direction = "lower is better" if low > high else "higher is better"
    simulator = f" ({cell.simulator})" if cell.simulator else ""
    return " ".join(
        (
            *([f"{title.rstrip('.')}."] if title else []),
            f"Metric {cell.score['metric']}, {direction}; score 0 is {low:g}, 1 is {high:g}.",
            f"Implementation {cell.backend}{simulator}, revision {cell.task_revision}.",
            f"{cell.steps:,} environment steps.",
        )
    )


def of_task(block: Block, colours: Mapping[str, str], hours: str) -> Table:
    """One line for each algorithm on a task."""
    heads = (
        Head("algorithm"),
        Head(f"{block.statistic} {block.arrow}"),
        Head("95 % interval"),
        Head("score"),
        Head("", text=True),
        _RUNS,
        *_costs(hours),
    )
    rows = tuple(
        Row(
            (
                _label(entry),
                entry.value,
                entry.interval,
                entry.score,
                _WORDS.get(entry.mark, ""),
                entry.runs,
                entry.speed,
                entry.hours,
                entry.memory,
            ),
            best=entry.best,
            faint=entry.published,
            colour=colours.get(entry.label, ""),
        )
        for entry in block.entries
    )
    return Table(block.name, "", heads, rows)


def over_tasks(blocks: Sequence[Block], colours: Mapping[str, str], hours: str) -> Table:
    """One line for each algorithm, `blocks` being the aggregates over the same tasks."""
    heads = [Head("algorithm")]
    heads += [Head(f"{block.statistic} {block.arrow}") for block in blocks]
    first = blocks[0]
    rows = []
    for place, entry in enumerate(first.entries):
        found = [block.entries[place] for block in blocks]
        numbers = [f"{one.value}{one.mark or ' '}\n{one.interval}" for one in found]
        rows.append(
            Row(
                (_label(entry), *numbers, entry.runs, entry.speed, entry.hours, entry.memory),
                best=entry.best,
                colour=colours.get(entry.label, ""),
            )
        )
    where = f"{first.name} ({first.backend})"
    caption = f"Scores over {where} with 95 % intervals. {BEST} is the best, {TIED} is not told from it."
    return Table(first.name, caption, (*heads, _RUNS, *_costs(hours)), tuple(rows))


def _label(entry: Entry) -> str:
    return entry.label if entry.revision in ("", "1") else f"{entry.label} r{entry.revision}"


def _costs(hours: str) -> tuple[Head, ...]:
    return Head("steps/s"), Head(hours), Head("memory")
