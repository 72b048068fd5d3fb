"""Options that say how cells are trained, shared by the commands that train."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from marlbench.cli.engine_options import EngineChoice

if TYPE_CHECKING:
    from marlbench.cli.plan import Machine

KEEP_STATES = 256

Device = Annotated[
    str,
    typer.Option(
        "--device", metavar="auto|cpu|cuda|cuda:0,1", help="auto: every GPU, or the CPU where there is none."
    ),
]
Jobs = Annotated[
    int | None,
    typer.Option(
        "--jobs",
        "-j",
        min=1,
        metavar="N",
        help="Processes at once. Default: one for each GPU, or for each core.",
    ),
]
SeedsPerJob = Annotated[
    int | None,
    typer.Option(
        "--seeds-per-job",
        min=1,
        metavar="N",
        help="Seeds that train together in one process. Default: as many as leave no slot empty.",
    ),
]
Extend = Annotated[
    bool,
    typer.Option(
        "--extend",
        help="Let cells without a result go on from shorter ones that are done (with --steps), as new cells.",
    ),
]
KeepStates = Annotated[
    int,
    typer.Option(
        "--keep-states",
        min=0,
        metavar="MIB",
        help="Keep the final training state of a job, which --extend needs, if it is no larger; 0 keeps none.",
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show the plan and write nothing.")]


@dataclass(frozen=True)
class How:
    """The options that say how cells are trained."""

    device: str
    jobs: int | None
    results: Path | None
    engine: EngineChoice = field(default_factory=EngineChoice)
    seeds_per_job: int | None = None
    extend: bool = False
    keep_states: int = KEEP_STATES

    def machine(self) -> Machine:
        """What there is to train on."""
        from marlbench.cli.engine_options import machine_of
        from marlbench.cli.plan import Machine
        from marlbench.engines.devices import resolve_devices
        from marlbench.engines.machine import free_disk, free_memory
        from marlbench.engines.slots import slot_count
        from marlbench.errors import UsageError

        if (queue := self.engine.queue()) is not None:
            if self.jobs is not None:
                raise UsageError(
                    f"--jobs is for this machine, not for the engine '{self.engine.name}'.",
                    "How many run at once stands in its profile in marlbench.toml: at_once.",
                )
            return machine_of(queue, self.device, self.root)
        self.engine.limits(self.root)
        devices, per_gpu = resolve_devices(self.device), self.engine.per_gpu
        slots = slot_count(devices, self.jobs, per_gpu=per_gpu)
        return Machine(devices, slots, free_memory(), free_disk(self.root), per_gpu)

    @property
    def root(self) -> Path:
        """The store's directory, whether it exists or not."""
        from marlbench.store.store import Store

        return Store.locate(self.results)
