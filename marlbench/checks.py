"""What `marlbench doctor` tells of one thing: all of them in `diagnosis`, those of plug-ins in the group `checks`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """`note`: optional and absent; `warning`: works, but look; `broken`: something needed does not work."""

    OK = "ok"
    NOTE = "note"
    WARNING = "warning"
    BROKEN = "broken"


@dataclass(frozen=True)
class Check:
    """One thing looked at: `hint` says what to do where it is not ok."""

    area: str
    name: str
    status: Status
    detail: str
    hint: str = ""
