from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marlbench.catalog.document import MAXIMUM_BYTES, dotted, parse, read_document
from marlbench.errors import ConfigurationError

FILE = Path("/nowhere/file.yaml")


def value_of(text: str) -> Any:
    return parse(f"key: {text}".encode(), FILE).value["key"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("~", None),
        ("null", None),
        ("true", True),
        ("False", False),
        ("no", "no"),
        ("on", "on"),
        ("12:30", "12:30"),
        ("2024-01-01", "2024-01-01"),
        ("1_000", "1_000"),
        ("017", 17),
        ("0o17", 15),
        ("0x1F", 31),
        ("-3", -3),
        ("3e-4", 3e-4),
        ("1e6", 1_000_000),
        ("1.0e3", 1000.0),
        (".5", 0.5),
        ("'1e6'", "1e6"),
        ('"true"', "true"),
        ("[1, 2.5, a]", [1, 2.5, "a"]),
        ("{a: 1, b: {c: []}}", {"a": 1, "b": {"c": []}}),
        ("|\n  two\n  lines\n", "two\nlines\n"),
    ],
)
def test_values_follow_the_core_schema(text: str, value: object) -> None:
    read = value_of(text)
    assert read == value
    assert type(read) is type(value)


def test_every_key_has_its_line() -> None:
    document = parse(b"a: 1\n\nb:\n  c: 2\n  d:\n    - x\n    - e: 3\n", FILE)
    assert [document.line(place) for place in (("a",), ("b",), ("b", "c"), ("b", "d", 1, "e"))] == [
        1,
        3,
        4,
        7,
    ]
    assert document.line(("b", "d", 1, "missing", "deeper")) == 7
    assert document.line(("missing",)) == 1


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, "a: the key is given twice, first on line 1"),
        ("a:\n  b: 1\n  b: 1\n", 3, "a.b: the key is given twice"),
        ("a: &x 1\nb: *x\n", 1, "a: the anchor &x is refused"),
        ("a: 1\nb: *x\n", 2, "b: the alias *x is refused"),
        ("a: 1\nb: {<<: *x}\n", 2, "the alias *x is refused"),
        ("a: !!python/object:os.system 1\n", 1, "the tag !!python/object:os.system is refused"),
        ("a: 1\nb: !!str 1\n", 2, "the tag !!str is refused"),
        ("a: ! 1\n", 1, "the tag ! is refused"),
        ("%YAML 1.1\n---\na: 1\n", 1, "directives are refused"),
        ("a: 1\n---\nb: 1\n", 2, "a second document begins"),
        ("a: 1\nb: .nan\n", 2, "b: the number .nan is not finite"),
        ("a: -.inf\n", 1, "a: the number -.inf is not finite"),
        ("a: 1e999\n", 1, "a: the number 1e999 is not finite"),
        ("a: 1\n3: 4\n", 2, "the key 3 is not a name"),
        ("a: 1\n[b]: 4\n", 2, "is not a name"),
        ("a: 1\n b: 2\n", 2, "not valid YAML"),
        ("a: [1, 2\nb: 3\n", 2, "not valid YAML"),
        ("a: 1\nb:\t- 2\n\tc: 3\n", 2, "not valid YAML"),
        ("a: 'open\n", 2, "not valid YAML"),
        ("a: \x07\n", 1, "not valid YAML"),
        ("", 1, "the file is empty"),
        ("# nothing\n", 1, "the file is empty"),
        ("a: " + "[" * 200 + "]" * 200, 1, "nested too deeply"),
    ],
)
def test_what_means_more_than_it_shows_is_refused(text: str, line: int, problem: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse(text.encode(), FILE)
    assert str(caught.value).startswith(f"{FILE}:{line}: ")
    assert problem in str(caught.value)


def test_bytes_that_are_not_utf8_are_refused_with_their_line() -> None:
    with pytest.raises(ConfigurationError, match=r"file\.yaml:2: the file is not UTF-8"):
        parse(b"a: 1\nb: \xe9\n", FILE)


def test_files_over_one_megabyte_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "large.yaml"
    file.write_bytes(b"a: 1\n" + b"#" * MAXIMUM_BYTES)
    with pytest.raises(ConfigurationError, match="over 1 MB"):
        read_document(file)


def test_what_is_no_readable_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="there is no such file"):
        read_document(tmp_path / "missing.yaml")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_document(tmp_path)


def test_a_bracket_bomb_ends_soon() -> None:
    with pytest.raises(ConfigurationError):
        parse(b"[" * MAXIMUM_BYTES, FILE)


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**12), 10**12) | st.text("ab :#'\"\n-[]{}é€😀", max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("abc é", min_size=1), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(plain)
def test_json_is_read_as_json(value: object) -> None:
    assert parse(json.dumps({"key": value}, ensure_ascii=False).encode(), FILE).value == {"key": value}


def test_dotted() -> None:
    assert dotted(("algorithms", "ippo", "tasks", 0)) == "algorithms.ippo.tasks[0]"
