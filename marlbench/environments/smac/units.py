"""The nine kinds of units: published values of the game, and what follows for every pair of kinds.

Times are in game loops, 22.4 a second ("faster" speed); an agent's step is 8 of them. Distances are in map units.
The table is version 1; some values differ between versions of the game. Labels of the sources: docs/smac.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

TABLE_VERSION = 1
LOOPS_PER_SECOND = 22.4
LOOPS_PER_STEP = 8

# Shields begin to regenerate after 10 s without damage, 2 a second.
SHIELD_DELAY = 10 * LOOPS_PER_SECOND
SHIELD_REGENERATION = 2 / LOOPS_PER_SECOND
# 12.6 health a second for one unit of energy per 3 of health; energy comes back with 0.7875 a second.
HEALING = 12.6 / LOOPS_PER_SECOND
HEALTH_PER_ENERGY = 3.0
ENERGY_START = 50.0
ENERGY_LIMIT = 200.0
ENERGY_REGENERATION = 0.7875 / LOOPS_PER_SECOND
LEAST_DAMAGE = 0.5
# An attack of a colossus burns a line through its target, across the direction of fire.
LINE_HALF_LENGTH = 1.4
LINE_HALF_WIDTH = 0.15
BLAST_RADIUS = 2.2


@dataclass(frozen=True)
class Kind:
    """One kind of unit.

    Attributes:
        speed: map units a second.
        reach: range of the weapon (medivac: of healing), from edge to edge.
        period: seconds between two attacks; None without a weapon that reloads.
        damage, bonus: of one hit, and what is added against units with the attribute `bonus_against`.
        shoot, sight: of agents in smacv2: up to where "attack" is available, and what they see; between centres.
        cooldown_scale: game loops by which smacv2 divides the cooldown in the state.
    """

    name: str
    health: float
    shield: float
    armour: float
    speed: float
    reach: float
    period: float | None
    damage: float
    hits: int
    bonus: float
    bonus_against: str
    attribute: str
    radius: float
    shoot: float
    sight: float
    cooldown_scale: float
    flies: bool = False
    hits_air: bool = False


KINDS = (
    Kind("marine", 45, 0, 0, 3.15, 5, 0.61, 6, 1, 0, "", "light", 0.375, 5, 9, 15, hits_air=True),
    Kind("marauder", 125, 0, 1, 3.15, 6, 1.07, 10, 1, 10, "armoured", "armoured", 0.5625, 6, 10, 25),
    Kind("medivac", 150, 0, 1, 3.50, 4, None, 0, 0, 0, "", "armoured", 0.75, 4, 11, 200, flies=True),
    Kind(
        "stalker", 80, 80, 1, 4.13, 6, 1.34, 13, 1, 5, "armoured", "armoured", 0.625, 6, 10, 35, hits_air=True
    ),
    Kind("zealot", 100, 50, 1, 3.15, 0.1, 0.86, 8, 2, 0, "", "light", 0.5, 2, 9, 22),
    Kind("colossus", 200, 150, 1, 3.15, 7, 1.07, 10, 2, 5, "light", "armoured", 1.0, 7, 10, 24),
    Kind("zergling", 35, 0, 0, 4.13, 0.1, 0.497, 5, 1, 0, "", "light", 0.375, 2, 8, 11),
    Kind("hydralisk", 90, 0, 0, 3.15, 5, 0.59, 12, 1, 0, "", "light", 0.625, 5, 9, 10, hits_air=True),
    Kind("baneling", 30, 0, 0, 3.50, 0.25, None, 16, 1, 19, "light", "", 0.375, 2, 8, 1),
)
NUMBER = {kind.name: number for number, kind in enumerate(KINDS)}
MEDIVAC, COLOSSUS, BANELING = NUMBER["medivac"], NUMBER["colossus"], NUMBER["baneling"]


def damage_of_hit(attacker: Kind, target: Kind) -> float:
    """Damage of one hit before armour; 0 where the weapon does not reach the target's layer, or there is none."""
    if target.flies and not attacker.hits_air:
        return 0.0
    bonus = attacker.bonus if attacker.bonus_against and attacker.bonus_against == target.attribute else 0.0
    return attacker.damage + bonus


class UnitTables:
    """The values of all kinds as tensors, indexed by a kind's number or by a pair `attacker * kinds + target`.

    Attributes:
        of_kind: float [quantity, kind]; the quantities are those of `QUANTITIES`.
        pair_reach: float [pair], between centres: the weapon's range and both radii.
        pair_damage: float [pair], of one attack with all its hits, before armour; 0 for banelings, whose attack is
            an explosion.
        pair_blast: float [pair], of an exploding attacker.
        pair_allowed: bool [pair]: the attacker can hit (medivac: heal) such a target.
    """

    kinds = len(KINDS)
    QUANTITIES = (
        "health",
        "shield",
        "armour",
        "speed",
        "radius",
        "reach",
        "period",
        "hits",
        "shoot",
        "sight",
        "cooldown_scale",
    )

    def __init__(self, device: torch.device, dtype: torch.dtype = torch.float32) -> None:
        self.of_kind = torch.tensor(
            [[_quantity(kind, name) for kind in KINDS] for name in self.QUANTITIES],
            dtype=dtype,
            device=device,
        )
        reach, damage, blast, allowed = [], [], [], []
        for attacker in KINDS:
            for target in KINDS:
                hit = damage_of_hit(attacker, target)
                explodes = attacker.name == "baneling"
                heals = attacker.name == "medivac"
                reach.append(attacker.reach + attacker.radius + target.radius)
                damage.append(0.0 if explodes else hit * attacker.hits)
                blast.append(hit if explodes else 0.0)
                allowed.append(not target.flies if heals else hit > 0)
        self.pair_reach = torch.tensor(reach, dtype=dtype, device=device)
        self.pair_damage = torch.tensor(damage, dtype=dtype, device=device)
        self.pair_blast = torch.tensor(blast, dtype=dtype, device=device)
        self.pair_allowed = torch.tensor(allowed, device=device)

    def look_up(self, kind: Tensor) -> dict[str, Tensor]:
        """The quantities of units: name -> [...] for the kinds int64 [...]."""
        found = self.of_kind[:, kind.flatten()].view(len(self.QUANTITIES), *kind.shape)
        return dict(zip(self.QUANTITIES, found, strict=True))


def _quantity(kind: Kind, name: str) -> float:
    if name == "speed":
        return kind.speed / LOOPS_PER_SECOND
    if name == "period":
        return (kind.period or 0.0) * LOOPS_PER_SECOND
    return float(getattr(kind, name))
