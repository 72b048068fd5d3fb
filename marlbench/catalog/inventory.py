"""Everything there is to choose from: suites, tasks and plug-ins, broken ones with their error."""

from __future__ import annotations

import inspect
from typing import Any

from marlbench import plugins
from marlbench.catalog.lookup import find, names
from marlbench.catalog.suite import load_suite
from marlbench.errors import MarlbenchError

Row = dict[str, Any]


def suites() -> list[Row]:
    """Every suite by name: `name`, `title`, `tasks`, `algorithms`, `where`, `file`, and `error`, None where sound."""
    rows = []
    for name in names():
        row: Row = {"name": name, "title": "", "tasks": [], "algorithms": [], "where": "", "file": ""}
        try:
            found = find(name)
            row.update(where=found.where, file=str(found.path))
            suite = load_suite(name).suite
            row.update(title=suite.title, tasks=list(suite.tasks), algorithms=list(suite.algorithms))
            rows.append({**row, "error": None})
        except MarlbenchError as error:
            rows.append({**row, "error": str(error)})
    return rows


def tasks() -> list[Row]:
    """Every task of every sound suite: `suite`, `task`, `revision`, `environment`, `title`, `metric`."""
    rows = []
    for name in names():
        try:
            suite = load_suite(name).suite
        except MarlbenchError:
            continue
        rows += [
            {
                "suite": name,
                "task": task_name,
                "revision": task.revision,
                "environment": task.environment,
                "title": task.title,
                "metric": task.score.metric,
            }
            for task_name, task in suite.tasks.items()
        ]
    return rows


def plugged(group: str) -> list[Row]:
    """Every plug-in of a group, imported: `group`, `name`, `target`, `package`, `about`, `error`, None where
    sound.

    `about` is the first line of its documentation; algorithms also have `revision`, `hyperparameters` and
    `settings`, the sources of their tuned settings by name.
    """
    rows = []
    for name, plugin in sorted(plugins.plugins(group).items()):
        row: Row = {"group": group, "name": name, "target": plugin.target, "package": plugin.package}
        try:
            loaded = plugin.load()
            row["about"] = (inspect.getdoc(loaded) or "").partition("\n")[0]
            if group == "algorithms":
                row["revision"] = loaded.revision
                row["hyperparameters"] = list(loaded.Hyperparameters.model_fields)
                row["settings"] = {name: tuned.source for name, tuned in loaded.settings.items()}
            rows.append({**row, "error": None})
        except MarlbenchError as error:
            rows.append({**row, "error": str(error)})
        except AttributeError as error:
            rows.append({**row, "error": f"the plug-in '{name}' is no {group[:-1]}: {error}"})
    return rows
