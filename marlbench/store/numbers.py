"""NaN and infinities in strict JSON: null, and a reason beside it.

A document that had such numbers gets one more key, `reasons`: the place of each as a JSON pointer (RFC 6901)
and which number it was, for example `{"values": {"loss": null}, "reasons": {"/values/loss": "nan"}}`.
"""

from __future__ import annotations

import math
from typing import Any

REASONS = "reasons"
_NUMBERS = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def encode(document: dict[str, Any]) -> dict[str, Any]:
    """A copy that strict JSON can hold."""
    reasons: dict[str, str] = {}
    copy = {key: _encode(value, f"/{_escape(key)}", reasons) for key, value in document.items()}
    return copy | {REASONS: reasons} if reasons else copy


def decode(document: dict[str, Any]) -> dict[str, Any]:
    """The document before `encode`, in place; ValueError where `reasons` does not fit the rest."""
    for pointer, name in document.pop(REASONS, {}).items():
        try:
            *path, last = [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]
            inner: Any = document
            for part in path:
                inner = inner[int(part)] if isinstance(inner, list) else inner[part]
            key = int(last) if isinstance(inner, list) else last
            if inner[key] is not None:
                raise ValueError("a number is there")
            inner[key] = _NUMBERS[name]
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(f"the reason {pointer!r}: {name!r} fits nothing: {error}") from error
    return document


def _escape(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")


def _encode(value: Any, pointer: str, reasons: dict[str, str]) -> Any:
    if isinstance(value, float):
        if math.isfinite(value):
            return float(value)
        reasons[pointer] = "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
        return None
    if isinstance(value, dict):
        return {key: _encode(inner, f"{pointer}/{_escape(key)}", reasons) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_encode(inner, f"{pointer}/{index}", reasons) for index, inner in enumerate(value)]
    return value
