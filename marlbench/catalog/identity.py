"""The identity of a cell: sha256 over canonical JSON (RFC 8785, "JSON Canonicalization Scheme").

Plan and finished run compute it here and nowhere else.
"""

from __future__ import annotations

import hashlib
import json
import math
from typing import Any

from pydantic import BaseModel

from marlbench.errors import ConfigurationError

_EXACT = 2**53
_quote = json.JSONEncoder(ensure_ascii=False).encode


def canonical(value: Any) -> str:
    """JSON after RFC 8785: sorted keys, no white space, shortest numbers.

    Args:
        value: None, bool, int, float, str, and lists, tuples and dictionaries with str keys of them.

    Raises:
        ConfigurationError: a number that is not finite or that a double does not hold, a lone surrogate,
            another type.
    """
    if isinstance(value, str):
        return _string(value)
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        if abs(value) > _EXACT:
            raise ConfigurationError(
                f"the integer {value} is too large to be told from its neighbours in JSON."
            )
        return str(value)
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, list | tuple):
        return "[" + ",".join([canonical(item) for item in value]) + "]"
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise ConfigurationError(f"the key {key!r} is not a string and has no form in JSON.")
        keys = sorted(value, key=_utf16)
        return "{" + ",".join([f"{_string(key)}:{canonical(value[key])}" for key in keys]) + "}"
    raise ConfigurationError(f"a value of type {type(value).__name__} has no form in JSON: {value!r}.")


def identity_id(identity: dict[str, Any]) -> str:
    """The id of an identity: 64 hexadecimal digits."""
    return sha256(canonical(identity))


def sha256(text: str) -> str:
    """sha256 of a text in UTF-8, in hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()


def legacy_fields(model: type[BaseModel], values: dict[str, Any]) -> tuple[str, ...]:
    """The fields that stay out of the identity because they equal their declared legacy value.

    A field that is added to a model later is declared as `Field(default, json_schema_extra={"legacy":
    value})`, where `value` is what the code did before it had the field; so cells that finished before keep
    their ids. A field that changes no result, see `stand_ins`, is compared by the value it stands with.
    """
    standing = {**values, **stand_ins(model, values)}
    return tuple(
        name
        for name, extra in _extras(model)
        if "legacy" in extra and canonical(standing[name]) == canonical(extra["legacy"])
    )


def stand_ins(model: type[BaseModel], values: dict[str, Any]) -> dict[str, Any]:
    """What stands in the identity instead of the values of fields that change no result.

    Such a field, for instance how many processes share the work, is declared as `Field(default,
    json_schema_extra={"stands_as": value})`: cells that differ in it alone are one cell. A field that is
    added later names `value` as its legacy too, and is then left out.
    """
    return {
        name: extra["stands_as"]
        for name, extra in _extras(model)
        if "stands_as" in extra and canonical(values[name]) != canonical(extra["stands_as"])
    }


def _extras(model: type[BaseModel]) -> list[tuple[str, dict[str, Any]]]:
    extras = ((name, field.json_schema_extra) for name, field in model.model_fields.items())
    return [(name, extra) for name, extra in extras if isinstance(extra, dict)]


def _string(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ConfigurationError(f"the text {text!r} is not Unicode.") from None
    return _quote(text)


def _utf16(key: str) -> bytes:
    # RFC 8785 sorts by UTF-16 code units, which differs from code points above the basic plane.
    return key.encode("utf-16-be", "surrogatepass")


def _number(value: float) -> str:
    # Number::toString of ECMA-262, which RFC 8785 prescribes; Python's repr finds the same shortest digits.
    if not math.isfinite(value):
        raise ConfigurationError(f"the number {value} is not finite and has no form in JSON.")
    if value == 0:
        return "0"
    sign = "-" if value < 0 else ""
    mantissa, _, exponent = repr(abs(value)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    point = len(whole) + int(exponent or 0)
    digits = (whole + fraction).lstrip("0")
    point -= len(whole + fraction) - len(digits)
    digits = digits.rstrip("0")
    if len(digits) <= point <= 21:
        return sign + digits + "0" * (point - len(digits))
    if 0 < point <= 21:
        return f"{sign}{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    scientific = digits[0] + (f".{digits[1:]}" if len(digits) > 1 else "")
    return f"{sign}{scientific}e{'+' if point > 0 else '-'}{abs(point - 1)}"
