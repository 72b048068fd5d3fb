"""The process that forks jobs: torch is loaded once in it, and a job starts in milliseconds.

It is started by `marlbench.engines.forking` with one end of a socket and the modules to load. Each request brings
the descriptors of a job and is answered with its process id and a descriptor of the process; its end is told when it
comes. It forks only as long as it has a single thread and no CUDA, because a fork copies neither. When its parent is
gone, it leaves; the jobs have a lifeline of their own.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

REQUEST_BYTES = 1 << 20
DESCRIPTORS = 16
# Overwritten in a job by its own command line, for those who look at processes.
TITLE = "marlbench-fork-server".ljust(1024, "-")


def main(descriptor: int, modules: Sequence[str]) -> None:
    """Serve until the other end of the socket is closed."""
    for name in modules:
        # One that does not import says so in the job that needs it.
        with contextlib.suppress(Exception):
            importlib.import_module(name)
    gc.collect()
    # What lies in pages that are never written again stays shared with every job.
    gc.freeze()
    reader, writer = os.pipe()
    for end in (reader, writer):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    connection = socket.socket(fileno=descriptor)
    children: dict[int, int] = {}
    while True:
        ready, _, _ = select.select([connection.fileno(), reader], [], [])
        if reader in ready:
            with contextlib.suppress(BlockingIOError):
                while os.read(reader, 512):
                    pass
            for pid in list(children):
                _collect(connection, children, pid)
        if connection.fileno() in ready:
            request, descriptors, _, _ = socket.recv_fds(connection, REQUEST_BYTES, DESCRIPTORS)
            if not request:
                return
            _answer(connection, children, json.loads(request), descriptors, (reader, writer))


def why_not() -> str:
    """Why this process must not fork; '' where it may."""
    threads = len(os.listdir("/proc/self/task"))
    if threads != 1:
        return f"it has {threads} threads"
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        return "CUDA is in use"
    return ""


def _answer(
    connection: socket.socket,
    children: dict[int, int],
    request: dict[str, Any],
    descriptors: list[int],
    own: tuple[int, int],
) -> None:
    """Start a job, or send a signal to one."""
    if "kill" in request:
        # It is not reaped before `_collect`, so its number cannot be another's.
        if request["kill"] in children:
            _kill_group(request["kill"])
        return
    try:
        if reason := why_not():
            raise OSError(reason)
        pid = os.fork()
        if pid == 0:
            _become(connection, request, descriptors, own, list(children.values()))
        watch = os.pidfd_open(pid)
    except OSError as error:
        connection.sendall(json.dumps({"error": str(error), "errno": error.errno}).encode())
        return
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
    children[pid] = watch
    socket.send_fds(connection, [json.dumps({"pid": pid}).encode()], [watch])


def _collect(connection: socket.socket, children: dict[int, int], pid: int) -> None:
    """Tell the end of a job, if it has come; what it left in its group is killed before its number is free."""
    if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        return
    _kill_group(pid)
    _, status = os.waitpid(pid, 0)
    os.close(children.pop(pid))
    connection.sendall(json.dumps({"ended": pid, "code": os.waitstatus_to_exitcode(status)}).encode())


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _become(
    connection: socket.socket,
    request: dict[str, Any],
    descriptors: list[int],
    own: tuple[int, int],
    others: list[int],
) -> None:
    """In the new process: the job, until its end."""
    code = 1
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for descriptor in (connection.detach(), *own, *others):
            os.close(descriptor)
        lifeline, output, *_ = descriptors
        nothing = os.open(os.devnull, os.O_RDONLY)
        for target, source in enumerate((nothing, output, output)):
            os.dup2(source, target)
        os.close(output)
        os.environ.clear()
        os.environ.update(request["env"] | {request["lifeline"]: str(lifeline)})
        os.chdir(request["cwd"])
        arguments = request["arguments"]
        _entitle(["marlbench", *arguments])
        sys.argv = ["marlbench", *arguments]
        from marlbench.cli import main as command_line

        command_line(arguments)
        code = 0
    except SystemExit as ending:
        code = ending.code if isinstance(ending.code, int) else int(ending.code is not None)
    except BaseException as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _entitle(words: Sequence[str]) -> None:
    """Let this process be listed under these words, as far as there is room for them."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        start, end = int(fields[45]), int(fields[46])
        title = "\0".join(words).encode(errors="replace")[: end - start - 1]
        ctypes.memmove(start, title.ljust(end - start, b"\0"), end - start)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[3:])
