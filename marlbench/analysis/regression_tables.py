"""Verdicts and references as people read them: a table on a terminal, Markdown on the page of a CI job."""

from __future__ import annotations

from typing import TYPE_CHECKING

from marlbench.analysis.regression import Finding, Judgement, Side, Verdict

if TYPE_CHECKING:
    from rich.console import Console

    from marlbench.analysis.reference import Reference, Rule

_STYLES = {
    Finding.WORSE: "bold red",
    Finding.BETTER: "green",
    Finding.MISSING: "yellow",
    Finding.NOT_JUDGED: "dim",
}
_COLUMNS = ("task", "algorithm", "runs", "score", "was", "", "throughput", "was", "")
NEW_REFERENCE = "Improved: a new reference would hold on to that."


def render(verdict: Verdict, console: Console) -> None:
    """Print the table, what was found, by which rule, and the notes."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for index, name in enumerate(_COLUMNS):
        table.add_column(name, justify="left" if index < 2 or not name else "right", no_wrap=True)
    for one in verdict.judgements:
        words: list[Text] = [Text(one.entry.task), Text(one.entry.algorithm), Text(_runs(one))]
        for side in one.sides:
            style = _STYLES.get(side.finding, "")
            words += [
                Text(_number(side.fresh), style),
                Text(_number(side.reference), "dim"),
                Text(_finding(side), style),
            ]
        table.add_row(*words)
    console.print(Text(heading(verdict), style="bold"))
    console.print(table, crop=False)
    for line in sentences(verdict):
        console.print(Text(line))
    console.print(Text(rule(verdict.reference.rule), style="dim"))
    for note in verdict.notes:
        console.print(Text(f"note: {note}"))


def markdown(verdict: Verdict) -> str:
    """The same as one section of a Markdown page."""
    lines = [f"## {_escaped(heading(verdict))}", ""]
    names = (
        "task",
        "algorithm",
        "runs",
        "score",
        "reference",
        "finding",
        "throughput",
        "reference",
        "finding",
    )
    lines += [
        f"| {' | '.join(names)} |",
        f"|{'|'.join('---' if i < 2 else '---:' for i in range(len(names)))}|",
    ]
    for one in verdict.judgements:
        words = [one.entry.task, one.entry.algorithm, _runs(one)]
        for side in one.sides:
            found = _finding(side)
            words += [_number(side.fresh), _number(side.reference)]
            words += [f"**{found}**" if side.finding is Finding.WORSE else found]
        lines.append(f"| {' | '.join(map(_escaped, words))} |")
    lines += [
        "",
        *(f"- {_escaped(line)}" for line in sentences(verdict)),
        "",
        _escaped(rule(verdict.reference.rule)),
    ]
    if verdict.notes:
        lines += ["", *(f"- note: {_escaped(note)}" for note in verdict.notes)]
    return "\n".join(lines) + "\n"


def heading(verdict: Verdict) -> str:
    """One line: the reference and what came out."""
    return f"{verdict.reference.name}: {verdict.word}"


def sentences(verdict: Verdict) -> list[str]:
    """What was found, one line for each score and throughput that is not as it was."""
    told = []
    for one in verdict.judgements:
        for what, side in (("score", one.score), ("throughput", one.throughput)):
            if side.finding in (Finding.WORSE, Finding.BETTER):
                assert side.ratio is not None
                assert side.p is not None
                chance = f", p = {side.p:.2g}" if side.finding is Finding.WORSE else ""
                told.append(
                    f"{one.entry.name}: {what} is {side.finding}: {_number(side.fresh)} after "
                    f"{_number(side.reference)}, times {side.ratio:.2f}{chance}"
                )
            elif side.finding is Finding.MISSING:
                told.append(
                    f"{one.entry.name}: {what} is not judged: {one.runs} of {one.expected} runs are there"
                )
    if verdict.better and not verdict.worse:
        told.append(NEW_REFERENCE)
    return told


def rule(of: Rule) -> str:
    """By which rule, in a few sentences."""
    return (
        f"A regression is a mean score below {of.score_factor:g} times the reference's with p <= {of.score_level:.2g}, "
        f"or a mean throughput below {of.throughput_factor:g} times with p <= {of.throughput_level:.2g} (one-sided "
        f"permutation tests; false alarms of the whole gate: at most {of.false_alarm_rate:.0%}). Throughput is in "
        "environment steps per calibration loop of the same process."
    )


def render_reference(reference: Reference, console: Console) -> None:
    """Print what a reference holds."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from marlbench.catalog.selection import format_seeds

    console.print(
        Text(f"{reference.name}: measured {reference.created} by `{reference.command}`", style="bold")
    )
    machine = ", ".join(f"{key} {value}" for key, value in reference.machine.items())
    versions = ", ".join(f"{key} {value}" for key, value in reference.versions.items())
    console.print(
        Text(f"commit {reference.code.get('commit') or 'unknown'}; {machine}; {versions}", style="dim")
    )
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for index, name in enumerate(
        (
            "task",
            "algorithm",
            "score",
            "lowest",
            "highest",
            "throughput",
            "seeds",
            "fresh",
            "power",
            "seconds",
        )
    ):
        table.add_column(name, justify="left" if index < 2 else "right", no_wrap=True)
    for entry in reference.entries:
        table.add_row(
            entry.task,
            entry.algorithm,
            _number(sum(entry.scores) / len(entry.scores)),
            _number(min(entry.scores)),
            _number(max(entry.scores)),
            _number(sum(entry.throughput) / len(entry.throughput)),
            format_seeds(entry.seeds),
            str(entry.fresh),
            f"{entry.score_power:.2f}",
            f"{entry.seconds:.1f}",
        )
    console.print(table, crop=False)
    console.print(Text(rule(reference.rule), style="dim"))


def _runs(one: Judgement) -> str:
    return f"{one.runs}/{one.expected}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def _finding(side: Side) -> str:
    if side.ratio is None or side.finding in (Finding.MISSING, Finding.NOT_JUDGED):
        return str(side.finding)
    return f"{side.finding} x{side.ratio:.2f}"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")
