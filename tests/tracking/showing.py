"""One pass of the projector over a lab, and what the tests call its parts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from marlbench.catalog.cell import Cell
from marlbench.tracking import sync
from marlbench.tracking.client import connect
from marlbench.tracking.projector import Report
from marlbench.tracking.target import Target

Make = Callable[..., Cell]
Shown = Callable[..., dict[str, Any]]


def show(lab: Any, **options: Any) -> Report:
    said: list[str] = []
    report = sync.once(lab.root, said.append, **options)
    assert report is not None
    assert not report.failed
    lab.said = said
    return report


def client_of(lab: Any) -> Any:
    return connect(Target.locate(lab.root))
