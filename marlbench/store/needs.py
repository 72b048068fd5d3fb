"""What a job needs of what it runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from marlbench.catalog.cell import Cell

if TYPE_CHECKING:
    import torch


class Trainer(Protocol):
    """What a job needs of `marlbench.training.trainer.Trainer`; see there."""

    steps: int

    @property
    def total_steps(self) -> int: ...

    @property
    def finished(self) -> bool: ...

    @property
    def must_checkpoint(self) -> bool: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: Any) -> None: ...

    def extend(self, state: Any) -> None: ...

    def start_from(self, taken: Sequence[Mapping[str, Any]]) -> None: ...

    def advance(self) -> Sequence[Any]: ...

    def checkpoint_done(self) -> None: ...

    def outcome(self, member: int) -> dict[str, Any]: ...

    def policy(self, member: int) -> dict[str, Any]: ...

    def agent_costs(self, clock: Callable[[], float]) -> dict[str, float]: ...

    def pictures(self, left: Callable[[], float]) -> dict[int, dict[str, bytes]]: ...

    def close(self) -> None: ...


class Meter(Protocol):
    """What a job needs of `marlbench.training.calibration.Meter`; see there."""

    def begin(self) -> None: ...

    def tick(self) -> None: ...

    def close(self) -> None: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: Any) -> None: ...

    def document(self) -> dict[str, Any]: ...


MakeTrainer = Callable[[Sequence[Cell], Path, "torch.device"], Trainer]
