"""What tells two identities apart, field by field."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from marlbench.catalog.identity import canonical

T = TypeVar("T")

# What makes a cell another one in a user's eyes weighs more than a setting of it.
_WEIGHTS = {"suite": 1000, "task": 1000, "algorithm": 1000, "environment": 100, "backend": 100}


@dataclass(frozen=True)
class Difference:
    """One field, such as `hyperparameters.learning_rate`; a side that lacks the field has `ABSENT`."""

    field: str
    here: Any
    there: Any


class _Absent:
    def __repr__(self) -> str:
        return "absent"


ABSENT = _Absent()


def differences(here: Mapping[str, Any], there: Mapping[str, Any]) -> list[Difference]:
    """The fields in which two identities differ, in the order of `here`."""
    return _compare(_flat(here), _flat(there))


def by_nearness(identity: Mapping[str, Any], others: Iterable[tuple[T, Mapping[str, Any]]]) -> list[T]:
    """The others, those with the fewest and lightest differences first."""
    here = _flat(identity)
    distances = [
        (sum(_WEIGHTS.get(found.field, 1) for found in _compare(here, _flat(other))), key)
        for key, other in others
    ]
    return [key for _, key in sorted(distances, key=lambda pair: pair[0])]


def _compare(here: dict[str, Any], there: dict[str, Any]) -> list[Difference]:
    found = []
    for name in here | there:
        one, other = here.get(name, ABSENT), there.get(name, ABSENT)
        if one is ABSENT or other is ABSENT or not _same(one, other):
            found.append(Difference(name, one, other))
    return found


def _same(one: Any, other: Any) -> bool:
    # Canonical text decides, but is slow; plain values of one type need none.
    plain = type(one) is type(other) and not isinstance(one, list)
    return one == other if plain else canonical(one) == canonical(other)


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat
