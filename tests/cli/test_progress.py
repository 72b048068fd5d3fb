from __future__ import annotations

import io
import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from marlbench.cli.progress import Account, PlainWatcher, TerminalWatcher, fraction, last_score, speed
from marlbench.engines.jobs import CellFailure, Phase, Tracked
from marlbench.engines.slots import Slot
from marlbench.store.states import Failure, Job


@dataclass
class FakeCell:
    label: str
    task: str
    seed: int
    steps: int = 100


@dataclass
class FakeCompanion:
    starts: int = 0
    told: list[str] = field(default_factory=list)

    def start(self) -> None:
        self.starts += 1

    def news(self) -> list[str]:
        told, self.told = self.told, []
        return told


CELLS: Any = {
    **{f"a{seed}": FakeCell("ippo", "spread", seed) for seed in range(3)},
    **{f"b{seed}": FakeCell("iql", "[bold]stag", seed, steps=50) for seed in range(2)},
}


def job(name: str, phase: Phase = Phase.RUNNING, steps: int | None = None, **more: Any) -> Tracked:
    cells = tuple(cell for cell in CELLS if cell.startswith(name))
    progress = None
    if steps is not None:
        last = {"label": "x", "metric": "return_mean", "value": -20.34567}
        progress = {"steps": steps, "total_steps": 100, "steps_per_second": 1500.4, "last": last}
    tracked = Tracked(Job(name, cells, cells, False, False, Path()), cells, phase=phase, progress=progress)
    tracked.slot = Slot("cpu", {})
    tracked.process = Any if phase is Phase.RUNNING else None  # type: ignore[assignment]
    for key, value in more.items():
        setattr(tracked, key, value)
    return tracked


@pytest.fixture
def account() -> Account:
    return Account(CELLS, frozenset({"a0"}))


def test_steps_and_cells_are_counted_once(account: Account) -> None:
    assert account.total_steps == 400
    assert account.steps([]) == 100
    assert account.steps([job("a", steps=50), job("b", Phase.DONE)]) == 100 + 2 * 50 + 2 * 50
    assert account.cells_done([]) == 1
    assert account.cells_done([job("a", Phase.DONE), job("b", Phase.FAILED)]) == 3


def test_numbers_of_a_job() -> None:
    running = job("a", steps=30)
    assert fraction(running) == 0.3
    assert speed(running) == "4,501 steps/s"
    assert last_score(running) == "return_mean -20.35"
    assert (fraction(job("a")), speed(job("a")), last_score(job("a"))) == (0.0, "", "")
    assert speed(job("a", Phase.DONE, steps=100)) == ""


@pytest.mark.parametrize(
    "progress",
    [
        {},
        {"steps": "many", "total_steps": 100},
        {"steps": 1, "total_steps": 0},
        {"last": None, "steps_per_second": None},
        {"last": {"value": None}},
    ],
)
def test_odd_progress_files_are_no_progress(progress: dict) -> None:
    odd = job("a")
    odd.progress = progress
    assert (fraction(odd), speed(odd), last_score(odd)) == (0.0, "", "")


def test_plain_lines_tell_start_and_end(account: Account, capsys: pytest.CaptureFixture[str]) -> None:
    companion = FakeCompanion()
    with PlainWatcher(account, companion) as watcher:
        running = job("a", steps=30, started=time.monotonic() - 200)
        watcher.started(running)
        watcher.done(running)
        watcher.done(job("b", Phase.DONE, elsewhere=True))
    out, said = capsys.readouterr()
    lines = said.splitlines()
    assert not out
    assert all(re.match(r"\[\d\d:\d\d:\d\d\] ", line) for line in lines)
    assert [line[11:] for line in lines] == [
        "ippo/spread seeds 0-2 starts on cpu (job a)",
        "ippo/spread seeds 0-2 is done after 3 min 20 s, return_mean -20.35",
        "iql/[bold]stag seeds 0-1 is done, by another run",
    ]
    assert companion.starts == 1


def test_plain_lines_of_trouble(account: Account, capsys: pytest.CaptureFixture[str]) -> None:
    with PlainWatcher(account, FakeCompanion()) as watcher:
        watcher.retrying(job("a", retries=1), Failure.SIGNAL, "ended by SIGKILL", 5.0)
        watcher.said(job("a"), ["cell 1 is damaged and runs again: it is torn", "error: no", ""])
        watcher.failed(job("a"), [CellFailure("a0", "a", "exception", "ValueError: no")])
        watcher.deferred(job("b"))
        watcher.stopping(2, kill=False)
        watcher.stopping(1, kill=True)
    said = [line[11:] for line in capsys.readouterr().err.splitlines()]
    assert said == [
        "ippo/spread seeds 0-2: signal: ended by SIGKILL; starts again in 5 s (retry 1)",
        "ippo/spread seeds 0-2: cell 1 is damaged and runs again: it is torn",
        "ippo/spread seeds 0-2: failed: exception: ValueError: no",
        "iql/[bold]stag seeds 0-1: another run has it; waiting for its result",
        "stopping: 2 jobs may write a checkpoint for up to ten seconds; Ctrl-C again kills at once",
        "killing 1 job",
    ]


def test_plain_progress_comes_now_and_then(account: Account, capsys: pytest.CaptureFixture[str]) -> None:
    jobs = [job("a", steps=50), job("b")]
    with PlainWatcher(account, FakeCompanion(), every=0.3) as watcher:
        for _ in range(10):
            watcher.tick(jobs, False)
        assert not capsys.readouterr().err
        time.sleep(0.4)
        for _ in range(10):
            watcher.tick(jobs, False)
    (line,) = capsys.readouterr().err.splitlines()
    assert "50 % · 1 of 5 cells done · ippo/spread seeds 0-2 50 %, 4,501 steps/s, return_mean -20.35" in line


def test_news_of_the_companion_and_busy_gpus_are_told_once(
    account: Account, capsys: pytest.CaptureFixture[str]
) -> None:
    companion = FakeCompanion(told=["MLflow does not answer."])
    with PlainWatcher(account, companion) as watcher:
        for _ in range(3):
            watcher.tick([job("a", Phase.WAITING)], True)
    said = capsys.readouterr().err
    assert said.count("note: MLflow does not answer.") == 1
    assert said.count("another run has every GPU") == 1


def test_the_terminal_shows_a_bar_and_the_active_jobs(account: Account) -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=100, height=20, color_system=None)
    with TerminalWatcher(account, FakeCompanion(), console) as watcher:
        running = job("a", steps=50)
        watcher.started(running)
        watcher.tick([running, job("b", Phase.WAITING)], False)
        time.sleep(0.4)
        watcher.retrying(job("b", retries=1), Failure.MEMORY, "no [room]", 0.0)
    shown = screen.getvalue()
    assert "1/5 cells" in shown
    assert "50%" in shown
    row = next(line for line in shown.splitlines() if "ippo/spread seeds 0-2" in line)
    assert re.search(r"50 % +4,501 steps/s +return_mean -20.35", row)
    assert "1 job waiting" in shown
    assert "iql/[bold]stag seeds 0-1: memory: no [room]; starts again (retry 1)" in shown


def test_the_terminal_counts_the_jobs_that_have_no_room(account: Account) -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=100, height=7, color_system=None)
    with TerminalWatcher(account, FakeCompanion(), console) as watcher:
        watcher.tick([job("a", steps=50) for _ in range(5)], False)
        time.sleep(0.4)
    shown = screen.getvalue()
    assert "2 more jobs running" in shown
