"""Reports that lie in a store, so that they can be found again and shown elsewhere.

`<store>/reports/<suite>-<matrix id>/` holds report.html, report.json, which tells what the report is of, the folder
figures/ where the figures were wanted as files too, and of a study its verdicts in the folder study/.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from marlbench.store import durable

FOLDER = "reports"
PAGE = "report.html"
FIGURES = "figures"
STUDY = "study"
RECORD = "report.json"
SCHEMA = 1


@dataclass(frozen=True)
class KeptReport:
    """What a report is of.

    Attributes:
        title: one line: suite, preset, how much is done.
        summary: what came out, in sentences.
        finished_ms: when the last of its cells was finished, in milliseconds since 1970; 0 where none is.
    """

    suite: str
    matrix: str
    title: str
    summary: tuple[str, ...]
    finished_ms: int


def folder(root: Path, suite: str, matrix: str) -> Path:
    """Where the report of a matrix lies, whether it exists or not."""
    return root / FOLDER / f"{suite}-{matrix}"


def lock(root: Path) -> Path:
    """What whoever writes reports of a store holds."""
    return root / FOLDER / ".lock"


def record(place: Path, report: KeptReport) -> None:
    """Write down what the report in a folder is of; last, for what has no record is not finished.

    Raises:
        Unwritable: the store cannot be written.
    """
    document = {"schema": SCHEMA, **vars(report), "summary": list(report.summary)}
    durable.write_json(place / RECORD, document)


def read(place: Path) -> KeptReport | None:
    """What the report in a folder is of; None where there is none that can be read."""
    try:
        document = durable.read(place / RECORD)
        if document is None or document.get("schema") != SCHEMA or not (place / PAGE).is_file():
            return None
        return KeptReport(
            str(document["suite"]),
            str(document["matrix"]),
            str(document["title"]),
            tuple(map(str, document["summary"])),
            int(document["finished_ms"]),
        )
    except (ValueError, TypeError, KeyError):
        return None


def marks(root: Path) -> dict[str, str]:
    """The reports of a store: name of the folder -> a text that names its files as they are now."""
    found = {}
    try:
        names = sorted(os.listdir(root / FOLDER))
    except OSError:
        return {}
    for name in names:
        parts = []
        try:
            for file in (RECORD, PAGE):
                stat = os.stat(root / FOLDER / name / file)
                parts.append(f"{stat.st_size}:{stat.st_mtime_ns}")
            verdicts = [path.stat() for path in sorted((root / FOLDER / name / STUDY).glob("*.json"))]
            parts += [f"{stat.st_size}:{stat.st_mtime_ns}" for stat in verdicts]
        except OSError:
            continue
        found[name] = "|".join(parts)
    return found
