"""A strict reader of YAML: plain values, and the line of every key.

Files follow the core schema of YAML 1.2.2 (section 10.3.2), so `no` and `12:30` are strings. What makes a
file mean more than it shows is refused: anchors, aliases, tags, directives, duplicate keys, several
documents, numbers that are not finite.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from marlbench.errors import ConfigurationError

MAXIMUM_BYTES = 1 << 20
MAXIMUM_DEPTH = 20

_NULL = {"", "~", "null", "Null", "NULL"}
_BOOLEAN = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INTEGER = re.compile(r"[-+]?[0-9]{1,30}|0o[0-7]{1,30}|0x[0-9a-fA-F]{1,30}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")

Location = tuple[str | int, ...]


def dotted(location: Location) -> str:
    """A location as a user reads it: `tasks.simple_spread.steps`, `algorithms.ippo.tasks[0]`."""
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def shown(path: Path) -> str:
    """A path as errors print it: relative where it lies below the working directory."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


@dataclass(frozen=True)
class Document:
    """A parsed file: `value` is its root, `lines` the line of each key and list item by location."""

    path: Path
    value: Any
    lines: dict[Location, int] = field(default_factory=dict)

    def line(self, location: Location) -> int:
        """The line of a location, or of the nearest enclosing one that the file has."""
        while location and location not in self.lines:
            location = location[:-1]
        return self.lines.get(location, 1)

    def where(self, location: Location) -> str:
        """`file:line` of a location."""
        return f"{self._shown}:{self.line(location)}"

    @cached_property
    def _shown(self) -> str:
        return shown(self.path)

    def error(self, location: Location, problem: str, hint: str = "") -> ConfigurationError:
        """An error that names file, line and key."""
        key = f"{dotted(location)}: " if location else ""
        return ConfigurationError(f"{self.where(location)}: {key}{problem}", hint)


def read_document(path: Path) -> Document:
    """Read and parse a file.

    Raises ConfigurationError where the file cannot be read, is over 1 MB, not UTF-8, or not YAML as strict
    as above.
    """
    return parse(read_bytes(path), path)


def read_bytes(path: Path) -> bytes:
    """The content of a regular file of at most 1 MB."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            content = file.read(MAXIMUM_BYTES + 1)
    except FileNotFoundError:
        raise ConfigurationError(f"{shown(path)}: there is no such file.") from None
    except OSError as error:
        raise ConfigurationError(f"{shown(path)}: cannot be read: {error.strerror}.") from error
    if len(content) > MAXIMUM_BYTES:
        raise ConfigurationError(
            f"{shown(path)}: the file is over 1 MB.", "A suite file holds text, not data."
        )
    return content


def parse(content: bytes, path: Path) -> Document:
    """Parse the content of a file; `path` serves its error messages."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigurationError(
            f"{shown(path)}:{line}: the file is not UTF-8.", "Save it with the encoding UTF-8."
        ) from None
    return _Parser(path).parse(text)


def scalar(text: str) -> Any:
    """The value of a plain scalar.

    An integral number in exponent notation without a point is an integer, so that `steps: 1e6` works.

    Raises ValueError where the number is not finite.
    """
    if text in _NULL:
        return None
    if text in _BOOLEAN:
        return _BOOLEAN[text]
    if _INTEGER.fullmatch(text):
        return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
    if _FLOAT.fullmatch(text):
        number = float(text)
        if math.isfinite(number):
            return int(number) if "." not in text and number.is_integer() and abs(number) < 2**53 else number
    elif not _NOT_FINITE.fullmatch(text):
        return text
    raise ValueError(f"the number {text} is not finite")


class _Parser:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: dict[Location, int] = {}

    def fail(self, line: int, problem: str, hint: str = "", location: Location = ()) -> ConfigurationError:
        key = f"{dotted(location)}: " if location else ""
        return ConfigurationError(f"{shown(self.path)}:{line}: {key}{problem}", hint)

    def parse(self, text: str) -> Document:
        for number, line in enumerate(text.split("\n"), 1):
            if line.startswith("%"):
                raise self.fail(number, "directives are refused.", "Remove the line.")
        try:
            value = self.document(text)
        except YAMLError as error:
            mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
            position = getattr(error, "position", None) or 0
            at = mark.line + 1 if mark is not None else text.count("\n", 0, position) + 1
            problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "cannot be parsed"
            raise self.fail(at, f"not valid YAML: {problem}.") from None
        if value is None:
            raise self.fail(1, "the file is empty.")
        return Document(self.path, value, self.lines)

    def document(self, text: str) -> Any:
        value = None
        documents = 0
        events = iter(YAML(typ="safe", pure=True).parse(text))
        for event in events:
            if isinstance(event, DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise self.fail(
                        event.start_mark.line + 1, "a second document begins.", "Keep one per file."
                    )
            elif isinstance(event, ScalarEvent | AliasEvent | SequenceStartEvent | MappingStartEvent):
                value = self.value(event, events, ())
        return value

    def value(self, event: Any, events: Iterator[Event], location: Location) -> Any:
        line = event.start_mark.line + 1
        if isinstance(event, AliasEvent):
            raise self.fail(line, f"the alias *{event.anchor} is refused.", "Write the value out.", location)
        if event.anchor is not None:
            raise self.fail(line, f"the anchor &{event.anchor} is refused.", "Write the value out.", location)
        if event.tag is not None:
            tag = str(event.tag).replace("tag:yaml.org,2002:", "!!")
            raise self.fail(line, f"the tag {tag} is refused.", "Remove it.", location)
        if len(location) > MAXIMUM_DEPTH:
            raise self.fail(line, "nested too deeply.")
        if isinstance(event, ScalarEvent):
            if event.style:
                return event.value
            try:
                return scalar(event.value)
            except ValueError as error:
                raise self.fail(line, f"{error}.", "Give a finite number.", location) from None
        if isinstance(event, SequenceStartEvent):
            return self.sequence(events, location)
        return self.mapping(events, location)

    def sequence(self, events: Iterator[Event], location: Location) -> list[Any]:
        values: list[Any] = []
        for event in events:
            if isinstance(event, SequenceEndEvent):
                break
            below = (*location, len(values))
            self.lines[below] = event.start_mark.line + 1
            values.append(self.value(event, events, below))
        return values

    def mapping(self, events: Iterator[Event], location: Location) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for event in events:
            if isinstance(event, MappingEndEvent):
                break
            line = event.start_mark.line + 1
            key = self.value(event, events, location)
            if not isinstance(key, str):
                raise self.fail(line, f"the key {key!r} is not a name.", "Put it in quotes.", location)
            below = (*location, key)
            if key in values:
                raise self.fail(
                    line, f"the key is given twice, first on line {self.lines[below]}.", "Remove one.", below
                )
            self.lines[below] = line
            values[key] = self.value(next(events), events, below)
        return values
