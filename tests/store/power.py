"""A disk that forgets what was not synced, and a machine that stops at any operation on it.

`Power.install` wraps the system calls by which files change. `stop_at` ends the process with SIGKILL before that
operation; with `remains`, what a loss of power would have left is written there first: names as of the last fsync of
their directory, contents as of the last fsync of the file, and nothing else.
"""

from __future__ import annotations

import itertools
import os
import signal
import threading
from pathlib import Path
from typing import Any


class Power:
    def __init__(self, root: Path, stop_at: int | None = None, remains: Path | None = None) -> None:
        self.root = root
        self.stop_at = stop_at
        self.remains = remains
        self.operations = 0
        # Every file ever seen has a number of its own; inode numbers are used again.
        self.numbers: dict[int, int] = {}
        self.unused = itertools.count()
        self.contents: dict[int, bytes] = {}
        self.names: dict[Path, dict[str, int | None]] = {}
        self.lock = threading.RLock()

    def install(self) -> None:
        self._read_all(self.root)
        for name in ("open", "write", "fsync", "replace", "ftruncate", "unlink", "mkdir", "rmdir"):
            self._wrap(name)

    def _wrap(self, name: str) -> None:
        real = getattr(os, name)

        def wrapped(*arguments: Any, **options: Any) -> Any:
            if name == "open" and not (len(arguments) > 1 and arguments[1] & (os.O_CREAT | os.O_TRUNC)):
                return real(*arguments, **options)
            with self.lock:
                if name == "write" and not self._is_ours(arguments[0]):
                    return real(*arguments, **options)
                self.operations += 1
                if self.operations == self.stop_at:
                    self._stop(real)
                if name == "fsync":
                    # A real one takes milliseconds and changes nothing that this process can see.
                    return self._synced(arguments[0])
                if name in ("replace", "unlink"):
                    self._forget(arguments[-1], options.get("dir_fd"))
                return real(*arguments, **options)

        setattr(os, name, wrapped)

    def _is_ours(self, descriptor: int) -> bool:
        return os.readlink(f"/proc/self/fd/{descriptor}").startswith(str(self.root))

    def _number(self, inode: int) -> int:
        if inode not in self.numbers:
            self.numbers[inode] = next(self.unused)
        return self.numbers[inode]

    def _forget(self, path: Any, directory: int | None) -> None:
        try:
            inode = os.stat(path, dir_fd=directory, follow_symlinks=False).st_ino
        except FileNotFoundError:
            return
        self.numbers.pop(inode, None)

    def _synced(self, descriptor: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        if path.is_dir():
            self._list(path)
        else:
            self.contents[self._number(os.fstat(descriptor).st_ino)] = path.read_bytes()

    def _list(self, directory: Path) -> None:
        entries = list(os.scandir(directory))
        self.names[directory] = {e.name: None if e.is_dir() else self._number(e.inode()) for e in entries}

    def _read_all(self, directory: Path) -> None:
        """What is there when the machine starts is on the disk."""
        if directory.is_dir():
            self._list(directory)
            for entry in list(os.scandir(directory)):
                if entry.is_dir():
                    self._read_all(Path(entry.path))
                else:
                    self.contents[self._number(entry.inode())] = Path(entry.path).read_bytes()

    def _stop(self, real: Any) -> None:
        if self.remains is not None:
            self.stop_at = None
            self._write_remains(self.root, self.remains)
        os.kill(os.getpid(), signal.SIGKILL)

    def _write_remains(self, directory: Path, target: Path) -> None:
        target.mkdir(parents=True, exist_ok=True)
        for name, number in self.names.get(directory, {}).items():
            if number is None:
                self._write_remains(directory / name, target / name)
            else:
                (target / name).write_bytes(self.contents.get(number, b""))
