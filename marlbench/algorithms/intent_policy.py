"""The policy of iPLAN: it infers the intent of whom it sees, and acts on the observation and on what it inferred."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, no_grad

from marlbench.algorithms.actors import CategoricalActor
from marlbench.algorithms.base import Mode, Policy
from marlbench.algorithms.gaussian_actor import GaussianActor
from marlbench.algorithms.intent_memory import Recollection, of_rows, with_rows
from marlbench.algorithms.intent_networks import BehaviourNetworks, InstantNetworks
from marlbench.algorithms.stack import ParameterStack
from marlbench.environments.contract import Step


class Inferred:
    """What was inferred at a step, rows and agents of all members: [row, agent, ...].

    Attributes:
        features: what actor and critic see.
        parts: the recollection after it.
        behaviour, instant: the latents before it of whom the rows show, [row, agent, seen, latent].
    """

    def __init__(
        self, features: Tensor, parts: dict[str, Tensor], behaviour: Tensor, instant: Tensor
    ) -> None:
        self.features, self.parts, self.behaviour, self.instant = features, parts, behaviour, instant


class IntentPolicy(Policy):
    """An actor whose observations have the latents of whom they show beside them.

    With o_t the rows that are seen, alpha the instant latents and beta the behavioural ones, each of the entity that a
    row shows, and h_t its last observations [code]:

        alpha_t = attention([o_t, beta_(t-1)], alpha_(t-1))
        beta_t = (1 - rate) beta_(t-1) + rate encode(h_t)
        the actor sees o_t, alpha_t, beta_t and the action before.

    Args:
        actor: on features that are so long, with its critic in `actor.stack`.
        recollection: parts of the memory.
        behaviour, instant: the networks; None where an ablation lacks one.
        behaviour_stack, instant_stack: their parameters, [member x learner, parameters].
        rate: of the behavioural latent.
    """

    def __init__(
        self,
        actor: CategoricalActor | GaussianActor,
        recollection: Recollection,
        behaviour: BehaviourNetworks | None,
        instant: InstantNetworks | None,
        behaviour_stack: ParameterStack,
        instant_stack: ParameterStack,
        rate: float,
    ) -> None:
        self.actor, self.recollection = actor, recollection
        self.behaviour, self.instant, self.rate = behaviour, instant, rate
        self.behaviour_stack, self.instant_stack = behaviour_stack, instant_stack
        self.members, self.agents = actor.members, actor.agents
        self.memory_size = actor.memory_size + recollection.size
        self.inferred: Inferred | None = None

    def uniforms(self, mode: Mode) -> int:
        drawn = 0 if self.instant is None or mode == "greedy" else self.instant.uniforms
        return self.actor.uniforms(mode) + drawn

    def noise(self, uniforms: Tensor) -> Tensor:
        drawn = 0 if self.instant is None else self.instant.uniforms
        if uniforms.shape[-1] < drawn or self.instant is None:
            return self.actor.noise(uniforms)
        for_action, for_attention = uniforms.split([uniforms.shape[-1] - drawn, drawn], -1)
        return torch.cat([self.actor.noise(for_action), InstantNetworks.noise(for_attention)], -1)

    def folded(self, values: Tensor) -> Tensor:
        """[member x row, agent, *shape] -> [stack, sample, *shape]."""
        shape = values.shape[2:]
        return self.actor.folded(values.flatten(2)).unflatten(-1, shape)

    def unfolded(self, values: Tensor, rows: int) -> Tensor:
        """[stack, sample, *shape] -> [member x row, agent, *shape]."""
        shape = values.shape[2:]
        return self.actor.unfolded(values.flatten(2), rows).unflatten(-1, shape)

    @no_grad()
    def infer(
        self, observation: Tensor, shown: Tensor | None, memory: Tensor, noise: Tensor | None = None
    ) -> Inferred:
        """The latents after an observation.

        Args:
            observation: [row, agent, features].
            shown: whom its rows show, int64 [row, agent, seen]; see `Recollection.identity`.
            memory: before it, [row, agent, memory_size].
            noise: of the hard attention; None for its likelier side.
        """
        rows, agents = observation.shape[:2]
        parts = self.recollection.split(memory[..., self.actor.memory_size :])
        identity = self.recollection.identity(shown, (rows, agents), observation.device)
        seen = observation.view(rows, agents, self.recollection.entities.seen, -1)
        behaviour, instant = (of_rows(parts[name], identity) for name in ("behaviour", "instant"))
        features = [seen]
        if self.instant is not None:
            present = self.folded(torch.cat([seen, behaviour], -1))
            drawn = None if noise is None else self.folded(noise)
            found = self.instant.attend(self.instant_stack.parameters, present, self.folded(instant), drawn)
            alpha = self.unfolded(found, rows)
            parts["instant"] = with_rows(parts["instant"], identity, alpha)
            features.append(alpha)
        if self.behaviour is not None:
            newest = with_rows(torch.zeros_like(parts["history"][..., 0, :, :]), identity, seen)
            parts["history"] = torch.cat([parts["history"][..., 1:, :, :], newest.unsqueeze(2)], 2)
            history = of_rows(parts["history"], identity.unsqueeze(2))
            windows = self.folded(history).transpose(1, 2)
            stack, _, samples, sequences = windows.shape[:4]
            encoded = self.behaviour.encode(self.behaviour_stack.parameters, windows.flatten(2, 3))
            fresh = self.unfolded(encoded.view(stack, samples, sequences, -1), rows)
            beta = torch.lerp(behaviour, fresh, self.rate)
            parts["behaviour"] = with_rows(parts["behaviour"], identity, beta)
            features.append(beta)
        together = torch.cat([torch.cat(features, -1).flatten(2), parts["action"]], -1)
        return Inferred(together, parts, behaviour, instant)

    @no_grad()
    def act(
        self, step: Step, memory: Tensor | None, noise: Tensor, mode: Mode
    ) -> tuple[Tensor, Tensor | None]:
        assert memory is not None
        for_action = self.actor.uniforms(mode)
        drawn = None if mode == "greedy" or self.instant is None else noise[..., for_action:]
        inferred = self.infer(step.observation, step.identity, memory, drawn)
        own = memory[..., : self.actor.memory_size] if self.actor.memory_size else None
        shown = replace(step, observation=inferred.features)
        action, own = self.actor.act(shown, own, noise[..., :for_action], mode)
        inferred.parts["action"] = self._told(action)
        self.inferred = inferred
        recalled = self.recollection.join(inferred.parts)
        return action, recalled if own is None else torch.cat([own, recalled], -1)

    def _told(self, action: Tensor) -> Tensor:
        """An action as the next step sees it: a one-hot, or its numbers."""
        if action.dtype != torch.int64:
            return action
        (numbers,) = self.recollection.shapes["action"]
        return torch.nn.functional.one_hot(action, numbers).to(torch.float32)

    def _stacks(self) -> list[ParameterStack]:
        present = [self.actor.stack]
        if self.behaviour is not None:
            present.append(self.behaviour_stack)
        if self.instant is not None:
            present.append(self.instant_stack)
        return present

    def parameters(self) -> Tensor:
        return torch.cat([stack.flat.detach().reshape(self.members, -1) for stack in self._stacks()], 1)

    def load_parameters(self, parameters: Tensor) -> None:
        with torch.no_grad():
            for stack, part in zip(self._stacks(), self._split(parameters), strict=True):
                stack.flat.copy_(part.reshape_as(stack.flat))

    def _split(self, parameters: Tensor) -> tuple[Tensor, ...]:
        """[member, parameters] by stack."""
        sizes = [stack.count * stack.size // self.members for stack in self._stacks()]
        return parameters.split(sizes, -1)

    def describe(self, parameters: Tensor) -> dict[str, Tensor]:
        named: dict[str, Tensor] = {}
        for stack, part in zip(self._stacks(), self._split(parameters), strict=True):
            values = stack.view(part.reshape(-1, stack.count))
            named |= {name: value.clone().cpu() for name, value in values.items()}
        return named

    def parameters_of(self, description: Mapping[str, Tensor]) -> Tensor:
        learners = self.actor.stack.size // self.members
        return torch.cat([stack.packed(description, learners) for stack in self._stacks()])
