"""Decisions of small networks, compiled: what a storage system would run for every request.

Deciding with a network of a hundred weights costs nanoseconds; a library call costs more. One loop over rows does what
`SwishNetwork`, a head and the epsilon-greedy choice do; results are theirs up to rounding.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from marlbench import compiling

# Sums may be taken in any order. Not-a-number stays one: a diverged member goes on with legal actions.
compiled = compiling.compiled(
    nogil=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz", "arcp"}
)


@compiled
def exponentials(values: Any, powers: Any) -> None:
    """exp of float32 [number], in place, to 4e-7 of it: 2^k p(f), which a compiler turns into vector instructions.

    `powers`, int32 [number], is room. What is beyond +-87 counts as that. The coefficients fit 2^f over [0, 1].
    """
    count = values.shape[0]
    bits = values.view(np.int32)
    for number in range(count):
        exponent = min(max(values[number], np.float32(-87.0)), np.float32(87.0)) * np.float32(1.44269504)
        whole = np.floor(exponent)
        rest = exponent - whole
        found = np.float32(1.8775767e-3)
        found = found * rest + np.float32(8.9893397e-3)
        found = found * rest + np.float32(5.5826318e-2)
        found = found * rest + np.float32(2.4015361e-1)
        found = found * rest + np.float32(6.9315308e-1)
        values[number] = found * rest + np.float32(9.9999994e-1)
        powers[number] = np.int32(whole)
    for number in range(count):
        bits[number] += powers[number] << np.int32(23)


@compiled
def _add(total: Any, factor: float, values: Any) -> None:
    for number in range(total.shape[0]):
        total[number] += factor * values[number]


@compiled
def best_action(
    weights: Any, sizes: Any, atoms: int, support: Any, first: Any, second: Any, room: Any, powers: Any
) -> int:
    """The best action of one learner for one observation.

    Args:
        weights: float32 [parameters]: of each layer the weight [inputs, outputs], then the bias.
        sizes: int64 [layer + 1], units from inputs to outputs.
        atoms: of each action's distribution; 1 where outputs are expectations.
        support: float32 [atom].
        first: float32 [units of the widest layer], which begins with the observation and is overwritten.
        second, room, powers: as large, room; `powers` is int32.

    Returns:
        the action.
    """
    layers = sizes.shape[0] - 1
    start = 0
    for layer in range(layers):
        inputs, outputs = sizes[layer], sizes[layer + 1]
        bias = start + inputs * outputs
        for unit in range(outputs):
            second[unit] = weights[bias + unit]
        for one in range(inputs):
            _add(second[:outputs], first[one], weights[start + one * outputs : start + (one + 1) * outputs])
        start = bias + outputs
        if layer < layers - 1:
            for unit in range(outputs):
                room[unit] = -second[unit]
            exponentials(room[:outputs], powers)
            for unit in range(outputs):
                second[unit] /= np.float32(1.0) + room[unit]
        first, second = second, first
    best, action = -np.inf, 0
    for number in range(sizes[layers] // atoms):
        value = np.float64(first[number])
        if atoms > 1:
            begin = number * atoms
            mass = first[begin : begin + atoms]
            most = mass.max()
            for atom in range(atoms):
                mass[atom] -= most
            exponentials(mass, powers)
            total, weighted = np.float32(0.0), np.float32(0.0)
            for atom in range(atoms):
                total += mass[atom]
                weighted += mass[atom] * support[atom]
            value = np.float64(weighted / total)
        if value > best:
            best, action = value, number
    return action


@compiled
def decide(
    observation: Any,
    agent: int,
    columns: Any,
    parameters: Any,
    sizes: Any,
    atoms: int,
    support: Any,
    members: int,
    learners: int,
    epsilon: float,
    noise: Any,
    action: Any,
) -> None:
    """Fill one agent's actions, int64 [row, agent].

    Args:
        observation: float32 [row, agent, features].
        columns: int64 [input], the features that the network sees.
        parameters: float32 [member x learner, parameters].
        members, learners: row r of a member belongs to its learner r modulo `learners`.
        epsilon: probability of a random action.
        noise: float32 [row, agent, 2], uniforms; any where epsilon is 0.
    """
    rows = observation.shape[0] // members
    actions = sizes[sizes.shape[0] - 1] // atoms
    widest = sizes.max()
    first, second, room = (
        np.empty(widest, np.float32),
        np.empty(widest, np.float32),
        np.empty(widest, np.float32),
    )
    powers = np.empty(widest, np.int32)
    for number in range(observation.shape[0]):
        if epsilon > 0.0 and noise[number, agent, 0] < epsilon:
            action[number, agent] = min(actions - 1, int(noise[number, agent, 1] * actions))
            continue
        learner = (number // rows) * learners + (number % rows) % learners
        for one in range(columns.shape[0]):
            first[one] = observation[number, agent, columns[one]]
        action[number, agent] = best_action(
            parameters[learner], sizes, atoms, support, first, second, room, powers
        )
