"""What marlbench says to a user, and the exit code it says it with.

Every error that a user can cause is one of these: a message that names what and where, and a hint that says what
to do next. The command line prints both and leaves with `exit_code`; anything else is a bug and leaves with 1.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

OK = 0
INTERNAL = 1
USAGE = 2
CONFIGURATION = 3
CELLS_FAILED = 4
REGRESSION = 5
STORE = 6


class MarlbenchError(Exception):
    """An error for the user: `str(error)` says what and where, `error.hint` what to do."""

    exit_code = INTERNAL

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(MarlbenchError):
    """A command line that asks for something that does not exist or contradicts itself."""

    exit_code = USAGE


class ConfigurationError(MarlbenchError):
    """A suite file, a hyperparameter or a plug-in that cannot be used."""

    exit_code = CONFIGURATION


class StoreError(MarlbenchError):
    """A results directory that cannot be read or written."""

    exit_code = STORE


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A sentence that names the nearest known name, else the known names, else nothing."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if near:
        return f"Did you mean '{near[0]}'?"
    if known:
        shown = ", ".join(known[:12]) + (", ..." if len(known) > 12 else "")
        return f"Known: {shown}."
    return ""
