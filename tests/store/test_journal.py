from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marlbench.store import durable
from marlbench.store import journal as journals
from marlbench.store.journal import Extent, Journal, measure, read_header, read_last, read_lines
from marlbench.store.numbers import decode, encode
from marlbench.store.states import Damaged

names = st.text(min_size=1, max_size=8)
values = st.dictionaries(names, st.floats(), max_size=3)
episodes = st.none() | st.dictionaries(names, st.lists(st.floats(), max_size=3), max_size=2)
records = st.tuples(st.sampled_from(["train", "evaluation"]), st.integers(0, 10**9), values, episodes)


def write(journal: Journal, record: Any, attempt: int = 1) -> None:
    kind, step, numbers, per_episode = record
    journal.append(attempt=attempt, time_ms=7, kind=kind, step=step, values=numbers, episodes=per_episode)


def same(a: Any, b: Any) -> bool:
    """Equal, where NaN equals itself and -0.0 does not equal 0.0."""
    return repr(a) == repr(b)


def plain(lines: list[dict[str, Any]]) -> list[Any]:
    return [(line["kind"], line["step"], line["values"], line.get("episodes")) for line in lines[1:]]


@given(
    before=st.lists(records, max_size=6),
    beyond=st.lists(records, max_size=4),
    torn=st.binary(max_size=30).map(lambda b: b.replace(b"\n", b"")),
    after=st.lists(records, max_size=4),
)
def test_a_cut_journal_is_one_that_never_went_further(
    tmp_path_factory: pytest.TempPathFactory, before: list, beyond: list, torn: bytes, after: list
) -> None:
    folder = tmp_path_factory.mktemp("cell")
    path, tail = folder / "journal.jsonl", folder / "tail"
    journal = Journal.begin(path, folder.name, attempt=1, time_ms=5)
    for record in before:
        write(journal, record)
    extent = journal.sync()
    assert measure(path) == extent == Extent(path.stat().st_size, len(before), extent.sha256)
    covered = path.read_bytes()
    for record in beyond:
        write(journal, record)
    journal.close()
    with path.open("ab") as stream:
        stream.write(torn)
    cut = path.read_bytes()[len(covered) :]

    journal, returned = Journal.resume(path, extent, tail)
    assert returned == cut
    assert (tail.read_bytes() if tail.exists() else b"") == cut
    assert path.read_bytes() == covered
    assert journal.generation == 1
    for record in after:
        write(journal, record, attempt=2)
    assert journal.sync() == measure(path)
    journal.close()

    lines = list(read_lines(path))
    assert [line["seq"] for line in lines[1:]] == list(range(1, len(before) + len(after) + 1))
    assert same(plain(lines), [tuple(record) for record in before + after])
    # Whoever reads with the checkpoint's limit sees what it covers and nothing else.
    assert same(list(read_lines(path, extent.bytes)), lines[: len(before) + 1])
    for line in path.read_bytes().splitlines():
        json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


@given(st.lists(records, min_size=1, max_size=4), st.data())
def test_a_journal_that_ends_anywhere_reads_up_to_its_last_whole_line(
    tmp_path_factory: pytest.TempPathFactory, written: list, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("cell")
    path = folder / "journal.jsonl"
    journal = Journal.begin(path, folder.name, attempt=1, time_ms=5)
    for record in written:
        write(journal, record)
    journal.close()
    everything = path.read_bytes()
    size = data.draw(st.integers(0, len(everything)))
    path.write_bytes(everything[:size])
    whole = everything[:size].count(b"\n")
    assert len(list(read_lines(path))) == whole
    assert (read_header(path) is None) == (whole == 0)


@given(
    made=st.lists(records, max_size=6),
    torn=st.binary(max_size=30).map(lambda b: b.replace(b"\n", b"")),
    block=st.integers(1, 200),
)
def test_the_last_record_of_a_kind_is_found_from_the_end(
    tmp_path_factory: pytest.TempPathFactory, made: list[Any], torn: bytes, block: int
) -> None:
    path = tmp_path_factory.mktemp("cell") / "journal.jsonl"
    journal = Journal.begin(path, path.parent.name, attempt=1, time_ms=1)
    for record in made:
        write(journal, record)
    journal.close()
    path.write_bytes(path.read_bytes() + torn)
    found = [line for line in read_lines(path) if line["kind"] == "evaluation"]
    with mock.patch.object(journals, "_BACKWARDS", block):
        last = read_last(path, "evaluation")
    assert same(last, found[-1] if found else None)


@given(
    st.dictionaries(
        names, st.recursive(st.floats() | st.integers() | st.none() | st.text(), st.lists), max_size=4
    )
)
@settings(max_examples=40)
def test_numbers_survive_strict_json(document: dict[str, Any]) -> None:
    document.pop("reasons", None)
    encoded = encode(document)
    text = json.dumps(encoded, allow_nan=False)
    assert same(decode(json.loads(text)), document)


def test_a_number_that_is_none_leaves_null_and_a_reason() -> None:
    encoded = encode({"values": {"a/b": math.nan, "c~": [1.0, -math.inf]}})
    assert encoded == {
        "values": {"a/b": None, "c~": [1.0, None]},
        "reasons": {"/values/a~1b": "nan", "/values/c~0/1": "-inf"},
    }


@pytest.mark.parametrize(
    "reasons", [{"/x": "nan"}, {"/values/a": "big"}, {"/values/b": "nan"}, {"": "nan"}, {"/values": "nan"}]
)
def test_a_reason_that_fits_nothing_is_refused(reasons: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="fits nothing"):
        decode({"values": {"a": None, "b": 1.0}, "reasons": reasons})


HEADER = {"kind": "header", "schema": 1, "cell": "CELL", "attempt": 1, "time_ms": 1, "generation": 1}
RECORD = {"seq": 1, "attempt": 1, "time_ms": 1, "kind": "train", "step": 1, "values": {}}


@pytest.mark.parametrize(
    ("header", "record", "reason"),
    [
        ({"schema": 2}, {}, "schema 2"),
        ({"kind": "train"}, {}, "not a header"),
        ({"cell": "another"}, {}, "another cell"),
        ({"generation": None}, {}, "not a header"),
        ({}, {"seq": 2}, "seq is 2, not 1"),
        ({}, {"step": "1"}, "step is '1'"),
        ({}, {"values": []}, "values is"),
        ({}, {"kind": None}, "kind is None"),
        ({}, {"reasons": {"/values/x": "nan"}}, "fits nothing"),
    ],
)
def test_a_bad_line_is_damage(tmp_path: Path, header: dict, record: dict, reason: str) -> None:
    path = tmp_path / "journal.jsonl"
    lines = [HEADER | {"cell": tmp_path.name} | header, RECORD | record]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(Damaged, match=reason):
        list(read_lines(path))


@pytest.mark.parametrize(
    "text", ["nonsense", "[1]", '{"seq":1,"seq":1}', "[" * 100_000, "\x00" * 50, '{"x":NaN}']
)
def test_a_line_that_is_not_json_is_damage(tmp_path: Path, text: str) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_text(json.dumps(HEADER | {"cell": tmp_path.name}) + "\n" + text + "\n")
    with pytest.raises(Damaged, match="line 2"):
        list(read_lines(path))


def test_a_journal_that_does_not_begin_as_known_is_not_resumed(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    journal = Journal.begin(path, tmp_path.name, attempt=1, time_ms=5)
    extent = journal.sync()
    journal.close()
    content = path.read_bytes()
    path.write_bytes(content.replace(b"5", b"6"))
    with pytest.raises(Damaged, match="not those"):
        Journal.resume(path, extent, tmp_path / "tail")
    path.unlink()
    with pytest.raises(Damaged, match="missing"):
        Journal.resume(path, extent, tmp_path / "tail")
    assert not (tmp_path / "tail").exists()


def test_a_missing_journal_is_empty(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    assert list(read_lines(path)) == []
    assert read_header(path) is None
    assert measure(path).bytes == 0


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    durable.write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="Out of range"):
        durable.write_json(path, {"a": math.nan})
    (tmp_path / ".file.json.tmp").mkdir()
    with pytest.raises(durable.Unwritable, match=r"cannot write .*file\.json: Is a directory") as raised:
        durable.write_json(path, {"a": 2})
    assert not raised.value.full
    assert durable.read(path) == {"a": 1}
