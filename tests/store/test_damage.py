"""What jobs make of damage: to checkpoints, to journals and to results."""

from __future__ import annotations

import json
import os
import shutil
import signal
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from marlbench.catalog.cell import Cell
from marlbench.store.states import Damaged, State
from marlbench.store.store import Store
from marlbench.store.validity import hash_outcome

from .conftest import Server, content
from .long_cells import CELLS, log, only, stamp, state


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def flip(path: Path) -> None:
    """Change one bit of a tensor, which torch would not notice."""
    with zipfile.ZipFile(path) as archive:
        info = next(i for i in archive.infolist() if "/data/" in i.filename)
    content = bytearray(path.read_bytes())
    # The local header's two lengths say where the content begins.
    names = sum(content[info.header_offset + 26 + k] << (8 * (k % 2)) for k in range(4))
    content[info.header_offset + 30 + names] ^= 1
    path.write_bytes(content)


def newer_schema(path: Path) -> None:
    torch.save(torch.load(path, weights_only=True) | {"schema": 2}, path)


def lacks_a_tensor(path: Path) -> None:
    document = torch.load(path, weights_only=True)
    del document["trainer"]["walk"]
    torch.save(document, path)


class Evil:
    def __reduce__(self) -> Any:
        return os.mkdir, ("evil",)


def pickled_code(path: Path) -> None:
    torch.save({"schema": 1, "code": Evil()}, path)


@pytest.mark.parametrize(
    "damage", [truncate, flip, newer_schema, lacks_a_tensor, pickled_code, lambda path: path.write_bytes(b"")]
)
def test_a_corrupt_checkpoint_is_set_aside(
    server: Server, interrupted: Store, undisturbed: dict[str, Any], damage: Callable[[Path], None]
) -> None:
    directory, cell = only(interrupted).directory, CELLS[0]
    old_journal = (interrupted.root / "cells" / cell.id / "journal.jsonl").read_bytes()
    damage(directory / "checkpoint.pt")
    damaged = (directory / "checkpoint.pt").read_bytes()
    assert server.run(interrupted.root, CELLS) == 0
    said = [line for line in server.said().splitlines() if "cannot be used" in line]
    assert len(said) == 1
    assert "Traceback" not in server.said()
    assert (directory / "checkpoint.pt.damaged-1").read_bytes() == damaged
    assert content(interrupted.root, CELLS) == undisturbed
    header = next(interrupted.journal(cell.id))
    assert header["generation"] == 2
    kept = interrupted.root / "cells" / cell.id / "attempts" / "2.journal.jsonl"
    assert kept.read_bytes() == old_journal
    assert not Path("evil").exists()


def test_a_torn_line_is_cut_off(server: Server, interrupted: Store, undisturbed: dict[str, Any]) -> None:
    folder = interrupted.root / "cells" / CELLS[0].id
    with (folder / "journal.jsonl").open("ab") as stream:
        stream.write(b'{"seq":99,"attem')
    assert state(interrupted).state is State.INTERRUPTED
    assert server.run(interrupted.root, CELLS) == 0
    assert "torn" in log(interrupted)
    assert (folder / "attempts" / "2.tail.jsonl").read_bytes() == b'{"seq":99,"attem'
    assert content(interrupted.root, CELLS) == undisturbed


def shorten(path: Path) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:5]))


def blank_a_line(path: Path) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    lines[5] = b" " * (len(lines[5]) - 1) + b"\n"
    path.write_bytes(b"".join(lines))


@pytest.mark.parametrize("damage", [shorten, blank_a_line, Path.unlink])
def test_a_damaged_journal_makes_the_job_start_again(
    server: Server, interrupted: Store, undisturbed: dict[str, Any], damage: Callable[[Path], None]
) -> None:
    damage(interrupted.root / "cells" / CELLS[0].id / "journal.jsonl")
    if damage is not Path.unlink:
        assert state(interrupted).state is State.DAMAGED
    assert server.run(interrupted.root, CELLS) == 0
    assert "starts from zero" in server.said()
    assert content(interrupted.root, CELLS) == undisturbed


def edit(store: Store, change: Callable[[dict[str, Any]], Any], cell: Cell = CELLS[0]) -> None:
    path = store.root / "cells" / cell.id / "result.json"
    result = json.loads(path.read_text())
    change(result)
    path.write_text(json.dumps(result))


def drop_an_evaluation(result: dict[str, Any]) -> None:
    """With a hash that fits: somebody who knows how."""
    result["outcome"]["evaluations"].pop()
    result["outcome"]["reasons"] = {}
    result["outcome_sha256"] = hash_outcome(result["outcome"])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda r: r["outcome"]["final"].update(return_mean=1e9), "its hash does not match"),
        (lambda r: r["outcome"].update(status="great"), "its hash does not match"),
        (lambda r: r["identity"].update(seed=5), "is not that of this cell"),
        (lambda r: r["identity"].update(seed=2**70), "cannot be read"),
        (lambda r: r.update(cell=CELLS[1].id), "is not that of this cell"),
        (lambda r: r.update(schema=2), "schema 2, which is not known"),
        (lambda r: r.pop("execution"), "lacks"),
        (lambda r: r["journal"].update(bytes=3), "is not the one"),
        (lambda r: r["outcome"].update(x=float("nan")), "cannot be read"),
        (drop_an_evaluation, "2 evaluations where the protocol asks for 3"),
    ],
)
def test_a_result_that_does_not_hold_is_set_aside_and_run_again(
    server: Server,
    done: Store,
    undisturbed: dict[str, Any],
    change: Callable[[dict[str, Any]], Any],
    reason: str,
) -> None:
    edit(done, change)
    folder, other = (done.root / "cells" / cell.id for cell in CELLS)
    edited = (folder / "result.json").read_bytes()
    untouched = {path: stamp(path) for path in other.rglob("*")}
    found = state(done)
    assert found.state is State.DAMAGED
    assert reason in found.detail
    with pytest.raises(Damaged, match=reason.replace("(", "\\(")):
        done.result(CELLS[0].id)
    assert server.run(done.root, CELLS[:1]) == 0
    assert reason in server.said()
    assert (folder / "result.json.damaged-1").read_bytes() == edited
    assert content(done.root, CELLS) == undisturbed
    # The other member was trained along and never written.
    assert {path: stamp(path) for path in other.rglob("*")} == untouched


def test_what_was_set_aside_is_never_overwritten(server: Server, done: Store) -> None:
    folder = done.root / "cells" / CELLS[0].id
    contents = [b"{", b"[]", b"\xff\xfe"]
    for number, text in enumerate(contents):
        (folder / "result.json").write_bytes(text)
        assert state(done).state is State.DAMAGED
        assert server.run(done.root, CELLS) == 0
        assert (folder / f"result.json.damaged-{number + 1}").read_bytes() == text
    assert [(folder / f"result.json.damaged-{n}").read_bytes() for n in (1, 2, 3)] == contents


def test_an_edited_journal_makes_the_cell_damaged(server: Server, done: Store) -> None:
    path = done.root / "cells" / CELLS[0].id / "journal.jsonl"
    truncate(path)
    assert "is not the one" in state(done).detail
    broken = path.read_bytes()
    assert server.run(done.root, CELLS) == 0
    assert state(done).state is State.DONE
    assert (path.parent / "attempts" / "2.journal.jsonl").read_bytes() == broken


def test_a_member_damaged_while_its_job_is_interrupted(
    server: Server, interrupted: Store, undisturbed: dict[str, Any]
) -> None:
    """A done member whose job's checkpoint knows no journal of it cannot be resumed."""
    assert server.run(interrupted.root, CELLS) == 0
    shutil.rmtree(interrupted.root / "cells" / CELLS[1].id)
    assert server.run(interrupted.root, CELLS, at_step=20, signal=signal.SIGTERM) == 143
    edit(interrupted, lambda result: result.update(schema=9))
    assert server.run(interrupted.root, CELLS[:1]) == 0
    assert "it knows no journal" in server.said()
    assert content(interrupted.root, CELLS) == undisturbed


def test_stale_temporary_files_do_not_matter(
    server: Server, interrupted: Store, undisturbed: dict[str, Any]
) -> None:
    folder, directory = interrupted.root / "cells" / CELLS[0].id, only(interrupted).directory
    for path in (folder / ".result.json.tmp", folder / ".policy.pt.tmp", directory / ".checkpoint.pt.tmp"):
        path.write_bytes(b"half of something" * 1000)
    assert server.run(interrupted.root, CELLS) == 0
    assert content(interrupted.root, CELLS) == undisturbed
    assert not (directory / ".checkpoint.pt.tmp").exists()
    assert not (folder / ".result.json.tmp").exists()
