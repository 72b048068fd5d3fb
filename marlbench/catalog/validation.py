"""Whether a suite can run: every preset resolves, and on request every environment and algorithm is built."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from marlbench import plugins
from marlbench.catalog.document import Document, Location
from marlbench.catalog.matrix import Matrix, resolve
from marlbench.catalog.resolution import CellGroup
from marlbench.catalog.suite import load_suite
from marlbench.catalog.types import FULL
from marlbench.errors import MarlbenchError, did_you_mean

# What the evaluation measures of any task, see `training.episodes`.
COMMON_METRICS = ("return_mean", "return_sum", "episode_length")


def check_suite(name: str, *, build: bool = False) -> dict[str, Any]:
    """Resolve a suite, given by name or path, with every preset.

    Args:
        build: also build every environment with one row, check the score's metric against it, and build every
            algorithm for it.

    Returns:
        `file`, `sha256`, `tasks`, the number of tasks, and `cells`, the number of cells by preset.

    Raises:
        ConfigurationError: the first thing that is wrong.
    """
    loaded = load_suite(name)
    full = resolve([name])
    cells = {FULL: len(full.cells)}
    for preset in loaded.suite.presets:
        cells[preset] = len(resolve([name], preset=preset).cells)
    if build:
        _build(full)
    return {
        "file": str(loaded.found.path),
        "sha256": loaded.sha256,
        "tasks": len(loaded.suite.tasks),
        "cells": cells,
    }


def _build(matrix: Matrix) -> None:
    by_task: dict[str, list[CellGroup]] = {}
    for group in matrix.groups:
        by_task.setdefault(group.cell.task, []).append(group)
    for groups in by_task.values():
        _build_task(groups)


def _build_task(groups: list[CellGroup]) -> None:
    import torch

    from marlbench.algorithms.base import Setting

    document, cell = groups[0].suite.document, groups[0].cell
    place: Location = ("tasks", cell.task)
    device = torch.device("cpu")
    with _told(document, (*place, "environment")):
        plugged = plugins.load("environments", cell.environment.partition(":")[0])
        environment = plugged(plugged.Parameters(**cell.parameters), 1, device)
    try:
        specification = environment.specification
        if specification.continuing and cell.protocol["kind"] == "episodic":
            problem = "the episodes of this environment never end, and the protocol evaluates episodes."
            hint = (
                "Give the task `protocol: {kind: continuing, length: ...}` or `{kind: online, window: ...}`."
            )
            raise document.error((*place, "environment"), problem, hint)
        metric = cell.score["metric"]
        known = (*COMMON_METRICS, *specification.metrics)
        if cell.protocol["kind"] == "episodic" and metric not in known:
            problem = f"the task has no metric '{metric}'."
            raise document.error((*place, "score", "metric"), problem, did_you_mean(metric, known))
        for group in groups:
            with _told(document, ("algorithms", group.cell.label), f"on the task '{cell.task}': "):
                method = plugins.load("algorithms", group.cell.algorithm)
                # In files with holes instead of in memory: a replay may be larger than that.
                with TemporaryDirectory() as folder:
                    setting = Setting(
                        specification, (group.cell.seed,), 1, group.cell.steps, device, Path(folder)
                    )
                    method(setting, method.Hyperparameters(**group.cell.hyperparameters)).close()
    finally:
        environment.close()


@contextmanager
def _told(document: Document, location: Location, where: str = "") -> Iterator[None]:
    """Errors of plug-ins with the place in the suite file that caused them."""
    try:
        yield
    except MarlbenchError as error:
        raise document.error(location, f"{where}{error}", error.hint) from error
    except Exception as error:
        problem = f"{where}cannot be built: {type(error).__name__}: {error}."
        raise document.error(location, problem) from error
