"""Fresh runs against a reference: is anything worse, and is that more than chance?

Scores and throughput are judged apart, each by the decision of `power.is_worse`: a one-sided permutation test at a
level that is shared out over all comparisons (Bonferroni), and an effect beyond a stated factor. What cannot be
compared is refused before anything runs: `Other` says which field of which cell is not the reference's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np

from marlbench.analysis.permutation import p_values
from marlbench.catalog.difference import ABSENT, Difference, differences
from marlbench.errors import CONFIGURATION, USAGE, MarlbenchError

if TYPE_CHECKING:
    from marlbench.analysis.measurements import Measurement
    from marlbench.analysis.reference import Entry, Reference
    from marlbench.catalog.matrix import CellGroup, Matrix

SCHEMA = 1
_BACKEND = ("backend", "simulator")
# Differences that a message names.
_NAMED = 6


class NothingMeasured(MarlbenchError):
    """There is no run to judge."""

    exit_code = USAGE


class OtherProtocol(MarlbenchError):
    """The cells are not those of the reference: another task, algorithm, setting or evaluation."""

    exit_code = CONFIGURATION


class OtherBackend(MarlbenchError):
    """The tasks are run by another implementation, or another version of it, than the reference's."""

    exit_code = CONFIGURATION


class Finding(StrEnum):
    """What is said of a score or a throughput."""

    SAME = "same"
    WORSE = "worse"
    BETTER = "better"
    MISSING = "not measured"
    NOT_JUDGED = "not judged"


@dataclass(frozen=True)
class Side:
    """Scores, or throughputs, of one algorithm on one task.

    Attributes:
        reference, fresh: means; `fresh` is None without a run.
        p: one-sided, of the hypothesis that nothing became worse; None where it was not tested.
    """

    finding: Finding
    reference: float
    fresh: float | None = None
    p: float | None = None

    @property
    def ratio(self) -> float | None:
        return None if self.fresh is None else self.fresh / self.reference


@dataclass(frozen=True)
class Judgement:
    """One algorithm on one task: `runs` of the `expected` fresh ones are there."""

    entry: Entry
    runs: int
    expected: int
    diverged: int
    score: Side
    throughput: Side

    @property
    def sides(self) -> tuple[Side, Side]:
        return self.score, self.throughput

    @property
    def incomplete(self) -> bool:
        return self.runs < self.expected or any(side.finding is Finding.MISSING for side in self.sides)


@dataclass(frozen=True)
class Verdict:
    """All that a gate has to say."""

    reference: Reference
    judgements: tuple[Judgement, ...]
    notes: tuple[str, ...] = ()

    @property
    def worse(self) -> list[Judgement]:
        return [one for one in self.judgements if any(s.finding is Finding.WORSE for s in one.sides)]

    @property
    def better(self) -> list[Judgement]:
        return [one for one in self.judgements if any(s.finding is Finding.BETTER for s in one.sides)]

    @property
    def incomplete(self) -> list[Judgement]:
        return [one for one in self.judgements if one.incomplete]

    @property
    def word(self) -> str:
        return "regression" if self.worse else "incomplete" if self.incomplete else "no regression"

    def to_json(self) -> dict[str, Any]:
        """The document of `regress --json`."""
        return {
            "schema": SCHEMA,
            "reference": self.reference.name,
            "verdict": self.word,
            "rule": self.reference.rule.model_dump(mode="json"),
            "rows": [
                {
                    "task": one.entry.task,
                    "algorithm": one.entry.algorithm,
                    "runs": one.runs,
                    "expected": one.expected,
                    "diverged": one.diverged,
                    "score": _side_json(one.score),
                    "throughput": _side_json(one.throughput),
                }
                for one in self.judgements
            ],
            "notes": list(self.notes),
        }


def _side_json(side: Side) -> dict[str, Any]:
    return {
        "finding": str(side.finding),
        "reference": side.reference,
        "fresh": side.fresh,
        "ratio": side.ratio,
        "p": side.p,
    }


def groups_by_entry(reference: Reference, matrix: Matrix) -> dict[str, CellGroup]:
    """The groups of the matrix that the entries of the reference mean, by the entry's name.

    Raises:
        OtherBackend, OtherProtocol: a cell is not what it was when the reference was measured.
    """
    found = {f"{group.cell.task}/{group.cell.label}": group for group in matrix.groups}
    gone = [entry.name for entry in reference.entries if entry.name not in found]
    if gone:
        raise OtherProtocol(
            f"other protocol: the suite no longer has {', '.join(gone[:_NAMED])}, which the reference "
            f"'{reference.name}' has.",
            _new_reference(reference),
        )
    changes = {entry.name: _changes(entry, found[entry.name]) for entry in reference.entries}
    for error, word, of_backend in ((OtherBackend, "backend", True), (OtherProtocol, "protocol", False)):
        told = [
            f"{name}: {one.field} is {_told(one.here)} here and {_told(one.there)} in the reference"
            for name, fields in changes.items()
            for one in fields
            if (one.field in _BACKEND) is of_backend
        ]
        if told:
            more = f"; and {len(told) - _NAMED} more" if len(told) > _NAMED else ""
            raise error(f"other {word}: {'; '.join(told[:_NAMED])}{more}.", _new_reference(reference))
    return {entry.name: found[entry.name] for entry in reference.entries}


def _changes(entry: Entry, group: CellGroup) -> list[Difference]:
    cell = group.cell
    here = {name: value for name, value in cell.identity().items() if name != "seed"}
    bounds = {name: cell.score[name] for name in ("metric", "low", "high")}
    return [
        *differences(here, entry.identity),
        *differences({"score": bounds}, {"score": entry.score.model_dump(mode="json")}),
    ]


def _told(value: Any) -> str:
    return "absent" if value is ABSENT else str(value)


def _new_reference(reference: Reference) -> str:
    return (
        "Take the change back, or, where it is meant, raise the revision of what changed and measure a new "
        f"reference: {reference.command} --replace"
    )


def judge(reference: Reference, fresh: Mapping[str, Sequence[Measurement]], calibration: int) -> Verdict:
    """The verdict on fresh runs, by the name of their entry.

    Args:
        calibration: version of the calibration loop that the fresh runs were measured with.

    Raises:
        NothingMeasured: there is no run at all.
        OtherProtocol: the calibration loop is another one.
    """
    if not any(fresh.values()):
        raise NothingMeasured(
            f"nothing measured: none of the runs that the reference '{reference.name}' asks for has a result.",
            "They are made without --no-run; where they failed, `marlbench logs CELL` says why.",
        )
    if calibration != reference.calibration:
        raise OtherProtocol(
            f"other protocol: the calibration loop is version {calibration} here and {reference.calibration} in "
            "the reference, so that throughputs cannot be compared.",
            _new_reference(reference),
        )
    judgements = tuple(_judgement(reference, entry, fresh.get(entry.name, ())) for entry in reference.entries)
    return Verdict(reference, judgements, _notes(reference, judgements, fresh))


def _judgement(reference: Reference, entry: Entry, runs: Sequence[Measurement]) -> Judgement:
    rule = reference.rule
    scores = [run.score for run in runs if run.score is not None]
    throughput = [run.throughput for run in runs if run.throughput is not None]
    speed = Side(Finding.NOT_JUDGED, float(np.mean(entry.throughput)))
    if entry.throughput_power is not None:
        speed = _side(
            entry.throughput, throughput, entry.fresh, rule.throughput_level, rule.throughput_factor
        )
    return Judgement(
        entry=entry,
        runs=len(scores),
        expected=entry.fresh,
        diverged=sum(run.diverged for run in runs),
        score=_side(entry.scores, scores, entry.fresh, rule.score_level, rule.score_factor),
        throughput=speed,
    )


def _side(
    reference: Sequence[float], fresh: Sequence[float], expected: int, level: float, factor: float
) -> Side:
    from marlbench.analysis.power import is_worse
    from marlbench.analysis.reference import rounded

    before, after = np.array(reference), np.array([rounded(value) for value in fresh])
    if len(after) < expected:
        # Fewer runs could not be told from chance, and would pass for as good as before.
        mean = float(after.mean()) if len(after) else None
        return Side(Finding.MISSING, float(before.mean()), mean)
    finding = Finding.SAME
    if is_worse(before, after, level, factor):
        finding = Finding.WORSE
    elif after.mean() > before.mean() / factor and p_values(-before, -after) <= level:
        finding = Finding.BETTER
    return Side(finding, float(before.mean()), float(after.mean()), float(p_values(before, after)))


def _notes(
    reference: Reference, judgements: Sequence[Judgement], fresh: Mapping[str, Sequence[Measurement]]
) -> tuple[str, ...]:
    told = []
    for one in judgements:
        if one.diverged:
            told.append(f"{one.entry.name}: {one.diverged} of {one.runs} runs diverged")
        if one.throughput.finding is Finding.NOT_JUDGED:
            told.append(f"{one.entry.name}: throughput is too noisy to be judged")
    versions: dict[str, set[str]] = {}
    for runs in fresh.values():
        for run in runs:
            for name in reference.versions:
                versions.setdefault(name, set()).add(run.versions.get(name, "absent"))
    other = [
        f"{name} {', '.join(sorted(found))} (reference: {reference.versions[name]})"
        for name, found in versions.items()
        if found != {reference.versions[name]}
    ]
    return (*told, *([f"other versions: {'; '.join(other)}"] if other else []))
