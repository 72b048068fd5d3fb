"""What the verbs that use trained policies share: their options, and the cell that is meant."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    import torch

    from marlbench.store.store import Store

CellName = Annotated[
    str,
    typer.Argument(
        metavar="CELL",
        help="A done cell: SUITE/TASK/LABEL/s3, LABEL/TASK/s3, or an id or its beginning.",
        show_default=False,
    ),
]
WhichPolicy = Annotated[
    Literal["best", "last"],
    typer.Option("--which", help="The best evaluated policy, or the last of the training."),
]
ChosenActions = Annotated[
    Literal["greedy", "sampled"] | None,
    typer.Option("--policy", help="Which actions it takes. Default: as the protocol says."),
]
Device = Annotated[str, typer.Option("--device", metavar="cpu|cuda|cuda:0", help="Where it runs.")]


def open_store(results: Path | None) -> Store:
    """The store, to be read."""
    from marlbench.store.store import Store

    return Store.open(Store.locate(results))


def device_named(name: str) -> torch.device:
    """The device behind `--device`, prepared; UsageError where there is none such."""
    import torch

    from marlbench.engines.devices import resolve_devices
    from marlbench.errors import UsageError
    from marlbench.store.execution import prepare_torch

    if name == "auto":
        raise UsageError("--device auto: name one.", "Use cpu, cuda or cuda:0.")
    resolve_devices(name)
    device = torch.device(name)
    # As in a job: one thread always adds in the same order.
    prepare_torch(device, threads=1)
    return device


def tell_notes(notes: Iterable[str]) -> None:
    """Print what has changed since a policy was trained."""
    from marlbench.cli.console import talk

    for note in dict.fromkeys(notes):
        talk().print(f"note: {note}.", markup=False)
