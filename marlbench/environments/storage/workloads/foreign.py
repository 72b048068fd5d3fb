"""Traces in the formats of libcachesim (oracleGeneral, vscsi and others), where that library is installed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from marlbench.environments.storage.devices import PAGE_BYTES
from marlbench.environments.storage.workloads.formats import Piece
from marlbench.errors import ConfigurationError

_PIECE = 1 << 18
_SECTOR = 512


def pieces(path: Path) -> Iterator[Piece]:
    """The requests of a trace, in pieces.

    In a .vscsi trace an object is a sector's number [unverified]. Elsewhere objects are opaque: each gets pages of its
    own in the order in which they are met. Times are in seconds.
    """
    try:
        import libcachesim  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        raise ConfigurationError(
            f"{path}: the format libcachesim needs the package libcachesim, which is not installed.",
            "pip install libcachesim",
        ) from None
    if not path.is_file():
        raise ConfigurationError(f"{path}: there is no such file.", "`trace` names the file.")
    kinds = libcachesim.TraceType
    sectors = ".vscsi" in path.name
    kind = kinds.VSCSI_TRACE if sectors else kinds.UNKNOWN_TRACE
    if "oracleGeneral" in path.name:
        kind = kinds.ORACLE_GENERAL_TRACE
    try:
        reader = libcachesim.TraceReader(str(path), kind)
    except Exception as error:
        raise ConfigurationError(f"{path}: libcachesim cannot read it: {error}.") from error
    writes = {libcachesim.ReqOp.OP_WRITE, libcachesim.ReqOp.OP_SET, libcachesim.ReqOp.OP_UPDATE}
    homes: dict[int, int] = {}
    following, begin = 0, None
    rows: list[tuple[float, int, int, bool]] = []
    request: Any
    for request in reader:
        size = max(1, request.obj_size)
        if sectors:
            offset = request.obj_id * _SECTOR
        else:
            if request.obj_id not in homes:
                homes[request.obj_id] = following
                following += -(-size // PAGE_BYTES) * PAGE_BYTES
            offset = homes[request.obj_id]
        begin = request.clock_time if begin is None else begin
        rows.append(((request.clock_time - begin) * 1e6, offset, size, request.op in writes))
        if len(rows) == _PIECE:
            yield _piece(rows)
            rows = []
    if rows:
        yield _piece(rows)


def _piece(rows: list[tuple[float, int, int, bool]]) -> Piece:
    times, offsets, sizes, writes = zip(*rows, strict=True)
    return Piece(
        np.array(times, np.float64),
        np.array(offsets, np.int64),
        np.array(sizes, np.int64),
        np.array(writes, bool),
    )
