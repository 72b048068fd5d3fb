"""What off-policy methods share: transitions from one decision of an agent to its next, kept in a replay."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from marlbench.algorithms.base import Setting
from marlbench.environments.contract import Discrete, EnvironmentSpecification, Step
from marlbench.training.replay import Field, Replay


def transition_fields(specification: EnvironmentSpecification) -> dict[str, Field]:
    """What is stored of each row at each joint step."""
    agents, features = len(specification.agents), specification.observation_size
    fields = {
        "observation": Field((agents, features)),
        "following_observation": Field((agents, features)),
        "reward": Field((agents,)),
        "terminated": Field((agents,), "bool"),
    }
    if isinstance(specification.action, Discrete):
        fields["action"] = Field((agents,), "int64")
        if specification.masks_actions:
            fields["following_available"] = Field((agents, specification.action.count), "bool")
    else:
        fields["action"] = Field((agents, specification.action.size))
    if specification.skips_steps:
        fields["valid"] = Field((agents,), "bool")
    return fields


def slack_for(capacity: int) -> int:
    """Joint steps that may be written between two checkpoints: a tenth of the capacity, at least 256."""
    return max(256, capacity // 10)


class TransitionReplay:
    """A replay of transitions. Where agents skip steps, a transition starts at a decision of an agent and is written
    when the agent decides again, its episode ends or its slot gets another occupant; `valid` marks what was written.
    """

    def __init__(self, setting: Setting, capacity: int) -> None:
        specification = setting.specification
        self.members, self.rows = setting.members, setting.rows
        self.masks, self.skips = specification.masks_actions, specification.skips_steps
        directory = None if setting.directory is None else setting.directory / "replay"
        fields = transition_fields(specification)
        self.replay = Replay(directory, fields, self.members, self.rows, capacity, slack_for(capacity))
        self._open: dict[str, Tensor] = {}
        if self.skips:
            lead = (self.members * self.rows, setting.agents)
            self._open = {
                "observation": torch.zeros(*lead, specification.observation_size, device=setting.device),
                "action": torch.zeros(
                    *lead, *fields["action"].shape[1:], dtype=getattr(torch, fields["action"].dtype)
                ).to(setting.device),
                "reward": torch.zeros(lead, device=setting.device),
                "waiting": torch.zeros(lead, dtype=torch.bool, device=setting.device),
            }

    def add(self, step: Step, action: Tensor, following: Step) -> None:
        """Record one joint step."""
        values = {
            "observation": step.observation,
            "following_observation": following.final_observation,
            "reward": following.reward,
            "terminated": following.terminated,
            "action": action,
        }
        if self.masks:
            values["following_available"] = following.final_available_actions
        if self.skips:
            values.update(self._decisions(step, action, following))
        self.replay.append(
            {name: v.view(self.members, self.rows, *v.shape[1:]) for name, v in values.items()}
        )

    def _decisions(self, step: Step, action: Tensor, following: Step) -> dict[str, Tensor]:
        kept, acting = self._open, step.acting

        def choose(new: Tensor, old: Tensor) -> Tensor:
            return torch.where(acting.view(*acting.shape, *(1,) * (new.dim() - 2)), new, old)

        kept["observation"] = choose(step.observation, kept["observation"])
        kept["action"] = choose(action, kept["action"])
        kept["reward"] = torch.where(acting, 0.0, kept["reward"]) + following.reward
        waiting = kept["waiting"] | acting
        over = following.terminated | following.truncated | following.new_occupant
        written = waiting & (following.acting | over)
        kept["waiting"] = waiting & ~written
        return {
            "observation": kept["observation"],
            "action": kept["action"],
            "reward": kept["reward"],
            # The one who left is not worth what its successor sees.
            "terminated": following.terminated | (following.new_occupant & ~following.truncated),
            "valid": written,
        }

    def forget_open(self) -> None:
        """Drop the transitions that wait for their agent's next decision."""
        if self._open:
            self._open["waiting"].zero_()

    def state_dict(self) -> dict[str, Any]:
        return {
            "replay": self.replay.state_dict(),
            "open": {name: value.clone() for name, value in self._open.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.replay.load_state_dict(state["replay"])
        for name, value in state["open"].items():
            self._open[name] = value.to(self._open[name].device, copy=True)
