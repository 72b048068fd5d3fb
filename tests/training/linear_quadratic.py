"""A task whose optimal policy is known in closed form: a linear system with quadratic costs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.linalg
import torch
from torch import Tensor

from marlbench.environments import contract
from marlbench.environments.contract import Continuous, EnvironmentSpecification
from marlbench.environments.keys import uniform
from marlbench.environments.simulator import TensorSimulator

# Each agent pushes the same body, which two springs slow down: position and speed; pushing costs something.
DYNAMICS = np.array([[0.9, 0.3], [0.0, 0.8]])
STATE_COST = np.diag([1.0, 0.3])
ACTION_COST = 0.3
LENGTH = 8
RANGE = 2.0


def input_matrix(agents: int) -> np.ndarray:
    """How each agent's action changes the state, [2, agents]."""
    return np.tile(np.array([[0.0], [1.0 / agents]]), (1, agents))


def optimal_gain(agents: int, discount: float) -> np.ndarray:
    """K of the best policy a = -K x for discounted costs without end, [agents, 2], from the Riccati equation."""
    dynamics, inputs = np.sqrt(discount) * DYNAMICS, np.sqrt(discount) * input_matrix(agents)
    cost = ACTION_COST / agents * np.eye(agents)
    value = scipy.linalg.solve_discrete_are(dynamics, inputs, STATE_COST, cost)
    gain: np.ndarray = np.linalg.solve(cost + inputs.T @ value @ inputs, inputs.T @ value @ dynamics)
    return gain


def cost(state: Tensor, policy: Callable[[Tensor], Tensor], discount: float) -> float:
    """Mean discounted cost from the given states [row, 2]; a policy gives actions [row, agents]."""
    agents = policy(state).shape[1]
    dynamics = torch.from_numpy(DYNAMICS.T).to(state.dtype)
    inputs = torch.from_numpy(input_matrix(agents).T).to(state.dtype)
    weights = torch.from_numpy(STATE_COST.diagonal().copy()).to(state.dtype)
    total = torch.zeros(len(state))
    for time in range(50):
        action = policy(state).clamp(-RANGE, RANGE)
        total += discount**time * ((weights * state.square()).sum(1) + ACTION_COST * action.square().mean(1))
        state = state @ dynamics + action @ inputs
    return float(total.mean())


class LinearQuadratic(TensorSimulator):
    """x' = A x + B a, reward -(x' Q x + a' R a) for every agent; episodes are cut after a while, never terminated."""

    class Parameters(contract.Parameters):
        agents: int = 1

    def __init__(self, parameters: LinearQuadratic.Parameters, rows: int, device: torch.device) -> None:
        self.agents = parameters.agents
        self.specification = EnvironmentSpecification(
            agents=tuple(f"agent_{agent}" for agent in range(self.agents)),
            observation_size=2,
            state_size=2,
            action=Continuous(1, -RANGE, RANGE),
            episode_limit=LENGTH,
        )
        super().__init__(parameters, rows, device)
        self.dynamics = torch.tensor(DYNAMICS, dtype=torch.float32)
        self.inputs = torch.tensor(input_matrix(self.agents), dtype=torch.float32)
        self.cost = torch.tensor(STATE_COST, dtype=torch.float32)

    def start(self, keys: Tensor) -> dict[str, Tensor]:
        return {"state": uniform(keys, 2) * 2.0 - 1.0}

    def advance(self, action: Tensor) -> tuple[Tensor, Tensor | None]:
        state, pushed = self.memory["state"], action[..., 0]
        cost = torch.einsum("ri,ij,rj->r", state, self.cost, state)
        cost = cost + ACTION_COST * pushed.square().mean(1)
        self.memory["state"] = state @ self.dynamics.T + pushed @ self.inputs.T
        return -cost.unsqueeze(1).expand(-1, self.agents).contiguous(), None

    def observe(self) -> tuple[Tensor, Tensor]:
        state = self.memory["state"].clone()
        return state.unsqueeze(1).repeat(1, self.agents, 1), state
