"""Comparisons as tables for people: side by side where the width allows it, one below the other where not."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from marlbench.analysis.comparison import Aggregate, Comparison, Row

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from marlbench.analysis.statistics import Estimate

BEST = "*"
NOTHING = "-"


@dataclass(frozen=True)
class _Entry:
    """What one algorithm has to say in one block, as text; `best` marks the block's best."""

    label: str
    value: str
    interval: str
    score: str
    runs: str
    best: bool


@dataclass(frozen=True)
class _Block:
    """A task, or the aggregate over tasks."""

    name: str
    about: str
    entries: tuple[_Entry, ...]


def render(comparisons: Iterable[Comparison], console: Console) -> None:
    """Print the table of each comparison, what its numbers are, and its notes."""
    from rich.text import Text

    for index, comparison in enumerate(comparisons):
        if index:
            console.print()
        console.print(Text(heading(comparison), style="bold"))
        if not comparison.done:
            continue
        blocks = _blocks(comparison)
        table = _side_by_side(blocks)
        unlimited = console.options.update(max_width=10_000)
        if table is None or console.measure(table, options=unlimited).maximum > console.width:
            table = _one_below_the_other(blocks)
        console.print(table, crop=False)
        console.print(Text(legend(comparison), style="dim"))
        for note in comparison.notes:
            console.print(Text(f"note: {note}"))


def heading(comparison: Comparison) -> str:
    """One line: suite, preset and its label, how many cells are done."""
    preset = "" if comparison.preset == "full" else f", preset {comparison.preset}"
    label = f" ({comparison.label})" if comparison.label else ""
    rest = ", ".join(f"{count} {state}" for state, count in comparison.unfinished.items())
    rest = f" ({rest})" if rest else ""
    return f"{comparison.suite}{preset}{label}: {comparison.done} of {comparison.expected} cells done{rest}"


def legend(comparison: Comparison) -> str:
    """One line: what the numbers of the table are."""
    several = len({row.cell.label for row in comparison.rows}) > 1
    best = f" {BEST} is the best." if several else ""
    return (
        "Interquartile mean over seeds and its 95 % stratified bootstrap interval, "
        f"of {_evaluation(comparison.protocol)}. Scores are 0 and 1 at the task's bounds. "
        f"n/N: runs counted of runs planned.{best}"
    )


def _evaluation(protocol: Mapping[str, object]) -> str:
    policy = protocol.get("policy", "actions as the task says")
    if protocol.get("kind") == "online":
        window = protocol.get("window")
        return f"the last {window:,} steps of training" if isinstance(window, int) else "the end of training"
    episodes = protocol.get("absolute_episodes")
    about = ["best policy", policy, *([f"{episodes} fresh episodes"] if episodes else [])]
    return f"the absolute evaluation ({', '.join(map(str, about))})"


def _blocks(comparison: Comparison) -> list[_Block]:
    by_task: dict[tuple[str, str], list[Row]] = {}
    for row in comparison.rows:
        by_task.setdefault((row.cell.task, row.cell.backend), []).append(row)
    blocks = [_task_block(rows) for rows in by_task.values()]
    by_backend: dict[str, list[Aggregate]] = {}
    for one in comparison.aggregate:
        by_backend.setdefault(one.backend, []).append(one)
    for backend, found in by_backend.items():
        tasks = {row.cell.task for row in comparison.rows if row.cell.backend == backend}
        # Over a single task the aggregate says nothing that the task's own scores do not.
        if found[0].tasks and len(tasks) > 1:
            blocks.append(_aggregate_block(found, len(tasks)))
    return blocks


def _task_block(rows: Sequence[Row]) -> _Block:
    cell = rows[0].cell
    digits = _digits([row.raw for row in rows])
    best = _best([row.score for row in rows])
    revision = f" r{cell.task_revision}" if cell.task_revision != 1 else ""
    direction = ", lower is better" if rows[0].cell.score["low"] > rows[0].cell.score["high"] else ""
    return _Block(
        f"{cell.task}{revision}",
        f"{cell.score['metric']}{direction}, {cell.backend}",
        tuple(
            _Entry(
                _label(row),
                _number(row.raw, digits),
                _interval(row.raw, digits),
                _number(row.score, 3),
                f"{row.n}/{row.expected}",
                index in best,
            )
            for index, row in enumerate(rows)
        ),
    )


def _aggregate_block(found: Sequence[Aggregate], tasks: int) -> _Block:
    best = _best([one.score for one in found])
    counted = len(found[0].tasks)
    return _Block(
        f"all {tasks} tasks" if counted == tasks else f"{counted} of {tasks} tasks",
        f"score, {found[0].backend}",
        tuple(
            _Entry(
                one.algorithm,
                _number(one.score, 3),
                _interval(one.score, 3),
                "",
                f"{one.n}/{one.expected}",
                index in best,
            )
            for index, one in enumerate(found)
        ),
    )


def _label(row: Row) -> str:
    revision = row.cell.algorithm_revision
    return row.cell.label if revision == 1 else f"{row.cell.label} r{revision}"


def _best(scores: Sequence[Estimate | None]) -> set[int]:
    """The places of the highest score; none where there is nothing to compare."""
    found = {index: score.point for index, score in enumerate(scores) if score is not None}
    if len(found) < 2:
        return set()
    highest = max(found.values())
    return {index for index, point in found.items() if point == highest}


def _digits(estimates: Sequence[Estimate | None]) -> int:
    """Decimals that leave about four significant digits of the largest number."""
    numbers = [
        abs(number)
        for found in estimates
        if found is not None
        for number in (found.point, found.low, found.high)
        if number
    ]
    return min(max(3 - math.floor(math.log10(max(numbers))), 0), 6) if numbers else 3


def _number(found: Estimate | None, digits: int) -> str:
    return NOTHING if found is None else _format(found.point, digits)


def _interval(found: Estimate | None, digits: int) -> str:
    if found is None or found.low is None or found.high is None:
        return NOTHING
    return f"[{_format(found.low, digits)}, {_format(found.high, digits)}]"


def _format(number: float, digits: int) -> str:
    if abs(number) >= 1e9:
        return f"{number:.3e}"
    text = f"{number:.{digits}f}"
    # A negative number that rounds to nothing would read -0.00.
    return text.removeprefix("-") if float(text) == 0 else text


def _side_by_side(blocks: Sequence[_Block]) -> RenderableType | None:
    """Tasks as rows, algorithms as columns; None for a single algorithm."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    labels = list(dict.fromkeys(entry.label for block in blocks for entry in block.entries))
    if len(labels) < 2:
        return None
    table = Table(box=box.SIMPLE_HEAD, show_lines=True, pad_edge=False)
    table.add_column("task", no_wrap=True)
    for label in labels:
        table.add_column(label, justify="right", no_wrap=True)
    for block in blocks:
        entries = {entry.label: entry for entry in block.entries}
        cells = []
        for label in labels:
            entry = entries.get(label)
            if entry is None:
                cells.append(Text(NOTHING, style="dim"))
                continue
            mark = BEST if entry.best else " "
            value = Text(f"{entry.value}{mark}", style="bold" if entry.best else "")
            cells.append(value.append(f"\n{entry.interval} {entry.runs} ", style="not bold"))
        table.add_row(Text(f"{block.name}\n").append(block.about, style="dim"), *cells)
    return table


def _one_below_the_other(blocks: Sequence[_Block]) -> RenderableType:
    """A heading for each task, and below it a line for each algorithm."""
    from rich.text import Text

    titles = ("", "IQM ", "95 % interval", "score", "n/N")
    lines = [
        (
            f"  {entry.label}",
            f"{entry.value}{BEST if entry.best else ' '}",
            entry.interval,
            entry.score,
            entry.runs,
        )
        for block in blocks
        for entry in block.entries
    ]
    widths = [max(len(line[column]) for line in (titles, *lines)) for column in range(len(titles))]

    def line(words: Sequence[str], style: str = "") -> Text:
        padded = [
            words[0].ljust(widths[0]),
            *(w.rjust(n) for w, n in zip(words[1:], widths[1:], strict=True)),
        ]
        return Text("  ".join(padded).rstrip() + "\n", style=style)

    text = Text("\n", no_wrap=True, overflow="ignore")
    text.append(line(titles, "dim"))
    rest = iter(lines)
    for block in blocks:
        text.append(f"{block.name}").append(f"  {block.about}\n", style="dim")
        for entry in block.entries:
            text.append(line(next(rest), "bold" if entry.best else ""))
    return text
