"""A scarce stock handed out unit by unit, as a compiled loop."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from marlbench.compiling import compiled
from marlbench.environments.compiled_keys import below, derived


@compiled
def hand_out(
    amounts: NDArray[np.float32],
    stock: NDArray[np.float32],
    keys: NDArray[np.int64],
    rounds: NDArray[np.float32],
) -> None:
    """Replace requests by what is received: one unit at a time, each to one drawn among those who still want.

    Args:
        amounts: requests in whole units, [row, asker]; afterwards what is received, which sums to the smaller of the
            requests' sum and the stock.
        stock: in whole units, [row].
        keys: of the episodes, [row].
        rounds: the present round of each row, [row]; with the key it decides the draws.
    """
    askers = amounts.shape[1]
    wanting = np.empty(askers, np.int64)
    left = np.empty(askers, np.int64)
    for row in range(amounts.shape[0]):
        total = np.float32(0.0)
        for asker in range(askers):
            total += amounts[row, asker]
        if total <= stock[row]:
            continue
        count = 0
        for asker in range(askers):
            left[asker] = int(amounts[row, asker])
            amounts[row, asker] = 0.0
            if left[asker] > 0:
                wanting[count] = asker
                count += 1
        key = derived(keys[row], int(rounds[row]))
        for unit in range(int(stock[row])):
            place = below(key, unit, count)
            asker = wanting[place]
            amounts[row, asker] += 1.0
            left[asker] -= 1
            if left[asker] == 0:
                count -= 1
                wanting[place] = wanting[count]
