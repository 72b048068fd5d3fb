"""What agents see of a grid world, as compiled loops: planes of zeros and ones around themselves."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from marlbench.compiling import compiled
from marlbench.environments.social_dilemmas.grids.dynamics import Cells, Real, Whole, fill_who
from marlbench.environments.social_dilemmas.grids.rules import (
    AGENT_FEATURES,
    APPLE,
    CLEAN_BEAM,
    RIVER,
    WALL,
    WASTE,
    ZAP_BEAM,
    Rules,
)


@compiled
def look(
    cells: Cells,
    place: Whole,
    facing: Whole,
    timers: Whole,
    window: Whole,
    river: bool,
    rules: Rules,
    observation: Real,
) -> None:
    """Observations [row, agent, planes x cells of the window + in the game, ready to zap(, ready to clean)].

    The planes are those of `Harvest` or, with a river, of `CleanUp`; others are told apart by where they face: as
    oneself, to one's right, the other way, to one's left.
    """
    rows, agents = place.shape
    size = window.shape[1]
    planes = 10 if river else 7
    who = np.full(cells.shape[1], -1, np.int64)
    for row in range(rows):
        fill_who(place[row], timers[row], who, True)
        for agent in range(agents):
            seen = observation[row, agent]
            seen[:] = 0.0
            if timers[row, agent, 0] > 0:
                continue
            own, direction = place[row, agent], facing[row, agent]
            for number in range(size):
                cell = own + window[direction, number]
                bits = cells[row, cell]
                if bits:
                    if bits & WALL:
                        seen[number] = 1.0
                    if bits & APPLE:
                        seen[size + number] = 1.0
                    if bits & ZAP_BEAM:
                        seen[6 * size + number] = 1.0
                    if river:
                        if bits & RIVER:
                            seen[7 * size + number] = 1.0
                        if bits & WASTE:
                            seen[8 * size + number] = 1.0
                        if bits & CLEAN_BEAM:
                            seen[9 * size + number] = 1.0
                other = who[cell]
                if other >= 0 and other != agent:
                    turned = (facing[row, other] - direction + 4) % 4
                    seen[(2 + turned) * size + number] = 1.0
            seen[planes * size] = 1.0
            seen[planes * size + 1] = 1.0 - timers[row, agent, 1] / max(1, rules.zap_wait)
            if river:
                seen[planes * size + 2] = 1.0 - timers[row, agent, 2] / max(1, rules.clean_wait)
        fill_who(place[row], timers[row], who, False)


@compiled
def survey(
    cells: Cells,
    place: Whole,
    facing: Whole,
    timers: Whole,
    apples: Whole,
    waste: Whole,
    shape: tuple[int, int],
    rules: Rules,
    state: NDArray[np.float32],
) -> None:
    """The whole grid: apples and waste at their places, then `AGENT_FEATURES` numbers of every agent.

    These are whether it is in the game, its row and column, a one-hot of where it faces, its waits, its time out.
    """
    height, width = shape
    for row in range(place.shape[0]):
        told = state[row]
        for number in range(len(apples)):
            told[number] = (cells[row, apples[number]] & APPLE) // APPLE
        start = len(apples)
        for number in range(len(waste)):
            told[start + number] = (cells[row, waste[number]] & WASTE) // WASTE
        start += len(waste)
        for agent in range(place.shape[1]):
            told[start : start + AGENT_FEATURES] = 0.0
            out = timers[row, agent, 0]
            if out == 0:
                told[start] = 1.0
                told[start + 1] = (place[row, agent] // width) / height
                told[start + 2] = (place[row, agent] % width) / width
                told[start + 3 + facing[row, agent]] = 1.0
            told[start + 7] = timers[row, agent, 1] / max(1, rules.zap_wait)
            told[start + 8] = timers[row, agent, 2] / max(1, rules.clean_wait)
            told[start + 9] = out / max(1, rules.time_out)
            start += AGENT_FEATURES
