"""Where words go: data to stdout, talk to stderr."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from marlbench.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

# Columns of a table where no terminal says how many fit: enough that no cell id or path is folded.
PIPE_WIDTH = 200


def talk() -> Console:
    """A console on stderr: plans, progress, notices, errors. Lines are never folded: paths stay whole."""
    from rich.console import Console

    return Console(stderr=True, soft_wrap=True, highlight=False)


def data() -> Console:
    """A console on stdout for tables and texts that a user asked for."""
    from rich.console import Console

    piped = not sys.stdout.isatty() and "COLUMNS" not in os.environ
    return Console(width=PIPE_WIDTH if piped else None, highlight=False)


def print_json(document: dict[str, Any]) -> None:
    """One JSON object on stdout. It has a `schema` field; NaN and infinities are refused."""
    json.dump(document, sys.stdout, indent=2, allow_nan=False, ensure_ascii=False)
    sys.stdout.write("\n")
    sys.stdout.flush()


def write_text(path: Path | None, text: str) -> None:
    """Text as it is to a file, or to stdout where no file is named; says on stderr what was written.

    Raises:
        UsageError: the file cannot be written.
    """
    if path is None:
        sys.stdout.write(text)
        sys.stdout.flush()
        return
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror}.") from None
    talk().print(f"Wrote {path}.", markup=False)
