"""Non-cooperative navigation: agents of different sizes and strengths, each after a landmark and in each other's way.

Task of iPLAN (Wu et al. 2023, arXiv 2306.06236), with the numbers of its authors' code [code]: the particle world of
Lowe et al. 2017 in its original physics, agents kept apart by a penalty that all of them pay, and a prize that needs
everybody at a landmark.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from marlbench.environments import contract
from marlbench.environments.contract import AnyParameters, Discrete, Entities, EnvironmentSpecification
from marlbench.environments.keys import derive, uniform
from marlbench.environments.particle.world import ParticleWorld
from marlbench.environments.simulator import TensorSimulator

# Kinds of agents: radius, and share of the usual force that an action has.
_KINDS = ((0.08, 1.0), (0.10, 0.9), (0.06, 1.1))
_WALKER = (0.08, 1.0)
_LANDMARKS = 3
_FORCE = 5.0
_ACTIONS = ((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1))
# Landmarks stand on the points of a grid of fifths strictly inside [-1, 1] x [-1, 1].
_CELLS = 5
_NEAR = 0.1
_COLLISION, _ARRIVED, _ALL_ARRIVED = -5.0, 10.0, 100.0
_QUANTITIES = ("x", "y", "vx", "vy")
_WALK = 1 << 20


class Navigation(TensorSimulator):
    """Three agents of three kinds and three landmarks; with `walker` somebody who wanders at random besides.

    All start uniformly in [-1, 1] x [-1, 1], at rest. Action: stay, left, right, down, up, with a force of 5 times what
    the agent's kind has of it. The kinds' radii are .08, .10, .06 and their shares of the force 1, .9, 1.1; the walker
    is of the first kind and draws one of the five actions at every step.

    Observation of an agent, rows of 4: itself (position, velocity), everybody else (relative position, relative
    velocity), the landmarks (relative position, 0, 0). State: the same rows of everybody and of the landmarks, as they
    are.

    Reward of agent i = - distance of its nearest landmark - 5 for each ordered pair, among all, that touch each other;
    while nobody touches anybody, 10 if that distance is below .1, and 100 if it is for everybody, the walker included.

    Metrics, over the steps of an episode: `collisions`, touching pairs, summed; `arrived`, the share of agents and
    steps with a landmark nearer than .1; `all_arrived`, the share of steps at which the prize of 100 was paid;
    `distance`, of the nearest landmark, the mean over agents and steps.
    """

    class Parameters(contract.Parameters):
        walker: bool = Field(default=False, description="whether somebody walks at random among the agents")
        episode_length: int = Field(default=50, ge=1, description="steps after which an episode is truncated")
        velocities: Literal["relative", "absolute"] = Field(
            default="relative",
            description="of the others in an observation: to one's own, or as they are, as in the authors' code",
        )

    @classmethod
    def examples(cls) -> list[AnyParameters]:
        return [
            cls.Parameters(episode_length=4),
            cls.Parameters(episode_length=3, walker=True, velocities="absolute"),
        ]

    def __init__(self, parameters: Parameters, rows: int, device: torch.device) -> None:
        kinds = (*_KINDS, _WALKER) if parameters.walker else _KINDS
        self._agents, self._walker = len(_KINDS), parameters.walker
        self._radii = [radius for radius, _ in kinds]
        names = ["self"] + [f"other_{other}" for other in range(len(kinds) - 1)]
        names += [f"landmark_{landmark}" for landmark in range(_LANDMARKS)]
        self._features = len(names) * len(_QUANTITIES)
        self.specification = EnvironmentSpecification(
            agents=tuple(f"agent_{agent}" for agent in range(self._agents)),
            observation_size=self._features,
            state_size=self._features,
            action=Discrete(len(_ACTIONS)),
            metrics=("collisions", "arrived", "all_arrived", "distance"),
            episode_limit=parameters.episode_length,
            features=tuple(f"{name}.{quantity}" for name in names for quantity in _QUANTITIES),
            entities=Entities(seen=len(names), features=_QUANTITIES, total=len(names)),
        )
        super().__init__(parameters, rows, device)
        self.world = ParticleWorld(self._radii, _LANDMARKS, rows, device, moves_last=True)
        pushes = torch.tensor(_ACTIONS, dtype=torch.float64) * _FORCE * self.world.dt
        shares = torch.tensor([share for _, share in kinds], dtype=torch.float64)
        # [action, agent, 2]; an action is looked up in its agent's column.
        self._impulses = (pushes.unsqueeze(1) * shares.view(1, -1, 1)).flatten(0, 1).to(device)
        self._column = torch.arange(len(kinds), device=device)
        self._chosen = torch.zeros(rows, len(kinds), dtype=torch.int64, device=device)
        self._shown_of_packed = self._matrix(parameters.velocities == "relative").to(device)
        self._seen = torch.zeros(self.world.quantities, rows, device=device)
        self._sums = torch.zeros(4, rows, dtype=torch.float64, device=device)
        self._trails: dict[int, list[list[tuple[float, float]]]] = {}

    def _matrix(self, relative: bool) -> Tensor:
        """[quantity, (agents + 1) * features]: the agents' observations and the state as sums of packed quantities."""
        index, everybody = self.world.index, len(self._radii)
        matrix = torch.zeros(self.world.quantities, self._agents + 1, self._features)
        for viewer in range(self._agents + 1):
            looks = viewer < self._agents
            others = [other for other in range(everybody) if other != viewer]
            bodies = [viewer, *others] if looks else list(range(everybody))
            for axis in range(2):
                for place, body in enumerate(bodies):
                    feature, own = 4 * place + axis, looks and body == viewer
                    matrix[index("position", body, axis), viewer, feature] = 1
                    matrix[index("velocity", body, axis), viewer, feature + 2] = 1
                    if looks and not own:
                        matrix[index("position", viewer, axis), viewer, feature] -= 1
                        if relative:
                            matrix[index("velocity", viewer, axis), viewer, feature + 2] -= 1
                for landmark in range(_LANDMARKS):
                    feature = 4 * (everybody + landmark) + axis
                    matrix[index("landmark", landmark, axis), viewer, feature] = 1
                    if looks:
                        matrix[index("position", viewer, axis), viewer, feature] -= 1
        return matrix.flatten(1)

    def start(self, keys: Tensor) -> dict[str, Tensor]:
        rows, everybody = keys.shape[0], len(self._radii)
        drawn = uniform(keys, 2 * (everybody + _LANDMARKS)).to(torch.float64)
        bodies, landmarks = drawn.split([2 * everybody, 2 * _LANDMARKS], 1)
        points = 2 * _CELLS - 1
        landmarks = ((landmarks * points).floor() - (_CELLS - 1)) / _CELLS
        packed = torch.cat([torch.zeros_like(bodies), 2 * bodies - 1, landmarks], 1)
        return {
            "packed": packed,
            "sums": torch.zeros(rows, 4, dtype=torch.float64, device=keys.device),
            "key": keys.clone(),
            "time": torch.zeros_like(keys),
        }

    def restore(self) -> None:
        self.world.load(self.memory["packed"])
        self._sums.copy_(self.memory["sums"].T)
        self.memory["packed"], self.memory["sums"] = self.world.packed.T, self._sums.T

    def advance(self, action: Tensor) -> tuple[Tensor, Tensor | None]:
        self._chosen[:, : self._agents] = action
        if self._walker:
            drawn = uniform(derive(self.memory["key"], self.memory["time"] + _WALK), 1)
            self._chosen[:, self._agents :] = (drawn * len(_ACTIONS)).to(torch.int64)
        self.memory["time"] += 1
        self.world.move(torch.embedding(self._impulses, self._chosen * len(self._radii) + self._column))
        distance = self.world.landmark_distance.amin(1)
        near = distance < _NEAR
        touching = (self.world.agent_distance < self.world.contact_distance).sum(0)
        alone = touching == 0
        prize = (near.all(0) & alone).to(torch.float64)
        # A pair is two ordered pairs.
        common = prize * _ALL_ARRIVED + touching * (2 * _COLLISION)
        own, arrived = distance[: self._agents], near[: self._agents]
        reward = common - own + _ARRIVED * (arrived & alone)
        self._sums += torch.stack([touching, arrived.sum(0), prize, own.sum(0)])
        return reward.T.to(torch.float32), None

    def observe(self) -> tuple[Tensor, Tensor]:
        self._seen.copy_(self.world.packed)
        shown = torch.mm(self._seen.T, self._shown_of_packed).view(self.rows, -1, self._features)
        return shown[:, : self._agents], shown[:, self._agents]

    def measure(self) -> dict[str, Tensor]:
        steps = self.memory["time"]
        collisions, arrived, all_arrived, distance = self._sums / torch.stack(
            [torch.ones_like(steps), self._agents * steps, steps, self._agents * steps]
        )
        return {
            "collisions": collisions.to(torch.float32),
            "arrived": arrived.to(torch.float32),
            "all_arrived": all_arrived.to(torch.float32),
            "distance": distance.to(torch.float32),
        }

    def draw(self, memory: dict[str, Tensor], row: int) -> NDArray[np.uint8]:
        from marlbench.environments.particle.drawing import draw_world

        packed, everybody = memory["packed"].tolist(), len(self._radii)

        def points(quantity: str, count: int) -> list[tuple[float, float]]:
            x, y = (self.world.index(quantity, 0, axis) for axis in range(2))
            return list(zip(packed[x : x + count], packed[y : y + count], strict=True))

        at = points("position", everybody)
        if row not in self._trails or int(memory["time"]) == 0:
            self._trails[row] = [[] for _ in range(everybody)]
        for trail, point in zip(self._trails[row], at, strict=True):
            trail.append(point)
        return draw_world(at, points("landmark", _LANDMARKS), self._radii, self._trails[row])
