"""One step of a grid world as compiled loops: moves, beams, time-outs, growth. Rows are played one after another.

Agents are taken in an order that is drawn anew for every step, so that nobody's number decides who gets a contested
cell or fires first. Arrays are those of `world.GridWorld.memory`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from marlbench.compiling import compiled
from marlbench.environments.compiled_keys import below, derived, drawn
from marlbench.environments.social_dilemmas.grids.rules import (
    APPLE,
    APPLES,
    BACKWARD,
    CLEAN,
    CLEAN_BEAM,
    CLEANED,
    DISTURBED,
    FORWARD,
    LASTING,
    STEP_LEFT,
    STEP_RIGHT,
    TIMES,
    TURN_LEFT,
    TURN_RIGHT,
    WALL,
    WASTE,
    ZAP,
    ZAP_BEAM,
    ZAPS,
    Rules,
)

Cells = NDArray[np.uint8]
Whole = NDArray[np.int64]
Real = NDArray[np.float32]


@compiled
def draw_order(key: Any, order: Whole) -> None:
    """A permutation of the agents, every one with the same probability."""
    for agent in range(len(order)):
        value, place = drawn(key, agent), agent
        while place > 0 and drawn(key, order[place - 1]) > value:
            order[place] = order[place - 1]
            place -= 1
        order[place] = agent


@compiled
def place_agents(key: Any, spawns: Whole, inside: Whole, place: Whole, facing: Whole) -> None:
    """Agents at different cells where agents begin, in any direction; two of them inside where there are such cells."""
    agents, count = len(place), len(spawns)
    order = np.empty(agents, np.int64)
    draw_order(derived(key, 0), order)
    free = spawns.copy()
    for turn in range(agents):
        agent = order[turn]
        if turn < len(inside):
            place[agent] = inside[turn]
        else:
            chosen = below(derived(key, 1), turn, count)
            count -= 1
            place[agent] = free[chosen]
            free[chosen] = free[count]
        facing[agent] = below(derived(key, 2), agent, 4)


@compiled
def move(
    cells: Cells, agent: int, action: int, steps: Whole, place: Whole, facing: Whole, who: Whole
) -> bool:
    """Turn or move one agent; whether it ate an apple. `who` holds the agent of each cell, or -1."""
    if action == TURN_LEFT:
        facing[agent] = (facing[agent] + 3) % 4
    elif action == TURN_RIGHT:
        facing[agent] = (facing[agent] + 1) % 4
    elif FORWARD <= action <= STEP_RIGHT:
        turned = 0
        if action == BACKWARD:
            turned = 2
        elif action == STEP_LEFT:
            turned = 3
        elif action == STEP_RIGHT:
            turned = 1
        target = place[agent] + steps[(facing[agent] + turned) % 4]
        if cells[target] & WALL == 0 and who[target] < 0:
            who[place[agent]] = -1
            who[target] = agent
            place[agent] = target
            if cells[target] & APPLE:
                cells[target] &= 255 - APPLE
                return True
    return False


@compiled
def ray(
    cells: Cells,
    cell: int,
    step: int,
    length: int,
    beam: int,
    who: Whole,
    hit: Whole,
    rules: Rules,
    hits: int,
) -> int:
    """One ray of a beam, from `cell` on; agents or waste that it hit are put into `hit` from place `hits` on."""
    for _ in range(length):
        if cells[cell] & WALL:
            return hits
        cells[cell] |= beam
        if beam == CLEAN_BEAM:
            if cells[cell] & WASTE:
                hit[hits] = cell
                return hits + 1
            if rules.agents_stop_cleaning and who[cell] >= 0:
                return hits
        elif who[cell] >= 0:
            hit[hits] = who[cell]
            return hits + 1
        cell += step
    return hits


@compiled
def fire(
    cells: Cells, cell: int, direction: int, beam: int, steps: Whole, who: Whole, hit: Whole, rules: Rules
) -> int:
    """A beam with all its rays; how many agents or cells with waste are in `hit`.

    The middle ray begins ahead of the agent. Each side ray begins beside it and goes as many cells, so that it ends one
    cell short of the middle ray; a side ray farther out begins where the one before was not stopped sideways.
    """
    ahead = steps[direction]
    hits = ray(cells, cell + ahead, ahead, rules.beam_length, beam, who, hit, rules, 0)
    for hand in (1, 3):
        beside = cell
        for distance in range(1, rules.beam_radius + 1):
            beside += steps[(direction + hand) % 4]
            before = hits
            hits = ray(cells, beside, ahead, rules.beam_length + 1 - distance, beam, who, hit, rules, hits)
            if cells[beside] & WALL or (hits > before and (who[beside] >= 0 or cells[beside] & WASTE)):
                break
    return hits


@compiled
def play_row(
    action: Whole,
    key: Any,
    time: int,
    cells: Cells,
    place: Whole,
    facing: Whole,
    timers: Whole,
    sums: Real,
    reward: Real,
    who: Whole,
    spawns: Whole,
    steps: Whole,
    rules: Rules,
) -> None:
    """Moves, beams and returns of one row. `timers` [agent, (out of the game, until a zap, until a cleaning beam)]."""
    agents = len(action)
    order = np.empty(agents, np.int64)
    hit = np.empty(agents * 8 + 64, np.int64)
    draw_order(derived(key, 0), order)
    for cell in range(len(cells)):
        cells[cell] &= LASTING
    for agent in order:
        if timers[agent, 0] == 0 and move(cells, agent, action[agent], steps, place, facing, who):
            reward[agent] += 1.0
            sums[agent, APPLES] += 1.0
            sums[agent, TIMES] += time
    for agent in order:
        # Whoever was out before stays so for this step; whoever is hit by an earlier beam does not fire.
        if timers[agent, 0] > 0:
            continue
        if timers[agent, 1] > 0:
            timers[agent, 1] -= 1
        elif action[agent] == ZAP:
            timers[agent, 1] = rules.zap_wait
            reward[agent] -= rules.zap_cost
            sums[agent, ZAPS] += 1.0
            count = fire(cells, place[agent], facing[agent], ZAP_BEAM, steps, who, hit, rules)
            for target in hit[:count]:
                reward[target] -= rules.fine
                if rules.time_out:
                    # One more than the steps missed: those that were out count down below, in this step already.
                    timers[target, 0] = rules.time_out + 1
                    who[place[target]] = -1
                else:
                    sums[target, DISTURBED] += 1.0
        if timers[agent, 2] > 0:
            timers[agent, 2] -= 1
        elif action[agent] == CLEAN:
            timers[agent, 2] = rules.clean_wait
            count = fire(cells, place[agent], facing[agent], CLEAN_BEAM, steps, who, hit, rules)
            for cell in hit[:count]:
                cells[cell] &= 255 - WASTE
                sums[agent, CLEANED] += 1.0
    for turn in range(agents):
        agent = order[turn]
        if timers[agent, 0] == 0:
            continue
        timers[agent, 0] -= 1
        if timers[agent, 0] < rules.time_out:
            sums[agent, DISTURBED] += 1.0
        if timers[agent, 0] == 0:
            cell = free_spawn(derived(key, 1), turn, spawns, who)
            place[agent] = cell
            facing[agent] = below(derived(key, 2), turn, 4)
            who[cell] = agent


@compiled
def free_spawn(key: Any, place: int, spawns: Whole, who: Whole) -> int:
    """A cell where agents begin and nobody stands, drawn uniformly."""
    free = 0
    for cell in spawns:
        free += who[cell] < 0
    chosen = below(key, place, free)
    for cell in spawns:
        if who[cell] < 0:
            if chosen == 0:
                return cell
            chosen -= 1
    return -1


@compiled
def regrow_by_density(
    key: Any, cells: Cells, apples: Whole, disc: Whole, chances: Real, who: Whole, sprouts: Whole
) -> None:
    """Apples grow where nobody stands, with a probability that rises with the apples near by; all at once."""
    count, most = 0, len(chances) - 1
    for number in range(len(apples)):
        cell = apples[number]
        if cells[cell] & APPLE or who[cell] >= 0:
            continue
        near = 0
        for step in disc:
            near += (cells[cell + step] & APPLE) // APPLE
        chance = chances[min(near, most)]
        if chance > 0.0 and drawn(key, number) < chance:
            sprouts[count] = cell
            count += 1
    for cell in sprouts[:count]:
        cells[cell] |= APPLE


@compiled
def regrow_by_cleanliness(
    key: Any,
    cells: Cells,
    apples: Whole,
    waste: Whole,
    rate: float,
    depletion: float,
    restoration: float,
    who: Whole,
) -> float:
    """Apples grow where nobody stands, the likelier the cleaner the river is; the share of it under waste before.

    The probability falls linearly from `rate` at a share of `restoration` to 0 at `depletion` (Hughes et al. 2018).
    """
    covered = 0
    for cell in waste:
        covered += (cells[cell] & WASTE) // WASTE
    share = covered / len(waste)
    chance = rate * min(1.0, (depletion - share) / (depletion - restoration))
    if chance > 0.0:
        for number in range(len(apples)):
            cell = apples[number]
            if cells[cell] & APPLE == 0 and who[cell] < 0 and drawn(key, number) < chance:
                cells[cell] |= APPLE
    return share


@compiled
def pollute(key: Any, cells: Cells, waste: Whole, clean: int, chance: float) -> None:
    """With the given probability, waste on one of the `clean` cells of the river that have none."""
    if clean > 0 and drawn(key, 0) < chance:
        chosen = below(key, 1, clean)
        for cell in waste:
            if cells[cell] & WASTE == 0:
                if chosen == 0:
                    cells[cell] |= WASTE
                    return
                chosen -= 1


@compiled
def fill_who(place: Whole, timers: Whole, who: Whole, present: bool) -> None:
    """Put the agents that are in the game into `who`, or take them out of it again."""
    for agent in range(len(place)):
        if timers[agent, 0] == 0:
            who[place[agent]] = agent if present else -1


@compiled
def begin_rows(
    keys: Whole, cells: Cells, place: Whole, facing: Whole, spawns: Whole, inside: Whole, start: Cells
) -> None:
    """Fresh episodes in every row: the map and everybody's place."""
    for row in range(len(keys)):
        cells[row] = start
        place_agents(keys[row], spawns, inside, place[row], facing[row])


@compiled
def play_harvest(
    action: Whole,
    keys: Whole,
    times: Whole,
    cells: Cells,
    place: Whole,
    facing: Whole,
    timers: Whole,
    sums: Real,
    reward: Real,
    spawns: Whole,
    apples: Whole,
    disc: Whole,
    chances: Real,
    steps: Whole,
    rules: Rules,
) -> None:
    """A step of Commons Harvest in every row; `times` are counted up."""
    who = np.full(cells.shape[1], -1, np.int64)
    sprouts = np.empty(len(apples), np.int64)
    for row in range(len(keys)):
        times[row] += 1
        key = derived(keys[row], times[row])
        fill_who(place[row], timers[row], who, True)
        play_row(
            action[row], derived(key, 0), times[row], cells[row], place[row], facing[row], timers[row],
            sums[row], reward[row], who, spawns, steps, rules,
        )  # fmt: skip
        regrow_by_density(derived(key, 1), cells[row], apples, disc, chances, who, sprouts)
        fill_who(place[row], timers[row], who, False)


@compiled
def play_clean_up(
    action: Whole,
    keys: Whole,
    times: Whole,
    cells: Cells,
    place: Whole,
    facing: Whole,
    timers: Whole,
    sums: Real,
    reward: Real,
    spawns: Whole,
    apples: Whole,
    waste: Whole,
    growth: tuple[float, float, float],
    pollution: tuple[float, int, bool],
    covered: Real,
    steps: Whole,
    rules: Rules,
) -> None:
    """A step of Clean Up in every row; `times` are counted up, `covered` by the share of the river under waste.

    Args:
        growth: most probable growth of an apple, and the shares of waste at which it is 0 and at its most.
        pollution: the probability of new waste in a step, the steps at the start without, and whether each clean cell
            has that probability by itself, one of them at most, and none while nothing can grow.
    """
    who = np.full(cells.shape[1], -1, np.int64)
    rate, depletion, restoration = growth
    chance, delay, each = pollution
    for row in range(len(keys)):
        times[row] += 1
        key = derived(keys[row], times[row])
        fill_who(place[row], timers[row], who, True)
        play_row(
            action[row], derived(key, 0), times[row], cells[row], place[row], facing[row], timers[row],
            sums[row], reward[row], who, spawns, steps, rules,
        )  # fmt: skip
        share = regrow_by_cleanliness(
            derived(key, 1), cells[row], apples, waste, rate, depletion, restoration, who
        )
        covered[row] += share
        clean = len(waste) - round(share * len(waste))
        likely = chance
        if each:
            likely = 1.0 - (1.0 - chance) ** clean if share < depletion else 0.0
        if times[row] > delay:
            pollute(derived(key, 2), cells[row], waste, clean, likely)
        fill_who(place[row], timers[row], who, False)
