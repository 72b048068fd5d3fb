"""The replay against a plain list, and after losses of power at any moment."""

from __future__ import annotations

import random
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from marlbench.training.replay import Field, Replay
from marlbench.training.sequences import SequenceReplay

FIELDS = {
    "observation": Field((2, 3)),
    "state": Field((2,)),
    "action": Field((2,), "int32"),
    "terminated": Field((), "bool"),
}
CHAINED = ("observation", "state")
MEMBERS, ROWS = 2, 3


class Stream:
    """Joint steps whose content names the joint step, the member and the row; episodes end here and there."""

    def __init__(self, seed: int, ending: float = 0.3) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.cut = torch.rand(1000, MEMBERS, ROWS, generator=generator) < ending
        self.kept = self.cut & (torch.rand(self.cut.shape, generator=generator) < 0.6)

    @staticmethod
    def mark(number: int) -> Tensor:
        return number * 100 + torch.arange(MEMBERS).view(-1, 1) * 10 + torch.arange(ROWS)

    @staticmethod
    def shown(mark: Tensor) -> dict[str, Tensor]:
        return {
            "observation": mark.view(MEMBERS, ROWS, 1, 1).expand(-1, -1, 2, 3).float(),
            "state": mark.view(MEMBERS, ROWS, 1).expand(-1, -1, 2).float(),
        }

    def append(self, replay: Replay, number: int) -> None:
        mark = self.mark(number)
        values = {"action": mark.unsqueeze(-1).expand(-1, -1, 2), "terminated": mark % 2 == 0}
        if isinstance(replay, SequenceReplay):
            replay.remember(mark.unsqueeze(-1).float())
        cut, kept = self.cut[number], self.kept[number]
        replay.append(
            {**values, **self.shown(mark)},
            self.shown(self.mark(number + 1)),
            cut if cut.any() else None,
            kept if cut.any() else None,
            # What an episode showed last is its step's mark and one half.
            self.shown(mark + 0.5) if kept.any() else None,
        )


def generators(seed: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed + member) for member in range(MEMBERS)]


def sampled(replay: Replay, seed: int, batch: int = 12) -> list[Any]:
    """What a batch drawn with a seed consists of."""
    if not replay.available:
        return []
    drawn = replay.draw(generators(seed), batch)
    if replay.priorities is not None:
        replay.reprioritise(drawn, 1.0 + (drawn.start * 7 + drawn.row) % 5)
    if isinstance(replay, SequenceReplay):
        found = replay.sequences(drawn)
        steps = {name: value[:, :-1] for name, value in found.fields.items() if name not in CHAINED}
        # Nothing but what is chained means anything at final elements and at the last one.
        told = [torch.where(_like(found.final[:, :-1], v), torch.zeros_like(v), v) for v in steps.values()]
        told += [found.fields[name] for name in CHAINED]
        told += [found.final, found.cut[:, :-1], found.fresh, found.memory]
    else:
        transitions = replay.transitions(drawn)
        told = [*transitions.first.values(), *transitions.following.values()]
        told += [value for later in transitions.later for value in later.values()]
    return [tensor.tolist() for tensor in (drawn.start, drawn.row, *told)]


def _like(mask: Tensor, value: Tensor) -> Tensor:
    return mask.view(*mask.shape, *(1,) * (value.dim() - mask.dim())).expand_as(value)


def checkpointed(replay: Replay) -> dict[str, Any]:
    replay.flush()
    state = replay.state_dict()
    replay.checkpoint_done()
    return state


def make(directory: Path | None, capacity: int, slack: int, form: str) -> Replay:
    sizes = (MEMBERS, ROWS, capacity, slack)
    prioritised = form.endswith("prioritised")
    if form.startswith("sequences"):
        return SequenceReplay(
            directory, FIELDS, *sizes, chained=CHAINED, length=5, memory=(1,), prioritised=prioritised
        )
    span = 3 if form.startswith("three_steps") else 1
    return Replay(directory, FIELDS, *sizes, chained=CHAINED, span=span, prioritised=prioritised)


FORMS = ["single", "three_steps", "three_steps_prioritised", "sequences", "sequences_prioritised"]


def filled(
    form: str, capacity: int, joint_steps: int, directory: Path | None = None
) -> tuple[Replay, Stream]:
    replay, stream = make(directory, capacity, 3, form), Stream(1)
    for number in range(joint_steps):
        if replay.must_checkpoint:
            checkpointed(replay)
        stream.append(replay, number)
    return replay, stream


@pytest.mark.parametrize("form", FORMS[:3])
def test_transitions_are_the_last_ones_and_lead_where_they_led(form: str, tmp_path: Path) -> None:
    replay, stream = filled(form, 40, 55, tmp_path)
    drawn = replay.draw(generators(0), 1500)
    found = replay.transitions(drawn)
    spans = replay.span
    for member in range(MEMBERS):
        assert set(drawn.start[member].tolist()) == set(range(15, 56 - spans))
        assert set(drawn.row[member].tolist()) == set(range(ROWS))
        for sample in range(1500):
            number, row = int(drawn.start[member, sample]), int(drawn.row[member, sample])
            mark = number * 100 + member * 10 + row
            assert found.first["action"][member, sample].tolist() == [mark] * 2
            assert set(found.first["observation"][member, sample].flatten().tolist()) == {mark}
            assert bool(found.first["terminated"][member, sample]) == (mark % 2 == 0)
            last = number
            for later in found.later:
                going = bool(later["going"][member, sample])
                assert going == (not stream.cut[number : last + 1, member, row].any())
                last += going
                if going:
                    assert int(later["action"][member, sample, 0]) == last * 100 + member * 10 + row
            expected = (last + 1) * 100 + member * 10 + row
            if stream.kept[last, member, row]:
                expected = last * 100 + member * 10 + row + 0.5
            elif stream.cut[last, member, row]:
                # Nobody looks at what follows the end of an episode.
                continue
            assert set(found.following["observation"][member, sample].flatten().tolist()) == {expected}
            assert set(found.following["state"][member, sample].tolist()) == {expected}


def test_sequences_are_what_a_row_showed_one_after_the_other(tmp_path: Path) -> None:
    replay, stream = filled("sequences", 30, 77, tmp_path)
    assert isinstance(replay, SequenceReplay)
    drawn = replay.draw(generators(0), 300)
    found = replay.sequences(drawn)
    assert set(drawn.start.flatten().tolist()) == {n for n in range(47, 74) if n % replay.stride == 0}
    seen = set()
    for member in range(MEMBERS):
        for sample in range(300):
            number, row = int(drawn.start[member, sample]), int(drawn.row[member, sample])
            assert found.memory[member, sample].tolist() == [number * 100 + member * 10 + row]
            # Walk along the row.
            elements: list[tuple[float, bool, bool]] = []
            fresh = False
            while len(elements) < 5:
                mark = number * 100 + member * 10 + row
                elements.append((mark, False, fresh and bool(elements)))
                fresh = bool(stream.cut[number, member, row])
                if stream.kept[number, member, row]:
                    elements.append((mark + 0.5, True, False))
                number += 1
            for time, (mark, final, begins) in enumerate(elements[:5]):
                assert found.fields["state"][member, time, sample].tolist() == [mark] * 2
                assert bool(found.final[member, time, sample]) == final
                assert bool(found.fresh[member, time, sample]) == begins
                seen.add((final, begins))
                if not final and time < 4:
                    assert int(found.fields["action"][member, time, sample, 0]) == mark
                    step = int(mark) // 100
                    assert bool(found.cut[member, time, sample]) == bool(stream.cut[step, member, row])
    assert seen == {(False, False), (False, True), (True, False)}


def test_fields_come_back_as_they_are_stored() -> None:
    fields = {
        "half": Field((4,), "float16"),
        "eighth": Field((4,), "int8"),
        "action": Field((), "uint8"),
        "exact": Field((4,)),
    }
    replay = Replay(None, fields, 1, 2, 4, 4)
    value = torch.tensor([[[0.1, -3.0, 0.004, 0.0], [0.0, 0.0, 0.0, 0.0]]])
    replay.append({"half": value, "eighth": value, "action": torch.tensor([[200, 7]]), "exact": value})
    drawn = replay.draw([torch.Generator().manual_seed(0)], 16)
    first = replay.transitions(drawn).first
    true = value[0][drawn.row[0]].unsqueeze(0)
    assert torch.equal(first["exact"], true)
    assert torch.equal(first["half"], true.half().float())
    assert (first["eighth"] - true).abs().max() <= 3.0 / 127 / 2 + 1e-6
    assert first["action"].dtype == torch.int64
    assert set(first["action"].flatten().tolist()) == {200, 7}


class Disk:
    """What a loss of power may leave of files: of every page either what was there at the last checkpoint or what was
    written since, and files created since only perhaps."""

    PAGE = 64

    def __init__(self, directory: Path, seed: int) -> None:
        self.directory, self.chance = directory, random.Random(seed)
        self.synced: dict[Path, bytes] = {}

    def sync(self) -> None:
        self.synced = {path: path.read_bytes() for path in self.directory.iterdir()}

    def lose_power(self) -> None:
        for path in list(self.directory.iterdir()):
            now, before = path.read_bytes(), self.synced.get(path)
            if before is None and self.chance.random() < 0.5:
                path.unlink()
                continue
            before = before if before is not None else bytes(len(now))
            pages = [
                (now if self.chance.random() < 0.5 else before)[start : start + self.PAGE]
                for start in range(0, len(now), self.PAGE)
            ]
            path.write_bytes(b"".join(pages))
        for path, before in self.synced.items():
            if not path.exists():
                path.write_bytes(before)


@settings(max_examples=20, deadline=None)
@given(
    st.sampled_from(FORMS),
    st.integers(5, 25),
    st.integers(1, 12),
    st.lists(st.booleans(), min_size=15, max_size=40),
    st.integers(0, 1000),
)
def test_after_a_loss_of_power_it_is_what_it_was_at_the_checkpoint(
    form: str, capacity: int, slack: int, checkpoints: list[bool], seed: int
) -> None:
    with TemporaryDirectory() as name:
        stream, disk = Stream(seed, ending=0.6), Disk(Path(name), seed)
        replay, undisturbed = make(Path(name), capacity, slack, form), make(None, capacity, slack, form)
        saved, number, ahead = checkpointed(replay), 0, []
        disk.sync()
        for checkpoint in checkpoints:
            if checkpoint or replay.must_checkpoint:
                saved, at_checkpoint = checkpointed(replay), number
                disk.sync()
                for before in ahead:
                    stream.append(undisturbed, before)
                    sampled(undisturbed, before)
                    checkpointed(undisturbed)
                ahead = []
                assert at_checkpoint == number
            stream.append(replay, number)
            sampled(replay, number)
            ahead.append(number)
            number += 1
        while seed % 2 and not replay.must_checkpoint:
            # As far as can be written without another checkpoint.
            stream.append(replay, number)
            sampled(replay, number)
            number += 1
        del replay
        disk.lose_power()
        again = make(Path(name), capacity, slack, form)
        again.load_state_dict(saved)
        assert sampled(again, 99) == sampled(undisturbed, 99)
        for following in range(saved["written"], number + 4):
            if again.must_checkpoint:
                checkpointed(again)
            checkpointed(undisturbed)
            stream.append(again, following)
            stream.append(undisturbed, following)
            assert sampled(again, following) == sampled(undisturbed, following)


@pytest.mark.parametrize("form", ["single", "sequences"])
@pytest.mark.parametrize("seed", range(6))
def test_interrupted_episodes_end_where_they_stood(form: str, seed: int, tmp_path: Path) -> None:
    """Twice the same checkpoint is resumed, each time with rows that begin other episodes."""
    stream, disk = Stream(seed), Disk(tmp_path, seed)
    replay = make(tmp_path, 20, 6, form)
    for number in range(9):
        if replay.must_checkpoint:
            checkpointed(replay)
        stream.append(replay, number)
    saved = checkpointed(replay)
    disk.sync()
    for attempt in (1, 2):
        del replay
        replay = make(tmp_path, 20, 6, form)
        replay.load_state_dict(saved)
        replay.cut_all()
        replay.flush()
        for number in range(9, 14):
            stream.append(replay, number + 100 * attempt)
        drawn = replay.draw(generators(0), 100)
        starts = (drawn.start == 8).nonzero().tolist()
        assert starts
        for member, sample in starts:
            row = int(drawn.row[member, sample])
            own = 10 * member + row
            # A row that was cut at the last step anyway shows what it showed, or goes on to another episode.
            shown = 900 + own
            if stream.cut[8, member, row]:
                shown = 800.5 + own if stream.kept[8, member, row] else (9 + 100 * attempt) * 100 + own
            if isinstance(replay, SequenceReplay):
                states = replay.sequences(drawn).fields["state"][member, :3, sample, 0].tolist()
                assert states[:2] == [800 + own, shown]
                assert shown > 1000 or states[2] == (9 + 100 * attempt) * 100 + own
            else:
                following = replay.transitions(drawn).following["state"][member, sample, 0]
                assert float(following) == shown
        disk.lose_power()


def test_priorities_decide_how_often() -> None:
    replay, _ = filled("three_steps_prioritised", 12, 41)
    wanted = {(29, 0): 3.0, (35, 2): 1.0, (38, 1): 6.0}
    for _ in range(30):
        drawn = replay.draw(generators(3), 200)
        priority = torch.tensor(
            [
                [wanted.get((int(n), int(r)), 0.0) for n, r in zip(*pair, strict=True)]
                for pair in zip(drawn.start, drawn.row, strict=True)
            ]
        )
        replay.reprioritise(drawn, priority)
    drawn = replay.draw(generators(4), 1_000)
    assert drawn.probability is not None
    for member in range(MEMBERS):
        for (number, row), priority in wanted.items():
            here = (drawn.start[member] == number) & (drawn.row[member] == row)
            # Stratified: as often as the priority says, to within one.
            assert abs(int(here.sum()) - 100 * priority) <= 1
            # Of 10 joint steps with three behind them, in 3 rows.
            torch.testing.assert_close(
                drawn.probability[member][here].unique(), torch.tensor([30 * priority / 10]).double()
            )


def test_writing_beyond_the_slack_is_refused(tmp_path: Path) -> None:
    replay, stream = make(tmp_path, 3, 2, "single"), Stream(0)
    stream.append(replay, 0)
    stream.append(replay, 1)
    assert replay.must_checkpoint
    with pytest.raises(RuntimeError, match="checkpoint"):
        stream.append(replay, 2)


def test_a_flush_is_no_checkpoint_until_the_state_is_durable(tmp_path: Path) -> None:
    replay, stream = make(tmp_path, 3, 2, "single"), Stream(0)
    stream.append(replay, 0)
    stream.append(replay, 1)
    replay.flush()
    assert replay.must_checkpoint
    replay.checkpoint_done()
    assert not replay.must_checkpoint
    stream.append(replay, 2)


@pytest.mark.parametrize("form", ["single", "sequences"])
def test_the_estimate_is_not_less_than_what_lies_on_the_disk(form: str, tmp_path: Path) -> None:
    """Every row is cut by the limit, at times of its own."""
    limit, stream = 8, Stream(0, ending=0.0)
    for member in range(MEMBERS):
        for row in range(ROWS):
            stream.cut[member + 2 * row :: limit, member, row] = True
    stream.kept = stream.cut
    replay = make(tmp_path, 50, 7, form)
    for number in range(150):
        if replay.must_checkpoint:
            checkpointed(replay)
        stream.append(replay, number)
    checkpointed(replay)
    on_disk = sum(file.stat().st_size for file in tmp_path.iterdir() if not file.name.startswith("memory"))
    estimate = Replay.size(FIELDS, MEMBERS, ROWS, 50, 7, CHAINED, limit)
    assert 0.5 * estimate < on_disk <= estimate
