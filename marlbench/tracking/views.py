"""Ready-made views of an experiment in MLflow's page: charts of runs grouped by algorithm.

MLflow's page can share a view: its state is a tag of the experiment, and a URL names the tag. We write such tags
ourselves, so that a click on the printed URL shows the comparison, on any server. What must not be pooled has views
of its own: one per protocol for the whole suite, and per task one per backend, protocol and number of steps.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from marlbench.catalog.cell import Cell
from marlbench.tracking.client import CallFailed, calling, connect
from marlbench.tracking.content import describe_protocol
from marlbench.tracking.target import Target, TrackingError

if TYPE_CHECKING:
    from mlflow.entities import Experiment

_TAG = "mlflow.sharedViewState."
_OURS = "marlbench"


@dataclass(frozen=True)
class View:
    """Charts of the runs that have these values; `key` names it in URLs. `task` is None for the whole suite."""

    protocol: str
    task: str | None = None
    backend: str | None = None
    steps: int | None = None

    @property
    def key(self) -> str:
        digest = hashlib.sha256(f"{self.protocol}|{self.backend}|{self.steps}".encode()).hexdigest()[:8]
        return f"{_OURS}.{digest}" if self.task is None else f"{_OURS}.{self.task}.{digest}"

    @property
    def tag(self) -> tuple[str, str]:
        """The experiment's tag, key and value, that makes MLflow's page know the view."""
        return _TAG + self.key, json.dumps(self._state() | {_OURS: vars(self)}, sort_keys=True)

    def describe(self) -> str:
        """What the runs have in common, in a few words."""
        protocol = json.loads(self.protocol)
        words = [] if self.task is None else [str(self.task), str(self.backend), f"{self.steps} steps"]
        words.append(f"{protocol.get('evaluations')} evaluations")
        if protocol.get("episodes") is not None:
            words[-1] += f" of {protocol['episodes']} episodes"
        return ", ".join(words)

    def url(self, base: str, experiment: str) -> str:
        """The URL of the view.

        Args:
            base: of the server, for example `http://127.0.0.1:5000`.
            experiment: MLflow's id.
        """
        return (
            f"{base.rstrip('/')}/#/experiments/{quote(experiment, safe='')}/runs"
            f"?viewStateShareKey={quote(self.key, safe='')}&compareRunsMode=CHART&workflowType=machine_learning"
        )

    def _search(self) -> str:
        terms = [f"tags.`marlbench.protocol` = '{self.protocol}'"]
        if self.task is not None:
            terms.append(f"params.task = '{self.task}'")
            terms.append(f"params.backend = '{self.backend}'")
            terms.append(f"params.steps = '{self.steps}'")
        return " and ".join(terms)

    def _state(self) -> dict[str, Any]:
        # The keys that MLflow's page stores for a shared view; what is left out has the page's defaults.
        return {
            "searchFilter": self._search(),
            "orderByKey": "attributes.start_time",
            "orderByAsc": False,
            "startTime": "ALL",
            "lifecycleFilter": "Active",
            "datasetsFilter": [],
            "modelVersionFilter": "All Runs",
            "runsHiddenMode": "SHOW_ALL",
            "groupBy": {
                "aggregateFunction": "average",
                "groupByKeys": [{"mode": "param", "groupByData": "algorithm"}],
            },
            "useGroupedValuesInCharts": True,
            # Raw metrics of different tasks have no common scale; the filter's field on the page widens it.
            "chartsSearchFilter": "score" if self.task is None else "",
            "hideEmptyCharts": True,
            "globalLineChartConfig": {"xAxisKey": "step", "lineSmoothness": 0, "selectedXAxisMetricKey": ""},
        }


def views_of_cell(cell: Cell) -> tuple[View, View]:
    """The views that show a cell: of its suite, and of its task."""
    protocol = describe_protocol(cell.protocol)
    return View(protocol), View(protocol, cell.task, cell.backend, cell.steps)


def views_of(tags: Mapping[str, str]) -> list[View]:
    """The views that we gave an experiment with these tags: those of the suite first, then by task."""
    found = []
    for key, value in tags.items():
        if key.startswith(f"{_TAG}{_OURS}."):
            # Anyone may edit tags on a server; what is not ours is left out.
            try:
                view = View(**json.loads(value)[_OURS])
            except (ValueError, KeyError, TypeError):
                continue
            found.append(view)
    return sorted(found, key=lambda view: (view.task or "", view.describe(), view.key))


def experiments(target: Target) -> dict[str, Experiment]:
    """The experiments of suites that a target has now, by suite.

    Raises:
        TrackingError: the target does not answer.
    """
    try:
        client = connect(target)
        with calling(target):
            found = client.search_experiments(filter_string="name LIKE 'marlbench/%'", order_by=["name ASC"])
    except CallFailed as failed:
        raise TrackingError(f"MLflow at {target} does not answer: {failed}") from failed
    return {experiment.name.removeprefix("marlbench/"): experiment for experiment in found}
