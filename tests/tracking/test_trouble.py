"""What persons delete, files that are damaged, calls that fail: the database shows the store all the same."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from marlbench.tracking import sync
from marlbench.tracking.projector import Report
from marlbench.tracking.target import Target

from .showing import Make, Shown, client_of, show


def test_a_run_that_a_person_deleted_is_left_alone_and_one_that_is_gone_is_made_again(
    lab: Any, cell: Make, shown: Shown
) -> None:
    one = cell()
    lab.train(one, range(1))
    show(lab)
    client = client_of(lab)
    (run,) = client.search_runs(["1"])
    client.delete_run(run.info.run_id)
    lab.train(one, range(1, 4))
    assert show(lab).withdrawn == [one.id]
    assert "deleted by hand" in lab.said[-1]
    assert shown(lab) == {}

    with closing(sqlite3.connect(lab.root / "mlflow.db")) as connection, connection:
        for table in ("metrics", "latest_metrics", "params", "tags", "runs"):
            connection.execute(f"DELETE FROM {table} WHERE run_uuid = ?", (run.info.run_id,))
    lab.finish(one)
    show(lab)
    assert shown(lab)["ippo/spread/s0"]["status"] == "FINISHED"


def test_an_experiment_that_a_person_deleted(
    lab: Any, cell: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    lab.complete(cell())
    show(lab)
    client_of(lab).delete_experiment("1")
    lab.complete(cell(seed=1))
    from marlbench.tracking.target import TrackingError

    with pytest.raises(TrackingError, match="was deleted in MLflow") as caught:
        show(lab)
    assert "--experiment-id 1" in caught.value.hint


def test_a_store_that_was_moved(lab: Any, cell: Make, shown: Shown, tmp_path: Path) -> None:
    lab.complete(cell())
    show(lab)
    before = shown(lab)
    lab.root.rename(tmp_path / "elsewhere")
    lab.root = tmp_path / "elsewhere"
    show(lab)
    assert "moved or copied" in lab.said[0]
    assert (lab.root / "mlflow.db.damaged-1").exists()
    assert shown(lab) == before
    assert show(lab) == Report()


def test_a_database_that_is_damaged(lab: Any, cell: Make, shown: Shown) -> None:
    lab.complete(cell())
    show(lab)
    before = shown(lab)
    (lab.root / "mlflow.db").write_bytes(b"scribble" * 5000)
    show(lab)
    assert "damaged" in lab.said[0]
    assert shown(lab) == before


def test_points_that_mlflow_stored_although_the_call_failed_are_not_sent_again(
    lab: Any, cell: Make, shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    lab.complete(cell(), extra=700)
    log_batch = MlflowClient.log_batch
    sent: list[tuple[str, int, int, float]] = []
    calls = 0

    def late(self: Any, run_id: str, metrics: Any = (), **others: Any) -> None:
        nonlocal calls
        calls += 1
        sent.extend((m.key, m.timestamp, m.step, m.value) for m in metrics)
        log_batch(self, run_id, metrics=metrics, **others)
        if calls in (1, 2, 3):
            raise MlflowException("API request failed with timeout exception")

    monkeypatch.setattr(MlflowClient, "log_batch", late)
    monkeypatch.setattr("marlbench.tracking.sync._ONCE_PAUSES", (0, 0, 0))
    show(lab)
    assert calls == 4
    assert len(sent) == len(set(sent)), "a server that keeps doubles would have doubles"
    assert sorted(sent) == shown(lab)["ippo/spread/s0"]["metrics"]
    monkeypatch.undo()
    show(lab, verify=True)
    assert sorted(sent) == shown(lab)["ippo/spread/s0"]["metrics"]


def test_a_run_that_was_made_although_the_call_failed_is_found(
    lab: Any, cell: Make, shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    lab.complete(cell())
    create_run = MlflowClient.create_run

    def late(self: Any, *arguments: Any, **others: Any) -> None:
        create_run(self, *arguments, **others)
        raise MlflowException("API request failed with timeout exception")

    monkeypatch.setattr(MlflowClient, "create_run", late)
    monkeypatch.setattr("marlbench.tracking.sync._ONCE_PAUSES", (0,))
    show(lab)
    assert list(shown(lab)) == ["ippo/spread/s0"]
    assert shown(lab, deleted=True) == {}


def test_a_server_that_answers_now_and_then_gets_everything(
    lab: Any, cell: Make, shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    for seed in range(5):
        lab.complete(cell(seed=seed))
    create_run = MlflowClient.create_run
    calls = 0

    def every_other(self: Any, *arguments: Any, **others: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls % 2:
            raise MlflowException("API request failed with timeout exception")
        return create_run(self, *arguments, **others)

    monkeypatch.setattr(MlflowClient, "create_run", every_other)
    monkeypatch.setattr("marlbench.tracking.sync._ONCE_PAUSES", (0,))
    show(lab)
    assert calls == 10
    assert len(shown(lab)) == 5


def test_the_database_of_another_mlflow_is_not_migrated(lab: Any, cell: Make, tmp_path: Path) -> None:
    from marlbench.tracking.target import TrackingError

    database = tmp_path / "team.db"
    shutil.copyfile(lab.root / "mlflow.db", database)
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = 'ffffffffffff'")
        connection.execute("DROP TABLE webhooks")
    before = database.read_bytes()
    lab.complete(cell())
    with pytest.raises(TrackingError, match="another version of MLflow") as caught:
        sync.once(lab.root, print, Target(f"sqlite:///{database}", own=False))
    assert "mlflow db upgrade" in caught.value.hint
    assert database.read_bytes() == before
