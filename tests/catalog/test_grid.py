"""Grids mean what is written out by hand, and presets may be a part of a suite."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from marlbench.catalog.matrix import resolve
from marlbench.errors import ConfigurationError, UsageError

HEAD = """\
schema: 1
suite: gridded
title: A suite with grids
rows: 4
seeds: 3
steps: 1000
protocol: {kind: episodic, policy: greedy, evaluations: 5}
"""
SCORE = "    score: {metric: return_mean, low: -10, high: 0, source: a coin}\n"
GRIDS = f"""\
{HEAD}presets:
  part:
    seeds: 2
    grid: {{wind: [0.5]}}
    algorithms:
      learner: {{grid: {{size: [large]}}}}
      scripted: {{seeds: 1, tasks: [walk]}}
algorithms:
  learner:
    hyperparameters: {{anneal: false}}
    grid:
      learning_rate: [0.1, 1]
      size: {{small: {{hidden: [8]}}, large: {{hidden: [64, 64], sharing: independent}}}}
  scripted: {{}}
tasks:
  walk:
    environment: walking
    parameters: {{agents: 3}}
    grid: {{wind: [0.0, 0.5]}}
{SCORE}  stay:
    environment: walking
{SCORE}"""


def written_out() -> str:
    entries = ""
    for rate in ("0.1", "1.0"):
        for size, rest in (("small", "hidden: [8]"), ("large", "sharing: independent, hidden: [64, 64]")):
            name = f"learner-learning_rate-{rate.removesuffix('.0')}-size-{size}"
            values = f"{{anneal: false, learning_rate: {rate}, {rest}}}"
            entries += f"  {name}: {{algorithm: learner, hyperparameters: {values}}}\n"
    tasks = "".join(
        f"  walk-wind-{wind}:\n    environment: walking\n    parameters: {{agents: 3, wind: {wind}}}\n{SCORE}"
        for wind in ("0", "0.5")
    )
    rest = f"  stay:\n    environment: walking\n{SCORE}"
    return f"{HEAD}algorithms:\n{entries}  scripted: {{}}\ntasks:\n{tasks}{rest}"


@pytest.fixture
def write(suites: Path) -> Any:
    def to_file(text: str, name: str = "gridded") -> str:
        (suites / f"{name}.yaml").write_text(text)
        return name

    return to_file


def test_a_grid_is_what_is_written_out_by_hand(write: Any) -> None:
    gridded = resolve([write(GRIDS.replace("  learner:\n", "  learner:\n    algorithm: learner\n"))])
    ids = [(cell.task, cell.label, cell.id) for cell in gridded.cells]
    write(written_out())
    assert ids == [(cell.task, cell.label, cell.id) for cell in resolve(["gridded"]).cells]
    assert len(ids) == 3 * 5 * 3


def test_the_plug_in_is_that_of_the_entry(write: Any) -> None:
    # Without `algorithm`, the name of the entry is that of the plug-in, as it is without a grid.
    assert {cell.algorithm for cell in resolve([write(GRIDS)], algorithms=["learner"]).cells} == {"learner"}


def test_names_of_entries_mean_their_points(write: Any) -> None:
    name = write(GRIDS)
    chosen = resolve([name], tasks=["walk"], algorithms=["learner"])
    assert {cell.task for cell in chosen.cells} == {"walk-wind-0", "walk-wind-0.5"}
    assert len({cell.label for cell in chosen.cells}) == 4
    one = resolve([name], tasks=["*wind-0"], algorithms=["learner-learning_rate-1-size-large"])
    assert len(one.cells) == 3
    (cell, *_) = one.cells
    assert cell.hyperparameters == {
        "learning_rate": 1.0,
        "hidden": [64, 64],
        "sharing": "independent",
        "anneal": False,
    }


def test_a_preset_may_be_a_part(write: Any) -> None:
    part = resolve([write(GRIDS)], preset="part")
    found = {
        (group.cell.task, group.cell.label): [cell.seed for cell in group.cells] for group in part.groups
    }
    large = [f"learner-learning_rate-{rate}-size-large" for rate in ("0.1", "1")]
    assert found == {
        ("walk-wind-0.5", large[0]): [0, 1],
        ("walk-wind-0.5", large[1]): [0, 1],
        ("walk-wind-0.5", "scripted"): [0],
        ("stay", large[0]): [0, 1],
        ("stay", large[1]): [0, 1],
    }
    full = {cell.id for cell in resolve(["gridded"]).cells}
    assert {cell.id for cell in part.cells} < full
    with pytest.raises(UsageError, match="nothing is selected"):
        resolve(["gridded"], preset="part", tasks=["stay"], algorithms=["scripted"])


@pytest.mark.parametrize(
    ("old", "new", "line", "told"),
    [
        (
            "learning_rate: [0.1, 1]",
            "learning_rate: [0.1, -1]",
            19,
            "learning_rate: -1 should be greater than 0",
        ),
        ("learning_rate: [0.1, 1]", "learning_rat: [0.1, 1]", 19, "has no 'learning_rat'"),
        ("{hidden: [8]}", "{hiden: [8]}", 20, "has no 'hiden'"),
        ("[0.0, 0.5]", "[0, 0.0]", 26, "level 0 is given twice"),
        ("{agents: 3}", "{agents: 3, wind: 1.0}", 26, "the entry itself sets 'wind' too"),
        ("learning_rate: [0.1, 1]", "hidden: [[8]]", 19, "grid.hidden"),
        (
            "learning_rate: [0.1, 1]",
            "wind: {a: {learning_rate: 1.0}}",
            19,
            "the task 'walk' has an axis of this name",
        ),
        ("learning_rate: [0.1, 1]", "task: {a: {learning_rate: 1.0}}", 19, "'task' is no name for an axis"),
        ("learning_rate: [0.1, 1]", "a: {b: {anneal: true}}", 19, "the entry itself sets 'anneal' too"),
        ("wind: [0.0, 0.5]", f"{'w' * 60}: {{a: {{wind: 0.5}}}}", 26, "is not a name"),
        ("grid: {wind: [0.5]}", "grid: {wind: [0.6]}", 11, "the axis 'wind' has no level 0.6. "),
        ("grid: {wind: [0.5]}", "grid: {wint: [0.5]}", 11, "no grid has the axis 'wint'"),
        ("size: [large]", "size: [larg]", 13, "the axis 'size' has no level larg"),
        ("      scripted:", "      scriptet:", 14, "no algorithm entry matches 'scriptet'"),
        ("tasks: [walk]", "tasks: [wall]", 14, "no task matches 'wall'"),
        ("learning_rate: [0.1, 1]", "learning_rate: []", 19, "must not be empty"),
    ],
)
def test_what_cannot_be_written_out_is_told(write: Any, old: str, new: str, line: int, told: str) -> None:
    assert old in GRIDS
    name = write(GRIDS.replace(old, new, 1))
    with pytest.raises(ConfigurationError) as error:
        resolve([name])
    assert f"gridded.yaml:{line}: " in str(error.value)
    assert told.strip() in str(error.value)


def test_the_nearest_level_is_named(write: Any) -> None:
    with pytest.raises(ConfigurationError) as error:
        resolve([write(GRIDS.replace("size: [large]", "size: [larg]"))])
    assert error.value.hint == "Did you mean 'large'?"


def test_too_many_points_are_refused(write: Any) -> None:
    axes = ", ".join(f"a{axis}: {{{', '.join(f'l{n}: {{}}' for n in range(10))}}}" for axis in range(5))
    with pytest.raises(ConfigurationError, match="100,000 points are more than 10,000"):
        resolve(
            [
                write(
                    GRIDS.replace("grid: {wind: [0.0, 0.5]}", f"grid: {{{axes}}}").replace(
                        "grid: {wind: [0.5]}", ""
                    )
                )
            ]
        )
