"""`marlbench export`: a trained policy for use without marlbench."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from marlbench.cli.options import Results
from marlbench.cli.policy_options import CellName, WhichPolicy

Directory = Annotated[
    Path, typer.Argument(metavar="OUT", help="A new directory for the files.", show_default=False)
]
Actions = Annotated[
    Literal["greedy", "sampled"],
    typer.Option("--policy", help="Which actions; sampled ones take random numbers as an input."),
]
Format = Annotated[
    Literal["torchscript", "torch-export"],
    typer.Option("--format", help="TorchScript, which torch 2.6 and later read, or an exported program."),
]


def command(
    cell: CellName,
    out: Directory,
    which: WhichPolicy = "best",
    policy: Actions = "greedy",
    format_: Format = "torchscript",
    results: Results = None,
) -> None:
    """Write the trained policy of a done cell as files that torch alone can use, with an example."""
    from marlbench.cli import words
    from marlbench.cli.console import talk
    from marlbench.cli.policy_options import device_named, open_store, tell_notes
    from marlbench.policies import exporting, trained
    from marlbench.store import naming

    store = open_store(results)
    entry = naming.find(store, cell)
    stored, rebuilt = trained.rebuild(store, entry, which, device_named("cpu"))
    tell_notes(rebuilt.notes)
    try:
        paths = exporting.export(stored, rebuilt, which, policy, format_, out)
    finally:
        rebuilt.close()
    talk().print(f"{naming.name(entry.cell)}, {which} policy:", markup=False)
    for path in paths:
        talk().print(f"  {path} ({words.size(path.stat().st_size)})", markup=False)
