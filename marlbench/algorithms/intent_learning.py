"""How iPLAN's inference learns: behaviour from what everybody did next, instants from what they are about to do.

Both minimise the mean absolute error of predicted observations, while the agent that sees them acts, with the factors
of the authors' code [code]:

    L_behaviour = features x seen x mean |o - o'|,    L_instant = features x steps x mean |o - o'|.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from marlbench.algorithms.adam import Adam
from marlbench.algorithms.intent_memory import of_rows, with_rows
from marlbench.algorithms.intent_networks import BehaviourNetworks, InstantNetworks
from marlbench.algorithms.intent_record import Lesson
from marlbench.algorithms.stack import ParameterStack

# Sequences of a member that are unrolled at once: more need more memory and save no time. The number must not depend on
# who trains beside it, or what a member draws at random would.
SEQUENCES = 4096


def dropout(
    shape: Sequence[int], rate: float, generators: Sequence[Generator], device: torch.device
) -> Tensor:
    """Factors 0 or 1 / (1 - rate), each learner's from its member's own generator: [stack, *shape].

    Args:
        shape: [stack, ...]; the members have equal shares of the stack.
    """
    stack, *rest = shape
    share = stack // len(generators)
    drawn = [torch.empty(share, *rest).bernoulli_(1.0 - rate, generator=one) for one in generators]
    return torch.cat(drawn).mul_(1.0 / (1.0 - rate)).to(device)


class BehaviourLearning:
    """One step of Adam on all histories of a lesson.

    The latents follow from each other, beta_t = (1 - rate) beta_(t-1) + rate encode(h_t), so the encoder is told by all
    later ones what its latents were good for. Gradients go by the chain rule in three strokes, so that no more than
    a few thousand histories are held at a time: from losses to latents, along the latents, and into the encoder.

    Args:
        history: steps of a history and of what follows it.
        rate: of the latents.
        interval: joint steps between histories; those of a hard update do not overlap.
        dropped: rate of the decoder's dropout.
    """

    def __init__(
        self,
        networks: BehaviourNetworks,
        stack: ParameterStack,
        optimiser: Adam,
        history: int,
        rate: float,
        interval: int,
        dropped: float,
        maximum_norm: float,
    ) -> None:
        self.networks, self.stack, self.optimiser = networks, stack, optimiser
        self.history, self.rate, self.interval, self.dropped = history, rate, interval, dropped
        self.maximum_norm = maximum_norm
        names = [name for part in networks.encoder_parts for name in part.layout]
        self._encoder = names
        self._decoder = [name for name in stack.layout if name not in names]

    def learn(self, lesson: Lesson, generators: Sequence[Generator]) -> Tensor:
        """Returns the loss before the step, [stack]."""
        assert self.stack.flat.grad is not None
        self.stack.flat.grad.zero_()
        times = torch.arange(self.interval - 1, lesson.time - self.history, self.interval)
        share = lesson.seen.shape[0] // len(generators)
        each = max(1, SEQUENCES // (share * lesson.seen.shape[2] * lesson.seen.shape[3]))
        parts = times.split(each)
        with torch.no_grad():
            encoded = torch.cat([self._encode(lesson, part) for part in parts], 1)
        encoded.requires_grad_(True)
        latents = self._latents(lesson, times, encoded)
        loss, slopes = self._decode_all(lesson, parts, latents.detach(), generators)
        (into_encoded,) = torch.autograd.grad(latents, encoded, slopes)
        for part, slope in zip(parts, into_encoded.split(each, 1), strict=True):
            self._add_gradients(self._encoder, self._encode(lesson, part), slope)
        self.stack.clip_gradient(self.maximum_norm)
        self.optimiser.step()
        return loss

    def _encode(self, lesson: Lesson, times: Tensor) -> Tensor:
        """[stack, n, slot, seen, latent]"""
        histories = lesson.histories(times, self.history)
        split = histories.shape[:4]
        windows = histories.flatten(1, 3).transpose(1, 2)
        return self.networks.encode(self.stack.parameters, windows).view(*split, -1)

    def _latents(self, lesson: Lesson, times: Tensor, encoded: Tensor) -> Tensor:
        """The latents before each of `times` of whom the rows show: [stack, n, slot, seen, latent]."""
        known, found, last = lesson.start, [], -1
        for place, time in enumerate(times.tolist()):
            over = lesson.fresh[:, last + 1 : time + 1].any(1)
            known = known.masked_fill(over[..., None, None], 0.0)
            identity = lesson.identity[:, time]
            before = of_rows(known, identity)
            found.append(before)
            known = with_rows(known, identity, torch.lerp(before, encoded[:, place], self.rate))
            last = time
        return torch.stack(found, 1)

    def _decode_all(
        self, lesson: Lesson, parts: Sequence[Tensor], latents: Tensor, generators: Sequence[Generator]
    ) -> tuple[Tensor, Tensor]:
        """The loss [stack] and its slope in the latents; gradients of the decoder are added up on the way."""
        futures = [lesson.futures(part, self.history) for part in parts]
        counted = sum(counts.flatten(1).sum(1) for _, counts in futures)
        assert isinstance(counted, Tensor)
        scale = lesson.seen.shape[3] / counted.clamp(min=1)
        total, slopes, start = torch.zeros_like(scale), [], 0
        for part, (future, counts) in zip(parts, futures, strict=True):
            latent = latents[:, start : start + len(part)].requires_grad_(True)
            start += len(part)
            histories = lesson.histories(part, self.history).flatten(1, 3).transpose(1, 2)
            shape = (*histories.shape[:3], self.networks.decoder.units)
            kept = dropout(shape, self.dropped, generators, histories.device) if self.dropped else None
            found = self.networks.decode(self.stack.parameters, histories, latent.flatten(1, 3), kept)
            error = (found - future.flatten(1, 3).transpose(1, 2)).abs()
            weight = counts.flatten(1, 3).transpose(1, 2).unsqueeze(-1)
            # A mean over numbers times their count in an observation is the sum over an observation.
            loss = (error * weight).flatten(1).sum(1) * scale
            slopes.append(self._add_gradients(self._decoder, loss.sum(), None, latent))
            total += loss.detach()
        return total, torch.cat(slopes, 1)

    def _add_gradients(
        self, names: Sequence[str], values: Tensor, slope: Tensor | None, further: Tensor | None = None
    ) -> Tensor:
        """Add the gradients of named parameters to the stack's; returns that of `further`."""
        leaves = [self.stack.parameters[name] for name in names]
        wanted = leaves if further is None else [*leaves, further]
        gradients = torch.autograd.grad(values, wanted, slope)
        for name, gradient in zip(names, gradients, strict=False):
            self.stack.gradients[name].add_(gradient)
        return gradients[-1]


class InstantLearning:
    """One step of Adam on `batch` moments of each learner.

    Args:
        steps: that are predicted.
        batch: moments.
        dropped: rate of the decoder's dropout.
    """

    def __init__(
        self,
        networks: InstantNetworks,
        stack: ParameterStack,
        optimiser: Adam,
        steps: int,
        batch: int,
        dropped: float,
        maximum_norm: float,
    ) -> None:
        self.networks, self.stack, self.optimiser = networks, stack, optimiser
        self.steps, self.batch, self.dropped = steps, batch, dropped
        self.maximum_norm = maximum_norm

    def learn(self, lesson: Lesson, generators: Sequence[Generator]) -> Tensor:
        """Returns the loss before the step, [stack]."""
        rows, behaviour, instant, future, counts = self._moments(lesson, generators)
        stack, batch, seen = rows.shape[:3]
        share = stack // len(generators)
        drawn = [torch.rand(share, batch, self.networks.uniforms, generator=one) for one in generators]
        noise = self.networks.noise(torch.cat(drawn).to(rows.device))
        present = torch.cat([rows, behaviour], -1)
        latents = self.networks.attend(self.stack.parameters, present, instant, noise)
        kept: list[Tensor | None] = [None] * self.steps
        if self.dropped:
            shape = (stack, 1, batch * seen, self.networks.size)
            kept = [dropout(shape, self.dropped, generators, rows.device) for _ in range(self.steps)]
        found = self.networks.predict(self.stack.parameters, rows, latents, kept)
        error = (found - future).abs() * counts.unsqueeze(-1)
        counted = counts.flatten(1).sum(1).clamp(min=1)
        loss = error.flatten(1).sum(1) / counted * self.steps
        self.stack.backward(loss)
        self.stack.clip_gradient(self.maximum_norm)
        self.optimiser.step()
        return loss.detach()

    def _moments(self, lesson: Lesson, generators: Sequence[Generator]) -> tuple[Tensor, ...]:
        """Moments drawn without putting back: what is seen, the latents before, what follows and whether it counts."""
        times = torch.arange(lesson.time - self.steps)
        slots = lesson.seen.shape[2]
        share = lesson.seen.shape[0] // len(generators)
        count = len(times) * slots
        orders = [
            torch.randperm(count, generator=one)[: self.batch] for one in generators for _ in range(share)
        ]
        order = torch.stack(orders).to(lesson.seen.device)

        def taken(values: Tensor) -> Tensor:
            """[stack, time, slot, *shape] -> [stack, batch, *shape]"""
            flat = values.flatten(1, 2)
            index = order.view(*order.shape, *(1,) * (flat.dim() - 2)).expand(-1, -1, *flat.shape[2:])
            return flat.gather(1, index)

        now = [taken(value[:, : len(times)]) for value in (lesson.seen, lesson.behaviour, lesson.instant)]
        return *now, *(taken(value) for value in lesson.futures(times, self.steps))
