from __future__ import annotations

from pathlib import Path

import pytest

from marlbench.store import local_files
from marlbench.store.local_files import database_folder, filesystem
from marlbench.store.store import Store
from marlbench.tracking.target import Target

MOUNTS = """\
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
30 22 0:40 / {point} rw,relatime shared:1 - nfs4 server:/home rw,vers=4.2
31 30 0:41 / {point}/local rw - xfs /dev/sdb rw
32 22 0:42 / {point}\\040two rw - fuse.sshfs host:/ rw
"""


@pytest.fixture
def mounts(tmp_path: Path) -> Path:
    path = tmp_path / "mountinfo"
    path.write_text(MOUNTS.format(point=tmp_path / "home"))
    return path


def test_the_innermost_mount_counts(tmp_path: Path, mounts: Path) -> None:
    assert filesystem(tmp_path / "home" / "results", mounts) == "nfs4"
    assert filesystem(tmp_path / "home" / "local" / "results", mounts) == "xfs"
    assert filesystem(tmp_path / "home two" / "results", mounts) == "fuse.sshfs"
    assert filesystem(tmp_path / "homely", mounts) == "ext4"
    assert filesystem(tmp_path, mounts / "nothing") == ""


def test_databases_leave_network_file_systems(
    tmp_path: Path, mounts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = tmp_path / "home" / "results"
    folder = database_folder(root, mounts)
    assert folder.parent == tmp_path / "cache" / "marlbench"
    assert database_folder(tmp_path / "home" / "others", mounts) != folder
    assert database_folder(tmp_path / "local", mounts) == tmp_path / "local"


def test_a_store_on_a_network_file_system_has_its_index_and_mlflow_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(local_files, "filesystem", lambda path, mounts: "nfs4")
    root = tmp_path / "results"
    store = Store.open(root, create=True)
    assert store.states(["0" * 64])["0" * 64].state == "planned"
    assert str(tmp_path / "cache") in Target.locate(root).uri
    assert not list(root.glob("*.sqlite"))
