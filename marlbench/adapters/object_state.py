"""The tensors and numbers that the objects of a library hold, found by looking through their attributes.

VMAS keeps the state of its rows in attributes of a world, its entities and a scenario. To save them, or to begin new
episodes in some rows only, they are listed by the path that leads to them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Belongs = Callable[[Any, Any], bool]
_LEAVES = (Tensor, int, float, type(None))


@dataclass(frozen=True, slots=True)
class Slot:
    """A place: an attribute of an object (in its `__dict__`), or an entry of a list or dictionary."""

    path: str
    container: Any
    key: Any

    def get(self) -> Any:
        """What lies there; None where the place is gone."""
        if isinstance(self.container, dict):
            return self.container.get(self.key)
        return self.container[self.key] if self.key < len(self.container) else None

    def set(self, value: Any) -> None:
        self.container[self.key] = value


class ObjectState:
    """Every place under some objects that holds a tensor, a number, None, or refers to one of the objects.

    Args:
        roots: the objects by name, where the search begins; a place that refers to one of them is saved as its name.
        belongs: whether an entry, by its name and value, is looked at; attributes of other objects are not.
    """

    def __init__(self, roots: dict[str, Any], belongs: Belongs) -> None:
        self.roots, self.belongs = roots, belongs
        self._names = {id(value): name for name, value in roots.items()}
        self._leaves: list[Slot] = []
        self._inner: list[tuple[Slot, Any]] = []
        self._sizes: list[tuple[Any, int]] = []

    def places(self) -> list[Slot]:
        """Searches anew where an object, a list or a dictionary was replaced or has more or fewer entries."""
        same = (
            bool(self._sizes)
            and all(len(container) == size for container, size in self._sizes)
            and all(slot.get() is inner for slot, inner in self._inner)
            and all(self._is_leaf(slot.get()) for slot in self._leaves)
        )
        if not same:
            self._search()
        return self._leaves

    def _is_leaf(self, value: Any) -> bool:
        return isinstance(value, _LEAVES) or id(value) in self._names

    def _search(self) -> None:
        self._leaves, self._inner, self._sizes = [], [], []
        seen: set[int] = set()
        # With a stack of its own: entities refer to each other in long chains.
        waiting = list(self.roots.items())
        while waiting:
            path, value = waiting.pop()
            if id(value) in seen:
                continue
            seen.add(id(value))
            if isinstance(value, tuple):
                waiting += [(f"{path}.{key}", inner) for key, inner in enumerate(value)]
                continue
            container = value if isinstance(value, dict | list) else getattr(value, "__dict__", None)
            if container is None:
                continue
            self._sizes.append((container, len(container)))
            items = container.items() if isinstance(container, dict) else enumerate(container)
            for number, (key, inner) in enumerate(items):
                if not self.belongs(key, inner):
                    continue
                slot = Slot(f"{path}.{key if isinstance(key, str) else number}", container, key)
                if self._is_leaf(inner):
                    self._leaves.append(slot)
                elif not isinstance(inner, str):
                    self._inner.append((slot, inner))
                    waiting.append((slot.path, inner))

    def save(self) -> dict[str, Any]:
        """Copies of all values by path; one tensor at two places stays one."""
        copies: dict[int, Tensor] = {}
        saved = {}
        for slot in self.places():
            value = slot.get()
            if isinstance(value, Tensor):
                value = copies.setdefault(id(value), value.clone())
            elif isinstance(value, float):
                # numpy's numbers are floats too, but no plain ones.
                value = float(value)
            elif id(value) in self._names:
                value = self._names[id(value)]
            saved[slot.path] = value
        return saved

    def load(self, saved: dict[str, Any], device: torch.device) -> None:
        """Put saved values into an equal structure; what it has beyond them is taken away.

        Raises:
            KeyError: a saved value has no place there.
        """
        copies: dict[int, Tensor] = {}
        missing = set(saved)
        for slot in self.places():
            if slot.path not in saved:
                if isinstance(slot.container, dict):
                    del slot.container[slot.key]
                continue
            missing.discard(slot.path)
            value = saved[slot.path]
            if isinstance(value, Tensor):
                value = copies.setdefault(id(value), value.to(device, copy=True))
            elif isinstance(value, str):
                value = self.roots[value]
            slot.set(value)
        if missing:
            raise KeyError(sorted(missing)[0])

    def copy_rows(self, rows: int) -> dict[str, Tensor]:
        """Copies, by path, of the tensors whose first axis is the row, for `keep_rows`."""
        found = {}
        for slot in self.places():
            value = slot.get()
            if isinstance(value, Tensor) and value.dim() > 0 and value.shape[0] == rows:
                found[slot.path] = value.clone()
        return found

    def keep_rows(self, before: dict[str, Tensor], kept: Tensor) -> None:
        """Give rows the tensors back that they had, where `kept` (bool [row]); one at two places stays one."""
        merged: dict[int, tuple[Tensor, Tensor]] = {}
        masks: dict[int, Tensor] = {}
        for slot in self.places():
            old, new = before.get(slot.path), slot.get()
            if old is None or not isinstance(new, Tensor) or new.shape != old.shape:
                continue
            if id(new) not in merged:
                if new.dim() not in masks:
                    masks[new.dim()] = kept.view(-1, *(1,) * (new.dim() - 1))
                # With `new` itself, so that its id stays its own.
                merged[id(new)] = (torch.where(masks[new.dim()], old, new), new)
            slot.set(merged[id(new)][0])
