"""What a search is about: the cells of a trial, whether its space can be used, and its result as part of a suite."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from marlbench.analysis.measurements import measurements
from marlbench.catalog.matrix import Matrix, resolve
from marlbench.catalog.selection import Override, format_seeds
from marlbench.catalog.types import TUNING_SEED
from marlbench.store.store import Store
from marlbench.tuning.space import Space
from marlbench.tuning.study import Sampler, Study, Trial

SCHEMA = 1


@dataclass(frozen=True)
class Search:
    """A search for hyperparameters of one algorithm.

    Attributes:
        suite: name or path.
        label: of the algorithm in the suite.
        seeds_per_trial: each trial is trained with so many of the seeds that are reserved for this.
        tasks, steps, preset, overrides: as for `catalog.matrix.resolve`; a trial is trained on every task.
    """

    suite: str
    label: str
    space: Space
    seeds_per_trial: int
    tasks: Sequence[str] = ()
    steps: int | None = None
    preset: str | None = None
    overrides: Sequence[Override] = ()

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(range(TUNING_SEED, TUNING_SEED + self.seeds_per_trial))

    @cached_property
    def base(self) -> Matrix:
        """The cells with the settings that the suite has."""
        return self.matrix({})

    def matrix(self, hyperparameters: Mapping[str, Any]) -> Matrix:
        """The cells of one trial.

        Raises:
            UsageError, ConfigurationError: they cannot be had.
        """
        tried = [
            Override(self.label, name, value, f"--space {name}={value}")
            for name, value in hyperparameters.items()
        ]
        return resolve(
            [self.suite],
            tasks=self.tasks,
            algorithms=[self.label],
            seeds=self.seeds,
            steps=self.steps,
            preset=self.preset,
            overrides=(*self.overrides, *tried),
            tuning=True,
        )

    def check(self) -> None:
        """Try both ends of every interval and every choice, before anything is trained.

        Raises:
            UsageError, ConfigurationError: one of them cannot be used.
        """
        for name, dimension in self.space.dimensions.items():
            for value in dimension.extremes():
                self.matrix({name: value})

    def study(self, root: Path, sampler: Sampler, seed: int) -> Study:
        """The study of this search in a store. What the suite says of the searched hyperparameters is no part of it."""
        cells = []
        for cell in self.base.cells:
            identity = cell.identity()
            fixed = {k: v for k, v in identity["hyperparameters"].items() if k not in self.space.dimensions}
            cells.append({**identity, "hyperparameters": fixed})
        return Study(root, {"label": self.label, "cells": cells}, self.space, sampler, seed)

    def together(self, trials: Iterable[Trial]) -> Matrix:
        """The cells of several trials, each once."""
        groups = {
            group.cell.group(): group
            for trial in trials
            for group in self.matrix(trial.hyperparameters).groups
        }
        return replace(self.base, groups=tuple(groups.values()))

    def settle(self, study: Study, trial: Trial, store: Store, failures: Mapping[str, str]) -> bool:
        """Write down what a trial came to; False where runs of it are missing that did not fail.

        Args:
            failures: cell id -> why it failed.
        """
        cells = self.matrix(trial.hyperparameters).cells
        failed = [failures[cell.id] for cell in cells if cell.id in failures]
        if failed:
            study.finish(trial.number, (), failed[0])
            return True
        scores = [run.score for run in measurements(store, cells) if run.score is not None]
        if len(scores) < len(cells):
            return False
        study.finish(trial.number, scores)
        return True

    def entry(self, study: Study, best: Trial) -> str:
        """The best settings as text that belongs under `algorithms` of a suite file."""
        written = self.base.suites[0].suite.algorithms.get(self.label)
        first = self.base.groups[0].cell
        fixed = {**(written.hyperparameters if written else {})}
        fixed |= {one.field: one.value for one in self.overrides if one.target in (self.label, "algorithm")}
        tuning = {
            "trials": len(study.trials),
            "seeds": format_seeds(self.seeds),
            "steps": first.steps,
            "metric": "score",
            "tasks": list(dict.fromkeys(group.cell.task for group in self.base.groups)),
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        }
        failed = sum(bool(trial.failed) for trial in study.trials)
        lines = [
            f"# Study {study.id}: trial {best.number} scored {best.value:.4g} over {len(best.scores)} runs; "
            f"{failed} of {len(study.trials)} trials failed.",
            "algorithms:",
            f"  {self.label}_tuned:",
            f"    algorithm: {first.algorithm}",
            *([f"    settings: {written.settings}"] if written is not None and written.settings else []),
            f"    hyperparameters: {_flow({**fixed, **best.hyperparameters})}",
            f"    tuning: {_flow(tuning)}",
        ]
        return "\n".join(lines) + "\n"

    def to_json(self, study: Study, best: Trial) -> dict[str, Any]:
        """The document of `tune --json`."""
        return {
            "schema": SCHEMA,
            "study": study.id,
            "file": str(study.path),
            "budget": {
                "trials": len(study.trials),
                "seeds": list(self.seeds),
                "steps": self.base.groups[0].cell.steps,
                "runs": len(study.trials) * len(self.base.cells),
            },
            "best": {
                "number": best.number,
                "score": best.value,
                "hyperparameters": dict(best.hyperparameters),
            },
            "trials": [
                {
                    "number": trial.number,
                    "hyperparameters": dict(trial.hyperparameters),
                    "score": trial.value,
                    "failed": trial.failed or None,
                }
                for trial in study.trials
            ],
        }


def _flow(values: Mapping[str, Any]) -> str:
    # JSON of plain values is YAML, quotes included: a date or a range of seeds stays text.
    return "{" + ", ".join(f"{name}: {json.dumps(value)}" for name, value in values.items()) + "}"
