"""A grid world played slowly on nested lists with coordinates, to hold the compiled one against.

It shares with the compiled one the maps as text and the numbers drawn (which draw decides what), and nothing else.
"""

from __future__ import annotations

import torch

from marlbench.environments.keys import derive, uniform

HEADINGS = [(-1, 0), (0, 1), (1, 0), (0, -1)]


def draws(key: int, *path: int, count: int) -> list[float]:
    here = torch.tensor([key])
    for index in path:
        here = derive(here, index)
    return uniform(here, count)[0].tolist()


class PlainGrid:
    """One row. `agents` are dictionaries with place, facing, out, zap, clean."""

    def __init__(self, text: str, numbers: dict, ripe: bool) -> None:
        self.text = text.splitlines()
        self.height, self.width = len(self.text), len(self.text[0])
        self.numbers = numbers
        self.apples = set(self.find("a")) if ripe else set()
        self.waste = set(self.find("w"))
        self.zapped: set = set()
        self.cleaned: set = set()
        self.agents: list[dict] = []
        self.time = 0

    def find(self, symbols: str) -> list[tuple[int, int]]:
        return [(y, x) for y in range(self.height) for x in range(self.width) if self.text[y][x] in symbols]

    def wall(self, cell) -> bool:
        y, x = cell
        return not (0 <= y < self.height and 0 <= x < self.width) or self.text[y][x] == "#"

    def someone(self, cell):
        for number, agent in enumerate(self.agents):
            if not agent["out"] and agent["place"] == cell:
                return number
        return None

    @staticmethod
    def go(cell, heading, steps=1):
        return cell[0] + HEADINGS[heading % 4][0] * steps, cell[1] + HEADINGS[heading % 4][1] * steps

    def beam(self, agent, cleaning: bool) -> list:
        """What is hit: numbers of agents, or cells with waste."""
        hit = []
        place, facing = agent["place"], agent["facing"]
        length = self.numbers["beam_length"]
        starts = [self.go(place, facing), self.go(place, facing + 1), self.go(place, facing - 1)]
        for start in starts:
            for distance in range(length):
                cell = self.go(start, facing, distance)
                if self.wall(cell):
                    break
                (self.cleaned if cleaning else self.zapped).add(cell)
                other = self.someone(cell)
                if cleaning and cell in self.waste:
                    hit.append(cell)
                    break
                if other is not None and not cleaning:
                    hit.append(other)
                    break
                if other is not None and self.numbers["agents_stop_cleaning"]:
                    break
        return hit

    def step(self, actions: list[int], key: int) -> list[float]:
        self.time += 1
        numbers, count = self.numbers, len(self.agents)
        reward = [0.0] * count
        priorities = draws(key, self.time, 0, 0, count=count)
        order = sorted(range(count), key=lambda agent: priorities[agent])
        self.zapped, self.cleaned = set(), set()
        for number in order:
            agent, action = self.agents[number], actions[number]
            if agent["out"]:
                continue
            if action in (5, 6):
                agent["facing"] = (agent["facing"] + (3 if action == 5 else 1)) % 4
            if action in (1, 2, 3, 4):
                target = self.go(agent["place"], agent["facing"] + {1: 0, 2: 2, 3: 3, 4: 1}[action])
                if not self.wall(target) and self.someone(target) is None:
                    agent["place"] = target
                    if target in self.apples:
                        self.apples.remove(target)
                        reward[number] += 1
        missing = {number for number in range(count) if self.agents[number]["out"]}
        for number in order:
            agent, action = self.agents[number], actions[number]
            if agent["out"]:
                continue
            if agent["zap"]:
                agent["zap"] -= 1
            elif action == 7:
                agent["zap"] = numbers["zap_wait"]
                reward[number] -= numbers["zap_cost"]
                for other in self.beam(agent, cleaning=False):
                    reward[other] -= numbers["fine"]
                    self.agents[other]["out"] = numbers["time_out"]
            if agent["clean"]:
                agent["clean"] -= 1
            elif action == 8:
                agent["clean"] = numbers["clean_wait"]
                self.waste -= set(self.beam(agent, cleaning=True))
        for turn, number in enumerate(order):
            agent = self.agents[number]
            if number in missing:
                agent["out"] -= 1
                if agent["out"] == 0:
                    agent["out"] = 1
                    free = [cell for cell in self.find("+") if self.someone(cell) is None]
                    agent["out"] = 0
                    agent["place"] = free[int(draws(key, self.time, 0, 1, count=count)[turn] * len(free))]
                    agent["facing"] = int(draws(key, self.time, 0, 2, count=count)[turn] * 4)
        self.grow(key)
        return reward

    def grow(self, key: int) -> None:
        places = self.find("a")
        chances = self.chances()
        drawn = draws(key, self.time, 1, count=len(places))
        free = [
            (place, value)
            for place, value in zip(places, drawn, strict=True)
            if place not in self.apples and self.someone(place) is None
        ]
        self.apples |= {place for place, value in free if value < chances[place]}

    def chances(self) -> dict:
        """How probably each place without an apple gets one."""
        numbers, places = self.numbers, self.find("a")
        if "chances" in numbers:
            table, most = numbers["chances"], numbers["squared_radius"]
            found = {}
            for y, x in places:
                near = sum(0 < (y - v) ** 2 + (x - h) ** 2 <= most for v, h in self.apples)
                found[y, x] = table[min(near, len(table) - 1)]
            return found
        share = len(self.waste) / len(self.find("rw"))
        return dict.fromkeys(places, max(0.0, 0.05 * min(1.0, (0.4 - share) / 0.4)))

    def window(self, number: int, left: int, right: int, ahead: int, behind: int, river: bool) -> list:
        """Planes as nested lists [plane][row][column]."""
        agent = self.agents[number]
        planes = [
            [[0.0] * (left + 1 + right) for _ in range(ahead + 1 + behind)] for _ in range(10 if river else 7)
        ]
        for row in range(ahead + 1 + behind):
            for column in range(left + 1 + right):
                cell = self.go(agent["place"], agent["facing"], ahead - row)
                cell = self.go(cell, agent["facing"] + 1, column - left)
                other = self.someone(cell)
                marks = {0: self.wall(cell), 1: cell in self.apples, 6: cell in self.zapped}
                if other is not None and other != number:
                    marks[2 + (self.agents[other]["facing"] - agent["facing"]) % 4] = True
                if river:
                    marks[7] = not self.wall(cell) and self.text[cell[0]][cell[1]] in "rws"
                    marks[8] = cell in self.waste
                    marks[9] = cell in self.cleaned
                for plane, there in marks.items():
                    planes[plane][row][column] = float(there)
        return planes
