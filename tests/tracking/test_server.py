"""Stores shown by a real MLflow server on 127.0.0.1, which `marlbench ui` started (see `served`)."""

from __future__ import annotations

import socket
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from marlbench.cli import app
from marlbench.errors import UsageError
from marlbench.tracking import server, sync
from marlbench.tracking.projector import Report
from marlbench.tracking.target import Target, TrackingError

Make = Callable[..., Any]


def test_a_server_shows_what_the_database_in_the_store_shows(
    make_lab: Make, cell: Make, served: Any, content_of: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = make_lab()
    done, begun = cell(suite="remote"), cell(suite="remote", seed=1)
    lab.complete(done, extra=300)
    lab.train(begun, range(2))
    sync.once(lab.root, print)
    local = content_of(lab.root / "mlflow.db", suite="remote")

    monkeypatch.setenv("MLFLOW_TRACKING_URI", served.url)
    assert sync.once(lab.root, print) == Report(shown=2, complete=1)
    remote = content_of(served.database, suite="remote")
    # The server keeps files itself, under addresses of its own.
    files = [run.pop("files") for run in (*local.values(), *remote.values())]
    assert remote == local
    assert sorted(files[0]) == [
        "configuration.json",
        "episodes.parquet",
        "learning_curve.png",
        "versions.json",
    ]
    kept = [
        {file.name: file.read_bytes() for file in folder.iterdir()}
        for folder in served.root.glob("artifacts/*/*/artifacts")
    ]
    assert files[0] in kept

    for name in ("tracking.sqlite", "mlflow.db"):
        (lab.root / name).unlink()
    assert sync.once(lab.root, print) == Report(shown=2, complete=1)
    again = content_of(served.database, suite="remote")
    assert {name: {**run, "files": None} for name, run in again.items()} == {
        name: {**run, "files": None} for name, run in remote.items()
    }
    assert not (lab.root / "mlflow.db").exists()


def test_the_page_is_printed_and_found_again(served: Any) -> None:
    assert served.printed.startswith(served.url)
    with urllib.request.urlopen(served.url, timeout=20) as page:
        assert b"MLflow" in page.read()
    listening = server.find(served.root, Target.locate(served.root))
    assert listening is not None
    assert listening.url == served.url
    assert server.find(served.root, Target("http://elsewhere", own=False)) is None

    second = CliRunner().invoke(app, ["ui", "--results", str(served.root)])
    assert second.exit_code == 0, second.stderr
    assert second.stdout.startswith(served.url)
    assert f"kill {listening.pid}" in second.stderr


def test_only_this_machine_is_served(tmp_path: Path) -> None:
    answer = CliRunner().invoke(app, ["ui", "--host", "0.0.0.0", "--results", str(tmp_path)])
    assert isinstance(answer.exception, UsageError)
    assert "ssh -N -L 5000:127.0.0.1:5000" in answer.exception.hint


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match="is taken"):
            server.start(tmp_path, Target(f"sqlite:///{tmp_path}/x.db", own=False), port)


def test_a_server_that_is_away(
    make_lab: Make, cell: Make, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lab = make_lab(bare=True)
    lab.complete(cell())
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://ann:s3cret@127.0.0.1:{port}/mlflow?token=hushhush")
    monkeypatch.setattr("marlbench.tracking.sync._ONCE_PAUSES", (0.0,))
    with pytest.raises(TrackingError, match=f"http://127.0.0.1:{port}/mlflow does not answer") as caught:
        sync.once(lab.root, print)
    assert caught.value.exit_code != 0
    said = str(caught.value) + caught.value.hint + "".join(capsys.readouterr())
    assert "marlbench sync" in said
    for secret in ("s3cret", "hushhush", "ann"):
        assert secret not in said
    for file in lab.root.rglob("*"):
        if file.is_file():
            assert b"s3cret" not in file.read_bytes()
