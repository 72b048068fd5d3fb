"""Processes on this machine: each in a session of its own, with a pipe that tells when its parent is gone."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

LIFELINE = "MARLBENCH_LIFELINE"

# Enough for a traceback; a job that runs writes its own log.
_OUTPUT_BYTES = 4096


class LocalProcess:
    """A started process and the process group that it leads."""

    def __init__(self, process: subprocess.Popen[bytes], output: IO[bytes]) -> None:
        self._process = process
        self._output = output
        self._read = 0

    @property
    def pid(self) -> int:
        return self._process.pid

    def poll(self) -> int | None:
        """The exit code (negative: the signal), None while it runs. What it left in its group is killed."""
        if self._process.returncode is not None:
            return self._process.returncode
        if os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            return None
        # Until the leader is reaped no other process can get its number, so this cannot hit a stranger. For
        # the same reason nothing here may call Popen.poll or Popen.send_signal, which reap.
        self._signal_group(signal.SIGKILL)
        return self._process.wait()

    def terminate(self, number: int = signal.SIGTERM) -> None:
        """Ask it to checkpoint and leave. Only the leader is told: its workers must live to its next step."""
        if self._process.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it and everything in its group at once."""
        if self._process.returncode is None:
            self._signal_group(signal.SIGKILL)

    def output(self) -> str:
        """The end of what it printed outside its own log: why it did not start, if it did not."""
        size = self._output.seek(0, os.SEEK_END)
        self._output.seek(max(0, size - _OUTPUT_BYTES))
        return self._output.read().decode(errors="replace")

    def news(self) -> list[str]:
        """The lines that it printed outside its own log since this was last asked."""
        self._output.seek(self._read)
        whole, newline, _ = self._output.read().rpartition(b"\n")
        self._read += len(whole) + len(newline)
        return whole.decode(errors="replace").splitlines()

    def close(self) -> None:
        """Forget what it printed."""
        self._output.close()

    def _signal_group(self, number: int) -> None:
        # A group whose only member is a zombie answers EPERM on some systems.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)


class LocalEngine:
    """Starts processes here. They inherit the read end of one pipe; its number stands in MARLBENCH_LIFELINE.

    Nothing is ever written to the pipe. Its write end lives in this process alone, so a reader sees
    end-of-file when this process closes the engine or dies, by whatever cause.
    """

    def __init__(self) -> None:
        self._lifeline, self._write_end = os.pipe()

    def start(
        self, argv: Sequence[str], env: Mapping[str, str], cwd: Path, inherit: Sequence[int] = ()
    ) -> LocalProcess:
        """Start `argv` without a shell.

        Args:
            env: the whole environment but for MARLBENCH_LIFELINE.
            inherit: further file descriptors that stay open in the process, under the same numbers.

        Raises:
            OSError: the system has no room for another process, or no such program.
        """
        output = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the process is looked at
        try:
            process = subprocess.Popen(
                list(argv),
                env={**env, LIFELINE: str(self._lifeline)},
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=(self._lifeline, *inherit),
            )
        except BaseException:
            output.close()
            raise
        return LocalProcess(process, output)

    def close(self) -> None:
        """Let go of the lifeline: what still runs leaves by itself."""
        for descriptor in (self._write_end, self._lifeline):
            with contextlib.suppress(OSError):
                os.close(descriptor)
