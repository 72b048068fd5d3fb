"""From measured runs to the entries of a reference: how many fresh runs each needs, and which cannot be gated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from marlbench.analysis.permutation import smallest
from marlbench.analysis.power import Criterion, Needed, needed
from marlbench.analysis.reference import Entry, Measured, Rule, rounded
from marlbench.errors import UsageError

if TYPE_CHECKING:
    from marlbench.analysis.measurements import Measurement
    from marlbench.catalog.matrix import CellGroup

FALSE_ALARM_RATE = 0.01
POWER = 0.9
LOSS = 0.2
SCORE_FACTOR = 0.9
SLOWDOWN = 0.5
THROUGHPUT_FACTOR = 0.75
# The fewest reference runs whose spread says anything.
FEWEST_RUNS = 5


class TooNoisy(UsageError):
    """Tasks on which the loss cannot be told from chance within the time allowed."""


@dataclass(frozen=True)
class Measurements:
    """The runs of one algorithm on one task, all of them there."""

    group: CellGroup
    runs: Sequence[Measurement]

    @property
    def name(self) -> str:
        return f"{self.group.cell.task}/{self.group.cell.label}"

    @property
    def scores(self) -> list[float]:
        return [rounded(run.score) for run in self.runs if run.score is not None]

    @property
    def throughput(self) -> list[float]:
        return [rounded(run.throughput) for run in self.runs if run.throughput is not None]

    @property
    def seconds(self) -> float:
        """Mean processor time of a run."""
        return rounded(sum(run.seconds for run in self.runs) / len(self.runs))


def rule_for(comparisons: int) -> Rule:
    """The rule of a gate with so many algorithms on tasks: each has its score and its throughput compared."""
    level = FALSE_ALARM_RATE / (2 * comparisons)
    return Rule(
        false_alarm_rate=FALSE_ALARM_RATE,
        power=POWER,
        loss=LOSS,
        score_factor=SCORE_FACTOR,
        score_level=level,
        slowdown=SLOWDOWN,
        throughput_factor=THROUGHPUT_FACTOR,
        throughput_level=level,
    )


def entries(measured: Sequence[Measurements], rule: Rule, seconds_allowed: float, slots: int) -> list[Entry]:
    """The entries of a reference, each with the fewest fresh runs that keep the promise of the rule.

    Args:
        seconds_allowed: wall time for all fresh runs, `slots` of them at once.

    Raises:
        TooNoisy: naming the tasks; or that even the least that the level needs takes too long.
        UsageError: too few runs to say anything.
    """
    _check(measured, rule)
    found = [_entry(one, rule) for one in measured]
    noisy = [entry for entry in found if isinstance(entry, str)]
    if noisy:
        raise TooNoisy(
            f"too noisy: a loss of {rule.loss:.0%} cannot be noticed with probability {rule.power:g}: "
            f"{'; '.join(noisy)}.",
            "Give the runs of these tasks more steps or episodes, measure with more --seeds, or leave them out "
            "with --task and --algorithm.",
        )
    wanted = [entry for entry in found if isinstance(entry, Entry)]
    _check_time(wanted, rule, seconds_allowed, slots)
    return wanted


def wall_seconds(entries: Sequence[Entry], slots: int) -> float:
    """About how long the fresh runs take."""
    return sum(entry.fresh * entry.seconds for entry in entries) / slots


def _check(measured: Sequence[Measurements], rule: Rule) -> None:
    for one in measured:
        if len(one.scores) < FEWEST_RUNS or len(one.throughput) != len(one.scores):
            raise UsageError(
                f"{one.name}: {len(one.scores)} runs have a score and {len(one.throughput)} a throughput; a "
                f"reference needs {FEWEST_RUNS} of each.",
                "Measure with more --seeds.",
            )
        runs = len(one.scores)
        if smallest(runs, runs) > rule.score_level:
            raise UsageError(
                f"{runs} reference runs can never reach the level {rule.score_level:.2g} that "
                f"{len(measured)} comparisons ask for.",
                "Measure with more --seeds, or fewer tasks and algorithms.",
            )


def _entry(measured: Measurements, rule: Rule) -> Entry | str:
    """An entry, or why there can be none."""
    scores, throughput, cell = measured.scores, measured.throughput, measured.group.cell
    mean, most = sum(scores) / len(scores), len(scores)
    spread = f"scores from {min(scores):.3g} to {max(scores):.3g}"
    if mean <= 0:
        return f"{measured.name} (a mean score of {mean:.3g} leaves nothing to lose; {spread})"
    of_score = needed(scores, Criterion(rule.score_level, rule.score_factor, rule.loss, rule.power), most)
    if of_score is None:
        return f"{measured.name} ({most} runs do not suffice; {spread})"
    criterion = Criterion(rule.throughput_level, rule.throughput_factor, rule.slowdown, rule.power)
    of_throughput: Needed | None = needed(throughput, criterion, most)
    fresh = max(of_score.runs, of_throughput.runs if of_throughput else 0)
    identity = {name: value for name, value in cell.identity().items() if name != "seed"}
    return Entry(
        task=cell.task,
        algorithm=cell.label,
        score=Measured(**{name: cell.score[name] for name in ("metric", "low", "high")}),
        fresh=fresh,
        score_power=of_score.power,
        throughput_power=of_throughput.power if of_throughput else None,
        seconds=measured.seconds,
        seeds=[run.seed for run in measured.runs if run.score is not None],
        scores=scores,
        throughput=throughput,
        identity=identity,
    )


def _check_time(wanted: Sequence[Entry], rule: Rule, allowed: float, slots: int) -> None:
    if wall_seconds(wanted, slots) <= allowed:
        return
    # Without spread as many runs suffice as the level needs; what a task needs beyond that is its noise.
    excess: Mapping[str, float] = {
        entry.name: (entry.fresh - _least(entry, rule)) * entry.seconds / slots for entry in wanted
    }
    left = wall_seconds(wanted, slots)
    needs = f"the fresh runs take about {left:.0f} s, {slots} at once; {allowed:.0f} s are allowed"
    noisy = []
    for entry in sorted(wanted, key=lambda entry: -excess[entry.name]):
        if left <= allowed or not excess[entry.name]:
            break
        noisy.append(f"{entry.name} ({entry.fresh} runs of {entry.seconds:.0f} s)")
        left -= entry.fresh * entry.seconds / slots
    hint = "Raise --time-allowed, give runs fewer steps, or leave tasks out with --task and --algorithm."
    if noisy:
        raise TooNoisy(f"too noisy for the time allowed: {', '.join(noisy)}: {needs}.", hint)
    raise UsageError(f"{needs}, even without any noise.", hint)


def _least(entry: Entry, rule: Rule) -> int:
    runs = len(entry.scores)
    return next(n for n in range(1, runs + 1) if smallest(runs, n) <= rule.score_level)
