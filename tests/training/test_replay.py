"""The replay against a plain list, and after crashes at any moment."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from marlbench.training.replay import Field, Replay

FIELDS = {"observation": Field((2, 3)), "action": Field((2,), "int64"), "terminated": Field((), "bool")}
MEMBERS, ROWS = 2, 3


def joint_step(number: int) -> dict[str, torch.Tensor]:
    """Content that names the joint step, the member and the row it belongs to."""
    mark = number * 100 + torch.arange(MEMBERS).view(-1, 1) * 10 + torch.arange(ROWS)
    return {
        "observation": mark.view(MEMBERS, ROWS, 1, 1).expand(-1, -1, 2, 3).float(),
        "action": mark.unsqueeze(-1).expand(-1, -1, 2),
        "terminated": mark % 2 == 0,
    }


def marks(replay: Replay, seed: int, batch: int = 64) -> list[list[int]]:
    """What a batch drawn with a seed consists of, member by member."""
    drawn = replay.sample([torch.Generator().manual_seed(seed + m) for m in range(MEMBERS)], batch)
    action = drawn["action"][..., 0]
    assert torch.equal(drawn["observation"][..., 1, 2].long(), action)
    assert torch.equal(drawn["terminated"], action % 2 == 0)
    found: list[list[int]] = action.tolist()
    return found


def test_samples_are_the_members_own_and_the_last_ones(tmp_path: Path) -> None:
    replay = Replay(tmp_path, FIELDS, MEMBERS, ROWS, capacity=4, slack=3)
    for number in range(11):
        if replay.must_checkpoint:
            replay.flush()
            replay.checkpoint_done()
        replay.append(joint_step(number))
    drawn = marks(replay, 0, 2000)
    for member in range(MEMBERS):
        assert {m // 10 % 10 for m in drawn[member]} == {member}
        assert {m // 100 for m in drawn[member]} == {7, 8, 9, 10}
        assert {m % 10 for m in drawn[member]} == {0, 1, 2}


@settings(max_examples=60)
@given(st.integers(1, 6), st.integers(1, 5), st.lists(st.booleans(), min_size=1, max_size=40), st.data())
def test_after_a_crash_it_is_what_it_was_at_the_checkpoint(
    capacity: int, slack: int, checkpoints: list[bool], data: st.DataObject
) -> None:
    with TemporaryDirectory() as directory:
        replay = Replay(Path(directory), FIELDS, MEMBERS, ROWS, capacity, slack)
        saved, at_checkpoint = replay.state_dict(), None
        number = 0
        for checkpoint in checkpoints:
            if checkpoint or replay.must_checkpoint:
                replay.flush()
                saved = replay.state_dict()
                replay.checkpoint_done()
                at_checkpoint = marks(replay, 7) if len(replay) else None
            replay.append(joint_step(number))
            number += 1
        # The process dies here; another one opens the same files and takes over the checkpoint.
        again = Replay(Path(directory), FIELDS, MEMBERS, ROWS, capacity, slack)
        again.load_state_dict(saved)
        if at_checkpoint is not None:
            assert marks(again, 7) == at_checkpoint
        # It goes on as an undisturbed replay does, sample for sample.
        undisturbed = Replay(None, FIELDS, MEMBERS, ROWS, capacity, slack)
        for before in range(saved["written"]):
            undisturbed.append(joint_step(before))
        for following in range(saved["written"], number + 3):
            for one in (again, undisturbed):
                if one.must_checkpoint:
                    one.flush()
                    one.checkpoint_done()
                one.append(joint_step(following))
            assert marks(again, following) == marks(undisturbed, following)


def test_writing_beyond_the_slack_is_refused(tmp_path: Path) -> None:
    replay = Replay(tmp_path, FIELDS, MEMBERS, ROWS, capacity=3, slack=2)
    replay.append(joint_step(0))
    replay.append(joint_step(1))
    assert replay.must_checkpoint
    with pytest.raises(RuntimeError, match="checkpoint"):
        replay.append(joint_step(2))


def test_a_flush_is_no_checkpoint_until_the_state_is_durable(tmp_path: Path) -> None:
    replay = Replay(tmp_path, FIELDS, MEMBERS, ROWS, capacity=3, slack=2)
    replay.append(joint_step(0))
    replay.append(joint_step(1))
    replay.flush()
    assert replay.must_checkpoint
    replay.checkpoint_done()
    assert not replay.must_checkpoint
    replay.append(joint_step(2))


def test_the_estimate_is_what_lies_on_the_disk(tmp_path: Path) -> None:
    Replay(tmp_path, FIELDS, MEMBERS, ROWS, capacity=50, slack=7)
    on_disk = sum(file.stat().st_size for file in tmp_path.iterdir())
    assert on_disk == Replay.size(FIELDS, MEMBERS, ROWS, 50, 7)
