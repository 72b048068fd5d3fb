"""Observations that are a few bits, as numbers: one forward pass over all that differ serves everybody."""

from __future__ import annotations

import torch
from torch import Tensor

from marlbench.algorithms.recording import recording
from marlbench.environments.contract import EnvironmentSpecification

MOST_BITS = 10


class ObservationBits:
    """Vectors of `features` bits as numbers in [0, 2^features), the first feature the least.

    Attributes:
        count: different observations.
        vectors: all of them in the order of their numbers, float [count, features].
    """

    def __init__(self, features: int, device: torch.device) -> None:
        self.count = 1 << features
        numbers = torch.arange(self.count, device=device)
        self.vectors = (numbers.unsqueeze(1) >> torch.arange(features, device=device) & 1).to(torch.float32)
        self._weights = 2.0 ** torch.arange(features, device=device)
        # The smallest that holds a number.
        self.dtype = torch.uint8 if features <= 8 else torch.int16

    @classmethod
    def of(cls, specification: EnvironmentSpecification, device: torch.device) -> ObservationBits | None:
        """Those of a task; None where observations have too many features to list them all."""
        features = specification.observation_size
        return cls(features, device) if 0 < features <= MOST_BITS else None

    def encode(self, observation: Tensor) -> Tensor | None:
        """float [..., features] -> int64 [...]; None where any feature is no bit, or where operations are recorded."""
        if recording():
            return None
        # x - x x is zero for bits alone; it is no number for infinities and for what is none already.
        if bool(torch.addcmul(observation, observation, observation, value=-1.0).any()):
            return None
        return (observation @ self._weights).to(torch.int64)

    def decode(self, number: Tensor) -> Tensor:
        """int64 [...] -> float [..., features]."""
        return self.vectors[number]
