"""What on-policy methods share: the rollout they learn from, and advantages over decisions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from marlbench.algorithms.base import Setting
from marlbench.environments.contract import Discrete, Step


class Rollout:
    """The last `length` joint steps of every row, member first: [member, time, row, agent, ...].

    `values` (name -> tensor) holds observation, state, available_actions (where the task masks), action, reward,
    terminated, truncated, acting and new_occupant (where agents skip steps), and cut (where there is memory): whether
    the agent's memory was emptied after the step. Final observations and states are kept only for the steps at which
    some row ended.

    Args:
        length: joint steps.
        keep_state: whether global states are kept.
        memory_interval: joint steps between those whose memory before acting is kept; 0 for a memoryless policy.
    """

    def __init__(self, setting: Setting, length: int, keep_state: bool, memory_interval: int = 0) -> None:
        specification, device = setting.specification, setting.device
        self.members, self.rows = setting.members, setting.rows
        self.masks = specification.masks_actions and isinstance(specification.action, Discrete)
        self.skips, self.keep_state = specification.skips_steps, keep_state
        self.memory_interval = memory_interval
        lead = (self.members, length, self.rows)
        agents = setting.agents

        def zeros(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
            return torch.zeros(*lead, *shape, dtype=dtype, device=device)

        self.values = {
            "observation": zeros(agents, specification.observation_size),
            "reward": zeros(agents),
            "terminated": zeros(agents, dtype=torch.bool),
            "truncated": zeros(agents, dtype=torch.bool),
        }
        if isinstance(specification.action, Discrete):
            self.values["action"] = zeros(agents, dtype=torch.int64)
            if self.masks:
                self.values["available_actions"] = zeros(agents, specification.action.count, dtype=torch.bool)
        else:
            self.values["action"] = zeros(agents, specification.action.size)
        if keep_state:
            self.values["state"] = zeros(specification.state_size)
        if self.skips:
            self.values["acting"] = zeros(agents, dtype=torch.bool)
            self.values["new_occupant"] = zeros(agents, dtype=torch.bool)
        if memory_interval:
            self.values["cut"] = zeros(agents, dtype=torch.bool)
        self.time = 0
        self.ended: list[int] = []
        self.final_observations: list[Tensor] = []
        self.final_states: list[Tensor] = []
        self.memories: list[Tensor] = []
        self.last: Step | None = None

    def add(self, step: Step, memory: Tensor | None, action: Tensor, following: Step) -> None:
        """Record one joint step, taken with the memory [row, agent, memory_size]."""
        values, time = self.values, self.time

        def put(name: str, tensor: Tensor) -> None:
            values[name][:, time] = tensor.view(self.members, self.rows, *tensor.shape[1:])

        put("observation", step.observation)
        put("action", action)
        put("reward", following.reward)
        if self.keep_state:
            put("state", step.state)
        if self.masks:
            put("available_actions", step.available_actions)
        if self.skips:
            put("acting", step.acting)
            put("new_occupant", step.new_occupant)
        if following.any_ended or self.skips:
            # `clear` left them False.
            put("terminated", following.terminated)
            put("truncated", following.truncated)
        if self.memory_interval:
            assert memory is not None
            if time % self.memory_interval == 0:
                self.memories.append(self._split(memory).clone())
            put("cut", following.ended.unsqueeze(1) | following.new_occupant)
        if following.any_ended:
            self.ended.append(time)
            self.final_observations.append(self._split(following.final_observation).clone())
            if self.keep_state:
                self.final_states.append(self._split(following.final_state).clone())
        self.last = following
        self.time += 1

    def _split(self, tensor: Tensor) -> Tensor:
        return tensor.view(self.members, self.rows, *tensor.shape[1:])

    def filled(self, name: str) -> Tensor:
        """What was recorded under a name so far: [member, time, row, ...]."""
        return self.values[name][:, : self.time]

    def clear(self) -> None:
        """Forget everything; the next joint step is the first again."""
        self.time = 0
        self.ended, self.final_observations, self.final_states, self.memories = [], [], [], []
        self.values["terminated"].fill_(False)
        self.values["truncated"].fill_(False)

    def state_dict(self) -> dict[str, object]:
        return {
            "values": {name: self.filled(name).clone() for name in self.values} if self.time else {},
            "time": self.time,
            "ended": list(self.ended),
            "final_observations": list(self.final_observations),
            "final_states": list(self.final_states),
            "memories": list(self.memories),
        }

    def load_state_dict(self, state: dict[str, object]) -> None:
        self.clear()
        time, values = state["time"], state["values"]
        assert isinstance(time, int)
        assert isinstance(values, dict)
        self.time = time
        for name, tensor in values.items():
            self.values[name][:, :time] = tensor.to(self.values[name].device)
        self.ended = list(state["ended"])  # type: ignore[call-overload]
        device = self.values["reward"].device
        self.final_observations = [t.to(device) for t in state["final_observations"]]  # type: ignore[attr-defined]
        self.final_states = [t.to(device) for t in state["final_states"]]  # type: ignore[attr-defined]
        self.memories = [t.to(device) for t in state.get("memories", ())]  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Advantages:
    """advantage and return (the target of the value function), both [member, time, row, agent]."""

    advantage: Tensor
    target: Tensor


def generalised_advantages(
    reward: Tensor,
    value: Tensor,
    following_value: Tensor,
    terminated: Tensor,
    truncated: Tensor,
    discount: float,
    trace_decay: float,
) -> Advantages:
    """Generalised advantage estimation (Schulman et al. 2016, eq. 16) where every agent acts at every step.

    Args:
        reward, value: [member, time, row, agent].
        following_value: the value after the step: V of the next observation, or of the final one where the row ended.
        terminated, truncated: bool; both cut the trace, termination alone stops the bootstrap.
        discount: gamma.
        trace_decay: lambda.
    """
    alive = (~terminated).to(reward.dtype)
    difference = reward + discount * following_value * alive - value
    carry = discount * trace_decay * (~(terminated | truncated)).to(reward.dtype)
    advantage = torch.empty_like(difference)
    running = torch.zeros_like(difference[:, 0])
    for time in range(reward.shape[1] - 1, -1, -1):
        running = torch.addcmul(difference[:, time], carry[:, time], running)
        advantage[:, time] = running
    return Advantages(advantage, advantage + value)


def advantages_over_decisions(
    reward: Tensor,
    value: Tensor,
    following_value: Tensor,
    terminated: Tensor,
    truncated: Tensor,
    acting: Tensor,
    new_occupant: Tensor,
    discount: float,
    trace_decay: float,
) -> Advantages:
    """Generalised advantages where agents skip steps: one transition from an agent's decision to its next.

    Rewards in between are summed and one discount is applied per decision. A slot that gets another occupant ends the
    transition of the one before without a bootstrap, unless it was truncated. Where an agent does not act there is no
    decision to judge: its advantage is 0, and its target is what it receives until its next decision and from there.

    Args as for `generalised_advantages`, and acting, new_occupant: bool [member, time, row, agent].
    """
    advantage, target = torch.empty_like(reward), torch.empty_like(reward)
    members, length = reward.shape[0], reward.shape[1]
    shape = (members, *reward.shape[2:])
    summed = torch.zeros(shape, dtype=reward.dtype, device=reward.device)
    next_advantage, next_value = torch.zeros_like(summed), following_value[:, -1].clone()
    # The occupant of a slot is replaced between a step and the next, so the cut belongs to the step before.
    replaced = torch.zeros_like(acting)
    replaced[:, :-1] = new_occupant[:, 1:]
    for time in range(length - 1, -1, -1):
        over = terminated[:, time] | truncated[:, time] | replaced[:, time]
        bootstrap = torch.where(truncated[:, time] & ~terminated[:, time], following_value[:, time], 0.0)
        next_value = torch.where(over, bootstrap, next_value)
        next_advantage = torch.where(over, 0.0, next_advantage)
        summed = reward[:, time] + torch.where(over, 0.0, summed)
        decides = acting[:, time]
        difference = summed + discount * next_value - value[:, time]
        decided = difference + discount * trace_decay * next_advantage
        target[:, time] = decided + value[:, time]
        advantage[:, time] = torch.where(decides, decided, 0.0)
        next_advantage = torch.where(decides, decided, next_advantage)
        next_value = torch.where(decides, value[:, time], next_value)
        summed = torch.where(decides, 0.0, summed)
    return Advantages(advantage, target)
