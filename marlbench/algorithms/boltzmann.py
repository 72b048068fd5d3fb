"""The Boltzmann policy: actions with probabilities that rise with their values, the less so the warmer it is."""

from __future__ import annotations

import torch
from torch import Tensor, no_grad

from marlbench.algorithms.assignment import Assignment
from marlbench.algorithms.base import Mode, Setting, StackPolicy
from marlbench.algorithms.distributions import mask_logits
from marlbench.algorithms.observation_bits import ObservationBits
from marlbench.algorithms.stack import MultilayerPerceptron, ParameterStack
from marlbench.environments.contract import Step


def boltzmann_thresholds(values: Tensor, available: Tensor | None, temperature: float) -> Tensor:
    """Where a uniform passes from an action to the next: cumulative sums of exp((Q - max Q) / tau), over their total.

    Args:
        values: Q, [..., action].
        available: bool [..., action]; None where every action is.
        temperature: tau, positive.

    Returns:
        [..., action - 1]; the action of a uniform u in [0, 1) is the number of them that are not above u.
    """
    logits = mask_logits(values, available)
    weight = torch.exp((logits - logits.amax(-1, keepdim=True)) / temperature)
    cumulative = weight.cumsum(-1)
    return cumulative[..., :-1] / cumulative[..., -1:]


def chosen(thresholds: Tensor, uniform: Tensor) -> Tensor:
    """[..., action - 1] and [..., 1] -> int64 [...]."""
    passed = thresholds <= uniform
    return passed.squeeze(-1).to(torch.int64) if passed.shape[-1] == 1 else passed.sum(-1)


def gap(values: Tensor) -> Tensor:
    """The best value less the second best, |Q_C - Q_D| of two actions: [..., action] -> [...]."""
    if values.shape[-1] == 1:
        return torch.zeros_like(values[..., 0])
    if values.shape[-1] == 2:
        return (values[..., 0] - values[..., 1]).abs()
    best = values.topk(2, -1).values
    return best[..., 0] - best[..., 1]


class BoltzmannPolicy(StackPolicy):
    """pi(a | o) = exp((Q(o, a) - max Q) / tau) / sum of the same over actions.

    Where observations are a few bits and there are more agents than different observations, Q is computed once for each
    observation and looked up. `behaviour` has the present temperature, `sampled` the last one of the schedule.

    Args:
        told: features that are appended to every observation: their number.

    Attributes:
        temperature: of `behaviour`.
        telling: what is appended, float [told]; None for nothing.
    """

    def __init__(
        self,
        setting: Setting,
        stack: ParameterStack,
        assignment: Assignment,
        network: MultilayerPerceptron,
        last_temperature: float,
        told: int,
    ) -> None:
        super().__init__(stack, assignment.sharing, setting.members, setting.agents)
        self.assignment, self.network = assignment, network
        self.temperature = self.last_temperature = last_temperature
        self.telling = torch.zeros(told, device=setting.device) if told else None
        self.masks = setting.specification.masks_actions
        self.bits = ObservationBits.of(setting.specification, setting.device)
        self._values: Tensor | None = None
        self._thresholds: dict[Mode, Tensor] = {}
        self._gaps: Tensor | None = None
        self._seen: tuple[Tensor, Tensor | None] | None = None
        self._next: tuple[Tensor, Tensor | None] | None = None
        if self.bits is not None:
            self._base = (assignment.learner * self.bits.count).unsqueeze(1)

    def forget(self) -> None:
        """Parameters or what is told have changed: nothing computed from them holds any longer."""
        self._values, self._gaps, self._thresholds = None, None, {}

    def expect(self, observation: Tensor, numbers: Tensor | None) -> None:
        """`act` is to be given these observations next, and these are their numbers."""
        self._next = (observation, numbers)

    def warm(self, temperature: float) -> None:
        """Set the temperature of `behaviour`."""
        self.temperature = temperature
        self._thresholds.pop("behaviour", None)

    def load_parameters(self, parameters: Tensor) -> None:
        super().load_parameters(parameters)
        self.forget()

    def uniforms(self, mode: Mode) -> int:
        return 0 if mode == "greedy" else 1

    def with_telling(self, observation: Tensor) -> Tensor:
        """[..., features] -> [..., features + told]."""
        if self.telling is None:
            return observation
        return torch.cat([observation, self.telling.expand(*observation.shape[:-1], -1)], -1)

    def numbers(self, observation: Tensor) -> Tensor | None:
        """Observations [row, agent, features] as numbers, int64 [row, agent]; None where they are not bits."""
        if self._seen is not None and self._seen[0] is observation:
            return self._seen[1]
        return None if self.bits is None else self.bits.encode(observation)

    def table(self) -> Tensor:
        """Q of every observation of bits, [stack, observation, action]."""
        assert self.bits is not None
        if self._values is None:
            inputs = self.with_telling(self.bits.vectors).expand(self.stack.size, -1, -1)
            self._values = self.network(self.stack.parameters, inputs)
        return self._values

    def _entries(self, observation: Tensor) -> Tensor | None:
        """Rows of the tables [stack x observation, ...] that tell of observations, int64 [row, agent]; None where there
        are fewer agents to tell of than observations, or observations are not bits."""
        if (
            self.bits is None
            or self.sharing.group_size * observation.shape[0] < self.bits.count * self.members
        ):
            return None
        numbers = self.numbers(observation)
        if numbers is None:
            return None
        if self.stack.size == 1:
            return numbers
        return (numbers.view(self.members, -1, self.agents) + self._base).view(numbers.shape)

    def values(self, observation: Tensor) -> Tensor:
        """Q, [row, agent, action]."""
        entries = self._entries(observation)
        if entries is not None:
            return torch.embedding(self.table().flatten(0, 1), entries)
        rows = observation.shape[0] // self.members
        features = self.with_telling(observation).view(self.members, rows, self.agents, -1)
        found = self.network(self.stack.parameters, self.assignment.fold(features))
        return self.assignment.unfold(found, rows).flatten(0, 1)

    @no_grad()
    def act(
        self, step: Step, memory: Tensor | None, noise: Tensor, mode: Mode
    ) -> tuple[Tensor, Tensor | None]:
        observation = step.observation
        # What is shown now may lie in a buffer that was shown before.
        self._seen = None
        if self._next is not None and self._next[0] is observation:
            self._seen, self._next = self._next, None
        elif self.bits is not None:
            self._seen = (observation, self.numbers(observation))
        available = step.available_actions if self.masks else None
        if mode == "greedy":
            return mask_logits(self.values(observation), available).argmax(-1), None
        temperature = self.temperature if mode == "behaviour" else self.last_temperature
        entries = None if self.masks else self._entries(observation)
        if entries is None:
            thresholds = boltzmann_thresholds(self.values(observation), available, temperature)
        else:
            if mode not in self._thresholds:
                self._thresholds[mode] = boltzmann_thresholds(self.table(), None, temperature)
            known = self._thresholds[mode]
            if known.shape[-1] == 1:
                thresholds = known.take(entries).unsqueeze(-1)
            else:
                thresholds = torch.embedding(known.flatten(0, 1), entries)
        return chosen(thresholds, noise), None

    @no_grad()
    def measures(self, step: Step) -> dict[str, Tensor]:
        entries = self._entries(step.observation)
        if entries is None:
            return {"action_value_gap": gap(self.values(step.observation)).mean(1)}
        if self._gaps is None:
            self._gaps = gap(self.table()).flatten()
        return {"action_value_gap": self._gaps.take(entries).mean(1)}
