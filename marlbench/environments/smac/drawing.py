"""A battle as a picture: units as discs with bars of health and shield, what the agents do, and who has fallen."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from marlbench.environments.drawing import FAINT, INK, PAPER, Canvas, Colour, colour, mixed
from marlbench.environments.smac.battle import COOLDOWN, HEALTH, SHIELD
from marlbench.environments.smac.scenarios import HEIGHT, WIDTH, Scenario
from marlbench.environments.smac.units import KINDS, LOOPS_PER_SECOND, LOOPS_PER_STEP, MEDIVAC
from marlbench.environments.smac.view import DIRECTIONS, MOVES, TARGETS

SIZE = 512
_MARGIN = 24
_ALLY, _ENEMY = colour(0), colour(1)
_HEALTH, _SHIELD, _HEAL = colour(2), colour(5), colour(2)
_LETTERS = {
    "marine": "m",
    "marauder": "M",
    "medivac": "+",
    "stalker": "S",
    "zealot": "Z",
    "colossus": "C",
    "zergling": "z",
    "hydralisk": "H",
    "baneling": "b",
}
_WHITE: Colour = (255, 255, 255)


def draw_battle(scenario: Scenario, memory: Mapping[str, Tensor]) -> NDArray[np.uint8]:
    """One row. Allies are blue, enemies orange; a ring tells of a shot in this step, a line of an agent's order.

    Args:
        memory: of the row: `unit` [quantity, unit], `kind` [unit], `last_action` [ally].
    """
    canvas = Canvas(SIZE, SIZE)
    scale = (SIZE - 2 * _MARGIN) / WIDTH

    def at(x: float, y: float) -> tuple[float, float]:
        return _MARGIN + x * scale, SIZE - _MARGIN - y * scale

    canvas.rectangle(*at(0, HEIGHT), *at(WIDTH, 0), fill=_WHITE, edge=FAINT, line=1.5)
    for quarter in (0.25, 0.5, 0.75):
        canvas.line([at(quarter * WIDTH, 0), at(quarter * WIDTH, HEIGHT)], mixed(FAINT, PAPER, 0.5), 1)
        canvas.line([at(0, quarter * HEIGHT), at(WIDTH, quarter * HEIGHT)], mixed(FAINT, PAPER, 0.5), 1)
    unit, kinds = memory["unit"].tolist(), [KINDS[kind] for kind in memory["kind"].tolist()]
    places = [at(x, y) for x, y in zip(unit[0], unit[1], strict=True)]
    health = unit[HEALTH]
    for ally, action in enumerate(memory["last_action"].tolist()):
        if health[ally] > 0 and action >= MOVES:
            _draw_order(canvas, scenario, memory, places, ally, action, scale)
    # The fallen lie below those who stand.
    for number in sorted(range(len(kinds)), key=lambda number: health[number] > 0):
        kind, (x, y), own = kinds[number], places[number], _ALLY if number < scenario.allies else _ENEMY
        if health[number] <= 0:
            size, faint = 5.0, mixed(own, _WHITE, 0.6)
            canvas.line([(x - size, y - size), (x + size, y + size)], faint, 2)
            canvas.line([(x - size, y + size), (x + size, y - size)], faint, 2)
            continue
        radius = kind.radius * scale
        period = (kind.period or 0) * LOOPS_PER_SECOND
        if period and unit[COOLDOWN][number] > period - LOOPS_PER_STEP - 1:
            canvas.circle(x, y, radius + 3, None, mixed(own, _WHITE, 0.3), 1.5)
        canvas.circle(x, y, radius, mixed(own, _WHITE, 0.55 if kind.flies else 0.2), own, 1.5)
        canvas.text(
            x, y, _LETTERS[kind.name], size=11, fill=INK if kind.flies else _WHITE, anchor="mm", bold=True
        )
        _draw_bar(canvas, x, y - radius - 5, health[number] / kind.health, _HEALTH)
        if kind.shield:
            _draw_bar(canvas, x, y - radius - 9, unit[SHIELD][number] / kind.shield, _SHIELD)
    return canvas.pixels()


def _draw_order(
    canvas: Canvas,
    scenario: Scenario,
    memory: Mapping[str, Tensor],
    places: list[tuple[float, float]],
    ally: int,
    action: int,
    scale: float,
) -> None:
    x, y = places[ally]
    if action < TARGETS:
        east, north = DIRECTIONS[action - MOVES]
        canvas.line([(x, y), (x + east * 1.2 * scale, y - north * 1.2 * scale)], mixed(_ALLY, _WHITE, 0.4), 2)
        return
    heals = int(memory["kind"][ally]) == MEDIVAC
    target = action - TARGETS + (0 if heals else scenario.allies)
    if target < len(places):
        canvas.line([(x, y), places[target]], mixed(_HEAL if heals else _ALLY, _WHITE, 0.45), 1.5)


def _draw_bar(canvas: Canvas, x: float, y: float, share: float, fill: Colour) -> None:
    half = 8.0
    canvas.rectangle(x - half, y - 1.5, x + half, y + 1.5, fill=FAINT)
    if share > 0:
        canvas.rectangle(x - half, y - 1.5, x - half + 2 * half * min(share, 1.0), y + 1.5, fill=fill)
