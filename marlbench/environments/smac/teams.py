"""Who fights where: teams and start positions, drawn from keys.

Of smacv2 [code]: kinds are drawn for each unit, a team of nothing but its race's exception never; the enemies have the
allies' team and further units drawn in the same way. Half of the battles are surrounded (allies at the centre, enemies
in one to four groups on the diagonals), half reflected (allies in the left half, enemies opposite, further ones
anywhere in the right half). Units that would start in one place stand in a spiral around it [ours]; the game puts them
beside each other, too. Fixed teams stand in blocks that face each other [ours], each unit up to JITTER off its place:
without chance a policy would win all battles or none.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from marlbench.environments.keys import derive, uniform
from marlbench.environments.smac import units
from marlbench.environments.smac.battle import CALM, ENERGY, GRID, HEALTH, QUANTITIES, SHIELD
from marlbench.environments.smac.scenarios import HEIGHT, WEIGHTS, WIDTH, Scenario
from marlbench.environments.smac.units import BANELING, UnitTables

JITTER = 0.5
# Of fixed teams: distance of the front lines from the middle, between lines and columns; units of a column at most.
_FRONT, _SPACING, _COLUMN = 5.0, 1.5, 10
_SURROUNDED = 0.5
# The groups of enemies stop this far from the centre, along either axis.
_NEAREST = 2.0
# Reflected allies stay this far from the middle.
_BUFFER = 1.0
_SPIRAL = 0.75
_TURNS = 32
_GOLDEN_ANGLE = math.pi * (3 - math.sqrt(5))


class Teams:
    """Draws the first state of battles.

    Args:
        scenario: which battle.
        device: of the tensors.
    """

    def __init__(self, scenario: Scenario, device: torch.device) -> None:
        self.scenario, self.device = scenario, device
        self.tables = UnitTables(device)
        # Rotated spirals, [turn, rank, 2]: a table, because sines may differ between devices.
        ranks = max(scenario.allies, scenario.enemies)
        spiral = [[_on_spiral(rank, turn) for rank in range(ranks)] for turn in range(_TURNS)]
        self._spiral = torch.tensor(spiral, dtype=torch.float32, device=device)
        self._corner = torch.tensor([[0.0, 0.0], [0.0, HEIGHT], [WIDTH, HEIGHT], [WIDTH, 0.0]], device=device)
        self._inner = torch.tensor(
            [[WIDTH / 2 + sx * _NEAREST, HEIGHT / 2 + sy * _NEAREST] for sx, sy in _DIAGONALS], device=device
        )
        self._kinds = torch.tensor(scenario.kinds, dtype=torch.int64, device=device)
        self._centre = torch.tensor([WIDTH / 2, HEIGHT / 2], device=device)
        further = scenario.enemies - scenario.allies
        self._first_bounds = {
            count: torch.tensor(_first_bounds(count), device=device)
            for count in (scenario.allies, further)
            if scenario.drawn and count
        }
        self._fixed = None if scenario.drawn else self._fixed_teams()

    def draw(self, keys: Tensor) -> tuple[Tensor, Tensor]:
        """First states for keys int64 [row]: kind int64 [row, unit] and unit float [row, quantity, unit]."""
        scenario = self.scenario
        if self._fixed is not None:
            kind = self._fixed[0].expand(len(keys), -1)
            jitter = uniform(keys, 2 * (scenario.allies + scenario.enemies)) * (2 * JITTER) - JITTER
            place = self._fixed[1] + jitter.view(len(keys), 2, -1)
        else:
            kind = self._kinds[self._draw_teams(derive(keys, 0))]
            place = self._draw_places(derive(keys, 1))
        unit = torch.zeros(len(keys), len(QUANTITIES), kind.shape[1], device=self.device)
        on_grid = (place * GRID).round_() / GRID
        unit[:, 0] = on_grid[:, 0].clamp(0, WIDTH)
        unit[:, 1] = on_grid[:, 1].clamp(0, HEIGHT)
        traits = self.tables.look_up(kind)
        unit[:, HEALTH], unit[:, SHIELD] = traits["health"], traits["shield"]
        # Of a baneling, energy tells whether its charge is still there.
        unit[:, ENERGY] = units.ENERGY_START
        unit[:, ENERGY].masked_fill_(kind == BANELING, 1)
        unit[:, CALM] = 0
        return kind.contiguous(), unit

    def _fixed_teams(self) -> tuple[Tensor, Tensor]:
        scenario = self.scenario
        assert scenario.ally_team is not None
        assert scenario.enemy_team is not None
        kind = torch.tensor(scenario.ally_team + scenario.enemy_team, dtype=torch.int64, device=self.device)
        places = [(WIDTH / 2 - x, y) for x, y in _block(scenario.allies)]
        places += [(WIDTH / 2 + x, y) for x, y in _block(scenario.enemies)]
        return kind, torch.tensor(places, device=self.device).T

    def _draw_teams(self, keys: Tensor) -> Tensor:
        """Positions in `kinds`, int64 [row, unit]: the allies, and the enemies with the same and further units."""
        scenario = self.scenario
        allies = self._draw_team(derive(keys, 0), scenario.allies)
        further = scenario.enemies - scenario.allies
        parts = [allies, allies]
        if further:
            parts.append(self._draw_team(derive(keys, 1), further))
        return torch.cat(parts, 1)

    def _draw_team(self, keys: Tensor, count: int) -> Tensor:
        """Independent kinds, given that not all of them are the exception, without drawing again.

        The place of the first unit that is no exception follows a geometric distribution cut off after `count`; those
        before it are exceptions, it is one of the others, and those after it are free.
        """
        drawn = uniform(keys, count + 1)
        common = WEIGHTS[0] / (WEIGHTS[0] + WEIGHTS[1])
        second, third = WEIGHTS[0], WEIGHTS[0] + WEIGHTS[1]
        free = (drawn[:, :count] >= second).long() + (drawn[:, :count] >= third)
        if self.scenario.exception is None:
            return free
        first = (drawn[:, count:] >= self._first_bounds[count]).sum(1, keepdim=True)
        index = torch.arange(count, device=keys.device)
        other = (drawn[:, :count] >= common).long()
        chosen = torch.where(index == first, other, free)
        return torch.where(index < first, torch.full_like(chosen, 2), chosen)

    def _draw_places(self, keys: Tensor) -> Tensor:
        """[row, 2, unit]."""
        surrounded = uniform(derive(keys, 0), 1)[:, 0] < _SURROUNDED
        return torch.where(
            surrounded.view(-1, 1, 1), self._surrounded(derive(keys, 1)), self._reflected(derive(keys, 2))
        )

    def _reflected(self, keys: Tensor) -> Tensor:
        allies, enemies = self.scenario.allies, self.scenario.enemies
        drawn = uniform(keys, 2 * enemies).view(len(keys), 2, enemies)
        x, y = drawn[:, 0], drawn[:, 1] * HEIGHT
        left = x[:, :allies] * (WIDTH / 2 - _BUFFER)
        right = torch.cat([WIDTH - left, WIDTH / 2 + x[:, allies:] * (WIDTH / 2)], 1)
        return torch.stack([torch.cat([left, right], 1), torch.cat([y[:, :allies], y], 1)], 1)

    def _surrounded(self, keys: Tensor) -> Tensor:
        allies, enemies = self.scenario.allies, self.scenario.enemies
        drawn = uniform(keys, 14 + enemies)
        groups = 1 + (drawn[:, 0] * 4).long()
        # Different diagonals for the groups; how far out each of them stands; how it is turned.
        diagonal = drawn[:, 1:5].argsort(1)
        share = drawn[:, 5:9].unsqueeze(2)
        turn = (drawn[:, 9:14] * _TURNS).long()
        centre = self._inner[diagonal] * share + self._corner[diagonal] * (1 - share)
        member = (drawn[:, 14:] * groups.unsqueeze(1)).long()
        # The rank of an enemy among those of its group.
        same = member.unsqueeze(2) == member.unsqueeze(1)
        rank = same.tril(-1).sum(2)
        theirs = centre.gather(1, member.unsqueeze(2).expand(-1, -1, 2))
        theirs = theirs + self._spiral[turn[:, :4].gather(1, member), rank]
        ours = self._spiral[turn[:, 4], :allies] + self._centre
        return torch.cat([ours, theirs], 1).transpose(1, 2)


def _first_bounds(count: int) -> list[float]:
    """P(first <= k) = (1 - rare^(k + 1)) / (1 - rare^count) of the first unit that is no exception, but the last k."""
    rare = WEIGHTS[2]
    return [(1 - rare ** (k + 1)) / (1 - rare**count) for k in range(count - 1)]


_DIAGONALS = ((-1, -1), (-1, 1), (1, 1), (1, -1))


def _on_spiral(rank: int, turn: int) -> tuple[float, float]:
    angle = rank * _GOLDEN_ANGLE + turn * 2 * math.pi / _TURNS
    radius = _SPIRAL * math.sqrt(rank)
    return round(radius * math.cos(angle) * GRID) / GRID, round(radius * math.sin(angle) * GRID) / GRID


def _block(count: int) -> list[tuple[float, float]]:
    """Distance from the middle, and y, of each unit: columns of at most _COLUMN, the front one full."""
    places = []
    for begin in range(0, count, _COLUMN):
        column = min(_COLUMN, count - begin)
        x = _FRONT + begin // _COLUMN * _SPACING
        places += [(x, HEIGHT / 2 + (row - (column - 1) / 2) * _SPACING) for row in range(column)]
    return places
