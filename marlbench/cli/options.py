"""The options by which every verb selects cells, and the one function that turns them into a matrix."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from marlbench.catalog.matrix import Matrix

SuiteNames = Annotated[
    list[str],
    typer.Argument(metavar="SUITE...", help="Names of suites or paths of suite files.", show_default=False),
]
TaskGlobs = Annotated[
    list[str] | None,
    typer.Option(
        "--task", metavar="GLOB,...", help="Only tasks whose name matches; may be given several times."
    ),
]
AlgorithmNames = Annotated[
    list[str] | None,
    typer.Option(
        "--algorithm",
        metavar="A,B",
        help="Only these algorithms, by their name in the suite; may be given several times.",
    ),
]
Seeds = Annotated[
    str | None,
    typer.Option("--seeds", metavar="SEEDS", help="5 (seeds 0 to 4), 0-9, or 3,7. Default: the suite's."),
]
Steps = Annotated[
    int | None, typer.Option("--steps", min=1, help="Environment steps to train. Default: the suite's.")
]
PresetName = Annotated[
    str | None,
    typer.Option(
        "--preset", metavar="smoke|short|full", help="A preset of the suite. Default: full, the suite as is."
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override a value; may be given several times: algorithm.learning_rate=3e-4 (every algorithm "
        "that has it), LABEL.learning_rate=3e-4, task.agents=5, protocol.episodes=64.",
    ),
]
Results = Annotated[
    Path | None,
    typer.Option("--results", metavar="DIR", help="The store. Default: MARLBENCH_RESULTS, else ./results."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]


def names_given(given: Sequence[str] | None) -> tuple[str, ...]:
    """The names that `--algorithm` or `--task` was given, one or several at a time."""
    return tuple(name.strip() for names in given or () for name in names.split(","))


def as_words(
    *,
    tasks: Sequence[str] | None = None,
    algorithms: Sequence[str] | None = None,
    seeds: str | None = None,
    steps: int | None = None,
    preset: str | None = None,
    overrides: Sequence[str] | None = None,
) -> list[str]:
    """The options above as a person types them, for commands that select the same cells."""
    words: list[str] = []
    for option, value in (
        ("--task", tasks),
        ("--algorithm", algorithms),
        ("--seeds", seeds),
        ("--steps", steps),
        ("--preset", preset),
        ("--set", overrides),
    ):
        several = [value] if isinstance(value, str | int) else value or ()
        for one in several:
            words += [option, str(one)]
    return words


def select(
    suites: Sequence[str],
    *,
    tasks: Sequence[str] | None = None,
    algorithms: Sequence[str] | None = None,
    seeds: str | None = None,
    steps: int | None = None,
    preset: str | None = None,
    overrides: Sequence[str] | None = None,
) -> Matrix:
    """The matrix of what the options above select.

    Raises:
        UsageError: an option that cannot be read, or that selects nothing.
        ConfigurationError: a suite that does not exist or cannot be used.
    """
    from marlbench.catalog.matrix import resolve
    from marlbench.catalog.selection import parse_overrides, parse_seeds

    return resolve(
        suites,
        tasks=names_given(tasks),
        algorithms=names_given(algorithms),
        seeds=None if seeds is None else parse_seeds(seeds),
        steps=steps,
        preset=preset,
        overrides=parse_overrides(overrides or ()),
    )
