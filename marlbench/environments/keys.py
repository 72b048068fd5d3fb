"""Random numbers from keys: the same on every device, whatever else is in the batch.

A key is an int64. Keys are derived and turned into uniforms with the finaliser of SplitMix64 (Steele, Lea and Flood
2014, "Fast splittable pseudorandom number generators", OOPSLA), a bijection of 64 bits that passes BigCrush when it
is applied to a counter. torch has no unsigned shifts, so each shift clears the sign's copies with a mask.
"""

from __future__ import annotations

import torch
from torch import Tensor


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


_GOLDEN = _signed(0x9E3779B97F4A7C15)
_FIRST = _signed(0xBF58476D1CE4E5B9)
_SECOND = _signed(0x94D049BB133111EB)


def _finalise(value: Tensor) -> Tensor:
    value = (value ^ ((value >> 30) & ((1 << 34) - 1))) * _FIRST
    value = (value ^ ((value >> 27) & ((1 << 37) - 1))) * _SECOND
    return value ^ ((value >> 31) & ((1 << 33) - 1))


def derive(keys: Tensor, index: Tensor | int) -> Tensor:
    """A new key for each pair of a key and an index (int64, broadcast against each other)."""
    if isinstance(index, int):
        return _finalise(_finalise(keys + _GOLDEN) + _signed((index + 1) * _GOLDEN % (1 << 64)))
    return _finalise(_finalise(keys + _GOLDEN) + (index + 1) * _GOLDEN)


def uniform(keys: Tensor, count: int) -> Tensor:
    """`count` float32 uniforms in [0, 1) from each key: [*keys.shape, count]."""
    counter = torch.arange(1, count + 1, device=keys.device) * _GOLDEN
    bits = _finalise(keys.unsqueeze(-1) + counter)
    # The top 24 bits are exactly representable in float32.
    return ((bits >> 40) & ((1 << 24) - 1)).to(torch.float32) * 2.0**-24


def row_keys(seeds: tuple[int, ...] | list[int], stream: int, rows: int, device: torch.device) -> Tensor:
    """The keys of `rows` rows for each seed, on one of its streams: int64 [len(seeds) * rows].

    Rows of one seed lie side by side, so the row axis splits as [member, row of the member].
    """
    seed = torch.tensor([_signed(s % (1 << 64)) for s in seeds], dtype=torch.int64, device=device)
    of_stream = derive(derive(torch.zeros_like(seed), seed), stream)
    return derive(of_stream.unsqueeze(1), torch.arange(rows, device=device)).flatten()
