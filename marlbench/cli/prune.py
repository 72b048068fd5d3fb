"""`marlbench prune`: give back the disk that finished jobs keep for longer trainings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from marlbench.cli.options import Json, Results

if TYPE_CHECKING:
    from collections.abc import Sequence

    from marlbench.cli.pruning import Prunable

SCHEMA = 1
_NAMED = 40

Suites = Annotated[
    list[str] | None,
    typer.Argument(metavar="[SUITE...]", help="Only jobs of these suites.", show_default=False),
]
States = Annotated[
    bool, typer.Option("--states", help="Final training states, which `run --extend` goes on from.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would go and remove nothing.")]


def command(
    suites: Suites = None,
    states: States = False,
    dry_run: DryRun = False,
    results: Results = None,
    as_json: Json = False,
) -> None:
    """Remove what finished jobs keep for longer trainings. Results and policies stay."""
    from marlbench.cli.console import data, print_json
    from marlbench.cli.policy_options import open_store
    from marlbench.cli.pruning import prunable, prune
    from marlbench.errors import UsageError

    if not states:
        raise UsageError("nothing is named that could go.", "`marlbench prune --states --dry-run` shows it.")
    store = open_store(results)
    found = prunable(store, suites or ())
    if not dry_run:
        store.require_writable()
        found = [prune(store, one) for one in found]
    if as_json:
        print_json(_document(found, dry_run))
        return
    console = data()
    for line in _lines(found, dry_run):
        console.print(line, markup=False, soft_wrap=True)


def _document(found: Sequence[Prunable], dry_run: bool) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "dry_run": dry_run,
        "bytes": sum(one.bytes for one in found if not one.reason),
        "jobs": [
            {"job": one.job, "cells": list(one.cells), "bytes": one.bytes, "stays": one.reason or None}
            for one in found
        ],
    }


def _lines(found: Sequence[Prunable], dry_run: bool) -> list[str]:
    from marlbench.cli import words

    going = [one for one in found if not one.reason]
    staying = [one for one in found if one.reason]
    told = [f"{words.size(one.bytes):>8}  {one.title}" for one in sorted(going, key=lambda one: -one.bytes)]
    more = len(told) - _NAMED
    lines = told[:_NAMED] + ([f"          and {more:,} more"] if more > 0 else [])
    lines += [f"   stays  {one.title}: {one.reason}" for one in staying[:_NAMED]]
    total = words.size(sum(one.bytes for one in going))
    verb = "would go" if dry_run else "are gone"
    lines.append(f"final states of {words.plural(len(going), 'job')}, {total}, {verb}")
    return lines
