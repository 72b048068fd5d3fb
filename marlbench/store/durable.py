"""Writing so that a file is, after any crash or loss of power, either its old self or its new self.

Every write goes to a temporary file in the same directory, is fsynced, renamed over the target, and the
directory is fsynced. The temporary file has one fixed name per target: each target has one writer at a time
(the holder of the job's or the store's lock), so a stale one left by a crash is simply overwritten and
rubbish never piles up.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from marlbench.errors import StoreError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Unwritable(StoreError):
    """A file of the store that could not be written; `full` tells a full disk from missing permissions."""

    def __init__(self, message: str, hint: str, full: bool) -> None:
        super().__init__(message, hint)
        self.full = full


def is_full(error: BaseException) -> bool:
    """Whether an error says that there is no room left on a disk."""
    return getattr(error, "full", False) or (isinstance(error, OSError) and error.errno in _FULL)


@contextlib.contextmanager
def told(path: Path, doing: str = "write") -> Iterator[None]:
    """Turn an OSError into an Unwritable that names the file and what to do."""
    try:
        yield
    except OSError as error:
        full = is_full(error)
        hint = (
            "Make room and give the same command again: what was recorded is kept."
            if full
            else "Make the directory writable for this user, or choose another with --results."
        )
        raise Unwritable(f"cannot {doing} {path}: {error.strerror or error}.", hint, full) from error


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn an OSError into a StoreError that names the file; what is missing stays a FileNotFoundError."""
    try:
        yield
    except FileNotFoundError:
        raise
    except NotADirectoryError as error:
        raise FileNotFoundError(str(error)) from None
    except OSError as error:
        raise StoreError(
            f"cannot read {path}: {error.strerror or error}.", "Make it readable for this user."
        ) from error


def sync_directory(directory: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems cannot sync a directory; they make names durable by themselves.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def make_directory(directory: Path) -> None:
    """Make a directory, and what is missing above it, with durable names.

    Raises:
        Unwritable: it cannot be made.
    """
    missing = []
    while not directory.is_dir():
        missing.append(directory)
        directory = directory.parent
    for path in reversed(missing):
        with told(path, "make"):
            path.mkdir(exist_ok=True)
            sync_directory(path.parent)


def temporary_name(path: Path) -> Path:
    """The name under which the next content of `path` is written."""
    return path.with_name(f".{path.name}.tmp")


def write(path: Path, content: bytes | memoryview, durable: bool = True) -> None:
    """Replace a file atomically; without `durable` it may be empty or old after a loss of power.

    Raises:
        Unwritable: the disk is full or the directory cannot be written; the old content is still there.
    """
    temporary = temporary_name(path)
    with told(path):
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
            try:
                write_all(descriptor, content)
                if durable:
                    os.fsync(descriptor)
            finally:
                os.close(descriptor)
            os.replace(temporary, path)
        except OSError:
            # Half a checkpoint must not keep the room that the old one's successor will need.
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
        if durable:
            sync_directory(path.parent)


def write_json(path: Path, document: dict[str, Any], durable: bool = True) -> None:
    """Replace a file by strict JSON; see `write`."""
    write(path, dump(document), durable)


def write_many(documents: Iterable[tuple[Path, dict[str, Any]]]) -> None:
    """Write several files durably, at once: file systems gather fsyncs that arrive together.

    Raises:
        Unwritable: one could not be written; any of the others may have been.
    """
    pairs = list(documents)
    if len(pairs) < 2:
        for path, document in pairs:
            write_json(path, document)
        return
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda pair: write_json(*pair), pairs))


def write_all(descriptor: int, content: bytes | memoryview) -> None:
    """Write everything to a descriptor; OSError where that is not possible."""
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def move(path: Path, target: Path) -> None:
    """Give a file another name in the same file system, durably. An existing target is lost.

    Raises:
        Unwritable: the directory cannot be written.
    """
    with told(path, "rename"):
        os.replace(path, target)
        sync_directory(target.parent)
        if target.parent != path.parent:
            sync_directory(path.parent)


def set_aside(path: Path) -> Path:
    """Move a damaged file to a free name beside it, `<name>.damaged-<n>`; returns that name.

    Only the holder of the lock over `path` does this, so the free name stays free.
    """
    number = 1
    while os.path.lexists(target := path.with_name(f"{path.name}.damaged-{number}")):
        number += 1
    move(path, target)
    return target


def dump(document: dict[str, Any]) -> bytes:
    """Strict JSON in UTF-8 with a newline at the end; ValueError for NaN and infinities."""
    return (json.dumps(document, allow_nan=False, ensure_ascii=False, indent=1) + "\n").encode()


def parse(content: bytes | str) -> dict[str, Any]:
    """A JSON object; ValueError for anything else, NaN, infinities and repeated keys included."""
    try:
        document = json.loads(content, parse_constant=_refuse, object_pairs_hook=_unique)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(document, dict):
        raise ValueError("not a JSON object")
    return document


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("a key is repeated")
    return document


def read(path: Path) -> dict[str, Any] | None:
    """The JSON object in a file; None where there is no file, ValueError where it is not a JSON object.

    Raises:
        ValueError: the content.
        StoreError: the file cannot be read.
    """
    try:
        with reading(path):
            content = path.read_bytes()
    except FileNotFoundError:
        return None
    return parse(content)
