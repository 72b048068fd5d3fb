"""What iPLAN's inference is told to learn, and its gradients, against plain loops over single entities."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Generator, Tensor

from marlbench.algorithms import intent_learning
from marlbench.algorithms.adam import Adam
from marlbench.algorithms.base import Setting, initialised
from marlbench.algorithms.intent_learning import BehaviourLearning, InstantLearning, dropout
from marlbench.algorithms.intent_memory import Recollection
from marlbench.algorithms.intent_networks import BehaviourNetworks, InstantNetworks
from marlbench.algorithms.intent_record import IntentRecord, Lesson
from marlbench.algorithms.sharing import Sharing
from marlbench.algorithms.stack import ParameterStack
from marlbench.environments.contract import Discrete, Entities, EnvironmentSpecification

CPU = torch.device("cpu")
SEEN, FEATURES, TOTAL, HISTORY, LATENT, INSTANT = 3, 2, 4, 3, 2, 3
AGENTS, ROWS, TIME, MEMBERS = 2, 2, 11, 2
ENTITIES = Entities(SEEN, ("x", "y"), TOTAL)
SPECIFICATION = replace(
    EnvironmentSpecification(("a", "b"), SEEN * FEATURES, 1, Discrete(2)), entities=ENTITIES, skips_steps=True
)
SETTING = Setting(SPECIFICATION, (0, 1), ROWS, 100, CPU)


def record(generator: Generator) -> IntentRecord:
    """Made up: rows change whom they show, some show nobody, agents stop acting, episodes end."""
    made = IntentRecord(SETTING, Recollection(ENTITIES, HISTORY, LATENT, INSTANT, 2), TIME)
    lead = (MEMBERS, TIME, ROWS, AGENTS)
    order = torch.rand(*lead, TOTAL + 1, generator=generator).argsort(-1)[..., :SEEN]
    made.values["identity"].copy_(order)
    # A row that shows nobody is zeros.
    shown = torch.randn(*lead, SEEN, FEATURES, generator=generator) * (order < TOTAL).unsqueeze(-1)
    made.values["seen"].copy_(shown)
    made.values["behaviour"].copy_(torch.rand(*lead, SEEN, LATENT, generator=generator))
    made.values["instant"].copy_(torch.rand(*lead, SEEN, INSTANT, generator=generator))
    made.values["acting"].copy_(torch.rand(lead, generator=generator) < 0.8)
    made.values["cut"].copy_(torch.rand(lead, generator=generator) < 0.15)
    made.before = torch.randn(MEMBERS, ROWS, AGENTS, made.recollection.size, generator=generator)
    made.time = TIME
    return made


def course(made: IntentRecord, member: int, row: int, agent: int, entity: int) -> list[tuple[int, Tensor]]:
    """(episode, what an entity showed) of every step from the memory's first on."""
    past = made.recollection.split(made.before[member, row, agent])["history"][1:]  # type: ignore[index]
    found = [(0, step[entity]) for step in past]
    episode = 0
    for time in range(TIME):
        shown = torch.zeros(FEATURES)
        for place in range(SEEN):
            if made.values["identity"][member, time, row, agent, place] == entity:
                shown = made.values["seen"][member, time, row, agent, place]
        found.append((episode, shown))
        episode += int(made.values["cut"][member, time, row, agent])
    return found


def stretch(steps: list[tuple[int, Tensor]], first: int, now: int) -> Tensor:
    """`HISTORY` steps from `first` on, zeros where the episode is not that of `now`."""
    return torch.stack(
        [
            shown if episode == steps[now][0] else torch.zeros(FEATURES)
            for episode, shown in steps[first : first + HISTORY]
        ]
    )


def test_a_lesson_follows_everybody_through_the_rows() -> None:
    made = record(torch.Generator().manual_seed(3))
    lesson = Lesson(made, Sharing("independent", AGENTS, CPU))
    times = torch.arange(TIME - HISTORY)
    histories = lesson.histories(times, HISTORY)
    futures, counts = lesson.futures(times, HISTORY)
    some = 0
    for member in range(MEMBERS):
        for agent in range(AGENTS):
            for row in range(ROWS):
                for time in times.tolist():
                    for place in range(SEEN):
                        at = (member * AGENTS + agent, time, row, place)
                        entity = int(made.values["identity"][member, time, row, agent, place])
                        if entity == TOTAL:
                            assert not histories[at].any()
                            assert not counts[at].any()
                            continue
                        steps, now = course(made, member, row, agent, entity), time + HISTORY - 1
                        torch.testing.assert_close(histories[at], stretch(steps, time, now))
                        after = torch.stack([shown for _, shown in steps[now + 1 : now + 1 + HISTORY]])
                        torch.testing.assert_close(futures[at], after)
                        acting = made.values["acting"][member, :, row, agent]
                        expected = [
                            bool(acting[time])
                            and bool(acting[time + k])
                            and steps[now + k][0] == steps[now][0]
                            for k in range(1, HISTORY + 1)
                        ]
                        assert counts[at].tolist() == expected
                        some += sum(expected)
    assert some > 100


def plain_loss(
    networks: BehaviourNetworks, stack: ParameterStack, made: IntentRecord, rate: float, interval: int
) -> Tensor:
    """The loss of every learner [stack], one history after the other in one graph."""
    lesson = Lesson(made, Sharing("independent", AGENTS, CPU))
    losses = []
    for learner in range(MEMBERS * AGENTS):
        parameters = {name: value[learner : learner + 1] for name, value in stack.parameters.items()}
        total, counted = torch.zeros(()), 0
        for row in range(ROWS):
            known = {entity: lesson.start[learner, row, entity] for entity in range(TOTAL)}
            for time in range(TIME):
                if lesson.fresh[learner, time, row]:
                    known = dict.fromkeys(range(TOTAL), torch.zeros(LATENT))
                if time + HISTORY >= TIME or (time + 1) % interval:
                    continue
                at = torch.tensor([time])
                histories = lesson.histories(at, HISTORY)[learner, 0, row]
                futures, counts = (part[learner, 0, row] for part in lesson.futures(at, HISTORY))
                for place in range(SEEN):
                    entity = int(lesson.identity[learner, time, row, place])
                    if entity == TOTAL:
                        continue
                    history = histories[place].view(1, HISTORY, 1, FEATURES)
                    found = networks.decode(parameters, history, known[entity].view(1, 1, LATENT))
                    error = (found[0, :, 0] - futures[place]).abs() * counts[place].unsqueeze(-1)
                    total, counted = total + error.sum(), counted + int(counts[place].sum())
                    encoded = networks.encode(parameters, history)[0, 0]
                    known[entity] = (1 - rate) * known[entity] + rate * encoded
        losses.append(SEEN * total / max(counted, 1))
    return torch.stack(losses)


@pytest.mark.parametrize(("rate", "interval"), [(0.3, 1), (1.0, HISTORY)])
def test_gradients_of_behaviour_are_those_of_one_graph(
    rate: float, interval: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Chunks of two moments.
    monkeypatch.setattr(intent_learning, "SEQUENCES", AGENTS * ROWS * SEEN * 2)
    generator = torch.Generator().manual_seed(4)
    networks = BehaviourNetworks(FEATURES, LATENT, 4, 5)
    stack = ParameterStack(networks.layout, MEMBERS * AGENTS, CPU)
    initialised(stack, (networks,), (0, 1), AGENTS)
    made = record(generator)
    expected = plain_loss(networks, stack, made, rate, interval)
    stack.backward(expected)
    assert stack.flat.grad is not None
    slopes = stack.flat.grad.clone()
    learning = BehaviourLearning(networks, stack, Adam(stack, 1e-9), HISTORY, rate, interval, 0.0, 1e9)
    found = learning.learn(Lesson(made, Sharing("independent", AGENTS, CPU)), [generator, generator])
    torch.testing.assert_close(found, expected.detach(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(stack.flat.grad, slopes, rtol=1e-4, atol=1e-6)
    encoder = stack.gradients["behaviour.encoder.input.0.weight"]
    assert float(encoder.abs().max()) > 0


def test_instants_learn_from_moments_that_count() -> None:
    """The loss is the mean error of all moments where a learner's moments are all there are."""
    generator = torch.Generator().manual_seed(5)
    networks = InstantNetworks(SEEN, FEATURES, LATENT, 4, INSTANT, 1e3)
    stack = ParameterStack(networks.layout, MEMBERS * AGENTS, CPU)
    initialised(stack, (networks,), (0, 1), AGENTS)
    made, steps = record(generator), 2
    lesson = Lesson(made, Sharing("independent", AGENTS, CPU))
    learning = InstantLearning(networks, stack, Adam(stack, 1e-9), steps, 10_000, 0.0, 1e9)
    times = torch.arange(TIME - steps)
    with torch.no_grad():
        # At that temperature every hard attention is one half, whatever the noise.
        present = torch.cat([lesson.seen, lesson.behaviour], -1)[:, times].flatten(1, 2)
        latents = networks.attend(stack.parameters, present, lesson.instant[:, times].flatten(1, 2), None)
        rows = lesson.seen[:, times].flatten(1, 2)
        predicted = networks.predict(stack.parameters, rows, latents, [None] * steps)
        futures, counts = (part.flatten(1, 2) for part in lesson.futures(times, steps))
        errors = ((predicted - futures).abs().sum(-1) * counts).flatten(1).sum(1)
        expected = steps * errors / counts.flatten(1).sum(1)
    found = learning.learn(lesson, [generator, generator])
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_both_losses_fall() -> None:
    generator = torch.Generator().manual_seed(6)
    made = record(generator)
    # Everybody is seen all the time and goes its own way, round and round.
    time = torch.arange(TIME).view(1, TIME, 1, 1, 1)
    made.values["identity"].copy_(torch.arange(SEEN).expand(MEMBERS, TIME, ROWS, AGENTS, SEEN))
    turn = 0.4 * torch.tensor([1.0, -1.0, 0.5]) * time
    made.values["seen"].copy_(torch.stack([turn.cos(), turn.sin()], -1).expand_as(made.values["seen"]))
    made.values["acting"].fill_(True)
    made.values["cut"].fill_(False)
    lesson = Lesson(made, Sharing("independent", AGENTS, CPU))
    behaviour, instant = (
        BehaviourNetworks(FEATURES, LATENT, 8, 8),
        InstantNetworks(SEEN, FEATURES, LATENT, 8, INSTANT, 0.01),
    )
    for networks in (behaviour, instant):
        stack = ParameterStack(networks.layout, MEMBERS * AGENTS, CPU)
        initialised(stack, (networks,), (0, 1), AGENTS)
        optimiser = Adam(stack, 2e-2)
        learning: BehaviourLearning | InstantLearning
        if isinstance(networks, BehaviourNetworks):
            learning = BehaviourLearning(networks, stack, optimiser, HISTORY, 0.1, 1, 0.1, 10.0)
        else:
            learning = InstantLearning(networks, stack, optimiser, 2, 16, 0.1, 10.0)
        losses = torch.stack([learning.learn(lesson, [generator, generator]) for _ in range(40)])
        assert bool((losses[-5:].mean(0) < 0.6 * losses[:5].mean(0)).all())


def test_dropout_keeps_the_mean() -> None:
    generators = [torch.Generator().manual_seed(seed) for seed in (1, 2)]
    kept = dropout((4, 50, 20, 10), 0.1, generators, CPU)
    assert kept.unique().tolist() == pytest.approx([0.0, 1 / 0.9])
    torch.testing.assert_close(kept.flatten(1).mean(1), torch.ones(4), rtol=0, atol=0.02)
    assert not torch.equal(kept[0], kept[2])
