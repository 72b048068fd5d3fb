"""A projector that follows a run, and projectors that are killed."""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from marlbench.tracking import sync
from marlbench.tracking.projector import Report, take_lock
from marlbench.tracking.target import Target, TrackingError

Make = Callable[..., Any]
PRELOADED = [
    "pytest",
    "mlflow.store.tracking.sqlalchemy_store",
    "marlbench.tracking.sync",
    "marlbench.tracking.artifacts",
    "matplotlib.backends.backend_agg",
    "pyarrow.parquet",
]


class Following:
    """`follow` in a thread, with a pipe for its standard input."""

    def __init__(self, root: Path) -> None:
        self.said: list[str] = []
        self.error: BaseException | None = None
        reader, self._writer = os.pipe()

        def work() -> None:
            try:
                sync.follow(root, self.said.append, reader, interval=0.02)
            except BaseException as error:
                self.error = error
            finally:
                os.close(reader)

        self.thread = threading.Thread(target=work)
        self.thread.start()

    def end(self) -> None:
        if self._writer >= 0:
            os.close(self._writer)
            self._writer = -1
        self.thread.join(60)
        assert not self.thread.is_alive()


@pytest.fixture
def follow() -> Iterator[Callable[[Path], Following]]:
    started: list[Following] = []

    def start(root: Path) -> Following:
        started.append(Following(root))
        return started[-1]

    yield start
    for one in started:
        one.end()


def wait_for(condition: Callable[[], Any], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_runs_grow_while_their_cells_train(
    lab: Any, cell: Make, content_of: Callable[..., Any], follow: Callable[[Path], Following]
) -> None:
    one = cell()
    following = follow(lab.root)
    lab.train(one, range(1))
    path = lab.root / "mlflow.db"
    wait_for(lambda: [len(run["metrics"]) for run in content_of(path).values()] == [4])
    assert content_of(path)["ippo/spread/s0"]["status"] == "RUNNING"
    lab.train(one, range(1, 4))
    lab.finish(one)
    following.end()
    assert following.error is None
    assert following.said == []
    assert content_of(path)["ippo/spread/s0"]["status"] == "FINISHED"
    assert sync.once(lab.root, print) == Report()


def test_nothing_to_do_needs_no_mlflow(lab: Any, cell: Make) -> None:
    lab.begin(cell())
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from marlbench.tracking import sync\n"
        "sync.follow(Path(sys.argv[1]), print, 0)\n"
        "assert 'mlflow' not in sys.modules\n"
        "assert 'torch' not in sys.modules\n"
    )
    command = [sys.executable, "-c", program, str(lab.root)]
    subprocess.run(command, stdin=subprocess.DEVNULL, timeout=60, check=True)


def test_a_server_that_comes_back(
    lab: Any,
    cell: Make,
    content_of: Callable[..., Any],
    follow: Callable[[Path], Following],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    away = threading.Event()
    away.set()
    from marlbench.tracking import projector
    from marlbench.tracking.client import CallFailed, Failure, connect

    def refuse(target: Target) -> Any:
        if away.is_set():
            raise CallFailed(Failure.AWAY, "connection refused")
        return connect(target)

    monkeypatch.setattr(projector, "connect", refuse)
    monkeypatch.setattr(sync, "_LONGEST", 0.05)
    lab.complete(cell())
    following = follow(lab.root)
    wait_for(lambda: following.said)
    time.sleep(0.3)
    assert len(following.said) == 1
    assert "does not answer: connection refused" in following.said[0]
    away.clear()
    wait_for(lambda: len(following.said) == 2)
    assert "up to date again" in following.said[1]
    assert list(content_of(lab.root / "mlflow.db")) == ["ippo/spread/s0"]
    following.end()
    assert following.error is None

    (lab.root / "mlflow.db").unlink()
    away.set()
    following = follow(lab.root)
    following.end()
    assert isinstance(following.error, TrackingError)
    assert "marlbench sync" in following.error.hint


def test_one_projector_per_store(lab: Any, cell: Make, content_of: Callable[..., Any]) -> None:
    lab.complete(cell())
    lock = take_lock(lab.root, 0.0)
    assert lock is not None
    assert sync.once(lab.root, print, patience=0.0) is None
    lock.release()
    assert sync.once(lab.root, print) == Report(shown=1, complete=1)


def test_the_command_follows_and_leaves(lab: Any, cell: Make, content_of: Callable[..., Any]) -> None:
    lab.complete(cell())
    command = [sys.executable, "-m", "marlbench", "sync", "--follow", "--results", str(lab.root)]
    answer = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False
    )
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "", "")
    assert content_of(lab.root / "mlflow.db")["ippo/spread/s0"]["status"] == "FINISHED"


@pytest.mark.parametrize("remote", [False, True])
def test_killed_at_any_moment_every_run_and_point_is_there_once(
    make_lab: Make,
    cell: Make,
    content_of: Callable[..., Any],
    template: Path,
    remote: bool,
    request: pytest.FixtureRequest,
) -> None:
    lab, reference = make_lab("killed"), make_lab("reference")
    for one in (lab, reference):
        one.complete(cell(suite="kill"), extra=400)
        one.complete(cell(suite="kill", seed=1))
        one.train(cell(suite="kill", seed=2), range(2))
    if remote:
        served = request.getfixturevalue("served")
        target, path = Target(served.url, own=False), served.database
    else:
        target, path = Target.locate(lab.root), lab.root / "mlflow.db"
    # A server that has imported what is needed and forks: a process in a tenth of a second.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    generator = random.Random(7 + remote)
    ready = context.Process(target=time.sleep, args=(0,))
    ready.start()
    ready.join(120)
    # How long a whole pass takes here and now, on a store of its own.
    began = time.monotonic()
    whole = context.Process(target=sync.once, args=(reference.root, print, Target.locate(reference.root)))
    whole.start()
    whole.join(120)
    assert whole.exitcode == 0
    longest = time.monotonic() - began
    for _ in range(4 if remote else 8):
        process = context.Process(target=sync.once, args=(lab.root, print, target))
        process.start()
        process.join(generator.uniform(0.0, longest))
        if process.exitcode is not None:
            assert process.exitcode == 0
            (lab.root / "tracking.sqlite").unlink()
            if not remote:
                shutil.copyfile(template, path.with_name("fresh"))
                path.with_name("fresh").replace(path)
        process.kill()
        process.join()
        process.close()
    sync.once(lab.root, print, target)
    wanted = content_of(reference.root / "mlflow.db", suite="kill")
    found = content_of(path, suite="kill")
    for run in (*wanted.values(), *found.values()):
        run["tags"] = [tag for tag in run["tags"] if tag[0] not in ("marlbench.store", "marlbench.outcome")]
        if remote:
            run["files"] = None
    assert found.keys() == wanted.keys()
    for name in wanted:
        for part in wanted[name]:
            assert found[name][part] == wanted[name][part], f"{part} of {name}"
