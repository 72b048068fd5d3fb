"""The run of MLflow that shows a report of the store: page and figures as its artifacts.

It lies in the experiment of the suite beside the runs of the cells, has no params and no metrics, and lacks their tags,
so that the views of cells do not meet it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from marlbench.store import kept_reports
from marlbench.store.kept_reports import FIGURES, PAGE, STUDY, KeptReport
from marlbench.tracking.client import CallFailed, Failure, calling, connect
from marlbench.tracking.content import STORE
from marlbench.tracking.ledger import Ledger, Row
from marlbench.tracking.target import Target, TrackingError

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from marlbench.tracking.runs import Runs

KIND, KIND_VALUE = "marlbench.kind", "comparison"
MATRIX = "marlbench.matrix_id"
_NOTE = "mlflow.note.content"


@dataclass(frozen=True)
class Shown:
    """A report in MLflow: ids of its experiment and run."""

    suite: str
    title: str
    experiment: str
    run: str

    def url(self, base: str) -> str:
        """The URL of the page."""
        ids = f"experiments/{quote(self.experiment, safe='')}/runs/{quote(self.run, safe='')}"
        return f"{base.rstrip('/')}/#/{ids}/artifacts/{PAGE}?workflowType=machine_learning"


def pending(root: Path, ledger: Ledger) -> dict[str, str]:
    """The reports of the store that MLflow does not show as they are now: name -> mark."""
    return {
        name: mark
        for name, mark in kept_reports.marks(root).items()
        if (row := ledger.rows.get(_key(name))) is None or row.mark != mark
    }


class Comparisons:
    """Brings the reports of one store to one MLflow. Every call may raise CallFailed, and can be made again."""

    def __init__(self, client: MlflowClient, target: Target, ledger: Ledger, runs: Runs, store: str) -> None:
        """`store` names the store."""
        self._client = client
        self._target = target
        self._ledger = ledger
        self._runs = runs
        self._store = store

    def show(self, root: Path, name: str, mark: str) -> bool:
        """Make MLflow show a report; False where a person deleted its run, which is then left alone."""
        place = root / kept_reports.FOLDER / name
        report = kept_reports.read(place)
        if report is None:
            # Cannot be read: not looked at again before it changes.
            self._ledger.put(_key(name), Row("", "", KIND_VALUE, mark))
            return True
        experiment = self._runs.experiment(report.suite)
        row = self._ledger.rows.get(_key(name))
        run = self._alive(row.run) if row is not None and row.experiment == experiment else None
        if run == "":
            self._ledger.put(_key(name), Row(experiment, row.run if row else "", KIND_VALUE, mark))
            return False
        run = run or self._find(experiment, report.matrix) or self._make(experiment, report)
        self._ledger.put(_key(name), Row(experiment, run, KIND_VALUE))
        with calling(self._target):
            self._client.log_artifact(run, str(place / PAGE))
            for folder in (FIGURES, STUDY):
                if (place / folder).is_dir():
                    self._client.log_artifacts(run, str(place / folder), folder)
            for key, value in _tags(report, self._store).items():
                self._client.set_tag(run, key, value)
            self._client.set_terminated(run, "FINISHED", report.finished_ms or None)
        self._ledger.put(_key(name), Row(experiment, run, KIND_VALUE, mark))
        return True

    def _alive(self, run: str) -> str | None:
        """The run's id; None where there is none such, "" where it was deleted."""
        try:
            with calling(self._target):
                found = self._client.get_run(run)
        except CallFailed as failed:
            if failed.failure is Failure.GONE:
                return None
            raise
        return run if found.info.lifecycle_stage == "active" else ""

    def _find(self, experiment: str, matrix: str) -> str | None:
        query = " and ".join(
            f"tags.`{key}` = '{value}'"
            for key, value in ((KIND, KIND_VALUE), (MATRIX, matrix), (STORE, self._store))
        )
        with calling(self._target):
            found = self._client.search_runs([experiment], filter_string=query, max_results=1)
        return str(found[0].info.run_id) if found else None

    def _make(self, experiment: str, report: KeptReport) -> str:
        with calling(self._target):
            made = self._client.create_run(
                experiment,
                report.finished_ms or None,
                tags=_tags(report, self._store),
                run_name=f"report/{report.matrix}",
            )
        return str(made.info.run_id)


def shown(target: Target, experiments: dict[str, Any]) -> Iterator[Shown]:
    """The reports that a target has, the latest of each suite first.

    Args:
        experiments: of the suites, by suite.

    Raises:
        TrackingError: the target does not answer.
    """
    try:
        client = connect(target)
        for suite, experiment in experiments.items():
            with calling(target):
                found = client.search_runs(
                    [experiment.experiment_id],
                    filter_string=f"tags.`{KIND}` = '{KIND_VALUE}'",
                    order_by=["attributes.start_time DESC"],
                )
            for run in found:
                title = run.data.tags.get("marlbench.title", suite)
                yield Shown(suite, title, experiment.experiment_id, run.info.run_id)
    except CallFailed as failed:
        raise TrackingError(f"MLflow at {target} does not answer: {failed}") from failed


def _tags(report: KeptReport, store: str) -> dict[str, str]:
    lines = "\n".join(f"- {sentence}" for sentence in report.summary)
    return {
        KIND: KIND_VALUE,
        MATRIX: report.matrix,
        STORE: store,
        "marlbench.suite": report.suite,
        "marlbench.title": report.title,
        "mlflow.source.name": "marlbench",
        _NOTE: f"**{report.title}**\n\n{lines}\n\nThe report is the artifact {PAGE}."[:5000],
    }


def _key(name: str) -> str:
    # Cells' ids are hexadecimal digits.
    return f"report {name}"
