"""Readers of traces: files made to each format, malformed lines by number, the shared samples, pages numbered anew."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from marlbench.environments.storage.environment import StoragePlacement
from marlbench.environments.storage.parameters import StorageParameters
from marlbench.environments.storage.simulation import replay, simulate
from marlbench.environments.storage.workloads import traces
from marlbench.environments.storage.workloads.formats import pieces
from marlbench.errors import ConfigurationError

SHARED = Path(__file__).parents[4] / "shared" / "data" / "traces"
TEXTS = {
    "msr": "128166372003061629,hm,1,Read,8192,4096,1331\n128166372016382155,hm,1,Write,0,9000,9\n",
    "mqsim": "1000 0 16 8 1\n1332053600 0 0 18 0\n",
    "csv": "time,offset,bytes,type\n0.5,8192,4096,read\r\n\n1332053.1,0,9000,W",
}


@pytest.mark.parametrize("name", ["msr", "mqsim", "csv"])
@pytest.mark.parametrize("size", [16, 1 << 20])
def test_formats(name: str, size: int, tmp_path: Path) -> None:
    """The same two requests in every format, whatever the size of a piece."""
    path = tmp_path / "trace"
    path.write_text(TEXTS[name])
    read = list(pieces(path, name, size))
    assert np.concatenate([piece.times for piece in read]) == pytest.approx([0.0, 1332052.6], abs=2.0)
    assert np.concatenate([piece.offsets for piece in read]).tolist() == [8192, 0]
    assert np.concatenate([piece.sizes for piece in read]).tolist() in ([4096, 9000], [4096, 9216])
    assert np.concatenate([piece.writes for piece in read]).tolist() == [False, True]


def test_cloudphysics(tmp_path: Path) -> None:
    path = tmp_path / "trace"
    path.write_text("1,7,28,4096,16\n1,1332059,2a,9216,0\n")
    (piece,) = pieces(path, "cloudphysics")
    assert piece.times.tolist() == [0.0, 1332052.0]
    assert piece.offsets.tolist() == [8192, 0]
    assert piece.sizes.tolist() == [4096, 9216]
    assert piece.writes.tolist() == [False, True]


@pytest.mark.parametrize(
    ("name", "line", "problem"),
    [
        ("msr", "128166372016382155,hm,1,Erase,0,9000,9", "neither a read nor a write"),
        ("msr", "128166372016382155,hm,1,Read,0,", "the size is no whole number"),
        ("mqsim", "1000 0 16", "too few columns"),
        ("mqsim", "1e3 0 16 8 1", "the time is no number"),
        ("cloudphysics", "1,7,2b,4096,16", "neither a read nor a write"),
        ("csv", "3,-5,4096,r", "the offset is no whole number"),
        ("csv", "3,5,0,r", "the size is no whole number above 0"),
    ],
)
def test_malformed_lines_are_named(name: str, line: str, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "trace"
    good = {"cloudphysics": "1,7,28,4096,16\n", "csv": "0,8192,4096,read\n"}.get(name) or TEXTS[name]
    path.write_text(good * 40 + line + "\n")
    expected = 40 * good.count("\n") + 1
    with pytest.raises(ConfigurationError) as caught:
        list(pieces(path, name, 64))
    assert f"{path}:{expected}: " in str(caught.value)
    assert problem in str(caught.value)


def test_missing_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        list(pieces(tmp_path / "nothing", "csv"))
    with pytest.raises(ConfigurationError, match="cannot be read"):
        StoragePlacement.data_hashes(StorageParameters(workload="trace", trace=str(tmp_path / "nothing")))


def test_pages_that_were_no_neighbours_become_none() -> None:
    begin, end = traces.merged(np.array([90, 3, 5, 91]), np.array([92, 5, 6, 95]))
    assert (begin.tolist(), end.tolist()) == ([3, 90], [6, 95])
    assert traces.numbered(np.array([3, 5, 90, 94]), (begin, end)).tolist() == [0, 2, 4, 8]
    assert traces.extent_of((begin, end)) == 10


def test_the_content_is_the_identity(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    hashes = []
    for size in (4096, 8192):
        path.write_text(f"0,0,{size},r\n")
        hashes.append(StoragePlacement.data_hashes(StorageParameters(workload="trace", trace=str(path))))
    assert hashes[0] != hashes[1]


@pytest.mark.parametrize("size", [200, 1 << 20])
def test_streaming_replays_what_memory_does(size: int, tmp_path: Path) -> None:
    """In pieces of any size as at once, for every player that needs no future."""
    random = np.random.default_rng(3)
    lines = [
        f"{time},{page * 4096},{pages * 4096},{'rw'[write]}\n"
        for time, page, pages, write in zip(
            np.cumsum(random.integers(1, 900, 400)),
            random.integers(0, 60, 400) * 3,
            random.integers(1, 4, 400),
            random.integers(0, 2, 400),
            strict=True,
        )
    ]
    path = tmp_path / "trace.csv"
    path.write_text("".join(lines))
    parameters = StorageParameters(workload="trace", trace=str(path), requests=None)
    for placement, migration in (("lru", "hotness"), ("hps", "periodic")):
        whole = simulate(placement, migration=migration, parameters=parameters).measures
        streamed = replay(parameters, placement, migration=migration, size=size)
        assert {name: value[0] for name, value in whole.items()} == pytest.approx(streamed)


@pytest.mark.parametrize(("name", "write_share"), [("tpcc-small.trace", None), ("wsrch-small.trace", 0.0)])
def test_shared_samples(name: str, write_share: float | None) -> None:
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"{path} is not there")
    parameters = StorageParameters(workload="trace", trace=str(path), trace_format="mqsim", requests=None)
    workload = traces.loaded(parameters)
    assert len(workload) == path.read_bytes().count(b"\n") + (not path.read_bytes().endswith(b"\n"))
    assert (np.diff(workload.arrivals) >= 0).all()
    if write_share is not None:
        assert workload.characteristics()["write_share"] < 0.05
    measures = simulate("lru", 5_000, parameters=parameters).measures
    assert measures["latency_to_fast_only"][0] > 1.0


def test_libcachesim(tmp_path: Path) -> None:
    pytest.importorskip("libcachesim")
    path = tmp_path / "trace.oracleGeneral"
    rows = [(10, 77, 4096, 2), (12, 99, 9000, -1), (15, 77, 4096, -1)]
    path.write_bytes(b"".join(struct.pack("<IQIq", *row) for row in rows))
    (piece,) = traces.read(path, "libcachesim")
    assert piece.times.tolist() == [0.0, 2e6, 5e6]
    assert piece.offsets.tolist() == [0, 4096, 0]
    assert piece.sizes.tolist() == [4096, 9000, 4096]
