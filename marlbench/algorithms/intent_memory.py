"""What an agent of iPLAN keeps of everybody that it has seen, and how rows of an observation find it.

An observation is rows of entities; `Step.identity` tells which entity a row shows. Histories and latents belong to
entities: a vehicle that changes its row, or comes back into sight, is still the one that it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import torch
from torch import Tensor

from marlbench.environments.contract import Entities, EnvironmentSpecification
from marlbench.errors import ConfigurationError, MarlbenchError


def entities_of(method: str, specification: EnvironmentSpecification) -> Entities:
    """The rows of a task's observations; ConfigurationError where they are no rows, or show nobody but the agent."""
    entities = specification.entities
    if entities is None or entities.seen < 2:
        raise ConfigurationError(
            f"{method} needs observations that are rows, one for each entity that an agent sees, and this task has "
            "none.",
            hint="Choose a task whose environment declares `entities`, or another algorithm for this one.",
        )
    return entities


class Recollection:
    """The parts of an agent's memory [..., size], all of them zero when an episode begins.

    Attributes:
        shapes: name -> shape of a part: `history` [time, entity, features], the latest last and zeros where an entity
            was not seen; `behaviour` and `instant` [entity, latent]; `action` [numbers], the one before.
    """

    def __init__(self, entities: Entities, history: int, behaviour: int, instant: int, action: int) -> None:
        self.entities = entities
        total, features = entities.total, len(entities.features)
        self.shapes: dict[str, tuple[int, ...]] = {
            "history": (history, total, features),
            "behaviour": (total, behaviour),
            "instant": (total, instant),
            "action": (action,),
        }

    @property
    def size(self) -> int:
        return sum(prod(shape) for shape in self.shapes.values())

    def split(self, memory: Tensor) -> dict[str, Tensor]:
        """The parts of a memory [..., size], each [..., *shape]."""
        parts = memory.split([prod(shape) for shape in self.shapes.values()], -1)
        lead = memory.shape[:-1]
        return {
            name: part.reshape(*lead, *shape)
            for (name, shape), part in zip(self.shapes.items(), parts, strict=True)
        }

    def join(self, parts: Mapping[str, Tensor]) -> Tensor:
        """The inverse of `split`."""
        return torch.cat([parts[name].flatten(-len(shape)) for name, shape in self.shapes.items()], -1)

    def identity(self, shown: Tensor | None, lead: tuple[int, ...], device: torch.device) -> Tensor:
        """Which entity each row shows, int64 [*lead, seen]; `total` for nobody.

        Args:
            shown: `Step.identity`, or None where a row shows the same entity all the time.
        """
        seen, total = self.entities.seen, self.entities.total
        if shown is None:
            if seen != total:
                raise MarlbenchError("the task does not tell whom the rows of its observations show.")
            return torch.arange(total, device=device).expand(*lead, seen)
        return torch.where(shown < 0, total, shown)


def of_rows(values: Tensor, identity: Tensor) -> Tensor:
    """What is kept of whom the rows show: [..., entity, features] at [..., seen] -> [..., seen, features].

    Zeros for nobody. Leading axes are broadcast.
    """
    padded = torch.nn.functional.pad(values, (0, 0, 0, 1))
    lead = torch.broadcast_shapes(values.shape[:-2], identity.shape[:-1])
    index = identity.unsqueeze(-1).expand(*lead, identity.shape[-1], values.shape[-1])
    return padded.expand(*lead, -1, -1).gather(-2, index)


def with_rows(values: Tensor, identity: Tensor, rows: Tensor) -> Tensor:
    """`values` [..., entity, features] with those of whom the rows show replaced by `rows` [..., seen, features]."""
    padded = torch.nn.functional.pad(values, (0, 0, 0, 1))
    index = identity.unsqueeze(-1).expand(rows.shape)
    return padded.scatter(-2, index, rows)[..., :-1, :]
