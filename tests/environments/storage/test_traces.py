"""Readers of traces: files made to each format, malformed lines by number, the shared samples, pages numbered anew."""

from __future__ import annotations

import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marlbench.environments.storage.environment import StoragePlacement
from marlbench.environments.storage.parameters import StorageParameters
from marlbench.environments.storage.simulation import replay, simulate
from marlbench.environments.storage.workloads import page_numbers, traces
from marlbench.environments.storage.workloads.formats import Piece, pieces
from marlbench.environments.storage.workloads.page_numbers import PageNumbers
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
    requested = Piece(
        times=np.zeros(4),
        offsets=4096 * np.array([90, 3, 5, 91]),
        sizes=4096 * np.array([2, 2, 1, 4]) - 10,
        writes=np.zeros(4, bool),
    )
    numbers = PageNumbers.of([requested])
    assert (numbers.begin.tolist(), numbers.end.tolist()) == ([3, 90], [6, 95])
    assert numbers(np.array([3, 5, 90, 94])).tolist() == [0, 2, 4, 8]
    assert (numbers.extent, numbers.working_set) == (10, 8)
    assert numbers.requests(requested)[:, :2].tolist() == [[4, 2], [0, 2], [2, 1], [5, 4]]


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(1, 12), space=st.sampled_from([20, 300]))
def test_pages_of_many_pieces_are_numbered_as_those_of_one(seed: int, count: int, space: int) -> None:
    """Against a set of pages; ranges of pieces are put together whenever five of them wait."""
    random = np.random.default_rng(seed)
    several = []
    for _ in range(count):
        shape = int(random.integers(1, 9))
        offsets, sizes = random.integers(0, space, shape) * 4096, random.integers(1, 20_000, shape)
        several.append(Piece(np.zeros(shape), offsets, sizes, np.zeros(shape, bool)))
    used = {
        page
        for piece in several
        for offset, size in zip(piece.offsets.tolist(), piece.sizes.tolist(), strict=True)
        for page in range(offset // 4096, (offset + size - 1) // 4096 + 1)
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page_numbers, "_WAITING", 5)
        numbers = PageNumbers.of(several)
    expected: dict[int, int] = {}
    following = 0
    for page in sorted(used):
        following += page - 1 not in used and bool(expected)
        expected[page] = following
        following += 1
    assert numbers(np.array(sorted(used))).tolist() == list(expected.values())
    assert (numbers.extent, numbers.working_set) == (following + 1, len(used))


def test_a_stream_needs_no_more_memory_where_it_is_longer(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    random = np.random.default_rng(0)
    peaks = {}
    for requests in (8_000, 32_000):
        pages = random.integers(0, 500, requests)
        path.write_text("".join(f"{time},{page * 4096},4096,r\n" for time, page in enumerate(pages.tolist())))
        parameters = StorageParameters(workload="trace", trace=str(path), requests=None)
        # What compiles, or loads what was compiled, does not count.
        replay(parameters, "lru")
        for way in ("streamed", "at once"):
            tracemalloc.start()
            if way == "streamed":
                replay(parameters, "lru", size=1 << 15)
            else:
                simulate("lru", parameters=parameters)
            peaks[way, requests] = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
    assert peaks["streamed", 32_000] < 1.1 * peaks["streamed", 8_000]
    assert peaks["at once", 32_000] > 2 * peaks["at once", 8_000]
    assert peaks["streamed", 32_000] < peaks["at once", 32_000] / 3


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
