from __future__ import annotations

import json
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from marlbench.catalog.identity import canonical, identity_id, legacy_fields, stand_ins
from marlbench.errors import ConfigurationError


# RFC 8785, appendix B: numbers by the bits of their double.
@pytest.mark.parametrize(
    ("bits", "text"),
    [
        ("0000000000000000", "0"),
        ("8000000000000000", "0"),
        ("0000000000000001", "5e-324"),
        ("8000000000000001", "-5e-324"),
        ("7fefffffffffffff", "1.7976931348623157e+308"),
        ("ffefffffffffffff", "-1.7976931348623157e+308"),
        ("4340000000000000", "9007199254740992"),
        ("c340000000000000", "-9007199254740992"),
        ("4430000000000000", "295147905179352830000"),
        ("44b52d02c7e14af5", "9.999999999999997e+22"),
        ("44b52d02c7e14af6", "1e+23"),
        ("44b52d02c7e14af7", "1.0000000000000001e+23"),
        ("444b1ae4d6e2ef4e", "999999999999999700000"),
        ("444b1ae4d6e2ef4f", "999999999999999900000"),
        ("444b1ae4d6e2ef50", "1e+21"),
        ("3eb0c6f7a0b5ed8c", "9.999999999999997e-7"),
        ("3eb0c6f7a0b5ed8d", "0.000001"),
        ("41b3de4355555553", "333333333.3333332"),
        ("41b3de4355555554", "333333333.33333325"),
        ("41b3de4355555555", "333333333.3333333"),
        ("41b3de4355555556", "333333333.3333334"),
        ("41b3de4355555557", "333333333.33333343"),
        ("becbf647612f3696", "-0.0000033333333333333333"),
        ("43143ff3c1cb0959", "1424953923781206.2"),
    ],
)
def test_numbers_of_the_rfc(bits: str, text: str) -> None:
    (number,) = struct.unpack(">d", bytes.fromhex(bits))
    assert canonical(number) == text


def test_keys_are_sorted_as_in_the_rfc() -> None:
    # RFC 8785, section 3.2.3: by UTF-16 code units, so the emoji comes before the Hebrew letter.
    names = ["€", "\r", "\ufb33", "1", "\U0001f600", "\u0080", "ö"]
    order = list(json.loads(canonical({name: 0 for name in names})))
    assert order == ["\r", "1", "\u0080", "ö", "€", "\U0001f600", "\ufb33"]


def test_the_example_of_the_rfc() -> None:
    # RFC 8785, section 3.2.2.
    value = {
        "numbers": [333333333.33333329, 1e30, 4.50, 2e-3, 0.000000000000000000000000001],
        "string": '€$\u000f\nA\'B"\\\\"/',
        "literals": [None, True, False],
    }
    assert canonical(value) == (
        '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
        '"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
    )


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_reads_back_as_itself(number: float) -> None:
    assert float(canonical(number)) == number


@given(st.integers(-(2**53), 2**53))
def test_an_integer_and_its_double_are_one(number: int) -> None:
    assert json.loads(canonical(number)) == number
    assert canonical(float(number)) == canonical(number)


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    # Surrogates alone are not Unicode.
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
    max_leaves=20,
)


@given(values)
def test_canonical_is_json_and_stable(value: Any) -> None:
    text = canonical(value)
    read = json.loads(text, parse_int=float)
    assert read == value
    assert canonical(read) == text


def reversed_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: reversed_keys(value[key]) for key in reversed(value)}
    return [reversed_keys(item) for item in value] if isinstance(value, list) else value


@given(values)
def test_the_order_of_keys_does_not_matter(value: Any) -> None:
    assert identity_id({"a": value}) == identity_id({"a": reversed_keys(value)})


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), 2**53 + 1, "\ud800", {1: 2}, {"\ud800": 1}, {1, 2}, object()]
)
def test_what_json_cannot_say_is_refused(value: Any) -> None:
    with pytest.raises(ConfigurationError):
        canonical({"a": [value]})


def test_a_field_is_left_out_while_it_has_its_legacy_value() -> None:
    class Model(BaseModel):
        old: int = 1
        new: bool = Field(default=True, json_schema_extra={"legacy": False})
        newer: float = Field(default=1.0, json_schema_extra={"legacy": 1})

    assert legacy_fields(Model, {"old": 1, "new": True, "newer": 1.0}) == ("newer",)
    assert legacy_fields(Model, {"old": 1, "new": False, "newer": 2.0}) == ("new",)


def test_what_changes_no_result_stands_with_one_value() -> None:
    class Model(BaseModel):
        workers: int | None = Field(default=None, json_schema_extra={"stands_as": None})
        timeout: float = Field(default=9.0, json_schema_extra={"legacy": None, "stands_as": None})

    given = {"workers": 4, "timeout": 1.5}
    assert stand_ins(Model, given) == {"workers": None, "timeout": None}
    assert stand_ins(Model, {"workers": None, "timeout": 9.0}) == {"timeout": None}
    assert legacy_fields(Model, given) == legacy_fields(Model, {**given, "timeout": 9.0}) == ("timeout",)
