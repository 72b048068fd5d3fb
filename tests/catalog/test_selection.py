from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marlbench.catalog.selection import format_seeds, parse_overrides, parse_seeds
from marlbench.errors import UsageError


@pytest.mark.parametrize(
    ("text", "seeds"),
    [
        ("5", (0, 1, 2, 3, 4)),
        ("1", (0,)),
        ("0-9", tuple(range(10))),
        ("3,7", (3, 7)),
        ("7-7", (7,)),
        ("9,0-2", (9, 0, 1, 2)),
        (" 3 , 7 ", (3, 7)),
        ("2147483647,0", (2**31 - 1, 0)),
    ],
)
def test_seeds(text: str, seeds: tuple[int, ...]) -> None:
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "-1",
        "a",
        "1.5",
        "1,",
        ",1",
        "5-3",
        "3,3",
        "0-4,2",
        "2147483648-2147483648",
        "1,2147483648",
        "0-100000",
        "99999999999999999999",
        "٣",
        "1 2",
        "1--2",
        "0x10",
    ],
)
def test_seeds_that_mean_nothing(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_seeds(text)
    assert "3,7 for a list" in caught.value.hint


@given(st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=20, unique=True))
def test_seeds_round_trip(seeds: list[int]) -> None:
    assert parse_seeds(format_seeds(seeds)) == tuple(seeds)


@given(st.integers(0, 1000), st.integers(1, 1000))
def test_a_range_is_written_short(first: int, count: int) -> None:
    seeds = range(first, first + count)
    assert format_seeds(seeds) == f"{first}-{first + count - 1}"
    assert parse_seeds(format_seeds(seeds)) == tuple(seeds)


@pytest.mark.parametrize(
    ("text", "target", "field", "value"),
    [
        ("algorithm.learning_rate=3e-4", "algorithm", "learning_rate", 3e-4),
        ("my.label.epochs=8", "my.label", "epochs", 8),
        ("task.agents=1e1", "task", "agents", 10),
        ("ippo.hidden=[64, 32]", "ippo", "hidden", [64, 32]),
        ("ippo.sharing={groups: 2}", "ippo", "sharing", {"groups": 2}),
        ("ippo.sharing=independent", "ippo", "sharing", "independent"),
        ("ippo.clip=", "ippo", "clip", None),
        ("ippo.name='3'", "ippo", "name", "3"),
        ("ippo.name=a=b", "ippo", "name", "a=b"),
    ],
)
def test_overrides(text: str, target: str, field: str, value: object) -> None:
    (override,) = parse_overrides([text])
    assert (override.target, override.field, override.value) == (target, field, value)
    assert override.text == f"--set {text}"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "a=1",
        "=1",
        ".a=1",
        "a.=1",
        "a.b",
        "a.b=.nan",
        "a.b=[1",
        "a.b=*x",
        "a.b=!!int 1",
        "a.b=1\nc: 2",
    ],
)
def test_overrides_that_mean_nothing(text: str) -> None:
    with pytest.raises(UsageError, match="--set"):
        parse_overrides([text])
