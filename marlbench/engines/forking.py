"""Starting jobs by forking a process that has torch loaded (`marlbench.engines.fork_server`)."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from marlbench.engines import fork_server
from marlbench.engines.handles import LIFELINE, Said, resident

COMMAND = (sys.executable, "-P", "-m", "marlbench")


class Unavailable(OSError):
    """There is no fork server, or it must not fork: the job is started in the ordinary way."""


class ForkServer:
    """A fork server and the ends of its jobs.

    Args:
        modules: what it loads.
        environment: of the server; numbers of threads are read when torch is loaded.
    """

    def __init__(self, modules: Sequence[str], environment: Mapping[str, str]) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, fork_server.REQUEST_BYTES)
        with theirs:
            self._process = subprocess.Popen(
                [*COMMAND[:-1], fork_server.__name__, str(theirs.fileno()), fork_server.TITLE, *modules],
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                # The terminal's Ctrl-C is for the scheduler, who tells the jobs.
                start_new_session=True,
                pass_fds=(theirs.fileno(),),
            )
        self._connection = ours
        self._codes: dict[int, int] = {}
        self.gone = False

    def start(
        self,
        arguments: Sequence[str],
        env: Mapping[str, str],
        cwd: Path,
        descriptors: Sequence[int],
        said: Said,
    ) -> ForkedProcess:
        """Fork a job. `descriptors`: the lifeline, where it prints, and what else it inherits.

        Raises:
            Unavailable: it cannot be done this way.
        """
        request = {"arguments": list(arguments), "env": dict(env), "cwd": str(cwd), "lifeline": LIFELINE}
        try:
            socket.send_fds(self._connection, [json.dumps(request).encode()], list(descriptors))
            while True:
                answer, passed, _, _ = socket.recv_fds(self._connection, fork_server.REQUEST_BYTES, 1)
                if not answer:
                    self.gone = True
                    raise Unavailable("the fork server is gone")
                document = json.loads(answer)
                if "ended" in document:
                    self._codes[document["ended"]] = document["code"]
                    continue
                break
        except Unavailable:
            raise
        except OSError as error:
            self.gone = True
            raise Unavailable(str(error)) from error
        if "error" in document:
            raise Unavailable(document["errno"], document["error"])
        return ForkedProcess(self, document["pid"], passed[0], said)

    def code(self, pid: int) -> int | None:
        """How a job ended, negative for a signal; None where that is not known."""
        while pid not in self._codes and not self.gone:
            ready, _, _ = select.select([self._connection], [], [], 0.0)
            if not ready:
                return None
            try:
                message = self._connection.recv(fork_server.REQUEST_BYTES)
            except OSError:
                message = b""
            if not message:
                self.gone = True
                break
            document = json.loads(message)
            if "ended" in document:
                self._codes[document["ended"]] = document["code"]
        return self._codes.pop(pid, None)

    def kill(self, pid: int) -> bool:
        """End a job and its group; False where the server cannot do that any more."""
        try:
            self._connection.sendall(json.dumps({"kill": pid}).encode())
        except OSError:
            self.gone = True
        return not self.gone

    def close(self) -> None:
        """Let it leave. Jobs that still run are not touched."""
        self._connection.close()
        try:
            self._process.wait(2.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class ForkedProcess(Said):
    """A job that the fork server started. It is signalled through a descriptor, which means it and no other."""

    def __init__(self, server: ForkServer, pid: int, watch: int, said: Said) -> None:
        super().__init__(said.stream)
        self.pid = pid
        self._server = server
        self._watch = watch
        self._code: int | None = None

    @property
    def descriptor(self) -> int | None:
        """Becomes readable when the process ends."""
        return None if self._code is not None else self._watch

    def poll(self) -> int | None:
        """The exit code (negative: the signal), None while it runs or its end is being told."""
        if self._code is not None:
            return self._code
        if not self._ended():
            return None
        code = self._server.code(self.pid)
        if code is None and not self._server.gone:
            return None
        # Without the server nobody can say how it ended; its results say what matters.
        self._code = -signal.SIGKILL if code is None else code
        os.close(self._watch)
        return self._code

    def terminate(self, number: int = signal.SIGTERM) -> None:
        """Ask it to checkpoint and leave."""
        if self._code is None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._watch, number)

    def kill(self) -> None:
        """End it and everything in its group at once."""
        if self._code is not None or self._server.kill(self.pid) or self._ended():
            return
        # It lives, so the number is its own.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def memory(self) -> int:
        """Bytes that it and its descendants have resident, shared pages counted in each."""
        return 0 if self._code is not None else resident(self.pid)

    def _ended(self) -> bool:
        return bool(select.select([self._watch], [], [], 0.0)[0])
