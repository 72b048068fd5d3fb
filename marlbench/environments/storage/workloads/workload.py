"""A workload in memory: what is asked of one storage system, request by request."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from marlbench.environments.storage.devices import PAGE_BYTES


@dataclass(frozen=True)
class Workload:
    """Requests of ranges of pages, which are numbered from 0 without holes between the ranges that are used.

    Attributes:
        arrivals: float64 [request], microseconds, ascending.
        requests: int32 [request, 3]: first page, pages, 1 for a write or 0 for a read.
        pages: numbers of pages lie below this.
    """

    arrivals: NDArray[np.float64]
    requests: NDArray[np.int32]
    pages: int

    def __len__(self) -> int:
        return len(self.arrivals)

    @property
    def working_set(self) -> int:
        """Pages that are requested at all."""
        first = self.requests[:, 0]
        begun = np.bincount(first, minlength=self.pages + 1)
        ended = np.bincount(first + self.requests[:, 1], minlength=self.pages + 1)
        return int((np.cumsum(begun - ended)[:-1] > 0).sum())

    @property
    def largest(self) -> int:
        """Pages of the largest request."""
        return int(self.requests[:, 1].max())

    def characteristics(self) -> dict[str, float]:
        """What is published of workloads: write share, mean KiB, mean accesses of an address, unique addresses."""
        addresses = len(np.unique(self.requests[:, 0]))
        return {
            "write_share": float(self.requests[:, 2].mean()),
            "kibibytes": float(self.requests[:, 1].mean()) * PAGE_BYTES / 1024,
            "accesses": len(self) / addresses,
            "addresses": float(addresses),
        }
