"""What learners of storage placement read from observations: columns by name, and rewards from a request's outcome."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from marlbench.environments.contract import EnvironmentSpecification
from marlbench.errors import ConfigurationError

PLACEMENT, MIGRATION = "placement", "migration"

# The six features of Sibyl's paper, the seven of Harmonia's re-implementation, the eight floats of Sibyl's code.
SIBYL_COLUMNS = ("size_bin", "type", "interval_bin", "count_bin", "free_bin", "device")
HARMONIA_COLUMNS = (*SIBYL_COLUMNS, "migration_interval_bin")
SIBYL_CODE_COLUMNS = (
    "code_size",
    "code_type",
    "code_count",
    "code_locality",
    "code_pages",
    "code_device",
    "code_fast_used",
    "code_slow_used",
)
OUTCOME = ("latency", "eviction_time", "evicted_pages")

Array = TypeVar("Array", Tensor, NDArray[Any])
Reward = Literal["environment", "sibyl", "sibyl_code", "harmonia"]

# Of columns that hold log(1 + x) / SCALE.
SCALE = 16.0


class Columns:
    """Some columns of observations.

    Args:
        names: of the columns, in the order in which `of` gives them.

    Attributes:
        indices: int64 [column], where they are.

    Raises:
        ConfigurationError: the task has no such columns or agents.
    """

    def __init__(
        self, method: str, specification: EnvironmentSpecification, names: Sequence[str], device: torch.device
    ) -> None:
        known = {name: index for index, name in enumerate(specification.features)}
        missing = [name for name in names if name not in known]
        if missing or PLACEMENT not in specification.agents:
            lacks = f"columns {', '.join(missing)}" if missing else "no agent 'placement'"
            raise ConfigurationError(
                f"{method} reads observations of storage placement, and this task lacks {lacks}.",
                hint="Use it on tasks with `environment: storage_placement`, or leave it out with `tasks: [...]`.",
            )
        found = sorted(known[name] for name in names)
        self.names = tuple(names)
        # Networks are indifferent to the order of their inputs, and neighbours are cut out faster than gathered.
        self._start, self.count = found[0], len(found)
        contiguous = found == list(range(found[0], found[0] + len(found)))
        self.indices = np.array(found)
        self._index = None if contiguous else torch.tensor(found, device=device)

    def of(self, observation: Array) -> Array:
        """[..., features] -> [..., column], in the order of the observation."""
        if self._index is None:
            return observation[..., self._start : self._start + self.count]
        return observation[..., self._index if isinstance(observation, Tensor) else self.indices]


class PlacementReward:
    """What placement is paid for a request, from what the following observation tells of it.

    sibyl: 1 / L without evictions, else max(0, 1 / L - 0.001 E) [paper, unverified]; sibyl_code: 0.1 / (L in ms) -
    (evicted pages) ** 0.09, rounded down to a multiple of 0.3 [code]; harmonia: 1 / L [reimpl]. `environment` is what
    the task pays.

    Args:
        unit: microseconds in which L and E are counted by `sibyl` and `harmonia`.

    Attributes:
        width: of the outcome of one request.
    """

    def __init__(
        self, kind: Reward, unit: float, specification: EnvironmentSpecification, agent: int
    ) -> None:
        self.kind, self.unit, self.agent = kind, unit, agent
        self._start = specification.features.index(OUTCOME[0])
        if specification.features[self._start : self._start + len(OUTCOME)] != OUTCOME:
            raise ValueError(f"the columns {OUTCOME} do not stand together")
        self.width = 1 if kind == "environment" else len(OUTCOME)

    def outcome(self, reward: Array, observation: Array) -> Array:
        """What has to be kept of a request, float [row, width], of what is paid and shown after it."""
        if self.kind == "environment":
            return reward[:, self.agent : self.agent + 1]
        return observation[:, self.agent, self._start : self._start + self.width]

    def of(self, outcome: Tensor) -> Tensor:
        """The reward, [..., width] -> [...]."""
        if self.kind == "environment":
            return outcome.squeeze(-1)
        latency, eviction, evicted = torch.expm1(outcome * SCALE).unbind(-1)
        if self.kind == "sibyl_code":
            raw = 100.0 / latency - torch.where(evicted > 0.5, evicted.round(), 0.0) ** 0.09
            # What the task computes in double precision may lie on the grid itself.
            return (raw / 0.3 + 1e-4).floor() * 0.3
        paid = self.unit / latency
        if self.kind == "sibyl":
            paid = torch.where(evicted > 0.5, (paid - 0.001 * eviction / self.unit).clamp(min=0.0), paid)
        return paid
