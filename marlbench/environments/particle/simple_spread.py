"""Cooperative navigation, `simple_spread`: agents spread over landmarks and avoid each other.

Task of Lowe et al. 2017 (arXiv 1706.02275); the numbers are those of mpe2 1.1.1's `simple_spread_v3` [code],
whose trajectories this simulator follows to 1e-5 from the same initial state and with the same actions.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from marlbench.environments import contract
from marlbench.environments.contract import AnyParameters, Discrete, EnvironmentSpecification
from marlbench.environments.keys import uniform
from marlbench.environments.particle.world import ParticleWorld
from marlbench.environments.simulator import TensorSimulator

_RADIUS = 0.15
_CONTROL = 5.0
_COVERED = 0.1
_COMMUNICATION = 2


class SimpleSpread(TensorSimulator):
    """As many landmarks as agents; all start uniformly in [-1, 1] x [-1, 1], agents at rest.

    Action: stay, left, right, down, up (a force of 5). Observation of an agent: own velocity, own position,
    the landmarks' and the other agents' relative positions, and two communication features per other agent
    that are always zero: 4 + 2 agents + 4 (agents - 1) features. State: all observations side by side.

    Reward of agent i = -(1 - local_ratio) * sum over landmarks of the distance of the nearest agent
                        - local_ratio * number of agents that touch i.

    Metrics: `collisions`, touching pairs summed over the steps; `landmarks_covered`, landmarks with an agent
    nearer than 0.1 at the end; `landmark_distance`, the sum over landmarks of the nearest agent's distance at
    the end.
    """

    class Parameters(contract.Parameters):
        agents: int = Field(default=3, ge=1, le=64, description="agents, and as many landmarks")
        episode_length: int = Field(default=25, ge=1, description="steps after which an episode is truncated")
        local_ratio: float = Field(
            default=0.5,
            ge=0,
            le=1,
            description="weight of an agent's own collisions against the common reward",
        )
        limit_terminates: bool = Field(
            default=False,
            description="an episode is over for good at its last step, as in EPyMARL, instead of being cut",
            json_schema_extra={"legacy": False},
        )
        physics: Literal["mpe2", "original"] = Field(
            default="mpe2",
            description="in mpe2 a force moves an agent one step later, in the original particle world at once",
            json_schema_extra={"legacy": "mpe2"},
        )

    @classmethod
    def examples(cls) -> list[AnyParameters]:
        return [
            cls.Parameters(episode_length=4),
            cls.Parameters(agents=1, episode_length=3, limit_terminates=True),
            cls.Parameters(agents=5, episode_length=3, local_ratio=0.2, physics="original"),
        ]

    def __init__(self, parameters: Parameters, rows: int, device: torch.device) -> None:
        agents = parameters.agents
        self._features = 4 + 2 * agents + (2 + _COMMUNICATION) * (agents - 1)
        self.specification = EnvironmentSpecification(
            agents=tuple(f"agent_{agent}" for agent in range(agents)),
            observation_size=self._features,
            state_size=agents * self._features,
            action=Discrete(5),
            metrics=("collisions", "landmarks_covered", "landmark_distance"),
            episode_limit=parameters.episode_length,
        )
        super().__init__(parameters, rows, device)
        self.limit_terminates = parameters.limit_terminates
        self.world = ParticleWorld(
            [_RADIUS] * agents, agents, rows, device, moves_last=parameters.physics == "original"
        )
        force = torch.tensor([[0, 0], [-1, 0], [1, 0], [0, -1], [0, 1]], dtype=torch.float64)
        self._impulse = (force * _CONTROL * self.world.dt).to(device)
        self._observation_of_packed = self._observation_matrix().to(device)
        self._seen = torch.zeros(self.world.quantities, rows, device=device)
        self._seen_by_row = self._seen.T

        # What the reward is made of: each landmark's distance to its nearest agent, 1 for each touching pair.
        pairs = len(self.world.pairs)
        self._facts = torch.zeros(agents + pairs, rows, dtype=torch.float64, device=device)
        self._facts_by_row = self._facts.T
        self._nearest, self._touching = self._facts[:agents], self._facts[agents:]
        self._collisions = torch.zeros(pairs, rows, dtype=torch.float64, device=device)
        weights = torch.zeros(agents + pairs, agents, dtype=torch.float64)
        weights[:agents] = -(1 - parameters.local_ratio)
        for pair, both in enumerate(self.world.pairs):
            weights[agents + pair, list(both)] = -parameters.local_ratio
        self._reward_of_facts = weights.to(device)
        self._trails: dict[int, list[list[tuple[float, float]]]] = {}

    def _observation_matrix(self) -> Tensor:
        """[quantity, agent * features]: a feature is one packed quantity or a difference of two."""
        index, agents = self.world.index, self.world.agents
        matrix = torch.zeros(self.world.quantities, agents, self._features)
        for agent in range(agents):
            others = [other for other in range(agents) if other != agent]
            for axis in range(2):
                matrix[index("velocity", agent, axis), agent, axis] = 1
                matrix[index("position", agent, axis), agent, 2 + axis] = 1
                seen = [index("landmark", landmark, axis) for landmark in range(agents)]
                seen += [index("position", other, axis) for other in others]
                for place, quantity in enumerate(seen):
                    matrix[quantity, agent, 4 + 2 * place + axis] = 1
                    matrix[index("position", agent, axis), agent, 4 + 2 * place + axis] = -1
        return matrix.flatten(1)

    def start(self, keys: Tensor) -> dict[str, Tensor]:
        agents = self.world.agents
        place = (2 * uniform(keys, 4 * agents) - 1).to(torch.float64)
        packed = torch.cat([torch.zeros_like(place[:, : 2 * agents]), place], dim=1)
        return {"packed": packed, "collisions": torch.zeros_like(self._collisions.T)}

    def restore(self) -> None:
        self.world.load(self.memory["packed"])
        self._collisions.copy_(self.memory["collisions"].T)
        self.memory = {"packed": self.world.packed.T, "collisions": self._collisions.T}

    def advance(self, action: Tensor) -> tuple[Tensor, Tensor | None]:
        self.world.move(torch.embedding(self._impulse, action))
        torch.amin(self.world.landmark_distance, 0, out=self._nearest)
        torch.lt(self.world.agent_distance, self.world.contact_distance, out=self._touching)
        self._collisions += self._touching
        return torch.mm(self._facts_by_row, self._reward_of_facts).to(torch.float32), None

    def observe(self) -> tuple[Tensor, Tensor]:
        self._seen.copy_(self.world.packed)
        state = torch.mm(self._seen_by_row, self._observation_of_packed)
        return state.view(self.rows, self.world.agents, self._features), state

    def draw(self, memory: dict[str, Tensor], row: int) -> NDArray[np.uint8]:
        from marlbench.environments.particle.drawing import draw_world

        agents, packed = self.world.agents, memory["packed"].tolist()

        def points(quantity: str) -> list[tuple[float, float]]:
            x, y = (self.world.index(quantity, 0, axis) for axis in range(2))
            return list(zip(packed[x : x + agents], packed[y : y + agents], strict=True))

        at = points("position")
        # Agents are at rest only where an episode begins, or where they stay: then there is no way either.
        if row not in self._trails or not any(packed[: 2 * agents]):
            self._trails[row] = [[] for _ in range(agents)]
        for trail, point in zip(self._trails[row], at, strict=True):
            trail.append(point)
        return draw_world(at, points("landmark"), [_RADIUS] * agents, self._trails[row])

    def measure(self) -> dict[str, Tensor]:
        return {
            "collisions": self._collisions.sum(0).to(torch.float32),
            "landmarks_covered": (self._nearest < _COVERED).sum(0, dtype=torch.float32),
            "landmark_distance": self._nearest.sum(0).to(torch.float32),
        }
