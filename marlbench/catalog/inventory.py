"""Everything there is to choose from: suites, studies, tasks and plug-ins, broken ones with their error."""

from __future__ import annotations

import inspect
from typing import Any

from marlbench import plugins
from marlbench.catalog.lookup import find, names
from marlbench.catalog.suite import load_suite
from marlbench.catalog.types import Suite
from marlbench.errors import MarlbenchError

Row = dict[str, Any]


def suites() -> list[Row]:
    """Every suite that is no study by name: `name`, `title`, `tasks`, `algorithms`, `where`, `file`, and `error`, None
    where sound."""
    return [row for row, suite in _loaded() if suite is None or suite.study is None]


def studies() -> list[Row]:
    """Every sound study by name: as `suites`, and `question`, `source`, `claims` and `presets`."""
    return [
        {
            **row,
            "question": suite.study.question,
            "source": suite.study.source,
            "claims": list(suite.study.claims),
            "presets": list(suite.presets),
        }
        for row, suite in _loaded()
        if suite is not None and suite.study is not None
    ]


def _loaded() -> list[tuple[Row, Suite | None]]:
    rows: list[tuple[Row, Suite | None]] = []
    for name in names():
        row: Row = {"name": name, "title": "", "tasks": [], "algorithms": [], "where": "", "file": ""}
        try:
            found = find(name)
            row.update(where=found.where, file=str(found.path))
            suite = load_suite(name).suite
            row.update(title=suite.title, tasks=list(suite.tasks), algorithms=list(suite.algorithms))
            rows.append(({**row, "error": None}, suite))
        except MarlbenchError as error:
            rows.append(({**row, "error": str(error)}, None))
    return rows


def tasks() -> list[Row]:
    """Every task of every sound suite that is no study: `suite`, `task`, `revision`, `environment`, `title`,
    `metric`."""
    return [
        {
            "suite": row["name"],
            "task": name,
            "revision": task.revision,
            "environment": task.environment,
            "title": task.title,
            "metric": task.score.metric,
        }
        for row, suite in _loaded()
        if suite is not None and suite.study is None
        for name, task in suite.tasks.items()
    ]


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
