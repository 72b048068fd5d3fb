"""Ready-made views of an experiment in MLflow's page: charts of runs grouped by algorithm.

MLflow's page can share a view: its state is a tag of the experiment, and a URL names the tag. We write such tags
ourselves, so that a click on the printed URL shows the comparison, on any server.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import quote

from marlbench.tracking.client import CallFailed, calling, connect
from marlbench.tracking.target import Target, TrackingError

if TYPE_CHECKING:
    from mlflow.entities import Experiment

ALL = "marlbench"
_TAG = "mlflow.sharedViewState."


def view_tag(task: str | None) -> tuple[str, str]:
    """The tag, key and value, of the view of one task; of the whole suite for None."""
    search = "" if task is None else f"params.task = '{task}'"
    return _TAG + _key(task), json.dumps(_state(search), sort_keys=True)


def tasks_of(tags: Mapping[str, str]) -> list[str]:
    """The tasks of which an experiment with these tags has views."""
    prefix = f"{_TAG}{ALL}."
    return sorted(tag.removeprefix(prefix) for tag in tags if tag.startswith(prefix))


def view_url(base: str, experiment: str, task: str | None = None) -> str:
    """The URL of a view.

    Args:
        base: of the server, for example `http://127.0.0.1:5000`.
        experiment: MLflow's id.
        task: one task; None for the whole suite.
    """
    return (
        f"{base.rstrip('/')}/#/experiments/{quote(experiment, safe='')}/runs"
        f"?viewStateShareKey={quote(_key(task), safe='')}&compareRunsMode=CHART&workflowType=machine_learning"
    )


def _key(task: str | None) -> str:
    return ALL if task is None else f"{ALL}.{task}"


def _state(search: str) -> dict[str, object]:
    # The keys that MLflow's page stores for a shared view; what is left out has the page's defaults.
    return {
        "searchFilter": search,
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
        "hideEmptyCharts": True,
        "globalLineChartConfig": {"xAxisKey": "step", "lineSmoothness": 0, "selectedXAxisMetricKey": ""},
    }


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
