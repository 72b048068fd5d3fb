"""`marlbench eval`: a trained policy on fresh episodes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from marlbench.cli.options import Json, Results
from marlbench.cli.policy_options import CellName, ChosenActions, Device, WhichPolicy

if TYPE_CHECKING:
    from marlbench.catalog.cell import Cell
    from marlbench.policies.evaluating import Evaluation
    from marlbench.policies.trained import StoredPolicy
    from marlbench.store.states import CellEntry
    from marlbench.store.store import Store

SCHEMA = 1

Episodes = Annotated[
    int | None,
    typer.Option("--episodes", min=1, metavar="N", help="Default: as many as the absolute evaluation."),
]
Seed = Annotated[
    int | None, typer.Option("--seed", min=0, metavar="K", help="Which fresh episodes. Default: 0.")
]
Repeat = Annotated[
    bool,
    typer.Option(
        "--repeat",
        help="Play the recorded absolute evaluation again; on the CPU it must give the same numbers, bit for bit.",
    ),
]


def command(
    cell: CellName,
    episodes: Episodes = None,
    which: WhichPolicy = "best",
    seed: Seed = None,
    policy: ChosenActions = None,
    repeat: Repeat = False,
    device: Device = "cpu",
    results: Results = None,
    as_json: Json = False,
) -> None:
    """Evaluate the trained policy of a done cell on fresh episodes, beside what its result recorded."""
    from marlbench.cli.console import print_json
    from marlbench.cli.policy_options import device_named, open_store, tell_notes
    from marlbench.errors import MarlbenchError, UsageError
    from marlbench.policies import evaluating, trained
    from marlbench.store import naming
    from marlbench.store.numbers import encode

    if repeat and (episodes, which, seed, policy) != (None, "best", None, None):
        raise UsageError(
            "--repeat plays what was recorded: it takes no --episodes, --which, --seed or --policy.",
            "Leave them out.",
        )
    store = open_store(results)
    entry = naming.find(store, cell)
    where = device_named(device)
    if repeat:
        stored = trained.read(store, entry)
        found, member = evaluating.repeat(trained.whole_job(store, stored), stored, where)
    else:
        stored, rebuilt = trained.rebuild(store, entry, which, where)
        tell_notes(rebuilt.notes)
        count = episodes or int(stored.cell.protocol["absolute_episodes"])
        found, member = evaluating.evaluate(rebuilt, policy, count, seed or 0), 0
        rebuilt.close()
    document = _document(stored, found, member, _recorded(store, entry, which), which, seed or 0)
    document |= {"device": device, "repeats": None}
    if repeat:
        document["stream"] = "absolute"
        document["repeats"] = all(
            float(value[member].mean()) == stored.outcome["absolute"].get(name)
            for name, value in found.values.items()
        )
    if as_json:
        print_json(encode(document))
    else:
        _print(document)
    if document["repeats"] is False and device == "cpu" == stored.result["execution"].get("device"):
        raise MarlbenchError(
            "the recorded absolute evaluation does not repeat.",
            "Are the versions of torch and of the simulator those that its result.json names?",
        )


def _recorded(store: Store, entry: CellEntry, which: str) -> dict[str, Any] | None:
    """The evaluation in the journal that is of the same policy."""
    from marlbench.store import journal

    kind = "absolute" if which == "best" else "evaluation"
    record = journal.read_last(entry.directory / journal.NAME, kind)
    if record is None:
        return None
    told = {"kind": kind, "step": record["step"], "episodes": None, "metrics": {}}
    episodes = record.get("episodes") or {}
    for name, value in record["values"].items():
        told["metrics"][name] = {"mean": value, "low": None, "high": None}
    if episodes:
        told["episodes"] = len(next(iter(episodes.values())))
        told["metrics"] |= {name: _mean(values) for name, values in _with_score(entry.cell, episodes).items()}
    return told


def _with_score(cell: Cell, values: Mapping[str, list[float]]) -> dict[str, list[float]]:
    """The values of episodes and, first, their scores by the task's bounds."""
    low, high, metric = float(cell.score["low"]), float(cell.score["high"]), str(cell.score["metric"])
    if metric not in values:
        return dict(values)
    score = [(value - low) / (high - low) for value in values[metric]]
    return {metric: values[metric], "score": score, **values}


def _mean(values: list[float]) -> dict[str, float | None]:
    from marlbench.analysis.means import mean_of

    found = mean_of(values)
    return {"mean": found.mean, "low": found.low, "high": found.high}


def _document(
    stored: StoredPolicy,
    found: Evaluation,
    member: int,
    recorded: dict[str, Any] | None,
    which: str,
    seed: int,
) -> dict[str, Any]:
    from marlbench.store import naming

    cell = stored.cell
    values = _with_score(cell, found.of(member))
    return {
        "schema": SCHEMA,
        "cell": cell.id,
        "name": naming.name(cell),
        "which": which,
        "steps": stored.outcome["steps"],
        "protocol": found.protocol.model_dump(mode="json", exclude_none=True),
        "stream": f"fresh {seed}",
        "metric": cell.score["metric"],
        "episodes": len(next(iter(values.values()))),
        "metrics": {name: _mean(of_name) for name, of_name in values.items()},
        "recorded": recorded,
        "values": values,
    }


def _print(document: Mapping[str, Any]) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from marlbench.cli.console import data

    console = data()
    console.print(Text(f"{document['name']} ({document['cell'][:12]})", style="bold"))
    protocol, recorded = document["protocol"], document["recorded"]
    what = "episodes" if protocol["kind"] == "episodic" else f"windows of {protocol['length']:,} steps"
    stream = "those of the absolute evaluation again"
    if document["stream"] != "absolute":
        stream = f"fresh, --seed {document['stream'].removeprefix('fresh ')}"
    console.print(
        f"  the {document['which']} policy of {document['steps']:,} steps, {protocol['policy']} actions, "
        f"{document['episodes']:,} {what} ({stream})",
        markup=False,
    )
    if recorded is not None:
        title = "the absolute evaluation" if recorded["kind"] == "absolute" else "the last evaluation"
        size = f" of {recorded['episodes']:,} episodes" if recorded["episodes"] else ""
        console.print(f"  recorded: {title}{size}", markup=False)
    table = Table(box=box.SIMPLE_HEAD, show_edge=False)
    for column in ("", "mean", "95 % interval", *(("recorded", "its interval") if recorded else ())):
        table.add_column(column, justify="left" if not column else "right")
    for name, mean in document["metrics"].items():
        marked = f"{name} (scored)" if name == document["metric"] else name
        row = [marked, _number(mean["mean"]), _interval(mean)]
        if recorded is not None:
            there = recorded["metrics"].get(name, {"mean": None, "low": None, "high": None})
            row += [_number(there["mean"]), _interval(there)]
        table.add_row(*(Text(text) for text in row))
    console.print(table)
    if document["repeats"] is not None:
        same = "the same numbers, bit for bit" if document["repeats"] else "not the same numbers"
        console.print(f"  {same}", markup=False)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _interval(mean: Mapping[str, float | None]) -> str:
    low, high = mean["low"], mean["high"]
    return "" if low is None or high is None else f"[{low:.4g}, {high:.4g}]"
