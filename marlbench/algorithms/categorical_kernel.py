"""The slope of C51's loss, compiled for CPUs: one loop over transitions does what `CategoricalHead.slope` does.

A transition has a hundred outputs, and a dozen library calls over all of them read and write memory a dozen times;
the loop keeps a transition's numbers at hand. Results are the head's up to rounding.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from marlbench.algorithms.decision_kernel import compiled, exponentials


@compiled
def _softmax(logits: Any, mass: Any, powers: Any) -> Any:
    """Fill `mass` with exp(logits - their largest); returns its sum, and the largest."""
    most = logits[0]
    for atom in range(logits.shape[0]):
        most = logits[atom] if logits[atom] > most else most
    for atom in range(logits.shape[0]):
        mass[atom] = logits[atom] - most
    exponentials(mass, powers)
    total = np.float32(0.0)
    for atom in range(mass.shape[0]):
        total += mass[atom]
    return total, most


@compiled
def _project(mass: Any, total: float, reward: float, discount: float, support: Any, target: Any) -> None:
    """Fill `target` with the distribution of reward + discount Z: algorithm 1 of arXiv 1707.06887."""
    atoms = support.shape[0]
    low, high = support[0], support[atoms - 1]
    steps = np.float32(atoms - 1) / (high - low)
    target[:] = np.float32(0.0)
    for atom in range(atoms):
        place = (min(max(reward + discount * support[atom], low), high) - low) * steps
        # Not-a-number becomes some integer: the bounds keep it inside.
        left = max(0, min(atoms - 2, int(place)))
        share = place - np.float32(left)
        chance = mass[atom] / total
        target[left] += chance - chance * share
        target[left + 1] += chance * share


@compiled
def categorical_slope(
    outputs: Any, behind: Any, action: Any, reward: Any, discount: Any, support: Any, slope: Any, loss: Any
) -> None:
    """Fill the slopes of the losses in the outputs, and the losses.

    Args:
        outputs: of the learning network, float32 [sample, action x atom].
        behind: of the older network for what followed, likewise.
        action: int64 [sample].
        reward, discount: float32 [sample].
        support: float32 [atom].
        slope: float32 [sample, action x atom], filled.
        loss: float32 [sample], filled.
    """
    atoms = support.shape[0]
    mass, best, target = np.empty(atoms, np.float32), np.empty(atoms, np.float32), np.empty(atoms, np.float32)
    powers = np.empty(atoms, np.int32)
    for sample in range(outputs.shape[0]):
        most, total = np.float32(-np.inf), np.float32(1.0)
        for number in range(outputs.shape[1] // atoms):
            one, _ = _softmax(behind[sample, number * atoms : (number + 1) * atoms], mass, powers)
            value = np.float32(0.0)
            for atom in range(atoms):
                value += mass[atom] * support[atom]
            value /= one
            if number == 0 or value > most:
                most, total = value, one
                mass, best = best, mass
        _project(best, total, reward[sample], discount[sample], support, target)
        slope[sample, :] = np.float32(0.0)
        begin = action[sample] * atoms
        chosen, change = outputs[sample, begin : begin + atoms], slope[sample, begin : begin + atoms]
        total, largest = _softmax(chosen, mass, powers)
        expected = np.float32(0.0)
        for atom in range(atoms):
            expected += target[atom] * (chosen[atom] - largest)
            change[atom] = mass[atom] / total - target[atom]
        # The targets sum to one: so often counts the logarithm of the sum.
        loss[sample] = np.log(total) - expected
