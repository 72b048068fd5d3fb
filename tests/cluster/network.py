"""A directory as two machines see it over a network: sshfs by SFTP, on which flock holds for one mount only."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path

from .daemons import wait_for

SERVER = Path("/usr/lib/openssh/sftp-server")
# What a command is given to, so that nobody else can tell by process numbers whether it lives.
ELSEWHERE = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")


def why_not() -> str:
    """Why there can be no such mount here; '' where there can."""
    missing = [name for name in ("sshfs", "fusermount3", "unshare") if shutil.which(name) is None]
    missing += [] if SERVER.exists() else ["sftp-server"]
    if missing:
        return f"missing: {', '.join(missing)} (Debian: sshfs, openssh-sftp-server, util-linux)"
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        return "/dev/fuse is not there or may not be used"
    namespaces = subprocess.run([*ELSEWHERE, "true"], capture_output=True)
    return "" if namespaces.returncode == 0 else "process numbers of their own are not allowed here"


class Machine:
    """One machine's mount of `directory`; with commands given to ELSEWHERE, as good as another machine."""

    def __init__(self, name: str, directory: Path, folder: Path) -> None:
        self.mount = folder / name
        self.mount.mkdir()
        ours, theirs = socket.socketpair()
        # Without ssh between them, they speak SFTP over a pair of sockets.
        self._server = subprocess.Popen(
            [str(SERVER)], stdin=ours, stdout=ours, stderr=subprocess.DEVNULL, start_new_session=True
        )
        self._client = subprocess.Popen(
            ["sshfs", "-f", "-o", "passive", f":{directory}", str(self.mount)],
            stdin=theirs,
            stdout=theirs,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        ours.close()
        theirs.close()
        wait_for(self.mount.is_mount, what="the mount")

    def die(self) -> None:
        """Cut it off: nothing more is written, not even what its kernel still had in mind."""
        for process in (self._server, self._client):
            process.send_signal(signal.SIGKILL)
            process.wait()

    def stop(self) -> None:
        """End the mount."""
        subprocess.run(["fusermount3", "-u", "-z", str(self.mount)], capture_output=True, timeout=60)
        with contextlib.suppress(ProcessLookupError):
            self.die()
