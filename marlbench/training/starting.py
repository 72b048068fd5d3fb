"""Parameters of other policies in the place of fresh ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from marlbench.algorithms.base import Policy
from marlbench.catalog.cell import Cell
from marlbench.errors import ConfigurationError


def with_parts_of(
    taken: Sequence[Mapping[str, Tensor]], policy: Policy, fresh: Tensor, cells: Sequence[Cell]
) -> Tensor:
    """Fresh parameters, those that were taken over put in their places: [member, parameter].

    Args:
        taken: of each member, name -> value, as `Policy.describe` told of the other policy.
        fresh: [member, parameter].

    Raises:
        ConfigurationError: this policy has no such parameter, or one of another shape.
    """
    started = []
    for member, values in enumerate(taken):
        own = policy.describe(fresh[member])
        for name, value in values.items():
            _check_fits(name, value, own, cells[member])
        started.append(policy.parameters_of({**own, **values}))
    return torch.stack(started).to(fresh)


def _check_fits(name: str, value: Tensor, own: Mapping[str, Tensor], cell: Cell) -> None:
    """Raise ConfigurationError where a parameter of another policy has no place in this one."""
    called = f"{cell.label} on {cell.task} cannot start from the policy of another cell"
    hint = f"Let both tasks be seen and acted in alike, or take over fewer `layers` of {', '.join(own)}."
    if name not in own:
        raise ConfigurationError(f"{called}: it has no parameter '{name}'.", hint)
    if value.shape != own[name].shape:
        raise ConfigurationError(
            f"{called}: '{name}' is {_sides(own[name])} here and {_sides(value)} there.", hint
        )


def _sides(value: Tensor) -> str:
    return " x ".join(map(str, value.shape))
