"""A study's findings in words: what every form of them shares."""

from __future__ import annotations

import textwrap
from collections import Counter

from marlbench.analysis.studies.findings import Findings, name_of
from marlbench.analysis.studies.verdicts import Verdict
from marlbench.catalog.selection import format_seeds
from marlbench.catalog.study_types import GapClosed, Holds, Level, Ratio, Trend

NOTHING = "-"


_PLURAL = {"holds": "hold", "does not hold": "do not hold", "undecided": "are undecided"}
_SINGULAR = {"holds": "holds", "does not hold": "does not hold", "undecided": "is undecided"}


def summary(findings: Findings) -> str:
    """One sentence: how many claims hold, do not hold, are undecided."""
    counts = Counter(verdict.verdict for verdict in findings.verdicts)
    parts = [
        f"{count} {(_SINGULAR if count == 1 else _PLURAL)[word]}" for word, count in sorted(counts.items())
    ]
    total = len(findings.verdicts)
    return f"Of {total} {'claim' if total == 1 else 'claims'} {', '.join(parts)}."


def heading(findings: Findings) -> str:
    """Suite, preset and how much is done."""
    label = f", {findings.label}" if findings.label else ""
    return f"{findings.name} (preset {findings.preset}{label}): {findings.done} of {findings.expected} cells done"


def quantity(verdict: Verdict, metric: str) -> str:
    """What is estimated, for instance `cooperation: slope over B`."""
    claim, contrast = verdict.claim, verdict.claim.contrast
    measured = name_of(claim, metric)
    if claim.statistic != "mean":
        measured = f"{claim.statistic} of {measured}"
    if isinstance(contrast, Trend):
        told = f"change along {contrast.over}" if contrast.per == "range" else f"slope over {contrast.over}"
    elif isinstance(contrast, Level):
        told = "level"
    elif isinstance(contrast, Ratio):
        told = "a / b"
    elif isinstance(contrast, GapClosed):
        told = "share of the gap from b to the oracle"
    else:
        told = "a - b"
    worst = f", worst place ({verdict.worst})" if verdict.worst else ""
    return f"{measured}: {told}{worst}"


def sides(verdict: Verdict) -> str:
    """The means of the sides: `a 0.93, b 0.31`."""
    return ", ".join(f"{role} {number(value)}" for role, value in verdict.sides.items() if role != "of")


def needed(holds: Holds) -> str:
    """Where the contrast has to lie: `> 0`."""
    if holds.between is not None:
        return f"{number(holds.between[0])} to {number(holds.between[1])}"
    return f"> {number(holds.above)}" if holds.above is not None else f"< {number(holds.below)}"


def interval(verdict: Verdict) -> str:
    """`[0.51, 0.73]`, or a dash where there is none."""
    found = verdict.estimate
    if found is None or found.low is None or found.high is None:
        return NOTHING
    return f"[{number(found.low)}, {number(found.high)}]"


def point(verdict: Verdict) -> str:
    """The estimate, or a dash."""
    return number(verdict.estimate.point if verdict.estimate else None)


def number(value: float | None) -> str:
    """Four significant digits."""
    return NOTHING if value is None else f"{value:.4g}"


def remarks_on(verdict: Verdict) -> list[str]:
    """Why it is undecided, which entries may be the best, what was left out."""
    told = []
    if verdict.reason:
        told.append(f"undecided because {verdict.reason}" if verdict.estimate else verdict.reason)
    if verdict.best:
        others = f" (or {', '.join(verdict.best[1:])})" if verdict.best[1:] else ""
        told.append(f"the best is {verdict.best[0]}{others}")
    judged, whole = verdict.places
    if judged < whole:
        told.append(f"judged at {judged} of the {whole} places of the study")
    return [*told, *verdict.notes]


def method(findings: Findings) -> str:
    """How intervals and verdicts come about, in sentences."""
    study, claims = findings.study, len(findings.verdicts)
    each = 100 * (1 - (1 - study.confidence) / claims)
    text = f"""
        A claim holds when its whole interval lies where it has to, does not hold when the whole interval lies
        elsewhere, and is undecided otherwise. The intervals are simultaneous: {each:.4g} % each, so that no verdict of
        the {claims} is wrong with {100 * study.confidence:g} % (Bonferroni). They are Welch's t-intervals, carried to
        other contrasts by the delta method; every place (task, level of a grid) weighs the same.
        A verdict takes {study.least} runs of every task and entry. n/N: runs counted of cells planned.
    """
    return " ".join(textwrap.dedent(text).split())


def seeds(findings: Findings) -> str:
    """The seeds of the cells; where entries differ, of each."""
    of_entry: dict[str, list[str]] = {}
    for group in findings.evidence.groups:
        text = format_seeds([cell.seed for cell in group.cells])
        entries = of_entry.setdefault(text, [])
        point = findings.evidence.points["algorithms"].get(group.cell.label)
        name = point.entry if point else group.cell.label
        if name not in entries:
            entries.append(name)
    if len(of_entry) == 1:
        return next(iter(of_entry))
    return "; ".join(f"{', '.join(entries)}: {text}" for text, entries in of_entry.items())
