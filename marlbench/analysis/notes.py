"""What a reader of a comparison has to know besides its numbers, one sentence each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from marlbench.analysis.comparison import Row
    from marlbench.analysis.published import PublishedRow
    from marlbench.analysis.runs import Run
    from marlbench.catalog.matrix import CellGroup
    from marlbench.store.store import Store

# Values named one by one before a note only counts them.
_NAMED = 6
# Packages whose versions a note gives one by one; others are only named.
_MAIN_PACKAGES = ("marlbench", "torch", "python", "numpy")


def common_protocol(groups: Sequence[CellGroup]) -> tuple[dict[str, Any], list[str]]:
    """The fields of the protocol that are the same everywhere, and a note on those that are not."""
    protocols = {group.cell.task: group.cell.protocol for group in groups}
    first = next(iter(protocols.values()))
    # Whether pictures are drawn is no part of what was measured.
    told_of = [name for name in first if name != "pictures"]
    common = [name for name in told_of if all(p.get(name) == first[name] for p in protocols.values())]
    differing = [name for name in told_of if name not in common]
    by_task = {
        task: ", ".join(f"{name} {protocol.get(name)}" for name in differing)
        for task, protocol in protocols.items()
    }
    told = [f"the protocol differs: {_by_value(by_task)}"] if differing else []
    return {name: first[name] for name in common}, told


def unequal_budgets(groups: Sequence[CellGroup]) -> list[str]:
    """Tasks on which the algorithms were not given the same number of environment steps."""
    told = []
    for task in dict.fromkeys(group.cell.task for group in groups):
        steps = {group.cell.label: f"{group.cell.steps:,}" for group in groups if group.cell.task == task}
        if len(set(steps.values())) > 1:
            told.append(f"steps differ on {task}: {_by_value(steps)}")
    return told


def started(groups: Sequence[CellGroup]) -> list[str]:
    """Whose trainings start from policies of other cells: their steps there count in no column."""
    found: dict[str, list[str]] = {}
    for group in groups:
        if group.initial is not None:
            begun, steps = group.initial.cell, 0
            before: CellGroup | None = group.initial
            while before is not None:
                steps, before = steps + before.cell.steps, before.initial
            of = f"the policy of {begun.label} on {begun.task}, after {steps:,} steps there and before"
            found.setdefault(f"{group.cell.label} starts from {of}", []).append(group.cell.task)
    return [f"on {_limited(tasks)} {said}; they are not counted" for said, tasks in found.items()]


def simulators(groups: Sequence[CellGroup]) -> list[str]:
    """What others' programs played the tasks, with their versions and whatever of them changes what is seen."""
    tasks: dict[tuple[str, str], dict[str, None]] = {}
    for group in groups:
        if group.cell.simulator:
            tasks.setdefault((group.cell.backend, group.cell.simulator), {})[group.cell.task] = None
    return [
        f"backend {backend}: {simulator}, on {_limited(list(on))}"
        for (backend, simulator), on in tasks.items()
    ]


def tuned(groups: Sequence[CellGroup]) -> list[str]:
    """What it cost to choose settings, of the algorithms whose entry says so."""
    from marlbench.catalog.selection import parse_seeds

    found = {group.cell.label: group.suite.suite.algorithms.get(group.cell.label) for group in groups}
    told = []
    for label, entry in found.items():
        if entry is None or entry.tuning is None:
            continue
        cost = entry.tuning
        seeds = len(parse_seeds(cost.seeds_text))
        on = f" on {_limited(cost.tasks)}" if cost.tasks else ""
        told.append(
            f"tuned: {label}, {cost.trials} trials x {seeds} seeds x {cost.steps:,} steps by {cost.metric}{on}"
        )
    return told


def runs_apart(groups: Sequence[CellGroup], runs: Mapping[str, Run]) -> list[str]:
    """Runs that diverged, and runs whose metric is not a finite number."""
    told = []
    for group in groups:
        found = [runs[cell.id] for cell in group.cells if cell.id in runs]
        place = f"{group.cell.label} on {group.cell.task}"
        if diverged := sum(run.diverged for run in found):
            score = float(group.cell.protocol["diverged_score"])
            told.append(f"{place}: {diverged} of {len(found)} runs diverged, counted with score {score:g}")
        if without := sum(run.value is None for run in found):
            metric = group.cell.score["metric"]
            told.append(f"{place}: {without} of {len(found)} runs have no finite {metric}, not counted")
    return told


def agents(rows: Sequence[Row]) -> list[str]:
    """What agents need in a system that they run, of the methods that tell it: the most over the tasks."""
    most: dict[str, tuple[float, float]] = {}
    for row in rows:
        size, time = row.cost.agent_bytes, row.cost.decision_microseconds
        if size is not None and time is not None:
            before = most.get(row.cell.label, (0.0, 0.0))
            most[row.cell.label] = (max(size, before[0]), max(time, before[1]))
    if not most:
        return []
    each = [
        f"{label} {size / 1024:.1f} KiB, {time:.2g} us a decision" for label, (size, time) in most.items()
    ]
    return [f"agents of one system, at most: {'; '.join(each)}"]


def continued(store: Store, groups: Sequence[CellGroup], runs: Mapping[str, Run]) -> list[str]:
    """Runs that go on from shorter ones: how many, from which, and what is not as in a training in one go."""
    from marlbench.errors import StoreError

    told = []
    for group in groups:
        found = [cell for cell in group.cells if cell.source is not None and cell.id in runs]
        if not found:
            continue
        steps = set()
        for cell in found:
            try:
                steps.add(store.cell(str(cell.source)).cell.steps)
            except StoreError:
                # Somebody removed it; what began there is known all the same.
                steps.add(cell.schedule_steps or 0)
        sources = _limited([str(cell.source)[:12] for cell in found])
        count = f"{len(found)} of {sum(cell.id in runs for cell in group.cells)} runs"
        told.append(
            f"{group.cell.label} on {group.cell.task}: {count} go on from "
            f"{' or '.join(f'{one:,}' for one in sorted(steps))} steps ({sources}): schedules ended there, and the "
            "best policy is of the evaluations of both"
        )
    return told


def left_out(rows: Sequence[Row]) -> list[str]:
    """Tasks that the aggregates do without, and aggregates that are withheld."""
    from marlbench.analysis.comparison import by_backend, common_tasks

    told = []
    backends = by_backend(rows)
    for backend, here in backends.items():
        where = f" ({backend})" if len(backends) > 1 else ""
        common = common_tasks(here)
        labels = {row.cell.label for row in here if row.n}
        reasons = []
        for task in dict.fromkeys(row.cell.task for row in here if row.n):
            have = {row.cell.label for row in here if row.cell.task == task and row.n}
            if task not in common:
                reasons.append(f"{task} (no run of {_limited(sorted(labels - have))})")
        if not reasons:
            continue
        told_reasons = _limited(reasons)
        if common:
            told.append(f"left out of the aggregate{where}, for every algorithm: {told_reasons}")
        else:
            told.append(f"no aggregate{where}, for no task has a run of every algorithm: {told_reasons}")
    return told


def too_few(rows: Sequence[Row]) -> list[str]:
    """Tasks whose runs are too few for any test to be significant, whatever their scores."""
    from marlbench.analysis.comparison import by_backend
    from marlbench.analysis.significance import LEVEL, least_p

    found: dict[str, list[str]] = {}
    for here in by_backend(rows).values():
        for task in dict.fromkeys(row.cell.task for row in here):
            counts = sorted(row.n for row in here if row.cell.task == task and row.n)
            if len(counts) < 2:
                continue
            pairs = len(counts) * (len(counts) - 1) // 2
            most, second = counts[-1], counts[-2]
            if second < 2:
                found.setdefault("a single run has no spread to test with", []).append(task)
            elif pairs * least_p(most, second) > LEVEL:
                times = f" times {pairs} pairs" if pairs > 1 else ""
                least = f"of {most} and {second} runs no p-value is below {least_p(most, second):.2g}{times}"
                found.setdefault(least, []).append(task)
    return [
        f"too few runs to tell any two apart on {_limited(list(dict.fromkeys(tasks)))}: {why}"
        for why, tasks in found.items()
    ]


def beside(published: Sequence[PublishedRow]) -> list[str]:
    """Where published numbers come from, and what differs from our protocol; one sentence for each table."""
    protocols: dict[tuple[str, str], str] = {}
    differences: dict[tuple[str, str], dict[str, None]] = {}
    for row in published:
        key = (row.label, row.source)
        protocols[key] = row.protocol
        differences.setdefault(key, {}).update(dict.fromkeys(row.differences))
    return [
        f"published [{key[0]}], shown and not pooled: {key[1]}: {'; '.join([protocol, *differences[key]])}"
        for key, protocol in protocols.items()
    ]


def mixed(runs: Iterable[Run]) -> list[str]:
    """Circumstances that were not the same for all runs; they are not part of a cell's identity."""
    runs = list(runs)
    told = [f"mixed {key}: {_counted(found)}" for key, found in _differing(run.circumstances for run in runs)]
    versions = dict(_differing(run.versions for run in runs))
    named = [f"{name} {_counted(versions.pop(name))}" for name in _MAIN_PACKAGES if name in versions]
    if versions:
        named.append(_limited(sorted(versions)))
    return [*told, f"mixed versions: {'; '.join(named)}"] if named else told


def _differing(found: Iterable[Mapping[str, str]]) -> list[tuple[str, Counter[str]]]:
    # Thousands of runs share a handful of mappings.
    shared: dict[int, Mapping[str, str]] = {}
    counts: Counter[int] = Counter()
    for mapping in found:
        shared[id(mapping)] = mapping
        counts[id(mapping)] += 1
    seen: dict[str, Counter[str]] = {}
    for place, count in counts.items():
        for key, value in shared[place].items():
            seen.setdefault(key, Counter())[value] += count
    return [(key, values) for key, values in seen.items() if len(values) > 1]


def _counted(values: Counter[str]) -> str:
    return _limited([f"{value} ({count})" for value, count in values.most_common()])


def other_revisions(store: Store, groups: Sequence[CellGroup]) -> list[str]:
    """Results in the store of the same task and algorithm under another revision: they are not counted.

    Reads every cell.json of the store.
    """
    from marlbench.store.states import State

    wanted = {(g.cell.suite, g.cell.task, g.cell.algorithm, g.cell.backend): g.cell for g in groups}
    found = {}
    for entry in store.cells():
        cell = entry.cell
        of_matrix = wanted.get((cell.suite, cell.task, cell.algorithm, cell.backend))
        if of_matrix is None:
            continue
        revisions = (cell.task_revision, cell.algorithm_revision)
        if revisions != (of_matrix.task_revision, of_matrix.algorithm_revision):
            found[entry.id] = (cell, of_matrix)
    states = store.states(found)
    counts: Counter[str] = Counter()
    for cell_id, (cell, now) in found.items():
        if states[cell_id].state is State.DONE:
            if cell.task_revision != now.task_revision:
                counts[
                    f"of revision {cell.task_revision} of the task {cell.task} (now {now.task_revision})"
                ] += 1
            else:
                old, new = cell.algorithm_revision, now.algorithm_revision
                counts[f"of revision {old} of the algorithm {cell.algorithm} (now {new})"] += 1
    return [f"results not counted: {count} {what}" for what, count in counts.items()]


def _by_value(found: Mapping[str, Any]) -> str:
    """`value (name, name); value (name)`."""
    names: dict[str, list[str]] = {}
    for name, value in found.items():
        names.setdefault(str(value), []).append(name)
    return "; ".join(f"{value} ({_limited(of)})" for value, of in names.items())


def _limited(words: Sequence[str]) -> str:
    rest = len(words) - _NAMED
    return ", ".join(words[:_NAMED]) + (f" and {rest} more" if rest > 0 else "")
