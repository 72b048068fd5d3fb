"""A trainer that is quick, deterministic and honest about what it needs to continue."""

from __future__ import annotations

import hashlib
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from fake_cells import EVALUATIONS

from marlbench.catalog.cell import Cell
from marlbench.catalog.spacing import spaced


@dataclass(frozen=True)
class Record:
    member: int
    kind: str
    step: int
    values: dict[str, float]
    episodes: dict[str, list[float]] | None = None


class Disturbance:
    """Something that happens to the process while a step is taken; later steps take their time."""

    step: int | None = None
    happen: Callable[[], None]


class FakeTrainer:
    """A random walk per member, driven by a generator of its own and by everything written to a replay file.

    Parameters of the cells: `delay`, seconds per step; `replay`, after how many steps a checkpoint is demanded;
    `diverge`, the seed of the member that becomes NaN half way; `fail`, what happens half way, see `_fail`.
    """

    def __init__(self, cells: Sequence[Cell], directory: Path, device: torch.device) -> None:
        self.cells = cells
        self.parameters = cells[0].parameters
        self.total_steps = cells[0].steps
        self.steps = 0
        self.generators = [torch.Generator().manual_seed(cell.seed) for cell in cells]
        self.walk = torch.zeros(len(cells), 3)
        self.evaluations: list[list[dict[str, Any]]] = [[] for _ in cells]
        self.diverged = [False] * len(cells)
        self.unsaved = 0
        self.path = directory / "replay" / "steps.bin"
        self.path.parent.mkdir(exist_ok=True)
        self.closed = False
        self.source: dict[str, int] | None = None

    @property
    def finished(self) -> bool:
        return self.steps >= self.total_steps

    @property
    def must_checkpoint(self) -> bool:
        return 0 < self.parameters.get("replay", 0) <= self.unsaved

    def advance(self) -> list[Record]:
        assert not self.must_checkpoint, "advanced although a checkpoint was demanded"
        if delay := self.parameters.get("delay"):
            time.sleep(delay)
        self.steps += 1
        self.unsaved += 1
        if self.steps == Disturbance.step:
            Disturbance.happen()
            self.parameters = self.parameters | {"delay": 0.05}
        if 2 * self.steps == self.total_steps:
            self._fail()
        noise = torch.stack([torch.rand(3, generator=generator) for generator in self.generators])
        with self.path.open("r+b" if self.path.exists() else "w+b") as stream:
            stream.seek((self.steps - 1) * 4)
            stream.write(noise.sum().numpy().tobytes())
            stream.seek(0)
            digest = hashlib.sha256(stream.read(self.steps * 4)).digest()
        self.walk = torch.tanh(self.walk + noise) + digest[0] / 1000
        records = []
        for member, cell in enumerate(self.cells):
            if self.parameters.get("diverge") == cell.seed and 2 * self.steps == self.total_steps:
                self.diverged[member] = True
                records.append(Record(member, "diverged", self.steps, {}))
            if self.diverged[member]:
                continue
            loss = float("nan") if self.steps == 1 else float(self.walk[member, 0])
            records.append(Record(member, "train", self.steps, {"loss": loss}))
            if self.steps in spaced(self.total_steps, 1, EVALUATIONS):
                values = {"return_mean": float(self.walk[member].sum()), "ratio": float("inf")}
                self.evaluations[member].append({"step": self.steps, "values": values})
                records.append(
                    Record(
                        member, "evaluation", self.steps, values, {"return_mean": self.walk[member].tolist()}
                    )
                )
        return records

    def _fail(self) -> None:
        match self.parameters.get("fail"):
            case "exception":
                raise ValueError("cannot learn from https://user:secret@example.org/data?token=secret")
            case "memory":
                raise MemoryError("no more")
            case "exit":
                raise SystemExit(3)
            case "crash":
                os.kill(os.getpid(), signal.SIGSEGV)
            case "hang":
                if (worker := os.fork()) == 0:
                    signal.pause()
                (self.path.parent.parent / "worker").write_text(str(worker))
                time.sleep(60)
            case "worker":
                for pause in (0, 0, 0, 0, 0.001, 0.01):
                    if (worker := os.fork()) == 0:
                        time.sleep(60)
                    time.sleep(pause)
                    os.kill(worker, signal.SIGTERM)
                    assert os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1]) == -signal.SIGTERM

    def state_dict(self) -> dict[str, Any]:
        # What lies in the file must be durable before the checkpoint that speaks of it.
        with self.path.open("rb") as stream:
            os.fsync(stream.fileno())
        return {
            "steps": self.steps,
            "walk": self.walk.clone(),
            "generators": [generator.get_state() for generator in self.generators],
            "evaluations": self.evaluations,
            "diverged": self.diverged,
            "source": self.source,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.steps = state["steps"]
        self.walk = state["walk"]
        for generator, saved in zip(self.generators, state["generators"], strict=True):
            generator.set_state(saved)
        self.evaluations = state["evaluations"]
        self.diverged = state["diverged"]
        self.source = state["source"]

    def extend(self, state: Mapping[str, Any]) -> None:
        self.load_state_dict(state)
        self.source = {"steps": self.steps, "evaluations": len(self.evaluations[0])}

    def checkpoint_done(self) -> None:
        self.unsaved = 0

    def agent_costs(self, clock: Callable[[], float]) -> dict[str, float]:
        return {"agent_bytes": 12}

    def pictures(self, left: Callable[[], float]) -> dict[int, dict[str, bytes]]:
        assert left() > 0
        match self.parameters.get("draw"):
            case "exception":
                raise ValueError("there is nothing to see")
            case "exit":
                raise SystemExit(4)
            case "crash":
                os.kill(os.getpid(), signal.SIGSEGV)
        return {
            member: {"episode.gif": f"GIF89a of {cell.seed}".encode()}
            for member, cell in enumerate(self.cells)
        }

    def outcome(self, member: int) -> dict[str, Any]:
        evaluations = self.evaluations[member]
        return {
            "status": "diverged" if self.diverged[member] else "completed",
            "steps": self.total_steps // 2 if self.diverged[member] else self.steps,
            "evaluations": evaluations,
            "final": evaluations[-1]["values"] if evaluations else {},
            "absolute": {},
            "parameters_sha256": hashlib.sha256(self.walk[member].numpy().tobytes()).hexdigest(),
            "resume": "exact",
            **({"source": {"cell": self.cells[member].source, **self.source}} if self.source else {}),
        }

    def policy(self, member: int) -> dict[str, Any]:
        return {"walk": self.walk[member], "cell": self.cells[member].id}

    def close(self) -> None:
        self.closed = True


class FakeMeter:
    """Every step costs one loop."""

    def __init__(self) -> None:
        self.loops = 0.0
        self.open = 0.0

    def begin(self) -> None:
        self.open = 0.0

    def tick(self) -> None:
        self.open += 1.0

    def close(self) -> None:
        self.loops, self.open = self.loops + self.open, 0.0

    def state_dict(self) -> dict[str, float]:
        return {"loops": self.loops}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        self.loops = state["loops"]

    def document(self) -> dict[str, float]:
        return {"version": 1, "loops": self.loops}
