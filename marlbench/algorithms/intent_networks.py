"""What iPLAN infers intent with: how others behave over time, and what they are about to do given who is around them.

Wu et al. 2023 (arXiv 2306.06236), sections 4.1 and 4.2, with the sizes of the authors' code [code]. Networks are
written for one agent and applied to a stack of them. Axes: [stack, time, sequence, features] for sequences in time,
[stack, sample, seen, features] for the entities that an agent sees at one moment.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Generator, Tensor

from marlbench.algorithms.networks import GatedRecurrentUnit
from marlbench.algorithms.stack import Layout, MultilayerPerceptron

Parameters = Mapping[str, Tensor]


class _Network:
    """Parts that name their parameters and draw their first values."""

    parts: Sequence[MultilayerPerceptron | GatedRecurrentUnit]

    @property
    def layout(self) -> Layout:
        return {name: shape for part in self.parts for name, shape in part.layout.items()}

    def initialise(self, parameters: Parameters, learner: int, generator: Generator) -> None:
        for part in self.parts:
            part.initialise(parameters, learner, generator)


def _linear(name: str, inputs: int, outputs: int) -> MultilayerPerceptron:
    return MultilayerPerceptron(name, inputs, (), outputs)


class _RecurrentDecoder(_Network):
    """Linear -> relu -> gated recurrent unit -> tanh -> dropout -> linear: an observation to the one after it."""

    def __init__(self, name: str, inputs: int, units: int, outputs: int) -> None:
        self.units = units
        self.entrance = _linear(f"{name}.input", inputs, units)
        self.recurrent = GatedRecurrentUnit(f"{name}.recurrent", units, units)
        self.exit = _linear(f"{name}.output", units, outputs)
        self.parts = (self.entrance, self.recurrent, self.exit)

    def __call__(
        self, parameters: Parameters, features: Tensor, memory: Tensor, kept: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Outputs [stack, time, sequence, outputs] and the memory after the last step.

        Args:
            features: [stack, time, sequence, inputs].
            memory: [stack, sequence, units].
            kept: of dropout, broadcast against [stack, time, sequence, units]; None where nothing is dropped.
        """
        split = features.shape[:3]
        entered = torch.relu(self.entrance(parameters, features.flatten(1, 2)))
        projected = self.recurrent.project(parameters, entered).view(*split, -1)
        memories = self.recurrent.unroll(parameters, projected, memory)
        shown = torch.tanh(memories)
        if kept is not None:
            shown = shown * kept
        return self.exit(parameters, shown.flatten(1, 2)).view(*split, -1), memories[:, -1]


class BehaviourNetworks(_Network):
    """Behavioural incentive: an encoder of what somebody did lately, and a decoder of what it does next (section 4.1).

    encode(h) = softmax(linear(GRU(relu(linear(h))))) with the GRU's last memory; it starts empty for every history
    [paper], where the authors' code lets it run on from the overlapping history before. The decoder reads the history
    step by step, the latent beside every observation, and says the observation as many steps later as the history is
    long.

    Args:
        features: of an observed entity.
        latent: numbers that describe a behaviour.
        encoder_units, decoder_units: of the recurrent units.
    """

    def __init__(self, features: int, latent: int, encoder_units: int, decoder_units: int) -> None:
        self.latent = latent
        self.entrance = _linear("behaviour.encoder.input", features, encoder_units)
        self.recurrent = GatedRecurrentUnit("behaviour.encoder.recurrent", encoder_units, encoder_units)
        self.exit = _linear("behaviour.encoder.output", encoder_units, latent)
        self.decoder = _RecurrentDecoder("behaviour.decoder", features + latent, decoder_units, features)
        self.encoder_parts = (self.entrance, self.recurrent, self.exit)
        self.parts = (*self.encoder_parts, *self.decoder.parts)

    def encode(self, parameters: Parameters, history: Tensor) -> Tensor:
        """[stack, time, sequence, features] -> the latent behind it, [stack, sequence, latent]; sums to one."""
        stack, length, sequences = history.shape[:3]
        entered = torch.relu(self.entrance(parameters, history.flatten(1, 2)))
        projected = self.recurrent.project(parameters, entered).view(stack, length, sequences, -1)
        nothing = projected.new_zeros(stack, sequences, self.recurrent.units)
        memories = self.recurrent.unroll(parameters, projected, nothing)
        return self.exit(parameters, memories[:, -1]).softmax(-1)

    def decode(
        self, parameters: Parameters, history: Tensor, latent: Tensor, kept: Tensor | None = None
    ) -> Tensor:
        """What follows a history [stack, time, sequence, features], as long as it is, by a latent [stack, sequence,
        latent]."""
        beside = latent.unsqueeze(1).expand(-1, history.shape[1], -1, -1)
        nothing = history.new_zeros(history.shape[0], history.shape[2], self.decoder.units)
        found, _ = self.decoder(parameters, torch.cat([history, beside], -1), nothing, kept)
        return found


class InstantNetworks(_Network):
    """Instant incentive: graph attention over who is seen, and a decoder of the next observations (section 4.2).

    For every seen i with encoding h_i, over the others j in their order, as in G2ANet (Liu et al. 2020, 1911.10715):

        hard_ij = sigmoid((w . BiGRU([h_i, h_j]) + logistic noise) / temperature)
        soft_ij = softmax_j(q_i . k_j / sqrt(size))
        alpha_i <- GRU(sum_j soft_ij hard_ij relu(v_j), alpha_i)

    The sigmoid is the second number of a Gumbel-softmax over two logits, in law. Without noise the hard attention is
    its likelier side.

    Args:
        seen: entities that an agent sees at a time, itself included; at least two.
        features: of an observed entity.
        latent: of its behaviour, seen beside it; 0 for none.
        units: of encodings and hard attention.
        size: of queries, keys, values and of the instant latent.
        temperature: of the hard attention.
    """

    def __init__(
        self, seen: int, features: int, latent: int, units: int, size: int, temperature: float
    ) -> None:
        self.seen, self.units, self.size, self.temperature = seen, units, size, temperature
        self.encoding = _linear("instant.encoding", features + latent, units)
        self.forwards = GatedRecurrentUnit("instant.hard.forwards", 2 * units, units)
        self.backwards = GatedRecurrentUnit("instant.hard.backwards", 2 * units, units)
        self.hard = _linear("instant.hard.output", 2 * units, 1)
        self.query = _linear("instant.query", units, size)
        self.key = _linear("instant.key", units, size)
        self.value = _linear("instant.value", units, size)
        self.recurrent = GatedRecurrentUnit("instant.recurrent", size, size)
        self.decoder = _RecurrentDecoder("instant.decoder", features, size, features)
        attention = (
            self.encoding,
            self.forwards,
            self.backwards,
            self.hard,
            self.query,
            self.key,
            self.value,
        )
        self.parts = (*attention, self.recurrent, *self.decoder.parts)
        # others[i] are all but i, in order.
        others = [[other for other in range(seen) if other != one] for one in range(seen)]
        self._others = torch.tensor(others)

    @property
    def uniforms(self) -> int:
        """Numbers that the hard attention of one agent draws at a time."""
        return self.seen * (self.seen - 1)

    @staticmethod
    def noise(uniforms: Tensor) -> Tensor:
        """Logistic noise: the difference of two standard Gumbel variables."""
        return uniforms.log() - torch.log1p(-uniforms)

    def attend(self, parameters: Parameters, rows: Tensor, memory: Tensor, noise: Tensor | None) -> Tensor:
        """The instant latents after what is seen now.

        Args:
            rows: [stack, sample, seen, features + latent].
            memory: the instant latents before, [stack, sample, seen, size].
            noise: what `noise` made of uniforms [stack, sample, seen x (seen - 1)]; None for none.
        """
        stack, samples, seen, _ = rows.shape
        others = self._others.to(rows.device)
        flat = torch.relu(self.encoding(parameters, rows.flatten(1, 2)))
        hard = self._hard(parameters, flat, samples, others, noise)
        query, key, value = (
            part(parameters, flat).view(stack, samples, seen, -1)
            for part in (self.query, self.key, self.value)
        )
        scores = query @ key.transpose(-1, -2) / math.sqrt(self.size)
        chosen = others.expand(stack, samples, -1, -1)
        weights = scores.gather(-1, chosen).softmax(-1) * hard
        full = torch.zeros_like(scores).scatter(-1, chosen, weights)
        received = (full @ torch.relu(value)).flatten(1, 2)
        projected = self.recurrent.project(parameters, received)
        return self.recurrent.step(parameters, projected, memory.flatten(1, 2)).view(stack, samples, seen, -1)

    def _hard(
        self, parameters: Parameters, encodings: Tensor, samples: int, others: Tensor, noise: Tensor | None
    ) -> Tensor:
        """[stack, sample, seen, other] from encodings [stack, sample x seen, units]."""
        stack, seen = encodings.shape[0], self.seen
        found = []
        for unit, order in ((self.forwards, others), (self.backwards, others.flip(1))):
            # W [h_i, h_j] = W_1 h_i + W_2 h_j: a product for each entity, not for each pair.
            first, second = parameters[f"{unit.name}.input.weight"].split(self.units, 1)
            own = torch.baddbmm(parameters[f"{unit.name}.input.bias"], encodings, first)
            own, other = (
                each.view(stack, samples, seen, -1).transpose(1, 2) for each in (own, encodings @ second)
            )
            # [stack, j, i x sample, 3 x units]
            projected = other.contiguous()[:, order.T].add_(own.unsqueeze(1)).flatten(2, 3)
            nothing = projected.new_zeros(stack, projected.shape[2], self.units)
            found.append(unit.unroll(parameters, projected, nothing))
        both = torch.cat([found[0], found[1].flip(1)], -1)
        logit = self.hard(parameters, both.flatten(1, 2)).view(stack, seen - 1, seen, samples)
        logit = logit.permute(0, 3, 2, 1)
        if noise is not None:
            logit = logit + noise.view(logit.shape)
        return torch.sigmoid(logit / self.temperature)

    def predict(
        self, parameters: Parameters, rows: Tensor, memory: Tensor, kept: Sequence[Tensor | None]
    ) -> Tensor:
        """The next observations, each made of the one before: [stack, sample, seen, step, features].

        Args:
            rows: what is seen now, [stack, sample, seen, features].
            memory: the instant latents after it, [stack, sample, seen, size].
            kept: of dropout, for each step that is predicted.
        """
        stack, samples, seen, features = rows.shape
        present, remembered = rows.flatten(1, 2).unsqueeze(1), memory.flatten(1, 2)
        found = []
        for mask in kept:
            present, remembered = self.decoder(parameters, present, remembered, mask)
            found.append(present.view(stack, samples, seen, features))
        return torch.stack(found, 3)
