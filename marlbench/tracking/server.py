"""The MLflow server of a store, on this machine only: found where one runs, else started, ended with its starter."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from marlbench.errors import UsageError
from marlbench.store import durable
from marlbench.tracking.client import quiet_environment
from marlbench.tracking.target import ARTIFACTS, Target, TrackingError

HOST = "127.0.0.1"
PORT = 5000
RECORD = "ui.json"
LOG = "ui.log"
_START_SECONDS = 180.0
_GRACE_SECONDS = 10.0
_TRIES = 3


@dataclass
class Server:
    """A server that answers at `url`; `process` where this process started it."""

    url: str
    pid: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])


def find(root: Path, target: Target) -> Server | None:
    """The server that an earlier `start` of this store and target made, if it still answers."""
    import psutil

    try:
        record = durable.read(root / RECORD) or {}
    except ValueError:
        return None
    pid, port = record.get("pid"), record.get("port")
    if record.get("target") != target.key or not isinstance(pid, int) or not isinstance(port, int):
        return None
    with contextlib.suppress(psutil.Error):
        # A number is given again after a restart of the machine; the time of the start tells.
        same = abs(psutil.Process(pid).create_time() - float(record.get("created", 0.0))) < 1.0
        if same and _answers(port):
            return Server(f"http://{HOST}:{port}", pid)
    return None


def start(root: Path, target: Target, port: int | None) -> Server:
    """Start a server and wait until it answers.

    Args:
        port: the port to take; None: the usual one where it is free, else any.

    Raises:
        UsageError: the port is taken.
        TrackingError: the server does not start.
        Unwritable: its log cannot be written.
    """
    if port is not None and not _is_free(port):
        raise UsageError(f"port {port} is taken.", "Leave --port out: a free one is found.")
    for _ in range(_TRIES):
        chosen = port or (PORT if _is_free(PORT) else _free_port())
        server = _try(root, target, chosen)
        if server is not None:
            return server
    last = _last_line(root / LOG)
    raise TrackingError(f"the MLflow server does not start: {target.hide(last)}", f"Its log is {root / LOG}.")


def stop(server: Server) -> None:
    """End a server that this process started, with its worker processes."""
    process = server.process
    if process is None:
        return
    for number, grace in ((signal.SIGTERM, _GRACE_SECONDS), (signal.SIGKILL, _GRACE_SECONDS)):
        with contextlib.suppress(ProcessLookupError):
            # It leads a session of its own, so the group is it and its workers.
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(grace)
            break
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def forget(root: Path, server: Server) -> None:
    """Remove the record of a server that was ended."""
    with contextlib.suppress(ValueError, OSError):
        if (durable.read(root / RECORD) or {}).get("pid") == server.pid:
            (root / RECORD).unlink()


def _try(root: Path, target: Target, port: int) -> Server | None:
    import psutil

    command = [sys.executable, "-P", "-m", "mlflow", "server", "--host", HOST, "--port", str(port)]
    command += ["--workers", "1", "--artifacts-destination", str(root / ARTIFACTS)]
    environment: dict[str, str] = {
        **os.environ,
        **quiet_environment(),
        # Not in the arguments, which every user of the machine can read.
        "MLFLOW_BACKEND_STORE_URI": target.uri,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    # It would make the server a client of itself.
    environment.pop("MLFLOW_TRACKING_URI", None)
    with durable.told(root / LOG), (root / LOG).open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=root,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    server = Server(f"http://{HOST}:{port}", process.pid, process)
    try:
        deadline = time.monotonic() + _START_SECONDS
        while process.poll() is None and time.monotonic() < deadline:
            if _answers(port):
                created = psutil.Process(process.pid).create_time()
                record: dict[str, Any] = {"schema": 1, "pid": process.pid, "port": port}
                durable.write_json(root / RECORD, {**record, "created": created, "target": target.key})
                return server
            time.sleep(0.1)
    except BaseException:
        stop(server)
        raise
    stop(server)
    return None


def _answers(port: int) -> bool:
    # No proxy stands between this machine and itself.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://{HOST}:{port}/health", timeout=2.0) as response:
            return bool(response.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As the server does, or a port would look taken for a minute after its last server.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _last_line(path: Path) -> str:
    with contextlib.suppress(OSError):
        lines = [line for line in path.read_text(errors="replace").splitlines() if line.strip()]
        if lines:
            return lines[-1]
    return "it says nothing"
