"""The files of a finished cell's run: configuration, versions, per-episode evaluations, learning curve."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from marlbench.catalog.cell import Cell
from marlbench.store import pictures

CONFIGURATION = "configuration.json"
VERSIONS = "versions.json"
EPISODES = "episodes.parquet"
CURVE = "learning_curve.png"
PICTURES = "pictures"


def write_all(
    folder: Path, cell: Cell, records: Sequence[Mapping[str, Any]], result: Mapping[str, Any]
) -> None:
    """Write every file into `folder`; the same cell gives the same bytes.

    A cell that took hardly longer than drawing its curve has none: MLflow charts the same values.
    """
    execution = result["execution"]
    _write_json(folder / CONFIGURATION, {"cell": cell.id, **cell.to_json()})
    _write_json(
        folder / VERSIONS,
        {key: execution.get(key) for key in ("versions", "git_sha", "device", "device_name", "threads")},
    )
    write_episodes(folder / EPISODES, records)
    shared_by = len(execution.get("members", [cell.id]))
    if execution.get("cpu_seconds", math.inf) >= pictures.WORTHWHILE * shared_by:
        write_curve(folder / CURVE, cell, records, result)


def copy(folder: Path, drawn: Sequence[Path]) -> None:
    """The pictures of a cell, in a folder of their own."""
    for path in drawn:
        (folder / PICTURES).mkdir(exist_ok=True)
        shutil.copyfile(path, folder / PICTURES / path.name)


def write_episodes(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Every episode of every evaluation as Parquet: kind, step, metric, episode (from 0), value."""
    import pyarrow as pa
    import pyarrow.parquet as parquet

    columns: dict[str, list[Any]] = {name: [] for name in ("kind", "step", "metric", "episode", "value")}
    for record in records:
        for metric, values in (record.get("episodes") or {}).items():
            count = len(values)
            columns["kind"] += [record["kind"]] * count
            columns["step"] += [record["step"]] * count
            columns["metric"] += [metric] * count
            columns["episode"] += range(count)
            columns["value"] += values
    types = {
        "kind": pa.string(),
        "step": pa.int64(),
        "metric": pa.string(),
        "episode": pa.int32(),
        "value": pa.float64(),
    }
    parquet.write_table(pa.table(columns, schema=pa.schema(list(types.items()))), path)


def write_curve(
    path: Path, cell: Cell, records: Iterable[Mapping[str, Any]], result: Mapping[str, Any]
) -> None:
    """The suite's metric at every evaluation over environment steps, and the absolute metric, as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    metric = str(cell.score["metric"])
    curve = [
        (record["step"], value)
        for record in records
        if record["kind"] == "evaluation" and math.isfinite(value := _number(record["values"].get(metric)))
    ]
    # A fixed layout: fitting one takes as long as drawing.
    figure = Figure(figsize=(6.0, 3.6))
    figure.subplots_adjust(left=0.14, right=0.97, bottom=0.15, top=0.91)
    axes = figure.add_subplot()
    axes.plot([step for step, _ in curve], [value for _, value in curve], marker="o", markersize=3)
    absolute = _number((result["outcome"].get("absolute") or {}).get(metric))
    if math.isfinite(absolute):
        axes.axhline(absolute, linestyle="--", color="gray", label="absolute metric of the best policy")
        axes.legend()
    title = f"{cell.label} on {cell.task} ({cell.backend}), seed {cell.seed}"
    if result["outcome"]["status"] == "diverged":
        title += ", diverged"
    # Names are users' words: a dollar sign in them is no formula.
    axes.set_title(title, parse_math=False)
    axes.set_xlabel("environment steps")
    axes.set_ylabel(metric, parse_math=False)
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=100, metadata={"Software": None}, pil_kwargs={"compress_level": 1})


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else math.nan


def _write_json(path: Path, document: dict[str, Any]) -> None:
    path.write_text(json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False, default=str) + "\n")
