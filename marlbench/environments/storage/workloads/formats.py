"""Trace files as requests, read in pieces: a file of any length needs the memory of one piece.

| format | columns | source |
|---|---|---|
| `msr` | timestamp in 100 ns, host, disk, Read or Write, byte offset, bytes, response time; commas | MSR Cambridge |
| `mqsim` | time in ns, device, first sector of 512 bytes, sectors, 0 for a write or 1 for a read; spaces | MQSim |
| `cloudphysics` | version, time in us, SCSI operation 2a or 28, bytes, sector; units [unverified] | CloudPhysics |
| `csv` | time in us, byte offset, bytes, write or read (w, r, 1, 0); commas; a line of names is skipped | ours |
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from marlbench.environments.inner_loops import compiled, inner
from marlbench.errors import ConfigurationError

PIECE = 1 << 20
# The shortest line of any format has so many bytes.
_SHORTEST = 8


@dataclass(frozen=True)
class Format:
    """Where the fields of a line are, and units: of time in microseconds (csv: of a thousandth), others in bytes."""

    separator: str
    columns: tuple[int, int, int, int]
    time_unit: float
    offset_unit: int
    size_unit: int


# Columns are time, offset, size, kind.
FORMATS = {
    "msr": Format(",", (0, 4, 5, 3), 0.1, 1, 1),
    "mqsim": Format(" ", (0, 2, 3, 4), 1e-3, 512, 512),
    "cloudphysics": Format(",", (1, 4, 3, 2), 1.0, 512, 1),
    "csv": Format(",", (0, 1, 2, 3), 1e-3, 1, 1),
}
_KINDS = {"msr": 0, "mqsim": 1, "cloudphysics": 2, "csv": 3}
_PROBLEMS = (
    "",
    "too few columns",
    "the time is no number",
    "the offset is no whole number",
    "the size is no whole number above 0",
    "it is neither a read nor a write",
)


@dataclass(frozen=True)
class Piece:
    """Requests of a trace, in order.

    Attributes:
        times: float64 [request], microseconds since the trace's first request.
        offsets, sizes: int64 [request], bytes.
        writes: bool [request].
    """

    times: NDArray[np.float64]
    offsets: NDArray[np.int64]
    sizes: NDArray[np.int64]
    writes: NDArray[np.bool_]


def pieces(path: Path, name: str, size: int = PIECE) -> Iterator[Piece]:
    """Read a trace of one of `FORMATS`, about `size` bytes at a time.

    Raises ConfigurationError that names file and line where a line is malformed or a file cannot be read.
    """
    form = FORMATS[name]
    columns = np.array(form.columns)
    separator = ord(form.separator)
    line, begin, rest = 1, None, b""
    try:
        with path.open("rb") as file:
            while True:
                block = file.read(size)
                text = rest + block
                if not block and text and not text.endswith(b"\n"):
                    text += b"\n"
                cut = text.rfind(b"\n") + 1
                rest, text = text[cut:], text[:cut]
                if name == "csv" and line == 1 and text[:1].isalpha():
                    text = text[text.index(b"\n") + 1 :]
                    line = 2
                if text:
                    most = len(text) // _SHORTEST + 1
                    times, offsets = np.empty(most, np.int64), np.empty(most, np.int64)
                    sizes, writes = np.empty(most, np.int64), np.empty(most, np.bool_)
                    buffer = np.frombuffer(text, np.uint8)
                    count, lines, problem = parse(
                        buffer, separator, columns, _KINDS[name], times, offsets, sizes, writes
                    )
                    if problem:
                        raise ConfigurationError(
                            f"{path}:{line + lines}: {_PROBLEMS[problem]}.",
                            f"A line of the format {name} is: {_EXAMPLES[name]}",
                        )
                    line += lines
                    if count:
                        begin = int(times[0]) if begin is None else begin
                        scaled = (times[:count] - begin).astype(np.float64) * form.time_unit
                        yield Piece(
                            scaled,
                            offsets[:count] * form.offset_unit,
                            sizes[:count] * form.size_unit,
                            writes[:count],
                        )
                if not block:
                    return
    except OSError as error:
        raise ConfigurationError(
            f"{path}: cannot be read: {error.strerror}.", "`trace` names the file."
        ) from error


_EXAMPLES = {
    "msr": "128166372003061629,hm,1,Read,2096128,512,1331",
    "mqsim": "938513000 4 264719034 16 0",
    "cloudphysics": "1,5633898611441,2a,4096,42932745",
    "csv": "12.5,4096,8192,write",
}


@compiled
def parse(
    text: NDArray[np.uint8],
    separator: int,
    columns: NDArray[np.int64],
    kind: int,
    times: NDArray[np.int64],
    offsets: NDArray[np.int64],
    sizes: NDArray[np.int64],
    writes: NDArray[np.bool_],
) -> tuple[int, int, int]:
    """Parse whole lines; times of csv, which may be decimal, are in thousandths.

    Returns requests, lines before the one that is malformed or all, and the problem, 0 for none.
    """
    place, count, lines = 0, 0, 0
    end_of_text = text.shape[0]
    while place < end_of_text:
        end = place
        while text[end] != 10:
            end += 1
        stop = end - 1 if end > place and text[end - 1] == 13 else end
        if stop == place:
            place, lines = end + 1, lines + 1
            continue
        found, column = 0, 0
        while place <= stop:
            edge = place
            while edge < stop and text[edge] != separator:
                edge += 1
            if column == columns[0]:
                value, good = _number(text, place, edge, kind == 3)
                times[count] = value
                if not good:
                    return count, lines, 2
                found += 1
            elif column == columns[1]:
                value, good = _number(text, place, edge, False)
                offsets[count] = value
                if not good:
                    return count, lines, 3
                found += 1
            elif column == columns[2]:
                value, good = _number(text, place, edge, False)
                sizes[count] = value
                if not good or value <= 0:
                    return count, lines, 4
                found += 1
            elif column == columns[3]:
                which = _kind(text, place, edge, kind)
                if which < 0:
                    return count, lines, 5
                writes[count] = which == 1
                found += 1
            place = edge + 1
            column += 1
            if separator == 32:
                while place < stop and text[place] == 32:
                    place += 1
        if found < 4:
            return count, lines, 1
        count += 1
        lines += 1
        place = end + 1
    return count, lines, 0


@inner
def _number(text: NDArray[np.uint8], begin: int, end: int, thousandths: bool) -> tuple[int, bool]:
    """A whole number, or with `thousandths` a decimal one times 1,000."""
    while begin < end and text[begin] == 32:
        begin += 1
    value, digits, places = 0, 0, -1
    for place in range(begin, end):
        code = text[place]
        if 48 <= code <= 57:
            if places < 3:
                value = 10 * value + (int(code) - 48)
                places += places >= 0
            digits += 1
        elif code == 46 and thousandths and places < 0:
            places = 0
        else:
            return 0, False
    if thousandths:
        for _ in range(3 - max(0, places)):
            value *= 10
    return value, 0 < digits < (16 if thousandths else 19)


@inner
def _kind(text: NDArray[np.uint8], begin: int, end: int, kind: int) -> int:
    """1 for a write, 0 for a read, -1 for neither."""
    while begin < end and text[begin] == 32:
        begin += 1
    if begin == end:
        return -1
    first = int(text[begin])
    letter = first | 32
    if kind == 0 or (kind == 3 and first > 57):
        return 1 if letter == 119 else 0 if letter == 114 else -1
    if kind == 2:
        second = int(text[begin + 1]) if begin + 1 < end else 0
        if first != 50:
            return -1
        return 1 if second | 32 == 97 else 0 if second == 56 else -1
    if end - begin != 1 or not 48 <= first <= 49:
        return -1
    return int(first == 48) if kind == 1 else int(first == 49)
