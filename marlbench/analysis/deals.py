"""Ways to deal runs out anew: what permutation tests are made of."""

from __future__ import annotations

import functools
from itertools import combinations

import numpy as np
from numpy.typing import NDArray


# A table asks for the same deals for every task, and making them takes longer than using them.
@functools.lru_cache(maxsize=32)
def all_deals(n: int, m: int) -> NDArray[np.bool_]:
    """Every way to give X n of n + m runs, [way, run]."""
    chosen = np.array(list(combinations(range(n + m), n)))
    deals = np.zeros((len(chosen), n + m), dtype=bool)
    np.put_along_axis(deals, chosen, True, axis=1)
    return deals


@functools.lru_cache(maxsize=32)
def random_deals(n: int, m: int, permutations: int, seed: int, place: int) -> NDArray[np.bool_]:
    """Random ways to give X n of n + m runs, [permutation, run]; independent for every `place`."""
    generator = np.random.default_rng([seed, place])
    rank = generator.random((permutations, n + m), dtype=np.float32).argsort(axis=1)
    return rank < n
