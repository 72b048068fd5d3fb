"""The kinds of drivers and their constants.

IDM: Treiber, Hennecke and Helbing 2000 ("Congested traffic states in empirical observations and microscopic
simulations", Physical Review E 62), with highway-env's constants [code]. MOBIL: Kesting, Treiber and Helbing 2007
("General lane-changing model MOBIL for car-following models", Transportation Research Record 1999). Aggressive and
defensive drivers: iPLAN, table of driver models (arXiv 2306.06236) [code].
"""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

LENGTH, WIDTH = 5.0, 2.0
# An agent follows its own choices; all others think for themselves.
AGENT, NORMAL, AGGRESSIVE, DEFENSIVE = 0, 1, 2, 3

Behaviour = Literal["table", "code"]


@dataclass(frozen=True)
class Driver:
    """Constants of one kind, in the order of the fields below.

    Attributes:
        most: largest acceleration and braking, m/s^2.
        comfort: a of the IDM, m/s^2.
        braking: b of the IDM, m/s^2.
        jam: d0 of the IDM between the middles of two vehicles, m.
        headway: T of the IDM, s.
        exponent_low, exponent_high: delta of the IDM is drawn between them.
        politeness, gain, imposed: p, the least gain and the largest braking of a follower of MOBIL, m/s^2.
        delay: seconds between thoughts of changing lanes.
        faster: what the speed it wants differs by from its first one, m/s.
        limited: 1 where the speed it wants is cut to the speed limit.
        yields: a change of lanes is given up where someone who changes into the same lane is ahead, nearer than the gap
            that it wants divided by this.
        holds: 1 where the command of the IDM is overwritten by a controller that holds the speed it wants.
    """

    most: float
    comfort: float
    braking: float
    jam: float
    headway: float
    exponent_low: float
    exponent_high: float
    politeness: float
    gain: float
    imposed: float
    delay: float
    faster: float
    limited: float
    yields: float
    holds: float


(
    MOST,
    COMFORT,
    BRAKING,
    JAM,
    HEADWAY,
    EXPONENT_LOW,
    EXPONENT_HIGH,
    POLITENESS,
    GAIN,
    IMPOSED,
    DELAY,
    FASTER,
    LIMITED,
    YIELDS,
    HOLDS,
) = range(15)

_NORMAL = Driver(
    most=6.0,
    comfort=3.0,
    braking=5.0,
    jam=5.0 + LENGTH,
    headway=1.5,
    exponent_low=3.5,
    exponent_high=4.5,
    politeness=0.2,
    gain=0.2,
    imposed=2.0,
    delay=1.0,
    faster=0.0,
    limited=1.0,
    yields=1.0,
    holds=0.0,
)
_AGGRESSIVE = Driver(
    most=9.0,
    comfort=6.0,
    braking=9.0,
    jam=0.5 + LENGTH,
    headway=1.2,
    exponent_low=4.0,
    exponent_high=4.0,
    politeness=0.0,
    gain=0.1,
    imposed=9.0,
    delay=0.5,
    faster=15.0,
    limited=0.0,
    yields=1.0,
    holds=0.0,
)
_DEFENSIVE = Driver(
    most=5.0,
    comfort=2.0,
    braking=4.0,
    jam=8.0 + LENGTH,
    headway=1.8,
    exponent_low=3.5,
    exponent_high=3.5,
    politeness=0.5,
    gain=0.3,
    imposed=2.0,
    delay=1.0,
    # The table says "below 20"; first speeds are 21 to 24 [ours].
    faster=-5.0,
    limited=0.0,
    yields=1.0,
    holds=0.0,
)


def drivers(behaviour: Behaviour, politeness: float) -> NDArray[np.float64]:
    """float64 [driver, constant], in the order of the fields of `Driver`.

    Args:
        behaviour: `table` for what iPLAN's table says; `code` for what its authors' code does, where aggressive and
            defensive drivers hold their first speed whatever is ahead: the command of their IDM is overwritten.
        politeness: of normal drivers.
    """
    normal = astuple(_NORMAL)
    kinds = [list(normal), list(normal), list(astuple(_AGGRESSIVE)), list(astuple(_DEFENSIVE))]
    for kind in kinds[:2]:
        kind[POLITENESS] = politeness
    # Where an agent is driven by the IDM, it is with highway-env's own exponent.
    kinds[AGENT][EXPONENT_LOW] = kinds[AGENT][EXPONENT_HIGH] = 4.0
    if behaviour == "code":
        for kind in kinds[2:]:
            kind[FASTER], kind[HOLDS] = 0.0, 1.0
        kinds[AGGRESSIVE][YIELDS] = 0.5
        kinds[DEFENSIVE][JAM] += LENGTH
        kinds[DEFENSIVE][EXPONENT_LOW], kinds[DEFENSIVE][EXPONENT_HIGH] = 3.0, 4.0
    return np.array(kinds)
