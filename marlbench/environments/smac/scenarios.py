"""The fifteen scenarios of smacv2 and maps of the first SMAC: who fights, where, and what is observed of it."""

from __future__ import annotations

from dataclasses import dataclass

from marlbench.environments.smac.units import KINDS, NUMBER

WIDTH = HEIGHT = 32.0

_RACES = {
    "protoss": ("stalker", "zealot", "colossus"),
    "terran": ("marine", "marauder", "medivac"),
    "zerg": ("zergling", "hydralisk", "baneling"),
}
# Weights of the kinds of a race, in the order above, and the kind that never makes up a whole team.
WEIGHTS = (0.45, 0.45, 0.1)
_EXCEPTIONS = {"protoss": None, "terran": "medivac", "zerg": "baneling"}
_SIZES = ((5, 5), (10, 10), (20, 20), (10, 11), (20, 23))


@dataclass(frozen=True)
class Scenario:
    """One battle, in the words of the contract.

    Attributes:
        kinds: numbers of the kinds that may appear, in the order of the one-hot of the type.
        allies, enemies: how many units.
        limit: steps of an episode.
        ally_team, enemy_team: kinds of fixed teams; None where teams are drawn.
        exception: the kind that never makes up a whole drawn team.
        types: width of the one-hot of the type; 0 where it is left out.
        own_position: whether agents observe where they are.
        shoot, sight: one range for everybody; None for those of the kinds.
        ally_shield, enemy_shield: whether shields are observed.
    """

    name: str
    kinds: tuple[int, ...]
    allies: int
    enemies: int
    limit: int
    ally_team: tuple[int, ...] | None
    enemy_team: tuple[int, ...] | None
    exception: int | None
    types: int
    own_position: bool
    shoot: float | None
    sight: float | None
    ally_shield: bool
    enemy_shield: bool

    @property
    def drawn(self) -> bool:
        """Whether teams and positions are drawn anew for each episode, as in smacv2."""
        return self.ally_team is None

    @property
    def ally_kinds(self) -> tuple[int, ...]:
        """Kinds that may stand among the allies."""
        return self.kinds if self.ally_team is None else tuple(sorted(set(self.ally_team)))

    @property
    def enemy_kinds(self) -> tuple[int, ...]:
        """Kinds that may stand among the enemies."""
        return self.kinds if self.enemy_team is None else tuple(sorted(set(self.enemy_team)))

    @property
    def actions(self) -> int:
        """Stop, four moves and the no-op, then one action for each enemy or, for those who heal, each ally."""
        heals = NUMBER["medivac"] in self.ally_kinds
        return 6 + max(self.enemies, self.allies if heals else 0)

    @property
    def regenerates(self) -> bool:
        """Whether anybody has a shield."""
        return any(KINDS[kind].shield for kind in (*self.ally_kinds, *self.enemy_kinds))


def _drawn(race: str, allies: int, enemies: int) -> Scenario:
    exception = _EXCEPTIONS[race]
    shields = race == "protoss"
    return Scenario(
        name=f"{race}_{allies}_vs_{enemies}",
        kinds=tuple(NUMBER[name] for name in _RACES[race]),
        allies=allies,
        enemies=enemies,
        limit=200,
        ally_team=None,
        enemy_team=None,
        exception=None if exception is None else NUMBER[exception],
        types=3,
        own_position=True,
        shoot=None,
        sight=None,
        ally_shield=shields,
        enemy_shield=shields,
    )


def _fixed(
    name: str, limit: int, allies: dict[str, int], enemies: dict[str, int], types: int = 0
) -> Scenario:
    ally_team = tuple(NUMBER[kind] for kind, count in allies.items() for _ in range(count))
    enemy_team = tuple(NUMBER[kind] for kind, count in enemies.items() for _ in range(count))
    kinds = tuple(dict.fromkeys((*ally_team, *enemy_team)))
    return Scenario(
        name=name,
        kinds=kinds,
        allies=len(ally_team),
        enemies=len(enemy_team),
        limit=limit,
        ally_team=ally_team,
        enemy_team=enemy_team,
        exception=None,
        types=types,
        own_position=False,
        shoot=6.0,
        sight=9.0,
        ally_shield=any(KINDS[kind].shield for kind in ally_team),
        enemy_shield=any(KINDS[kind].shield for kind in enemy_team),
    )


_V1 = (
    _fixed("3m", 60, {"marine": 3}, {"marine": 3}),
    _fixed("8m", 120, {"marine": 8}, {"marine": 8}),
    _fixed("25m", 150, {"marine": 25}, {"marine": 25}),
    _fixed("2s3z", 120, {"stalker": 2, "zealot": 3}, {"stalker": 2, "zealot": 3}, types=2),
    _fixed("3s5z", 150, {"stalker": 3, "zealot": 5}, {"stalker": 3, "zealot": 5}, types=2),
    _fixed("5m_vs_6m", 70, {"marine": 5}, {"marine": 6}),
    _fixed("8m_vs_9m", 120, {"marine": 8}, {"marine": 9}),
    _fixed("10m_vs_11m", 150, {"marine": 10}, {"marine": 11}),
    _fixed("27m_vs_30m", 180, {"marine": 27}, {"marine": 30}),
    _fixed("3s_vs_5z", 250, {"stalker": 3}, {"zealot": 5}),
    _fixed("6h_vs_8z", 150, {"hydralisk": 6}, {"zealot": 8}),
    _fixed("corridor", 400, {"zealot": 6}, {"zergling": 24}),
    _fixed(
        "MMM2",
        180,
        {"marauder": 2, "marine": 7, "medivac": 1},
        {"marauder": 3, "marine": 8, "medivac": 1},
        types=3,
    ),
    _fixed("3s5z_vs_3s6z", 170, {"stalker": 3, "zealot": 5}, {"stalker": 3, "zealot": 6}, types=2),
)
SCENARIOS = {
    scenario.name: scenario
    for scenario in (*(_drawn(race, *size) for race in _RACES for size in _SIZES), *_V1)
}
