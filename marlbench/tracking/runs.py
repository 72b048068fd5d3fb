"""The runs of one MLflow: one per cell, found again or made, and brought up to what a page shows.

Idempotent without trusting any memory: the first time this process touches a run that it did not make itself, and
after every failed call, it asks MLflow which points are there and sends only what is missing. So a process killed
anywhere, or a server that answered too late, doubles nothing, on servers that would keep doubles too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from marlbench.tracking import content
from marlbench.tracking.client import CallFailed, Failure, calling
from marlbench.tracking.content import Page, Point
from marlbench.tracking.ledger import Ledger, Row
from marlbench.tracking.target import TrackingError

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

    from marlbench.tracking.target import Target

METRICS = 900  # of the 1000 entities that a batch may hold, the rest for params and tags
PARAMS_OR_TAGS = 50
# Asking for the runs of many cells one by one takes longer than reading the whole experiment.
FEW = 200


@dataclass
class Live:
    """A run that this process has touched.

    Attributes:
        sent: how many of the page's points are there, where nothing failed since; None: MLflow must be asked.
    """

    id: str
    journal: str
    sent: int | None
    status: str = ""
    ended_ms: int | None = None
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)


class Runs:
    """Every call may raise CallFailed; after that the same call can be made again."""

    def __init__(
        self,
        client: MlflowClient,
        target: Target,
        ledger: Ledger,
        store: str,
        artifact_root: str | None,
    ) -> None:
        """`store` names the store; `artifact_root` is where new experiments keep artifacts, None: where MLflow says."""
        self.client = client
        self.experiments: dict[str, str] = {}
        self._target = target
        self._ledger = ledger
        self._store = store
        self._artifact_root = artifact_root
        self._live: dict[str, Live] = {}
        self._found: dict[str, dict[str, list[Run]]] = {}

    # experiments

    def experiment(self, suite: str) -> str:
        """The id of a suite's experiment, made where it is missing.

        Raises:
            TrackingError: a person deleted it.
        """
        if suite in self.experiments:
            return self.experiments[suite]
        name = f"marlbench/{suite}"
        with calling(self._target):
            found = self.client.get_experiment_by_name(name)
            if found is None:
                found = self._make_experiment(name, suite)
        if found.lifecycle_stage != "active":
            raise TrackingError(
                f"the experiment {name} was deleted in MLflow at {self._target}.",
                f"`mlflow experiments restore --experiment-id {found.experiment_id}` brings it back.",
            )
        self._ledger.recognise(suite, found.experiment_id, str(found.creation_time))
        self.experiments[suite] = found.experiment_id
        return found.experiment_id

    def _make_experiment(self, name: str, suite: str) -> Any:
        location = f"{self._artifact_root}/{suite}" if self._artifact_root is not None else None
        try:
            # Without the kind, the page asks a newcomer what kind of experiment this is.
            self.client.create_experiment(
                name, location, tags={"mlflow.experimentKind": "custom_model_development"}
            )
        except Exception:
            # Another store on the same server may have made it in this moment.
            found = self.client.get_experiment_by_name(name)
            if found is None:
                raise
            return found
        return self.client.get_experiment_by_name(name)

    # finding

    def prefetch(self, suite: str, cells: Iterable[str]) -> None:
        """Look for the runs of cells that the ledger does not know, all at once where they are many."""
        experiment = self.experiment(suite)
        unknown = [cell for cell in cells if cell not in self._ledger.rows]
        if len(unknown) <= FEW or experiment in self._found:
            return
        runs: dict[str, list[Run]] = {}
        for run in self._search(experiment, ""):
            if content.CELL in run.data.tags:
                runs.setdefault(run.data.tags[content.CELL], []).append(run)
        self._found[experiment] = runs

    def forget(self) -> None:
        """Drop what was found in advance: later, others may have made runs."""
        self._found.clear()

    def _search(self, experiment: str, query: str) -> Iterator[Run]:
        token = None
        while True:
            with calling(self._target):
                page = self.client.search_runs(
                    [experiment],
                    filter_string=query,
                    max_results=500,
                    order_by=["attributes.start_time ASC"],
                    page_token=token,
                )
            yield from page
            token = page.token
            if not token:
                return

    def _runs_of(self, experiment: str, cell: str) -> list[Run]:
        if experiment in self._found:
            return self._found[experiment].pop(cell, [])
        return list(self._search(experiment, f"tags.`{content.CELL}` = '{cell}'"))

    # one cell

    def show(self, page: Page) -> Live | None:
        """Make the run of a cell show the page; None where a person deleted the run.

        Points are sent in chunks; a failure leaves some of them there, and the next call sends the others.
        """
        for again in (True, False):
            try:
                live = self._run_of(page)
                self._bring(live, page)
            except CallFailed as failed:
                kept = self._live.get(page.cell)
                if kept is not None:
                    kept.sent = None
                if failed.failure is Failure.GONE and again:
                    # The run, or the experiment, or the whole database is another one.
                    self._live.pop(page.cell, None)
                    self._ledger.drop(page.cell)
                    self.experiments.clear()
                    continue
                if failed.failure is Failure.WITHDRAWN:
                    return None
                raise
            return live
        raise AssertionError("unreachable")

    def _run_of(self, page: Page) -> Live:
        """The run that shows this journal under this name; others of the cell are superseded."""
        experiment = self.experiment(page.suite)
        live = self._live.get(page.cell)
        if live is None:
            row = self._ledger.rows.get(page.cell)
            if row is not None and row.experiment == experiment:
                live = Live(row.run, row.journal, sent=None)
            else:
                live = self._find(experiment, page)
        if live is not None and live.journal != _shown(page):
            self._supersede(live.id)
            live = None
        if live is None:
            live = self._make(experiment, page)
        self._live[page.cell] = live
        row = Row(experiment, live.id, live.journal)
        known = self._ledger.rows.get(page.cell)
        if known is None or (known.run, known.journal) != (row.run, row.journal):
            self._ledger.put(page.cell, row)
        return live

    def _find(self, experiment: str, page: Page) -> Live | None:
        found: Live | None = None
        for run in self._runs_of(experiment, page.cell):
            tags = run.data.tags
            if tags.get(content.SUPERSEDED) == "true":
                continue
            algorithm = page.params["algorithm"]
            # A run whose maker died early has no params yet.
            same = tags.get(content.JOURNAL) == page.journal
            same = same and run.data.params.get("algorithm", algorithm) == algorithm
            if same and found is None:
                found = Live(run.info.run_id, _shown(page), sent=None)
            elif same or tags.get(content.STORE) == self._store:
                self._supersede(run.info.run_id)
        return found

    def _make(self, experiment: str, page: Page) -> Live:
        try:
            with calling(self._target):
                # The tags by which it is found again come into being with it.
                run = self.client.create_run(experiment, page.started_ms, tags=page.tags, run_name=page.name)
        except CallFailed:
            # It may have been made all the same; next time the search finds it.
            self._found.pop(experiment, None)
            raise
        return Live(run.info.run_id, _shown(page), sent=0, status="RUNNING", tags=dict(page.tags))

    def _supersede(self, run: str) -> None:
        """Take a run out of sight: marked, ended, and deleted as the page deletes, so that charts leave it out."""
        with calling(self._target):
            try:
                self.client.set_tag(run, content.SUPERSEDED, "true")
                self.client.update_run(run, status="KILLED")
                self.client.delete_run(run)
            except Exception as error:
                # It may be gone or deleted already, or deleting may not be allowed: the tag is what counts.
                from mlflow.exceptions import MlflowException

                if not isinstance(error, MlflowException) or error.error_code == "INTERNAL_ERROR":
                    raise

    def _bring(self, live: Live, page: Page) -> None:
        points = self._missing(live, page) if live.sent is None else page.points[live.sent :]
        params = [(k, v) for k, v in page.params.items() if k not in live.params]
        tags = [(k, v) for k, v in page.tags.items() if live.tags.get(k) != v]
        for metric_chunk, param_chunk, tag_chunk in _chunks(points, params, tags):
            self._log(live.id, metric_chunk, param_chunk, tag_chunk)
        # A damaged journal shows less than it did.
        live.sent = len(page.points) if live.sent is None or len(page.points) >= live.sent else None
        live.params |= params
        live.tags |= tags
        if live.status != page.status or page.ended_ms not in (None, live.ended_ms):
            with calling(self._target):
                if page.ended_ms is None:
                    self.client.update_run(live.id, status=page.status)
                else:
                    self.client.set_terminated(live.id, page.status, page.ended_ms)
            live.status, live.ended_ms = page.status, page.ended_ms

    def _missing(self, live: Live, page: Page) -> list[Point]:
        """The page's points that the run does not have."""
        with calling(self._target):
            run = self.client.get_run(live.id)
            if run.info.lifecycle_stage != "active":
                raise CallFailed(Failure.WITHDRAWN, f"the run {live.id} was deleted")
            live.status, live.ended_ms = run.info.status, run.info.end_time
            live.params, live.tags = dict(run.data.params), dict(run.data.tags)
            there = {
                Point(metric.key, metric.timestamp, metric.step, metric.value)
                for key in run.data.metrics
                for metric in self.client.get_metric_history(live.id, key)
            }
        return [point for point in page.points if point not in there]

    def _log(
        self, run: str, points: list[Point], params: list[tuple[str, str]], tags: list[tuple[str, str]]
    ) -> None:
        from mlflow.entities import Metric, Param, RunTag

        with calling(self._target):
            self.client.log_batch(
                run,
                metrics=[Metric(p.key, p.value, p.timestamp, p.step) for p in points],
                params=[Param(key, value) for key, value in params],
                tags=[RunTag(key, value) for key, value in tags],
            )

    def upload(self, live: Live, folder: str) -> None:
        """Send every file in a folder as the run's artifacts; those of the same name are replaced."""
        with calling(self._target):
            self.client.log_artifacts(live.id, folder)

    def complete(self, page: Page, mark: str) -> None:
        """Remember that the run shows everything of the files that `mark` names, and let go of it."""
        row = self._ledger.rows[page.cell]
        self._ledger.put(page.cell, Row(row.experiment, row.run, row.journal, mark))
        self._live.pop(page.cell, None)

    def tag_experiment(self, suite: str, tags: dict[str, str]) -> None:
        """Set those tags of a suite's experiment that differ."""
        with calling(self._target):
            present = self.client.get_experiment(self.experiment(suite)).tags
            for key, value in tags.items():
                if present.get(key) != value:
                    self.client.set_experiment_tag(self.experiment(suite), key, value)


def _shown(page: Page) -> str:
    """What a run is bound to for good: a journal, and params, which MLflow does not let change."""
    return f"{page.journal} {page.params['algorithm']}"


def _chunks(
    points: list[Point], params: list[tuple[str, str]], tags: list[tuple[str, str]]
) -> Iterator[tuple[list[Point], list[tuple[str, str]], list[tuple[str, str]]]]:
    while points or params or tags:
        yield points[:METRICS], params[:PARAMS_OR_TAGS], tags[:PARAMS_OR_TAGS]
        points, params, tags = points[METRICS:], params[PARAMS_OR_TAGS:], tags[PARAMS_OR_TAGS:]
