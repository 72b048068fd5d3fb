"""Evaluation on fresh rows and streams of their own; it never touches the training's randomness.

Episodic tasks: every row plays exactly one episode and then waits for the others, so short episodes are not favoured.
An episode that the simulator lost is played again, with the row's next one.
Continuing tasks: every row runs `length` joint steps and those after the warm-up count.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from marlbench.algorithms.base import Policy
from marlbench.catalog.types import Protocol
from marlbench.environments.contract import BatchedEnvironment, Step
from marlbench.environments.keys import derive, row_keys, uniform
from marlbench.training.episodes import EpisodeSums


class Evaluator:
    """Evaluates all members at once, one joint step at a time, so that a job can stop and resume in between.

    Args:
        build: makes an environment with the given number of rows.
        limit: most rows that one environment may have, over all members; None where there is no limit.
        episodes: the largest number of episodes of one pass and member.
    """

    def __init__(
        self,
        build: Callable[[int], BatchedEnvironment],
        limit: int | None,
        policy: Policy,
        protocol: Protocol,
        seeds: Sequence[int],
        episodes: int,
    ) -> None:
        self.policy, self.protocol, self.seeds = policy, protocol, tuple(seeds)
        members = len(self.seeds)
        self.rows = episodes if limit is None else max(1, min(episodes, limit // members))
        self.environment = build(members * self.rows)
        self.noise = torch.zeros(0, device=self.environment.device)
        self.running = False

    def begin(self, stream: int, episodes: int) -> None:
        """Start an evaluation of `episodes` per member with the policy as it is now, on stream number `stream`."""
        self.stream, self.passes = stream, -(-episodes // self.rows)
        self.wanted = episodes
        self.done_passes = 0
        self.values: dict[str, list[Tensor]] = {}
        self.running = True
        self._begin_pass()

    def _begin_pass(self) -> None:
        device = self.environment.device
        # Streams are numbered evaluation by evaluation, then pass by pass.
        self.keys = row_keys(self.seeds, (self.stream << 20) + self.done_passes, self.rows, device)
        self.step: Step = self.environment.reset(self.keys)
        rows = len(self.seeds) * self.rows
        agents = len(self.environment.specification.agents)
        self.sums = EpisodeSums(rows, agents, device)
        self.memory = self._fresh_memory(rows, agents)
        self.open = torch.ones(rows, dtype=torch.bool, device=device)
        self.time = 0
        self.collected: dict[str, Tensor] = {}

    def _fresh_memory(self, rows: int, agents: int) -> Tensor | None:
        if not self.policy.memory_size:
            return None
        return torch.zeros(rows, agents, self.policy.memory_size, device=self.environment.device)

    def advance(self) -> None:
        """One joint step of every row; `running` turns False when the last pass is over."""
        policy, agents = self.policy, len(self.environment.specification.agents)
        mode = self.protocol.policy
        if count := policy.uniforms(mode):
            drawn = uniform(derive(self.keys, self.time + (1 << 40)), agents * count)
            self.noise = policy.noise(drawn.view(-1, agents, count))
        action, self.memory = policy.act(self.step, self.memory, self.noise, mode)
        in_window = self.protocol.kind == "continuing"
        judged = policy.measures(self.step) if in_window else {}
        self.step = self.environment.step(action)
        self.time += 1
        self.memory = cut_memory(self.memory, self.step)
        over = self._continue_window(judged) if in_window else self._continue_episodes()
        if over:
            for name, value in self.collected.items():
                self.values.setdefault(name, []).append(value.view(len(self.seeds), -1))
            self.done_passes += 1
            if self.done_passes < self.passes:
                self._begin_pass()
            else:
                self.running = False

    def _continue_episodes(self) -> bool:
        self.sums.add(self.step)
        if not self.step.any_ended:
            return False
        counted = self.step.completed & self.open
        for name, value in self.sums.metrics(self.step).items():
            if name not in self.collected:
                self.collected[name] = torch.zeros_like(value)
            self.collected[name] = torch.where(counted, value, self.collected[name])
        self.sums.clear(self.step.ended)
        self.open &= ~counted
        return not bool(self.open.any())

    def _continue_window(self, judged: Mapping[str, Tensor]) -> bool:
        length = self.protocol.length
        assert length is not None
        skipped = int(length * (self.protocol.warm_up or 0.0))
        if self.time > skipped:
            reward = self.step.reward.to(torch.float64)
            values = {
                "reward_mean": reward.mean(1),
                "reward_sum": reward.sum(1),
                **self.step.metrics,
                **judged,
            }
            for name, value in values.items():
                share = value.to(torch.float64) / (length - skipped)
                self.collected[name] = self.collected[name] + share if name in self.collected else share
        return self.time >= length

    def results(self) -> dict[str, Tensor]:
        """name -> float64 [member, episode] of the evaluation that just ended."""
        return {name: torch.cat(parts, 1)[:, : self.wanted].cpu() for name, parts in self.values.items()}

    def state_dict(self) -> dict[str, Any]:
        if not self.running:
            return {"running": False}
        state = {
            "running": True,
            "stream": self.stream,
            "wanted": self.wanted,
            "done_passes": self.done_passes,
            "values": {name: list(parts) for name, parts in self.values.items()},
        }
        if self.environment.resume == "exact":
            state["within"] = {
                "environment": self.environment.state_dict(),
                "sums": self.sums.state_dict(),
                "memory": self.memory,
                "open": self.open.clone(),
                "time": self.time,
                "collected": dict(self.collected),
            }
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if not state["running"]:
            self.running = False
            return
        device = self.environment.device
        self.begin(state["stream"], state["wanted"])
        self.values = {name: [part.to(device) for part in parts] for name, parts in state["values"].items()}
        if state["done_passes"]:
            self.done_passes = state["done_passes"]
            self._begin_pass()
        within = state.get("within")
        if within is not None:
            self.step = self.environment.load_state_dict(within["environment"])
            self.sums.load_state_dict(within["sums"])
            self.memory = None if within["memory"] is None else within["memory"].to(device, copy=True)
            self.open = within["open"].to(device, copy=True)
            self.time = within["time"]
            self.collected = {
                name: value.to(device, copy=True) for name, value in within["collected"].items()
            }

    def close(self) -> None:
        self.environment.close()


def cut_memory(memory: Tensor | None, step: Step) -> Tensor | None:
    """Recurrent state [row, agent, features] starts again at a new episode or a new occupant."""
    if memory is None:
        return None
    fresh = step.ended.unsqueeze(1) | step.new_occupant
    return memory.masked_fill(fresh.unsqueeze(-1), 0.0)
