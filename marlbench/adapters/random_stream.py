"""A stream of random numbers for libraries that draw from torch's global generators."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from marlbench.environments.keys import derive


def common_seed(keys: Tensor) -> int:
    """One seed, in [0, 2**31), of the keys of all rows and their order."""
    places = torch.arange(len(keys), device=keys.device)
    return (int(derive(keys, places).sum()) >> 33) & ((1 << 31) - 1)


class RandomStream:
    """States of torch's generators, beginning as `torch.manual_seed(seed)` leaves them.

    Args:
        seed: where the stream begins.
        device: whose generator is meant beside the CPU's.
    """

    def __init__(self, seed: int, device: torch.device) -> None:
        self.seed, self._device = seed, device
        self._cpu = torch.Generator().manual_seed(seed).get_state()
        self._cuda = torch.Generator(device).manual_seed(seed).get_state() if device.type == "cuda" else None

    @contextlib.contextmanager
    def drawing(self) -> Iterator[None]:
        """What draws from the global generators draws from this stream; they are left as they were."""
        outer, outer_cuda = torch.get_rng_state(), None
        if self._cuda is not None:
            outer_cuda = torch.cuda.get_rng_state(self._device)
        try:
            torch.set_rng_state(self._cpu)
            if self._cuda is not None:
                torch.cuda.set_rng_state(self._cuda, self._device)
            yield
        finally:
            self._cpu = torch.get_rng_state()
            torch.set_rng_state(outer)
            if outer_cuda is not None:
                self._cuda = torch.cuda.get_rng_state(self._device)
                torch.cuda.set_rng_state(outer_cuda, self._device)

    def state_dict(self) -> dict[str, Any]:
        state: dict[str, Any] = {"seed": self.seed, "cpu": self._cpu.clone()}
        return state if self._cuda is None else state | {"cuda": self._cuda.clone()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.seed, self._cpu = state["seed"], state["cpu"].clone()
        if self._cuda is not None and "cuda" in state:
            self._cuda = state["cuda"].clone()
