"""The loops over rows that the environment calls: begin episodes, take decisions, show."""

from __future__ import annotations

from typing import Any

from marlbench.environments.compiled_keys import below, derived
from marlbench.environments.inner_loops import compiled, inner
from marlbench.environments.traffic.highway.collisions import collide
from marlbench.environments.traffic.highway.drivers import AGENT
from marlbench.environments.traffic.highway.following import decide
from marlbench.environments.traffic.highway.layout import (
    ACTIONS,
    COSINE,
    CRASHED,
    DRIVER,
    OUT,
    SPEED,
    SPEEDS,
    SURVIVED,
    TARGET_LANE,
    Y,
)
from marlbench.environments.traffic.highway.motion import (
    FRAMES,
    IDLE,
    LANE_WIDTH,
    SLOWER,
    choose,
    cut,
    move,
)
from marlbench.environments.traffic.highway.scene import begin
from marlbench.environments.traffic.highway.view import overlook, see

# Places in `layout.PLAYERS`.
IDM, ALWAYS_SLOWER, RANDOM = 0, 1, 2
NO_PLAYER = -1
# Above every draw of a beginning.
_STREAM = 1 << 32
_CRASH, _LANE, _FAST = -1.0, 0.1, 0.4


@compiled
def begin_rows(
    rows: Any,
    keys: Any,
    real: Any,
    whole: Any,
    tally: Any,
    agents: Any,
    lanes: int,
    aggressive: float,
    defensive: float,
    kinds: Any,
) -> None:
    """Begin the episodes of `keys` in some rows, int64 [some]; the arrays have all rows."""
    for index in range(len(rows)):
        row = rows[index]
        tally[row] = 0.0
        begin(keys[row], real[row], whole[row], agents, lanes, aggressive, defensive, kinds)


@inner
def earn(real: Any, whole: Any, vehicle: int, lanes: int) -> float:
    """An agent's reward for the decision just carried out (iPLAN's `agent_reward` [code]), in [0, 1]."""
    fast = cut((real[SPEED, vehicle] * real[COSINE, vehicle] - 20.0) / 10.0, 0.0, 1.0)
    raw = _CRASH * whole[CRASHED, vehicle] + _FAST * fast
    raw += _LANE * whole[TARGET_LANE, vehicle] / max(lanes - 1, 1)
    y = real[Y, vehicle]
    on_road = -LANE_WIDTH / 2 <= y <= LANE_WIDTH * (lanes - 1) + LANE_WIDTH / 2
    return (raw - _CRASH) / (_FAST + _LANE - _CRASH) if on_road else 0.0


@inner
def drive(real: Any, whole: Any, kinds: Any, lanes: int) -> None:
    """One second of a row, in frames of a fifth."""
    for _ in range(FRAMES):
        decide(real, whole, kinds, lanes)
        move(real, whole, lanes)
        collide(real, whole)


@compiled
def step_rows(
    action: Any,
    elapsed: Any,
    keys: Any,
    players: Any,
    real: Any,
    whole: Any,
    tally: Any,
    agents: Any,
    lanes: int,
    kinds: Any,
    reward: Any,
    terminated: Any,
) -> None:
    """One decision of all rows: `action` int64 [row, agent] in, `reward` and `terminated` [row, agent] out."""
    for row in range(len(action)):
        key = derived(keys[row], _STREAM + elapsed[row])
        for agent in range(len(agents)):
            if tally[row, OUT, agent] or whole[row, DRIVER, agents[agent]] != AGENT:
                continue
            taken = action[row, agent]
            if players[row, agent] == ALWAYS_SLOWER:
                taken = SLOWER
            elif players[row, agent] == RANDOM:
                taken = below(key, agent, len(ACTIONS))
            choose(real[row], whole[row], agents[agent], taken, lanes)
        drive(real[row], whole[row], kinds, lanes)
        for agent in range(len(agents)):
            vehicle = agents[agent]
            reward[row, agent], terminated[row, agent] = 0.0, False
            if tally[row, OUT, agent]:
                continue
            reward[row, agent] = earn(real[row], whole[row], vehicle, lanes)
            if whole[row, CRASHED, vehicle]:
                tally[row, OUT, agent] = 1.0
                terminated[row, agent] = True
            else:
                tally[row, SURVIVED, agent] += 1
                tally[row, SPEEDS, agent] += real[row, SPEED, vehicle]


@compiled
def show_rows(
    real: Any, whole: Any, tally: Any, agents: Any, seen: Any, identity: Any, state: Any, available: Any
) -> None:
    """What all rows show.

    Args:
        seen, identity: float32 [row, agent, entity, feature] and int64 [row, agent, entity].
        state: float32 [row, vehicle x feature].
        available: bool [row, agent, action]; an agent that is out has IDLE only.
    """
    for row in range(len(real)):
        for agent in range(len(agents)):
            see(real[row], whole[row], agents[agent], seen[row, agent], identity[row, agent])
            for action in range(available.shape[2]):
                available[row, agent, action] = not tally[row, OUT, agent] or action == IDLE
        overlook(real[row], agents, state[row])


@compiled
def measure_rows(whole: Any, tally: Any, agents: Any, measures: Any) -> None:
    """Per row: share of agents that have not crashed, decisions survived, speed, share of the others that crashed."""
    count = len(agents)
    for row in range(len(whole)):
        out, survived, speeds, crashed = 0.0, 0.0, 0.0, 0.0
        for agent in range(count):
            out += tally[row, OUT, agent]
            survived += tally[row, SURVIVED, agent]
            speeds += tally[row, SPEEDS, agent]
            crashed -= whole[row, CRASHED, agents[agent]]
        for vehicle in range(whole.shape[2]):
            crashed += whole[row, CRASHED, vehicle]
        measures[row, 0] = 1 - out / count
        measures[row, 1] = survived / count
        measures[row, 2] = speeds / survived if survived else 0.0
        measures[row, 3] = crashed / max(whole.shape[2] - count, 1)
