"""Layers of values over a model's defaults, each value with the place it came from."""

from __future__ import annotations

import json
import re
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from marlbench.catalog.document import Location, dotted
from marlbench.catalog.identity import legacy_fields, stand_ins
from marlbench.errors import ConfigurationError, did_you_mean

M = TypeVar("M", bound=BaseModel)
Level = Literal["default", "settings", "suite", "task", "preset", "command line"]


@dataclass(frozen=True)
class Origin:
    """Where a value came from: `where` is `file:line`, the option as typed, or the plug-in's target."""

    level: Level
    where: str

    def __str__(self) -> str:
        return f"{self.level} ({self.where})" if self.where else self.level


@dataclass(frozen=True)
class Resolved:
    """Every field of a model, as a JSON value, with its origin.

    `omitted` are the fields that stay out of the identity, see `identity.legacy_fields`; `standing` is what
    stands in it instead of values that change no result, see `identity.stand_ins`.
    """

    model: BaseModel
    values: dict[str, Any]
    origins: dict[str, Origin]
    omitted: tuple[str, ...]
    standing: dict[str, Any]


class Layers:
    """Values of increasing precedence for one model."""

    def __init__(self, model: type[BaseModel], what: str, declared: str) -> None:
        """`what` names the model in messages; `declared` says where its defaults stand."""
        self.model = model
        self.what = what
        self.declared = declared
        self.values: dict[str, Any] = {}
        self.origins: dict[str, Origin] = {}

    def has(self, field: str) -> bool:
        return field in self.model.model_fields

    def add(self, values: Mapping[str, Any], origin: Callable[[str], Origin]) -> None:
        """Put values over those that are there; `origin` says of a key where its value stands."""
        for name, value in values.items():
            self.values[name] = value
            self.origins[name] = origin(name)

    def resolve(self) -> Resolved:
        """Check the values against the model and fill in its defaults.

        Raises ConfigurationError that names the place of the value, the field, and what is wrong with it.
        """
        for name in self.values:
            if not self.has(name):
                raise ConfigurationError(
                    f"{self.origins[name].where}: {self.what} has no '{name}'.",
                    did_you_mean(name, self.model.model_fields),
                )
        try:
            model = validate(self.model, self.values)
        except ValidationError as error:
            location, problem, hint = first_problem(error, self.model, self.values)
            origin = self.origins.get(str(location[0])) if location else None
            if origin is None and self.origins:
                origin = next(iter(self.origins.values()))
            place = f"{origin.where}: " if origin is not None else ""
            key = f"{dotted(location)}: " if location else ""
            raise ConfigurationError(f"{place}{self.what}: {key}{problem}", hint) from None
        except Exception as error:
            raise ConfigurationError(
                f"{self.what} cannot check its settings: {type(error).__name__}: {error}.",
                f"This is a bug in {self.declared}.",
            ) from error
        values = model.model_dump(mode="json")
        default = Origin("default", self.declared)
        origins = {name: self.origins.get(name, default) for name in values}
        omitted = legacy_fields(self.model, values)
        return Resolved(model, values, origins, omitted, stand_ins(self.model, values))


def validate(model: type[M], values: Any) -> M:
    """Check plain values strictly: as JSON, so that lists serve for tuples and text for enumerations."""
    return model.model_validate_json(json.dumps(values), strict=True)


def first_problem(error: ValidationError, model: type[BaseModel], values: Any) -> tuple[Location, str, str]:
    """Location in `values`, problem and hint, in our words, of the error that says most.

    An unknown key explains best; problems of whole models come last, they often only follow from another.
    """

    def rank(detail: Any) -> int:
        return 0 if detail["type"] == "extra_forbidden" else 1 if detail["loc"] else 2

    detail = min(error.errors(include_url=False), key=rank)
    location = _within(detail["loc"], values)
    kind, given = detail["type"], detail["input"]
    if kind == "extra_forbidden":
        return location, "unknown key.", did_you_mean(str(location[-1]), _keys(model, detail["loc"][:-1]))
    if kind == "missing":
        return location, f"the key '{detail['loc'][-1]}' is missing.", ""
    if kind == "too_short":
        return location, "must not be empty.", ""
    if kind == "string_pattern_mismatch":
        hint = "Names have 1 to 64 letters, digits, '.', '_' or '-', and begin with a letter or a digit."
        return location, f"{given!r} is not a name.", hint
    if kind == "value_error":
        return location, f"{detail['ctx']['error']}.", ""
    if kind == "union_tag_invalid":
        context = detail["ctx"]
        key, known = context["discriminator"].strip("'"), re.findall("'([^']*)'", context["expected_tags"])
        return (
            (*location, key),
            f"'{context['tag']}' is none of {', '.join(known)}.",
            did_you_mean(context["tag"], known),
        )
    if kind == "union_tag_not_found":
        return location, f"the key {detail['ctx']['discriminator']} is missing.", ""
    hint = ""
    if kind == "literal_error":
        hint = did_you_mean(str(given), re.findall("'([^']*)'", detail["ctx"]["expected"]))
    expected = detail["msg"].removeprefix("Input ").removeprefix("Value ")
    expected = expected.replace("an object", "a mapping").replace("a valid dictionary", "a mapping")
    return location, f"{_short(given)} {expected[0].lower()}{expected[1:]}.", hint


def _within(location: Location, values: Any) -> Location:
    """A location of pydantic without what is no key of the values, such as names of alternatives."""
    kept: list[str | int] = []
    for part in location:
        if isinstance(part, int) if isinstance(values, list) else isinstance(values, dict) and part in values:
            kept.append(part)
            values = values[part]
    return tuple(kept)


def _short(given: Any) -> str:
    text = json.dumps(given, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _keys(model: type[BaseModel], location: Location) -> list[str]:
    """The keys that the model knows at a location of its data."""
    current: list[Any] = [model]
    for part in location:
        following: list[Any] = []
        for member in current:
            if _is_model(member):
                fields = member.model_fields.items()
                following += [field.annotation for name, field in fields if part in (name, field.alias)]
                following += [member] if part == member.__name__ or part in _tags(member) else []
            elif get_origin(member) is dict:
                following.append(get_args(member)[1])
        current = [member for annotation in following for member in _members(annotation)]
    return [
        field.alias or name for one in current if _is_model(one) for name, field in one.model_fields.items()
    ]


def _tags(model: type[BaseModel]) -> list[Any]:
    """The words by which a model is told from the others of a union, as pydantic puts them into locations."""
    return [
        tag
        for field in model.model_fields.values()
        if get_origin(field.annotation) is Literal
        for tag in get_args(field.annotation)
    ]


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _members(annotation: Any) -> list[Any]:
    """The alternatives of an annotation, without metadata."""
    if get_origin(annotation) is Annotated:
        return _members(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return [member for alternative in get_args(annotation) for member in _members(alternative)]
    return [annotation]
