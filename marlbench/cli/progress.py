"""What a user sees while jobs run: a bar and the active jobs on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from marlbench.cli import words
from marlbench.engines.jobs import CellFailure, Observer, Phase, Tracked
from marlbench.store.states import Failure

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.progress import Progress

    from marlbench.catalog.cell import Cell

LINE_SECONDS = 10.0
# Below the bar, on a terminal: more rows are counted, not shown.
_ROWS = 12


class Account:
    """Counts steps and cells: what was done before, what jobs have done so far.

    Args:
        cells: of the matrix, by id.
        done: ids of those that were done before.
    """

    def __init__(self, cells: Mapping[str, Cell], done: frozenset[str]) -> None:
        self._cells = cells
        self._done = done
        self.total_steps = sum(cell.steps for cell in cells.values())
        self._steps_before = sum(cell.steps for cell_id, cell in cells.items() if cell_id in done)
        self.total_cells = len(cells)

    def names(self, tracked: Tracked) -> str:
        return words.names([self._cells[cell] for cell in tracked.cells])

    def steps(self, jobs: Sequence[Tracked]) -> int:
        """Environment steps taken by all seeds that were asked for."""
        return self._steps_before + round(sum(self._weight(job) * fraction(job) for job in jobs))

    def cells_done(self, jobs: Sequence[Tracked]) -> int:
        finished = [cell for job in jobs if job.phase is Phase.DONE for cell in job.cells]
        return len(self._done | set(finished))

    def _weight(self, tracked: Tracked) -> int:
        return sum(self._cells[cell].steps for cell in tracked.cells if cell not in self._done)


def fraction(tracked: Tracked) -> float:
    """How much of a job's training is over, in [0, 1]."""
    if tracked.phase is Phase.DONE:
        return 1.0
    progress = tracked.progress or {}
    steps, total = progress.get("steps"), progress.get("total_steps")
    if isinstance(steps, int) and isinstance(total, int) and total > 0:
        return min(1.0, max(0.0, steps / total))
    return 0.0


def speed(tracked: Tracked) -> str:
    """Environment steps per second of all seeds of a running job; '' while it is not known."""
    pace = (tracked.progress or {}).get("steps_per_second")
    if tracked.phase is not Phase.RUNNING or not isinstance(pace, int | float) or not pace > 0:
        return ""
    return f"{pace * len(tracked.job.cells):,.0f} steps/s"


def last_score(tracked: Tracked) -> str:
    """The last evaluation of a job; '' before the first."""
    last: Any = (tracked.progress or {}).get("last") or {}
    value = last.get("value")
    return f"{last.get('metric')} {words.number(value)}" if isinstance(value, int | float) else ""


class Companion(Protocol):
    """What accompanies the jobs (`marlbench.cli.projector.Projector`)."""

    def start(self) -> None: ...

    def news(self) -> list[str]: ...


class Watcher(ABC):
    """What both forms tell in the same words. The companion starts with the first job."""

    def __init__(self, account: Account, companion: Companion) -> None:
        self.account = account
        self._companion = companion

    @abstractmethod
    def print(self, text: str, style: str = "") -> None:
        """One line for the user."""

    def started(self, tracked: Tracked) -> None:
        self._companion.start()

    def done(self, tracked: Tracked) -> None:
        return

    def retrying(self, tracked: Tracked, failure: Failure, reason: str, pause: float) -> None:
        again = f"starts again in {words.duration(pause)}" if pause >= 1 else "starts again"
        self.print(
            f"{self.account.names(tracked)}: {failure}: {reason}; {again} (retry {tracked.retries})", "yellow"
        )

    def failed(self, tracked: Tracked, failures: Sequence[CellFailure]) -> None:
        kind, reason = failures[0].kind, failures[0].reason
        self.print(f"{self.account.names(tracked)}: failed: {kind}: {reason}", "red")

    def said(self, tracked: Tracked, lines: Sequence[str]) -> None:
        for line in lines:
            # How a job ends is told by what follows from it; the rest is news.
            if line.strip() and not line.startswith(("error: ", "stopped by ")):
                self.print(f"{self.account.names(tracked)}: {line.strip()}", "yellow")

    def deferred(self, tracked: Tracked) -> None:
        self.print(f"{self.account.names(tracked)}: another run has it; waiting for its result")

    def held(self, reason: str) -> None:
        self.print(f"no job is started: {reason}" if reason else "jobs are started again", "yellow")

    def tick(self, all_jobs: Sequence[Tracked], no_free_slot: bool) -> None:
        for line in self._companion.news():
            self.print(f"note: {line}", "yellow")

    def stopping(self, running: int, kill: bool) -> None:
        if kill:
            self.print(f"killing {words.plural(running, 'job')}", "yellow")
        elif running:
            self.print(
                f"stopping: {words.plural(running, 'job')} may write a checkpoint for up to ten seconds; "
                "Ctrl-C again kills at once",
                "yellow",
            )


class PlainWatcher(Watcher):
    """Lines on stderr, with the time of day: the start and end of each job, and progress now and then."""

    def __init__(self, account: Account, companion: Companion, every: float = LINE_SECONDS) -> None:
        super().__init__(account, companion)
        self._every = every
        self._last = time.monotonic()
        self._blocked = False

    def __enter__(self) -> Observer:
        return self

    def __exit__(self, *exception: object) -> None:
        return

    def print(self, text: str, style: str = "") -> None:
        sys.stderr.write(f"[{time.strftime('%H:%M:%S')}] {text}\n")
        sys.stderr.flush()

    def started(self, tracked: Tracked) -> None:
        super().started(tracked)
        where = tracked.slot.title if tracked.slot is not None else ""
        how = "goes on" if tracked.job.resumes else "starts again" if tracked.retries else "starts"
        self.print(f"{self.account.names(tracked)} {how} on {where} (job {tracked.job.id})")

    def done(self, tracked: Tracked) -> None:
        if tracked.elsewhere:
            self.print(f"{self.account.names(tracked)} is done, by another run")
        else:
            took = words.duration(time.monotonic() - tracked.started)
            score = last_score(tracked)
            self.print(f"{self.account.names(tracked)} is done after {took}{f', {score}' if score else ''}")

    def tick(self, all_jobs: Sequence[Tracked], no_free_slot: bool) -> None:
        super().tick(all_jobs, no_free_slot)
        if no_free_slot and not self._blocked:
            self.print("another run has every GPU; waiting for one to come free")
        self._blocked = no_free_slot
        now = time.monotonic()
        active = [job for job in all_jobs if job.phase is Phase.RUNNING]
        if now - self._last < self._every or not active:
            return
        self._last = now
        done, total = self.account.cells_done(all_jobs), self.account.total_cells
        share = self.account.steps(all_jobs) / max(1, self.account.total_steps)
        parts = [f"{100 * share:.0f} %", f"{done} of {words.plural(total, 'cell')} done"]
        parts += [self._describe(job) for job in active[:4]]
        if len(active) > 4:
            parts.append(f"and {words.plural(len(active) - 4, 'more job')}")
        self.print(words.listed(parts))

    def _describe(self, tracked: Tracked) -> str:
        more = [f"{100 * fraction(tracked):.0f} %", speed(tracked), last_score(tracked)]
        return f"{self.account.names(tracked)} " + ", ".join(part for part in more if part)


class TerminalWatcher(Watcher):
    """A bar over all steps with the active jobs below it, redrawn in place on stderr."""

    def __init__(self, account: Account, companion: Companion, console: Console | None = None) -> None:
        from rich.console import Console
        from rich.live import Live
        from rich.progress import (
            BarColumn,
            Progress,
            TaskProgressColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        super().__init__(account, companion)
        self._console = console or Console(stderr=True, highlight=False)
        self._progress: Progress = Progress(
            BarColumn(bar_width=None),
            TaskProgressColumn(),
            TextColumn("{task.fields[cells]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self._console,
            expand=True,
        )
        self._bar = self._progress.add_task(
            "", total=max(1, account.total_steps), completed=account.steps(()), cells=""
        )
        self._jobs: Sequence[Tracked] = ()
        self._blocked = False
        self._live = Live(
            get_renderable=self._draw, console=self._console, refresh_per_second=4, transient=True
        )

    def __enter__(self) -> Observer:
        self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._live.stop()

    def print(self, text: str, style: str = "") -> None:
        self._console.print(text, style=style or None, markup=False, soft_wrap=True)

    def tick(self, all_jobs: Sequence[Tracked], no_free_slot: bool) -> None:
        super().tick(all_jobs, no_free_slot)
        self._jobs = all_jobs
        self._blocked = no_free_slot
        cells = f"{self.account.cells_done(all_jobs)}/{self.account.total_cells} cells"
        self._progress.update(self._bar, completed=self.account.steps(all_jobs), cells=cells)

    def _draw(self) -> RenderableType:
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, 2))
        table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
        for _ in range(3):
            table.add_column(no_wrap=True, justify="right")
        active = [job for job in self._jobs if job.phase is Phase.RUNNING]
        rows = max(1, min(_ROWS, self._console.height - 4))
        for job in active[:rows]:
            share = f"{100 * fraction(job):.0f} %" if job.progress else "starting"
            # Names come from suite files: nothing in them is markup.
            texts = (self.account.names(job), share, speed(job), last_score(job))
            table.add_row(*(Text(text) for text in texts))
        waiting = sum(job.phase is Phase.WAITING for job in self._jobs)
        elsewhere = sum(job.phase is Phase.DEFERRED for job in self._jobs)
        rest = words.listed(
            (
                f"{words.plural(len(active) - rows, 'more job')} running" if len(active) > rows else "",
                f"{words.plural(waiting, 'job')} waiting" if waiting else "",
                f"{words.plural(elsewhere, 'job')} in another run" if elsewhere else "",
                "another run has every GPU" if self._blocked else "",
            )
        )
        return Group(self._progress, table, Text(rest, style="dim"))


def watcher(account: Account, companion: Companion) -> PlainWatcher | TerminalWatcher:
    """The form that suits stderr."""
    from rich.console import Console

    console = Console(stderr=True, highlight=False)
    if console.is_terminal and not console.is_dumb_terminal and sys.stderr.isatty():
        return TerminalWatcher(account, companion, console)
    return PlainWatcher(account, companion)
