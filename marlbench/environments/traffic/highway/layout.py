"""Where the quantities of a row lie in the arrays that compiled code works on.

`real`, float64 [row, REALS, vehicle], and `whole`, int64 [row, WHOLES, vehicle]: vehicles in the order in which they
decide, which is that of their numbers. `RANKED` holds the vehicles in the order of their x, `RANK` the place of each in
it. `tally`, float64 [row, TALLIES, agent], is what an episode is measured by.
"""

from __future__ import annotations

# Metres, radians, metres per second; y is 0 in the middle of lane 0 and grows to the right.
X, Y, HEADING, SPEED = 0, 1, 2, 3
COSINE, SINE = 4, 5
# What was commanded last: the sine of the slip angle at the centre of the vehicle, and m/s^2.
SLIP, ACCELERATION = 6, 7
TARGET_SPEED = 8
# Seconds since a driver last thought of changing lanes.
TIMER = 9
# delta of the intelligent driver model.
EXPONENT = 10
# The shift that a collision adds to the next step.
PUSH_X, PUSH_Y = 11, 12
REALS = 13

LANE, TARGET_LANE, DRIVER, CRASHED, PUSHED, RANKED, RANK = 0, 1, 2, 3, 4, 5, 6
WHOLES = 7

# Decisions that an agent survived, the sum of its speeds after each, and 1 from when it crashed on.
SURVIVED, SPEEDS, OUT = 0, 1, 2
TALLIES = 3

# What agents are shown, may do and are measured by: the same for every backend.
SEEN, FEATURES = 15, ("presence", "x", "y", "vx", "vy")
ACTIONS = ("LANE_LEFT", "IDLE", "LANE_RIGHT", "FASTER", "SLOWER")
PLAYERS = ("idm", "slower", "random")
MEASURES = ("success_rate", "survival_time", "speed", "crashed_others")


def agents_of(agents: int) -> tuple[str, ...]:
    """The agents' names."""
    return tuple(f"agent_{agent}" for agent in range(agents))


def features() -> tuple[str, ...]:
    """The names of an observation's features."""
    entities = ("own", *(f"other_{other}" for other in range(1, SEEN)))
    return tuple(f"{entity}_{feature}" for entity in entities for feature in FEATURES)
