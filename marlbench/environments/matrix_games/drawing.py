"""A matrix game as a picture: the payoffs, what was chosen last, and what has come together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from marlbench.environments.drawing import FAINT, INK, Canvas, Colour, colour, mixed

Joint = tuple[int, int]
Payoffs = Sequence[Sequence[tuple[float, float]]]

WIDTH = 480
_CELL = 104.0
_GREY: Colour = (120, 126, 134)
_WHITE: Colour = (255, 255, 255)
# Rounds that the strip below the matrix shows.
_STRIP = 24


def draw_game(
    payoffs: Payoffs,
    names: Sequence[str],
    players: Sequence[str],
    chosen: Joint | None,
    totals: tuple[float, float],
    rounds: tuple[int, int],
    history: Sequence[Joint],
) -> NDArray[np.uint8]:
    """One stage of a game of two players.

    Args:
        payoffs: [first's action][second's action] -> both players' payoffs.
        names: of the actions.
        players: who plays first and second.
        chosen: the joint action before; None at the start.
        totals: payoffs since the start of the episode.
        rounds: played so far, and of the episode.
        history: joint actions so far.
    """
    count = len(payoffs)
    cell = min(_CELL, 250 / count)
    left, top = WIDTH / 2 - cell * count / 2 + 30, 78.0
    canvas = Canvas(WIDTH, round(top + cell * count + 150))
    canvas.text(left + cell * count / 2, 20, players[1], 15, colour(1), "mm", bold=True)
    canvas.text(left - 66, top + cell * count / 2, players[0], 15, colour(0), "rm", bold=True)
    for action in range(count):
        both = (chosen[0] if chosen else -1, chosen[1] if chosen else -1)
        middle = (action + 0.5) * cell
        canvas.text(
            left + middle, 52, names[action], 14, _shade(1, both[1] == action), "mm", both[1] == action
        )
        canvas.text(
            left - 14, top + middle, names[action], 14, _shade(0, both[0] == action), "rm", both[0] == action
        )
    for row, line in enumerate(payoffs):
        for column, pair in enumerate(line):
            _cell(canvas, left + column * cell, top + row * cell, cell, pair, chosen == (row, column))
    below = top + cell * count + 34
    for player in range(2):
        x = 40 if player == 0 else WIDTH / 2 + 20
        canvas.circle(x, below, 7, colour(player))
        canvas.text(x + 16, below, f"{players[player]}  {totals[player]:+g}", 15)
    _strip(canvas, history, names, below + 34)
    canvas.text(WIDTH / 2, below + 92, f"round {rounds[0]} of {rounds[1]}", 13, _GREY, "mm")
    return canvas.pixels()


def _shade(player: int, active: bool) -> Colour:
    return colour(player) if active else _GREY


def _cell(canvas: Canvas, x: float, y: float, size: float, pair: tuple[float, float], chosen: bool) -> None:
    fill = (255, 244, 204) if chosen else _WHITE
    canvas.rectangle(
        x + 3, y + 3, x + size - 3, y + size - 3, fill, INK if chosen else FAINT, 2.5 if chosen else 1.5, 8
    )
    first, second = (f"{value:g}" for value in pair)
    # Each number has a third of the cell.
    text = min(20.0, size / 4, size / 2 / max(len(first), len(second)))
    middle = y + size / 2
    canvas.text(x + size * 0.3, middle, first, text, colour(0), "mm", chosen)
    canvas.text(x + size / 2, middle, "·", text, _GREY, "mm")
    canvas.text(x + size * 0.7, middle, second, text, colour(1), "mm", chosen)


def _strip(canvas: Canvas, history: Sequence[Joint], names: Sequence[str], y: float) -> None:
    """The last rounds, oldest first: an upper square for the first player's action, a lower one for the second's."""
    side = (WIDTH - 80) / _STRIP
    for place, joint in enumerate(history[-_STRIP:]):
        for player, action in enumerate(joint):
            x, upper = 40 + place * side, y + player * (side + 2)
            # The first action in full colour, the last one nearly white.
            fill = mixed(colour(player), _WHITE, 0.85 * action / max(1, len(names) - 1))
            canvas.rectangle(x, upper, x + side - 2, upper + side - 2, fill, colour(player), 1, 2)
