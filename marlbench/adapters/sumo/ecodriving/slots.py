"""Which controlled vehicle takes which slot."""

from __future__ import annotations

from collections.abc import Iterable
from heapq import heapify, heappop, heappush

from marlbench.adapters.sumo.ecodriving.vehicles import Moving


class Slots:
    """A controlled vehicle takes the first free slot when it comes near, and keeps it until it leaves.

    Attributes:
        occupants: [slot]; None where nobody is.
        fresh: [slot]; whether the occupant came with the last `update`.
        left_out: controlled vehicles near the intersection that found no slot at the last `update`.
    """

    def __init__(self, count: int) -> None:
        self.occupants: list[Moving | None] = [None] * count
        self.fresh = [False] * count
        self.left_out = 0
        self._free = list(range(count))
        self._slot_of: dict[str, int] = {}
        heapify(self._free)

    def update(self, present: Iterable[Moving]) -> None:
        """Take in who is near now, of the controlled vehicles, in the order in which they departed."""
        self.fresh = [False] * len(self.fresh)
        by_name = {moving.vehicle.name: moving for moving in present}
        for name in [name for name in self._slot_of if name not in by_name]:
            slot = self._slot_of.pop(name)
            self.occupants[slot] = None
            heappush(self._free, slot)
        self.left_out = 0
        for name, moving in by_name.items():
            if name in self._slot_of:
                continue
            if not self._free:
                self.left_out += 1
                continue
            slot = heappop(self._free)
            self._slot_of[name], self.occupants[slot], self.fresh[slot] = slot, moving, True
