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

from marlbench.engines.forking import COMMAND, ForkedProcess, ForkServer, Unavailable
from marlbench.engines.handles import LIFELINE, Said, resident


class LocalProcess(Said):
    """A started process and the process group that it leads."""

    def __init__(self, process: subprocess.Popen[bytes], output: IO[bytes]) -> None:
        super().__init__(output)
        self._process = process
        self._watch = os.pidfd_open(process.pid) if hasattr(os, "pidfd_open") else None

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def descriptor(self) -> int | None:
        """Becomes readable when the process ends."""
        return None if self._process.returncode is not None else self._watch

    def poll(self) -> int | None:
        """The exit code (negative: the signal), None while it runs. What it left in its group is killed."""
        if self._process.returncode is not None:
            return self._process.returncode
        if os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            return None
        # Until the leader is reaped no other process can get its number, so this cannot hit a stranger. For
        # the same reason nothing here may call Popen.poll or Popen.send_signal, which reap.
        self._signal_group(signal.SIGKILL)
        if self._watch is not None:
            os.close(self._watch)
        return self._process.wait()

    def terminate(self, number: int = signal.SIGTERM) -> None:
        """Ask it to checkpoint and leave. Only the leader is told: its workers must live to its next step."""
        if self._process.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it and everything in its group at once."""
        if self._process.returncode is None:
            self._signal_group(signal.SIGKILL)

    def memory(self) -> int:
        """Bytes that it and its descendants have resident."""
        return 0 if self._process.returncode is not None else resident(self.pid)

    def _signal_group(self, number: int) -> None:
        # A group whose only member is a zombie answers EPERM on some systems.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)


class LocalEngine:
    """Starts processes on this machine.

    They inherit the read end of one pipe; its number stands in MARLBENCH_LIFELINE. Nothing is ever written to the
    pipe. Its write end lives in this process alone, so a reader sees end-of-file when this process closes the engine
    or dies, by whatever cause.

    Args:
        preload: modules that a fork server loads for jobs of ours to start from; none: no fork server.
    """

    def __init__(self, preload: Sequence[str] = ()) -> None:
        self._lifeline, self._write_end = os.pipe()
        self._preload = tuple(preload) if hasattr(os, "pidfd_open") else ()
        self._server: ForkServer | None = None

    def start(
        self, argv: Sequence[str], env: Mapping[str, str], cwd: Path, inherit: Sequence[int] = ()
    ) -> LocalProcess | ForkedProcess:
        """Start `argv` without a shell.

        Args:
            env: the whole environment but for MARLBENCH_LIFELINE.
            inherit: further file descriptors that stay open in the process; under the same numbers, unless it is
                forked from a server.

        Raises:
            OSError: the system has no room for another process, or no such program.
        """
        output = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the process is looked at
        try:
            if self._preload and tuple(argv[: len(COMMAND)]) == COMMAND:
                with contextlib.suppress(Unavailable):
                    return self._fork(argv[len(COMMAND) :], env, cwd, inherit, output)
                # A server that cannot fork now could not later either.
                self._preload = ()
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

    def _fork(
        self,
        arguments: Sequence[str],
        env: Mapping[str, str],
        cwd: Path,
        inherit: Sequence[int],
        output: IO[bytes],
    ) -> ForkedProcess:
        if self._server is not None and self._server.gone:
            self._server.close()
            self._server = None
        if self._server is None:
            self._server = ForkServer(self._preload, env)
        descriptors = (self._lifeline, output.fileno(), *inherit)
        return self._server.start(arguments, env, cwd, descriptors, Said(output))

    def close(self) -> None:
        """Let go of the lifeline: what still runs leaves by itself."""
        for descriptor in (self._write_end, self._lifeline):
            with contextlib.suppress(OSError):
                os.close(descriptor)
        if self._server is not None:
            self._server.close()
