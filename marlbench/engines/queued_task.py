"""What runs on the machine that a queue chose: the process of one job, and what becomes of it there.

The queue's signals end here. Before its time is over the task has the job write a checkpoint and asks to be queued
again; a job that was killed while the task lives is started again in its place.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from marlbench.engines.forking import ForkedProcess
from marlbench.engines.handles import LIFELINE
from marlbench.engines.local import LocalEngine, LocalProcess
from marlbench.engines.queues import Order, Resources
from marlbench.store import cancelling, inspection

RETRIES = 2
# How long the job may take to write a checkpoint; its own patience with itself is ten seconds.
GRACE_SECONDS = 20.0
SILENCE_SECONDS = 2 * 3600.0
# After SIGTERM: a queue that takes the machine away for another job kills this one and queues it again.
_LEFT_ALONE_SECONDS = 600.0
_POLL_SECONDS = 0.2
_LOCKED_ELSEWHERE = 75


class Ended(RuntimeError):
    """The job ended without its results."""


class Task:
    """One job on this machine, as a function without arguments that can be sent there.

    Args:
        argv, environment, cwd, directory: see `marlbench.engines.queues.Order`.
        silence: seconds without a sign of life after which the job is killed and started again.
    """

    def __init__(self, order: Order, silence: float = SILENCE_SECONDS) -> None:
        self.argv: Sequence[str] = order.argv
        self.environment = dict(order.environment)
        self.cwd, self.directory = order.cwd, order.directory
        self.silence = silence
        self._told = False
        self._began: int | None = None
        self._process: LocalProcess | ForkedProcess | None = None

    def __call__(self) -> int:
        """Run the job to its end; returns its exit code.

        Raises:
            Ended: it failed, and will not be started again from here.
        """
        before = signal.signal(signal.SIGTERM, self._terminate)
        engine = LocalEngine()
        try:
            for left in reversed(range(RETRIES + 1)):
                code = self._run(engine)
                if code in (0, _LOCKED_ELSEWHERE) or cancelling.asked(self.directory):
                    return code
                if self._told:
                    # To return would tell the queue that the job is done.
                    time.sleep(_LEFT_ALONE_SECONDS)
                    raise Ended("the queue asked it to leave")
                if code > 0 or left == 0:
                    raise Ended(f"it left with exit code {code}")
        finally:
            self._process = None
            engine.close()
            signal.signal(signal.SIGTERM, before)
        raise AssertionError("unreachable")

    def rest(self) -> bool:
        """Have the job write a checkpoint and leave; whether it came any further since it was started here."""
        process = self._process
        if process is not None:
            process.terminate()
            deadline = time.monotonic() + GRACE_SECONDS
            while process.poll() is None and time.monotonic() < deadline:
                time.sleep(_POLL_SECONDS)
            process.kill()
        steps = (inspection.read_progress(self.directory) or {}).get("steps")
        return self._began is not None and isinstance(steps, int) and steps > self._began

    def _run(self, engine: LocalEngine) -> int:
        environment = {name: value for name, value in os.environ.items() if name != LIFELINE}
        # What a queue sends before the end of the time is for this process; some send it to all of them.
        ignored = signal.signal(signal.SIGUSR2, signal.SIG_IGN)
        try:
            process = engine.start(self.argv, environment | self.environment, self.cwd)
        finally:
            signal.signal(signal.SIGUSR2, ignored)
        self._process = process
        self._began = None
        progress, changed = inspection.read_progress(self.directory), time.monotonic()
        attempt = (progress or {}).get("attempt")
        while (code := process.poll()) is None:
            time.sleep(_POLL_SECONDS)
            now, seen = time.monotonic(), inspection.read_progress(self.directory)
            if seen != progress:
                progress, changed = seen, now
                if seen is not None and seen.get("attempt") != attempt:
                    # The first that this attempt says: where its checkpoint stood.
                    attempt, self._began = seen.get("attempt"), seen.get("steps")
            elif now - changed > self.silence:
                process.kill()
        for line in process.output().splitlines():
            print(line, flush=True)
        process.close()
        return code

    def _terminate(self, number: int, frame: FrameType | None) -> None:
        self._told = True
        if self._process is not None:
            self._process.terminate()


def main(words: Sequence[str]) -> int:
    """For queues that start commands: the job's directory, then its command; returns the exit code."""
    directory, *argv = words
    nothing = Resources(gpus=0, cpus=0, memory=0)
    try:
        return Task(Order("", tuple(argv), {}, Path.cwd(), Path(directory), nothing))()
    except Ended as ended:
        print(f"error: {ended}", flush=True)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
