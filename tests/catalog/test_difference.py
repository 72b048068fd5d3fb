from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from marlbench.catalog.difference import ABSENT, Difference, by_nearness, differences
from marlbench.catalog.identity import canonical


def test_differences_field_by_field() -> None:
    here = {"suite": "a", "hyperparameters": {"rate": 0.1, "hidden": [64]}, "data": {}, "seed": 1}
    there = {"suite": "a", "hyperparameters": {"rate": 0.2, "clip": 1}, "data": {"map": "x"}, "seed": 1.0}
    assert differences(here, there) == [
        Difference("hyperparameters.rate", 0.1, 0.2),
        Difference("hyperparameters.hidden", [64], ABSENT),
        Difference("data", {}, ABSENT),
        Difference("hyperparameters.clip", ABSENT, 1),
        Difference("data.map", ABSENT, "x"),
    ]


scalars = st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from([0.0, 1.0, 0.5, "a", ""])
identities = st.dictionaries(
    st.sampled_from("abc"),
    scalars | st.lists(scalars, max_size=2) | st.dictionaries(st.sampled_from("xy"), scalars),
)


@given(identities, identities)
def test_no_difference_means_the_same_identity(here: dict, there: dict) -> None:
    assert (differences(here, there) == []) == (canonical(here) == canonical(there))


def test_another_task_is_further_than_many_settings() -> None:
    here = {"task": "walk", "hyperparameters": {"a": 1, "b": 1, "c": 1}, "seed": 0}
    other_task = {**here, "task": "sail"}
    other_settings = {**here, "hyperparameters": {"a": 2, "b": 2, "c": 2}}
    other_seed = {**here, "seed": 1}
    others = [("task", other_task), ("settings", other_settings), ("seed", other_seed)]
    assert by_nearness(here, others) == ["seed", "settings", "task"]
