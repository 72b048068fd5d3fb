"""The process that brings the store to MLflow while jobs run. Whatever becomes of it, the run goes on."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from marlbench.engines.devices import VISIBLE
from marlbench.engines.slots import THREAD_VARIABLES

PATIENCE_SECONDS = 60.0
# After an interruption: somebody wants this to end.
IMPATIENT_SECONDS = 10.0
_PREFIX = "sync: "


class Projector:
    """`marlbench sync --follow` beside a run: it ends after a last pass once its standard input is closed, and so
    it also ends when this process dies."""

    def __init__(self, root: Path, command: Sequence[str] | None = None) -> None:
        self._root = root
        self._command = command or (
            *(sys.executable, "-P", "-m", "marlbench", "sync", "--follow"),
            *("--results", str(root)),
        )
        self._process: subprocess.Popen[bytes] | None = None
        self._trouble = ""
        self._read = 0
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - read after the process has ended

    def start(self) -> None:
        """Start it, once."""
        if self._process is not None or self._trouble:
            return
        try:
            self._process = subprocess.Popen(
                self._command,
                env={**os.environ, **dict.fromkeys(THREAD_VARIABLES, "1"), VISIBLE: ""},
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=self._said,
                # Out of reach of the terminal's Ctrl-C, or results of the last seconds would be missing.
                start_new_session=True,
            )
        except OSError as error:
            self._trouble = f"it could not be started: {error}"
            return

    def finish(self, patience: float = PATIENCE_SECONDS) -> str:
        """Let it make its last pass; returns what went wrong in one line, '' where nothing did."""
        process = self._process
        if process is None:
            return self._trouble
        assert process.stdin is not None
        with contextlib.suppress(OSError):
            process.stdin.close()
        try:
            code = process.wait(patience)
        except (subprocess.TimeoutExpired, KeyboardInterrupt) as reason:
            self._end(process)
            if isinstance(reason, KeyboardInterrupt):
                return "it was not waited for"
            return f"it was not finished {patience:.0f} seconds after the last job"
        if code == 0:
            return ""
        return self._last_line() or f"it left with exit code {code}"

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        process.terminate()
        try:
            process.wait(5.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def news(self) -> list[str]:
        """What it had to tell the user since this was last asked."""
        self._said.seek(self._read)
        whole, newline, _ = self._said.read().rpartition(b"\n")
        self._read += len(whole) + len(newline)
        # Libraries may print what they like; only its own lines are for the user.
        lines = whole.decode(errors="replace").splitlines()
        return [line.removeprefix(_PREFIX).strip() for line in lines if line.startswith(_PREFIX)]

    def _last_line(self) -> str:
        self._said.seek(0)
        lines = [line.strip() for line in self._said.read().decode(errors="replace").splitlines()]
        # After an error comes its hint, or what a library had to add.
        errors = [line for line in lines if line.startswith(("error: ", "internal error: "))]
        told = errors or [line for line in lines if line][-1:]
        return told[0].removeprefix("error: ").removeprefix(_PREFIX) if told else ""
