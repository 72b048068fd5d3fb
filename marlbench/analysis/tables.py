"""Comparisons as tables on a terminal: side by side where the width allows it, one below the other where not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from marlbench.analysis.comparison import Comparison
from marlbench.analysis.layout import (
    NOTHING,
    Block,
    Entry,
    blocks,
    heading,
    legend,
    protocol_line,
    unit_of_hours,
)

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.text import Text

__all__ = ["heading", "legend", "render"]


def render(comparisons: Iterable[Comparison], console: Console) -> None:
    """Print the table of each comparison, what its numbers are, and its notes."""
    from rich.text import Text

    for index, comparison in enumerate(comparisons):
        if index:
            console.print()
        console.print(Text(heading(comparison), style="bold"))
        if not comparison.done and not any(row.n for row in comparison.rows):
            continue
        found = blocks(comparison)
        hours = unit_of_hours(row.cost for row in comparison.rows)
        table = _side_by_side(found, hours)
        unlimited = console.options.update(max_width=10_000)
        if table is None or console.measure(table, options=unlimited).maximum > console.width:
            table = _one_below_the_other(found, hours, console.width)
        console.print(table, crop=False)
        console.print(Text(protocol_line(comparison), style="dim"))
        console.print(Text(f"{legend(comparison)} Revisions are 1 where none is shown.", style="dim"))
        for note in comparison.notes:
            console.print(Text(f"note: {note}"))


def _about(block: Block) -> str:
    return f"{block.metric} {block.arrow}, {block.backend}"


def _name(block: Block) -> str:
    return block.name if block.revision in ("", "1") else f"{block.name} r{block.revision}"


def _label(entry: Entry) -> str:
    return entry.label if entry.revision in ("", "1") else f"{entry.label} r{entry.revision}"


def _side_by_side(found: Sequence[Block], hours: str) -> RenderableType | None:
    """Tasks as rows, algorithms as columns, published numbers as the last; None for a single algorithm."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    own = [[entry for entry in block.entries if not entry.published] for block in found]
    published = [[entry for entry in block.entries if entry.published] for block in found]
    labels = list(dict.fromkeys(_label(entry) for entries in own for entry in entries))
    if len(labels) < 2:
        return None
    table = Table(box=box.SIMPLE_HEAD, show_lines=True, pad_edge=False)
    table.add_column(Text("task\n").append(f"steps/s, {hours}, memory", style="dim"), no_wrap=True)
    for label in labels:
        table.add_column(Text(label), justify="right", no_wrap=True)
    if any(published):
        table.add_column("published", no_wrap=True)
    for block, entries, beside in zip(found, own, published, strict=True):
        by_label = {_label(entry): entry for entry in entries}
        cells = []
        for label in labels:
            entry = by_label.get(label)
            if entry is None:
                cells.append(Text(NOTHING, style="dim"))
                continue
            value = Text(f"{entry.value}{entry.mark or ' '}", style="bold" if entry.best else "")
            value.append(f"\n{entry.interval} {entry.runs} ", style="not bold")
            cells.append(value.append(f"\n{_cost(entry)} ", style="not bold dim"))
        if any(published):
            cells.append(Text("\n".join(f"{entry.value}  {entry.label}" for entry in beside)))
        table.add_row(Text(f"{_name(block)}\n").append(_about(block), style="dim"), *cells)
    return table


def _cost(entry: Entry) -> str:
    return ", ".join((entry.speed, entry.hours, entry.memory))


def _one_below_the_other(found: Sequence[Block], hours: str, width: int) -> Text:
    """A heading for each task, and below it a line for each algorithm."""
    statistics = list(dict.fromkeys(block.statistic for block in found))
    titles = ("", f"{statistics[0] if len(statistics) == 1 else 'value'} ", "95 % interval", "score", "n/N")
    costs = ("steps/s", hours, "memory")
    lines = [
        (
            f"  {_label(entry)}",
            f"{entry.value}{entry.mark or ' '}",
            entry.interval,
            entry.score,
            entry.runs,
            entry.speed,
            entry.hours,
            entry.memory,
        )
        for block in found
        for entry in block.entries
    ]
    widths = [max(len(line[column]) for line in ((*titles, *costs), *lines)) for column in range(8)]
    if sum(widths) + 2 * 7 > width:
        # What a run costs moves to a table of its own below: nothing is left out.
        values = _part(found, titles, lines, widths, range(5))
        return values.append(_part(found, ("", *costs), lines, widths, (0, 5, 6, 7)))
    return _part(found, (*titles, *costs), lines, widths, range(8))


def _part(
    found: Sequence[Block],
    titles: Sequence[str],
    lines: Sequence[Sequence[str]],
    widths: Sequence[int],
    columns: Sequence[int],
) -> Text:
    from rich.text import Text

    def line(words: Sequence[str], style: str = "") -> Text:
        padded = [
            words[0].ljust(widths[0]),
            *(word.rjust(widths[column]) for word, column in zip(words[1:], columns[1:], strict=True)),
        ]
        return Text("  ".join(padded).rstrip() + "\n", style=style)

    text = Text("\n", no_wrap=True, overflow="ignore")
    text.append(line(titles, "dim"))
    rest = iter(lines)
    for block in found:
        text.append(_name(block)).append(f"  {_about(block)}\n", style="dim")
        for entry in block.entries:
            words = next(rest)
            style = "bold" if entry.best else "dim" if entry.published else ""
            text.append(line([words[column] for column in columns], style))
    return text
