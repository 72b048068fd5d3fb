"""The command line: one module per verb, and the one place that prints errors.

A verb is a module with a function `command`, or with an `app` where it has verbs of its own; it is imported
when the verb is invoked, so that `marlbench --help` and every other verb do not pay for it. Data goes to
stdout, talk to stderr.
"""

from __future__ import annotations

import errno
import importlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from marlbench.errors import INTERNAL, MarlbenchError

# What a full disk or a machine without resources says; no bug of ours.
_SYSTEM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM)


@dataclass(frozen=True)
class Verb:
    """A verb's name is the key; `module` below marlbench.cli holds its `command`."""

    module: str
    help: str
    hidden: bool = False


VERBS = {
    "run": Verb("run", "Train and evaluate what is missing of one or more suites."),
    "study": Verb("study", "Run a study of the literature's claims, and give its verdicts."),
    "list": Verb("list_", "List suites, studies, tasks, algorithms, engines and plug-ins."),
    "show": Verb("show", "Show a suite as it resolves, and where each value came from."),
    "validate": Verb("validate", "Check suite files."),
    "explain": Verb("explain", "Say what state a cell is in and why it will run."),
    "status": Verb("status", "Show the state of every cell in the store."),
    "cancel": Verb("cancel", "End jobs, here, on other machines and in queues; they can go on later."),
    "retry": Verb("retry", "Run again what failed in a store."),
    "logs": Verb("logs", "Show the log of a cell's job."),
    "compare": Verb("compare", "Compare algorithms, with confidence intervals."),
    "regress": Verb("regress", "Compare fresh runs with a reference: has anything become worse?"),
    "reference": Verb("reference", "Measure what `regress` compares with, and show it."),
    "report": Verb("report", "Write the comparison of a suite as an HTML page with figures."),
    "tune": Verb("tune", "Choose hyperparameters with a stated budget, on seeds of their own."),
    "eval": Verb("eval_", "Evaluate the trained policy of a cell on fresh episodes."),
    "play": Verb("play", "Record or watch a trained policy play."),
    "export": Verb("export", "Write a trained policy for use without marlbench."),
    "crossplay": Verb("crossplay", "Pair trained policies of different cells in one team."),
    "sync": Verb("sync", "Bring MLflow up to date with the store."),
    "ui": Verb("ui", "Open the MLflow page of the store."),
    "prune": Verb("prune", "Remove what finished jobs keep for longer trainings."),
    "clean": Verb("clean", "Remove what nothing needs any more; only shows it unless told otherwise."),
    "cells": Verb("cells", "Carry results between stores."),
    "doctor": Verb("doctor", "Check this installation."),
    "run-job": Verb("run_job", "Run one job of a store (started by the engines).", hidden=True),
}


class LazyGroup(TyperGroup):
    """Knows every verb's name and one-line help; imports a verb's module when it is invoked."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, command, rest = super().resolve_command(ctx, args)
        if command is not None and name in VERBS:
            command = _command(name)
        return name, command, rest


def _command(name: str) -> Any:
    verb = VERBS[name]
    module = importlib.import_module(f"marlbench.cli.{verb.module}")
    if hasattr(module, "app"):
        # A verb with verbs of its own.
        return typer.main.get_command(module.app)
    single = typer.Typer(add_completion=False)
    single.command(name, short_help=verb.help, hidden=verb.hidden)(module.command)
    return typer.main.get_command(single)


def _name_only() -> Callable[[], None]:
    def command() -> None:
        raise AssertionError("a verb is invoked through its module")

    return command


def _print_version(requested: bool) -> None:
    if not requested:
        return
    from marlbench import __version__

    try:
        import torch
    except ImportError as error:
        typer.echo(f"marlbench {__version__}, torch does not import: {error}")
        raise typer.Exit(INTERNAL) from error
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    typer.echo(f"marlbench {__version__}, torch {torch.__version__}, device {device}")
    raise typer.Exit


app = typer.Typer(cls=LazyGroup, no_args_is_help=True, add_completion=False)
for _verb_name, _verb in VERBS.items():
    app.command(_verb_name, help=_verb.help, hidden=_verb.hidden)(_name_only())


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            is_eager=True,
            callback=_print_version,
            help="Print versions and the device, and exit.",
        ),
    ] = False,
) -> None:
    """Which multi-agent reinforcement learning method is better, on which task, and how sure are we?"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave with its exit code (see `marlbench.errors`)."""
    try:
        typer.main.get_command(app).main(
            args=None if arguments is None else list(arguments), prog_name="marlbench"
        )
    except MarlbenchError as error:
        print_error(error)
        sys.exit(error.exit_code)
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _SYSTEM:
            print_error(
                MarlbenchError(f"the system refused: {error}.", "Make room, and give the command again.")
            )
            sys.exit(INTERNAL)
        import traceback

        traceback.print_exc()
        sys.stderr.write(f"internal error: {type(error).__name__}: {error}\nThis is a bug in marlbench.\n")
        sys.exit(INTERNAL)


def print_error(error: MarlbenchError) -> None:
    """The message, and below it what to do, on stderr."""
    from rich.markup import escape

    from marlbench.cli.console import talk

    console = talk()
    console.print(f"[bold red]error:[/] {escape(str(error))}")
    if error.hint:
        console.print(f"  {escape(error.hint)}")
