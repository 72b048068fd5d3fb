"""The options that say what starts jobs and what these may use, and the engine that is meant by them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

if TYPE_CHECKING:
    from marlbench.catalog.cell import Cell
    from marlbench.cli.plan import Machine
    from marlbench.engines.jobs import Engine
    from marlbench.engines.limits import Limits
    from marlbench.engines.queues import Queue

LOCAL = "local"
Parsed = TypeVar("Parsed")

EngineName = Annotated[
    str,
    typer.Option("--engine", metavar="NAME", help="What starts jobs: local, slurm, ray or a plug-in's."),
]
ProfileName = Annotated[
    str | None,
    typer.Option(
        "--profile", metavar="NAME", help="Of a queue, in marlbench.toml. Default: `default`, if it is there."
    ),
]
Detach = Annotated[
    bool, typer.Option("--detach", help="With a queue: leave when the jobs are submitted; they go on.")
]
PerGpu = Annotated[
    int, typer.Option("--per-gpu", min=1, metavar="N", help="Jobs at once on each GPU of this machine.")
]
MemoryLimit = Annotated[
    str | None,
    typer.Option("--memory-limit", metavar="SIZE", help="Kill a local job that has more resident, as 4G."),
]
TimeLimit = Annotated[
    str | None,
    typer.Option(
        "--time-limit", metavar="DURATION", help="Stop a local job that runs longer, as 30m, at a checkpoint."
    ),
]
HangAfter = Annotated[
    str | None,
    typer.Option(
        "--hang-after",
        metavar="DURATION",
        help="Kill a local job without a sign of life for so long, and start it again. Default: 2h.",
    ),
]


@dataclass(frozen=True)
class EngineChoice:
    """An engine by name, and the options that it may be given."""

    name: str = LOCAL
    profile: str | None = None
    detach: bool = False
    per_gpu: int = 1
    memory_limit: str | None = None
    time_limit: str | None = None
    hang_after: str | None = None

    def queue(self) -> Queue | None:
        """The queue that is meant; None where jobs are processes of this machine.

        Raises:
            UsageError: options that the engine does not have.
            ConfigurationError: there is no such engine, or it cannot be used.
        """
        from marlbench.engines.queues import Queue
        from marlbench.errors import UsageError
        from marlbench.plugins import load

        kind: Any = load("engines", self.name)
        queued = isinstance(kind, type) and issubclass(kind, Queue)
        limits = (self.memory_limit, self.time_limit, self.hang_after)
        if queued and (self.per_gpu > 1 or any(limits)):
            raise UsageError(
                f"--per-gpu and limits of jobs are for this machine, not for the engine '{self.name}'.",
                "Limits of a queue stand in its profile in marlbench.toml.",
            )
        if not queued and (self.profile or self.detach):
            raise UsageError(f"--profile and --detach are for queues; '{self.name}' is none.")
        return kind(self.profile) if queued else None

    def process_engine(self, preload: Iterable[str]) -> Engine:
        """The engine that starts processes here; `preload` are modules that jobs will import.

        Raises:
            ConfigurationError: there is no such engine, or it cannot be used.
        """
        from marlbench.plugins import load

        engine: Any = load("engines", self.name)
        started: Engine = engine(tuple(preload))
        return started

    def limits(self, root: Path) -> Limits:
        """What local jobs of the store at `root` may use.

        Raises:
            UsageError: an option that cannot be read.
        """
        from marlbench.engines.limits import SILENCE_SECONDS, Limits
        from marlbench.engines.machine import free_disk
        from marlbench.engines.profiles import parse_duration, parse_size

        return Limits(
            seconds=_parsed("--time-limit", self.time_limit, parse_duration),
            memory=_parsed("--memory-limit", self.memory_limit, parse_size),
            silence=_parsed("--hang-after", self.hang_after, parse_duration) or SILENCE_SECONDS,
            free_disk=lambda: free_disk(root),
        )


def machine_of(queue: Queue, device: str, root: Path) -> Machine:
    """What the jobs of a queue can have, for the plan.

    Raises:
        UsageError: a device that the queue's jobs do not have.
    """
    import sys

    from marlbench.cli.plan import Machine
    from marlbench.engines.devices import Devices
    from marlbench.engines.machine import free_disk
    from marlbench.errors import UsageError

    kind = "cuda" if queue.gpus else "cpu"
    if device not in ("auto", kind):
        raise UsageError(
            f"--device {device}: the profile gives each job {queue.gpus} GPUs, so jobs run on {kind}.",
            "Set `gpus` in the profile.",
        )
    memory = sys.maxsize if queue.memory is None else queue.memory
    return Machine(Devices(kind), queue.at_once, memory, free_disk(root))


def modules_of(cells: Iterable[Cell]) -> list[str]:
    """What jobs of these cells import: torch, the training loop, and the plug-ins of ours that they use.

    Those of others may start threads when they are imported, which a process that is to be forked must not have.
    """
    from marlbench.plugins import plugins

    modules = ["marlbench.cli.run_job", "marlbench.store.job", "marlbench.training.trainer"]
    # What a job's pictures need, which it would import at its end.
    modules += ["marlbench.training.pictures", "marlbench.environments.drawing", "PIL.GifImagePlugin"]
    modules += ["PIL.PngImagePlugin", "PIL.ImageDraw"]
    for cell in cells:
        for group, name in (
            ("algorithms", cell.algorithm),
            ("environments", cell.environment.partition(":")[0]),
        ):
            plugin = plugins(group).get(name)
            if plugin is not None and plugin.package == "marlbench":
                modules.append(plugin.target.partition(":")[0])
    return list(dict.fromkeys(modules))


def _parsed(option: str, text: str | None, parse: Callable[[object], Parsed]) -> Parsed | None:
    from marlbench.errors import UsageError

    if text is None:
        return None
    try:
        return parse(text)
    except ValueError as error:
        raise UsageError(f"{option}: {error}.") from None
