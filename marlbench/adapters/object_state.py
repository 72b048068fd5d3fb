"""The tensors and numbers that the objects of a library hold, found by looking through their attributes.

VMAS keeps the state of its rows in attributes of a world, its entities and a scenario. To save them, or to begin new
episodes in some rows only, they are listed by the path that leads to them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Belongs = Callable[[Any, Any], bool]


@dataclass(frozen=True)
class Slot:
    """A place that holds a value: an attribute of an object, or an entry of a list or dictionary."""

    path: str
    container: Any
    key: Any

    def get(self) -> Any:
        return self.container[self.key]

    def set(self, value: Any) -> None:
        self.container[self.key] = value


def slots(root: Any, belongs: Belongs) -> Iterator[Slot]:
    """Every place under a root that holds a tensor, a number or None, each once.

    Args:
        belongs: whether an entry, by its name and value, is looked at; the attributes of other objects are not.
    """
    seen: set[int] = set()
    # Depth first with a stack of its own: entities refer to each other in long chains.
    waiting: list[tuple[str, Any]] = [("", root)]
    while waiting:
        path, value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        container: Any
        if isinstance(value, dict):
            container, items = value, list(value.items())
        elif isinstance(value, list):
            container, items = value, list(enumerate(value))
        elif isinstance(value, tuple):
            waiting += [(f"{path}.{key}", inner) for key, inner in enumerate(value)]
            continue
        elif hasattr(value, "__dict__"):
            container, items = vars(value), list(vars(value).items())
        else:
            continue
        for number, (key, inner) in enumerate(items):
            if not belongs(key, inner):
                continue
            where = f"{path}.{key if isinstance(key, str) else number}"
            if isinstance(inner, Tensor | bool | int | float) or inner is None:
                yield Slot(where, container, key)
            elif isinstance(inner, dict | list | tuple) or hasattr(inner, "__dict__"):
                waiting.append((where, inner))


def save(root: Any, belongs: Belongs) -> dict[str, Any]:
    """Copies of all values by path; one tensor at two places stays one."""
    copies: dict[int, Tensor] = {}
    saved = {}
    for slot in slots(root, belongs):
        value = slot.get()
        if isinstance(value, Tensor):
            value = copies.setdefault(id(value), value.detach().clone())
        elif isinstance(value, float):
            # numpy's numbers are floats too, but no plain ones.
            value = float(value)
        saved[slot.path] = value
    return saved


def load(root: Any, belongs: Belongs, saved: dict[str, Any], device: torch.device) -> None:
    """Put saved values into an equal structure; what it has beyond them is taken away.

    Raises:
        KeyError: a saved value has no place there.
    """
    copies: dict[int, Tensor] = {}
    missing = set(saved)
    for slot in list(slots(root, belongs)):
        if slot.path not in saved:
            if isinstance(slot.container, dict):
                del slot.container[slot.key]
            continue
        missing.discard(slot.path)
        value = saved[slot.path]
        if isinstance(value, Tensor):
            value = copies.setdefault(id(value), value.to(device, copy=True))
        slot.set(value)
    if missing:
        raise KeyError(sorted(missing)[0])


def tensors(root: Any, belongs: Belongs, rows: int) -> list[tuple[Slot, Tensor]]:
    """The tensors whose first axis is the row."""
    found = []
    for slot in slots(root, belongs):
        value = slot.get()
        if isinstance(value, Tensor) and value.dim() > 0 and value.shape[0] == rows:
            found.append((slot, value))
    return found


def keep_rows(before: list[tuple[Slot, Tensor]], kept: Tensor) -> None:
    """Give rows their tensors back, where `kept` (bool [row]); one tensor at two places stays one.

    Args:
        before: what `tensors` returned, its tensors copied, before all rows were changed.
    """
    merged: dict[int, Tensor] = {}
    for slot, old in before:
        new = slot.container.get(slot.key) if isinstance(slot.container, dict) else slot.get()
        if not isinstance(new, Tensor) or new.shape != old.shape:
            continue
        if id(new) not in merged:
            mask = kept.view(-1, *(1,) * (new.dim() - 1))
            # The key of `merged` must stay the id of a living tensor: `new` is kept alive by `before` or the slot.
            merged[id(new)] = torch.where(mask, old, new)
        slot.set(merged[id(new)])
