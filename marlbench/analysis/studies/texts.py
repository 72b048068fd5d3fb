"""A study's findings as Markdown, as a JSON document and as a table on a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import marlbench
from marlbench.analysis.report.provenance import commits, hardware, versions
from marlbench.analysis.studies import words
from marlbench.analysis.studies.findings import Findings, Group
from marlbench.analysis.studies.verdicts import Verdict
from marlbench.analysis.studies.words import number

if TYPE_CHECKING:
    from rich.console import Console

SCHEMA = 1
# Lines of a page beyond which only the JSON document has all groups.
_MOST_GROUPS = 200
# What a page names; the document has all.
_PACKAGES = ("marlbench", "python", "torch", "numpy")

_SIGNS = str.maketrans({sign: f"\\{sign}" for sign in "\\`*_[]<>|~#"})


def markdown(findings: Findings, figure: str = "") -> str:
    """A page; `figure` is the file of the picture, relative to the page."""
    study = findings.study
    parts = [
        f"# {_plain(findings.title)}",
        f"{_plain(study.question)} Source: {_plain(study.source)}.",
        f"**{words.summary(findings)}** {_plain(words.heading(findings))}.",
        _claims(findings),
        *([_bullets(_remarks(findings))] if _remarks(findings) else []),
        words.method(findings),
        *([f"![{_plain(findings.title)}]({figure})"] if figure else []),
        *(["## Remarks", _bullets(map(_plain, study.remarks))] if study.remarks else []),
        "## What was measured",
        _groups(findings),
        "## How to get the same",
        _how(findings),
    ]
    return "\n\n".join(parts) + "\n"


def _plain(text: str) -> str:
    return " ".join(text.translate(_SIGNS).split())


def _bullets(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _metric(findings: Findings, verdict: Verdict) -> str:
    """The metric of the score of a cell that the claim takes."""
    side = next(iter(verdict.claim.contrast.sides.values()))
    found = findings.evidence.spots(side)
    return str(findings.evidence.group(found[0]).cell.score["metric"]) if found else "metric"


def _claims(findings: Findings) -> str:
    heads = ("claim", "estimated", "estimate", "interval", "has to be", "n/N", "verdict", "the paper")
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    for verdict in findings.verdicts:
        claim = verdict.claim
        told = [words.quantity(verdict, _metric(findings, verdict)), words.sides(verdict)]
        cells = (
            f"**{_plain(verdict.name)}**: {_plain(claim.says)}",
            "<br>".join(_plain(line) for line in told if line),
            words.point(verdict),
            _plain(words.interval(verdict)),
            _plain(words.needed(claim.holds)),
            f"{verdict.n}/{verdict.expected}",
            f"**{verdict.verdict}**",
            "<br>".join(_plain(line) for line in (claim.published, claim.source) if line),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _remarks(findings: Findings) -> list[str]:
    return [
        f"{_plain(verdict.name)}: {_plain('; '.join(told))}."
        for verdict in findings.verdicts
        if (told := words.remarks_on(verdict))
    ]


def _groups(findings: Findings) -> str:
    heads = ("task", "algorithm", "n/N", "measure", "mean", "deviation", "smallest", "largest")
    lines = [f"| {' | '.join(heads)} |", f"|---|---|---|---|{'---:|' * 4}"]
    rows = [(group, measured) for group in findings.groups if group.done for measured in group.measured]
    for group, measured in rows[:_MOST_GROUPS]:
        values = measured.values.values()
        diverged = f" ({group.diverged} diverged)" if group.diverged else ""
        numbers = (measured.mean, measured.deviation, min(values, default=None), max(values, default=None))
        cells = (
            _plain(group.spot.task),
            _plain(group.spot.label),
            f"{len(values)}/{group.expected}{diverged}",
            _plain(measured.measure),
            *map(number, numbers),
        )
        lines.append(f"| {' | '.join(cells)} |")
    text = "\n".join(lines)
    if len(rows) > _MOST_GROUPS:
        text += f"\n\nThe other {len(rows) - _MOST_GROUPS} lines are in the JSON document."
    missing = sum(not group.done for group in findings.groups)
    return text + (f"\n\nOf {missing} groups of cells none is done." if missing else "")


def _how(findings: Findings) -> str:
    lines = [
        f"- command: `{findings.command}`",
        f"- study file: `{findings.name}.yaml`, sha256 `{findings.digest}`; cells: matrix `{findings.matrix}`",
        f"- seeds: {words.seeds(findings)}",
        f"- made by: marlbench {marlbench.__version__}",
        f"- cost: {findings.cpu_hours:.3g} hours of processor time for {findings.done} cells",
    ]
    if shas := commits(findings.finished):
        lines.append(f"- commits of the runs, most runs first: {', '.join(f'`{sha}`' for sha in shas)}")
    machines = [_told(row.cells) for row in hardware(findings.finished).rows]
    packages = [_told(row.cells) for row in versions(findings.finished).rows if row.cells[0] in _PACKAGES]
    lines += [f"- {name}: {'; '.join(of)}" for name, of in (("on", machines), ("with", packages)) if of]
    return "\n".join(lines)


def _told(cells: Sequence[str]) -> str:
    """A row of circumstances in words; its last cell counts runs."""
    return f"{_plain(' '.join(filter(None, cells[:-1])))} ({cells[-1]} runs)"


def document(findings: Findings) -> dict[str, Any]:
    """The JSON document; docs/studies.md describes its fields. Numbers that do not exist are null."""
    return {
        "schema": SCHEMA,
        "study": findings.name,
        "title": findings.title,
        "question": findings.study.question,
        "source": findings.study.source,
        "preset": findings.preset,
        "label": findings.label or None,
        "done": findings.done,
        "expected": findings.expected,
        "confidence": findings.study.confidence,
        "claims": [_claim(findings, verdict) for verdict in findings.verdicts],
        "groups": [_group(group) for group in findings.groups],
        "remarks": list(findings.study.remarks),
        "command": findings.command,
        "seeds": words.seeds(findings),
        "sha256": findings.digest,
        "matrix_id": findings.matrix,
        "marlbench": marlbench.__version__,
        "commits": commits(findings.finished),
        "versions": _version_counts(findings),
        "cpu_hours": findings.cpu_hours,
    }


def _claim(findings: Findings, verdict: Verdict) -> dict[str, Any]:
    claim, estimate = verdict.claim, verdict.estimate
    return {
        "name": verdict.name,
        "says": claim.says,
        "source": claim.source,
        "published": claim.published or None,
        "quantity": words.quantity(verdict, _metric(findings, verdict)),
        "contrast": claim.contrast.kind,
        "holds": claim.holds.model_dump(exclude_none=True),
        "verdict": verdict.verdict,
        "reason": verdict.reason or None,
        "estimate": estimate.point if estimate else None,
        "ci_low": estimate.low if estimate else None,
        "ci_high": estimate.high if estimate else None,
        "sides": dict(verdict.sides),
        "n": verdict.n,
        "expected": verdict.expected,
        "places": {"judged": verdict.places[0], "of": verdict.places[1]},
        "worst": verdict.worst or None,
        "best": list(verdict.best),
        "notes": list(verdict.notes),
    }


def _group(group: Group) -> dict[str, Any]:
    return {
        "task": group.spot.task,
        "algorithm": group.spot.label,
        "coordinates": dict(group.spot.coordinates),
        "expected": group.expected,
        "done": group.done,
        "diverged": group.diverged,
        "measures": {
            measured.measure: {str(seed): value for seed, value in measured.values.items()}
            for measured in group.measured
        },
    }


def _version_counts(findings: Findings) -> dict[str, dict[str, int]]:
    counts: dict[str, dict[str, int]] = {}
    for row in versions(findings.finished).rows:
        name, version, count = row.cells
        counts.setdefault(name, {})[version] = int(count)
    return counts


def render(findings: Findings, console: Console) -> None:
    """The verdicts on a terminal."""
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    console.print(Text(words.heading(findings), style="bold"))
    console.print(Text(findings.study.question))
    table = RichTable(box=box.SIMPLE_HEAD, show_lines=True, pad_edge=False)
    for head, right in (("claim", False), ("estimate", True), ("has to be", True), ("n/N", True)):
        table.add_column(head, justify="right" if right else "left", overflow="fold")
    table.add_column("verdict", no_wrap=True)
    table.add_column("the paper", overflow="fold")
    colours = {"holds": "green", "does not hold": "red", "undecided": "yellow"}
    for verdict in findings.verdicts:
        claim = Text(verdict.name, style="bold").append(f"\n{verdict.claim.says}", style="not bold")
        claim.append(f"\n{words.quantity(verdict, _metric(findings, verdict))}", style="not bold dim")
        estimate = _joined((words.point(verdict), words.interval(verdict), words.sides(verdict)))
        table.add_row(
            claim,
            Text(estimate),
            Text(words.needed(verdict.claim.holds)),
            Text(f"{verdict.n}/{verdict.expected}"),
            Text(verdict.verdict, style=colours[verdict.verdict]),
            Text(_joined((verdict.claim.published, verdict.claim.source))),
        )
    console.print(table)
    console.print(Text(words.summary(findings), style="bold"))
    for verdict in findings.verdicts:
        for told in words.remarks_on(verdict):
            console.print(Text(f"{verdict.name}: {told}"))
    console.print(Text(words.method(findings), style="dim"))


def _joined(lines: Sequence[str]) -> str:
    return "\n".join(line for line in lines if line and line != words.NOTHING) or words.NOTHING
