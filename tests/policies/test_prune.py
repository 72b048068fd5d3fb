from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from marlbench.catalog.matrix import Matrix, resolve
from marlbench.errors import USAGE
from marlbench.store import extensions, kept
from marlbench.store.store import Store

from .conftest import Typed


@pytest.fixture
def root(tiny: tuple[Path, Matrix], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(tiny[0], tmp_path / "copy")
    monkeypatch.setenv("MARLBENCH_RESULTS", str(tmp_path / "copy" / "results"))
    return tmp_path / "copy"


def states(root: Path) -> int:
    return len(list(root.glob("results/jobs/*/state.pt")))


def test_states_go_and_results_stay(typed: Typed, root: Path) -> None:
    assert states(root) == 6
    results = {path: path.read_bytes() for path in root.glob("results/cells/*/*") if path.is_file()}
    foreseen = json.loads(typed("prune", "--states", "--dry-run", "--json")[1])
    assert states(root) == 6
    code, out, _ = typed("prune", "--states")
    assert code == 0
    assert "final states of 6 jobs" in out
    assert states(root) == 0
    assert not list(root.glob("results/jobs/*/replay"))
    assert foreseen["bytes"] == sum(one["bytes"] for one in foreseen["jobs"]) > 0
    assert results == {path: path.read_bytes() for path in results}
    assert "final states of 0 jobs" in typed("prune", "--states")[1]
    matrix = resolve([str(root / "tiny.yaml")], tasks=["stag"], algorithms=["ippo"], steps=800)
    found = extensions.extend(Store.open(root / "results"), matrix)
    assert {one.reason for one in found.refused} == {
        "no final state is kept: it was removed by `marlbench prune`"
    }


def test_what_an_unfinished_extension_needs_stays(typed: Typed, root: Path) -> None:
    store = Store.open(root / "results")
    matrix = resolve([str(root / "tiny.yaml")], tasks=["stag"], algorithms=["ippo"], steps=800)
    cells = [one.cell for one in extensions.extend(store, matrix).continued]
    store.claim(cells, 1)
    code, out, _ = typed("prune", "--states")
    assert code == 0
    assert "stays  tiny: ippo/stag seeds 0-1, 512 steps: ippo/stag/s0 goes on from it" in out
    assert states(root) == 1
    source = store.cell(str(cells[0].source))
    record = kept.look(store.job_directory(source.job))
    assert record is not None
    assert record.kept


def test_what_is_asked_for_must_exist(typed: Typed, root: Path) -> None:
    assert typed("prune")[0] == USAGE
    code, _, said = typed("prune", "--states", "tny")
    assert code == USAGE
    assert "Did you mean 'tiny'?" in said
