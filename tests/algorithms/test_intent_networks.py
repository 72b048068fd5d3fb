"""The networks of iPLAN's inference against torch's own layers and a plain statement of the attention."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from marlbench.algorithms.base import initialised
from marlbench.algorithms.intent_memory import Recollection, entities_of, of_rows, with_rows
from marlbench.algorithms.intent_networks import BehaviourNetworks, InstantNetworks
from marlbench.algorithms.stack import ParameterStack
from marlbench.environments.contract import Discrete, Entities, EnvironmentSpecification
from marlbench.errors import ConfigurationError, MarlbenchError

CPU = torch.device("cpu")
LEARNERS = 2


def stack_of(networks: BehaviourNetworks | InstantNetworks) -> ParameterStack:
    """Random parameters, biases too."""
    stack = ParameterStack(networks.layout, LEARNERS, CPU)
    initialised(stack, (networks,), (0, 1), 1)
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        stack.flat.add_(0.1 * torch.randn(stack.flat.shape, generator=generator))
    return stack


def linear(stack: ParameterStack, name: str, learner: int) -> nn.Linear:
    weight, bias = (stack.parameters[f"{name}.0.{part}"][learner] for part in ("weight", "bias"))
    made = nn.Linear(*weight.shape)
    with torch.no_grad():
        made.weight.copy_(weight.T)
        made.bias.copy_(bias[0])
    return made


def recurrent(stack: ParameterStack, names: list[str], learner: int) -> nn.GRU:
    """torch's GRU with the weights of one unit, or of two that run either way."""
    inputs, gates = stack.parameters[f"{names[0]}.input.weight"][learner].shape
    made = nn.GRU(inputs, gates // 3, batch_first=True, bidirectional=len(names) == 2)
    with torch.no_grad():
        for name, suffix in zip(names, ("", "_reverse"), strict=False):
            for ours, theirs in (("input", "ih"), ("memory", "hh")):
                weight, bias = (
                    stack.parameters[f"{name}.{ours}.{part}"][learner] for part in ("weight", "bias")
                )
                getattr(made, f"weight_{theirs}_l0{suffix}").copy_(weight.T)
                getattr(made, f"bias_{theirs}_l0{suffix}").copy_(bias[0])
    return made


@torch.no_grad()
def test_encoder_and_decoder_are_torch_layers() -> None:
    networks = BehaviourNetworks(5, 3, 6, 7)
    stack = stack_of(networks)
    history = torch.randn(LEARNERS, 4, 9, 5)
    latent = torch.randn(LEARNERS, 9, 3)
    kept = torch.rand(LEARNERS, 4, 9, 7)
    encoded = networks.encode(stack.parameters, history)
    decoded = networks.decode(stack.parameters, history, latent, kept)
    for learner in range(LEARNERS):
        windows = history[learner].transpose(0, 1)
        entered = linear(stack, "behaviour.encoder.input", learner)(windows).relu()
        _, last = recurrent(stack, ["behaviour.encoder.recurrent"], learner)(entered)
        expected = linear(stack, "behaviour.encoder.output", learner)(last[0]).softmax(-1)
        torch.testing.assert_close(encoded[learner], expected, rtol=0, atol=1e-5)
        beside = torch.cat([windows, latent[learner].unsqueeze(1).expand(-1, 4, -1)], -1)
        entered = linear(stack, "behaviour.decoder.input", learner)(beside).relu()
        outputs, _ = recurrent(stack, ["behaviour.decoder.recurrent"], learner)(entered)
        shown = outputs.tanh() * kept[learner].transpose(0, 1)
        expected = linear(stack, "behaviour.decoder.output", learner)(shown).transpose(0, 1)
        torch.testing.assert_close(decoded[learner], expected, rtol=0, atol=1e-5)


def attention(
    stack: ParameterStack,
    networks: InstantNetworks,
    learner: int,
    rows: Tensor,
    memory: Tensor,
    noise: Tensor | None,
) -> Tensor:
    """One sample [seen, features], entity by entity."""
    h = linear(stack, "instant.encoding", learner)(rows).relu()
    query, key, value = (linear(stack, f"instant.{part}", learner)(h) for part in ("query", "key", "value"))
    both = recurrent(stack, ["instant.hard.forwards", "instant.hard.backwards"], learner)
    after, drawn = [], None if noise is None else iter(noise)
    for i in range(len(rows)):
        others = [j for j in range(len(rows)) if j != i]
        pairs = torch.stack([torch.cat([h[i], h[j]]) for j in others]).unsqueeze(0)
        logits = linear(stack, "instant.hard.output", learner)(both(pairs)[0][0]).squeeze(-1)
        if drawn is not None:
            logits = logits + torch.stack([next(drawn) for _ in others])
        hard = torch.sigmoid(logits / networks.temperature)
        soft = torch.stack([query[i] @ key[j] / math.sqrt(networks.size) for j in others]).softmax(0)
        received = sum(s * w * value[j].relu() for s, w, j in zip(soft, hard, others, strict=True))
        assert isinstance(received, Tensor)
        unit = recurrent(stack, ["instant.recurrent"], learner)
        after.append(unit(received.view(1, 1, -1), memory[i].view(1, 1, -1))[0].flatten())
    return torch.stack(after)


@torch.no_grad()
@pytest.mark.parametrize("noisy", [False, True])
def test_attention_entity_by_entity(noisy: bool) -> None:
    networks = InstantNetworks(4, 3, 2, 5, 6, temperature=0.5)
    stack = stack_of(networks)
    rows, memory = torch.randn(LEARNERS, 3, 4, 5), torch.randn(LEARNERS, 3, 4, 6)
    noise = networks.noise(torch.rand(LEARNERS, 3, networks.uniforms)) if noisy else None
    found = networks.attend(stack.parameters, rows, memory, noise)
    for learner in range(LEARNERS):
        for sample in range(3):
            drawn = None if noise is None else noise[learner, sample]
            expected = attention(
                stack, networks, learner, rows[learner, sample], memory[learner, sample], drawn
            )
            torch.testing.assert_close(found[learner, sample], expected, rtol=0, atol=1e-5)


def test_hard_attention_is_a_gumbel_softmax() -> None:
    """How often a side is taken, and how noise makes a choice of it: as torch's own function."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.tensor([0.0, 0.8])
    uniforms = torch.rand(40_000, generator=generator)
    ours = torch.sigmoid((logits[1] - logits[0] + InstantNetworks.noise(uniforms)) / 0.5)
    torch.manual_seed(1)
    theirs = nn.functional.gumbel_softmax(logits.expand(40_000, 2), tau=0.5)[:, 1]
    levels = torch.linspace(0.05, 0.95, 19)
    torch.testing.assert_close(ours.quantile(levels), theirs.quantile(levels), rtol=0, atol=0.02)


@torch.no_grad()
def test_predictions_feed_on_themselves() -> None:
    networks = InstantNetworks(3, 4, 0, 5, 6, temperature=0.01)
    stack = stack_of(networks)
    rows, memory = torch.randn(LEARNERS, 2, 3, 4), torch.randn(LEARNERS, 2, 3, 6)
    found = networks.predict(stack.parameters, rows, memory, [None] * 3)
    for learner in range(LEARNERS):
        present, hidden = rows[learner].flatten(0, 1), memory[learner].flatten(0, 1).unsqueeze(0)
        for step in range(3):
            entered = linear(stack, "instant.decoder.input", learner)(present).relu().unsqueeze(1)
            outputs, hidden = recurrent(stack, ["instant.decoder.recurrent"], learner)(
                entered, hidden.contiguous()
            )
            present = linear(stack, "instant.decoder.output", learner)(outputs[:, 0].tanh())
            expected = present.view(2, 3, 4)
            torch.testing.assert_close(found[learner, :, :, step], expected, rtol=0, atol=1e-5)


def test_rows_find_whom_they_show_and_nobody_is_zeros() -> None:
    values = torch.arange(1.0, 9.0).view(4, 2)
    identity = torch.tensor([2, 4, 0])
    assert of_rows(values, identity).tolist() == [[5, 6], [0, 0], [1, 2]]
    changed = with_rows(values, identity, torch.tensor([[50.0, 60.0], [9.0, 9.0], [10.0, 20.0]]))
    assert changed.tolist() == [[10, 20], [3, 4], [50, 60], [7, 8]]


def test_a_recollection_splits_and_joins() -> None:
    recollection = Recollection(Entities(2, ("x", "y"), 3), 4, 2, 5, 6)
    memory = torch.randn(7, 2, recollection.size)
    parts = recollection.split(memory)
    assert {name: part.shape[2:] for name, part in parts.items()} == recollection.shapes
    assert torch.equal(recollection.join(parts), memory)
    assert recollection.identity(torch.tensor([[1, -1]]), (1,), CPU).tolist() == [[1, 3]]
    with pytest.raises(MarlbenchError, match="whom"):
        recollection.identity(None, (1,), CPU)


def test_tasks_without_rows_are_refused() -> None:
    plain = EnvironmentSpecification(("a", "b"), 8, 8, Discrete(2))
    with pytest.raises(ConfigurationError, match="rows"):
        entities_of("iplan", plain)
