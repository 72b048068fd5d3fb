"""The parent's side of worker processes: start them, command them, tell what became of them."""

from __future__ import annotations

import contextlib
import math
import mmap
import os
import pickle
import select
import signal
import subprocess
import sys
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marlbench.adapters.arrays import Arrays, anonymous_file, carve, size
from marlbench.adapters.games import Rules
from marlbench.adapters.parallel_rows import ParallelRows, RowFailure, layout
from marlbench.adapters.spaces import Description
from marlbench.errors import ConfigurationError, MarlbenchError

_GRACE = 5.0


class SimulatorFailure(MarlbenchError):
    """An external simulator raised, or the process that it ran in died."""


@dataclass
class _Process:
    number: int
    rows: range
    popen: subprocess.Popen[bytes]
    commands: Connection
    replies: Connection

    def __post_init__(self) -> None:
        # `Connection.poll` makes a selector at every call, which takes a fifth of the job's part of a step.
        self._waiting = select.poll()
        self._waiting.register(self.replies, select.POLLIN)

    def replied(self, timeout: float) -> bool:
        """Wait so many seconds at most for a reply, or for the end of the process."""
        return bool(self._waiting.poll(math.ceil(1e3 * timeout)))

    def __str__(self) -> str:
        return f"worker {self.number} (rows {self.rows.start} to {self.rows.stop - 1})"


class Workers:
    """Rows spread over processes, or played in this one where `processes` is 0; one row a process where rules say so.

    Attributes:
        description: what the environment looks like.
        arrays: shared with the processes.

    Args:
        step_timeout: seconds that one row may take for a step or a reset in a process; None waits for ever.

    Raises ConfigurationError where the package cannot be used; SimulatorFailure, in any method, where it
    raises, a process dies, or a row does not come back in time.
    """

    description: Description
    arrays: Arrays

    def __init__(self, rules: Rules, rows: int, processes: int, step_timeout: float | None = None) -> None:
        self.rules, self.rows, self.step_timeout = rules, rows, step_timeout
        self._processes: list[_Process] = []
        self._here: ParallelRows | None = None
        if rules.alone:
            processes = rows
        if processes == 0:
            self._here = self._build_here()
            self.description = self._here.description
            fields = layout(self.description, rows)
            self.arrays = carve(bytearray(size(fields)), fields)
            self._here.attach(self.arrays)
            return
        memory = anonymous_file()
        self._close = weakref.finalize(self, _end, self._processes)
        try:
            for number, part in enumerate(_parts(rows, min(processes, rows))):
                self._processes.append(_start(number, part, memory))
            self.description = self._command("build", [(rules, process.rows) for process in self._processes])[
                0
            ]
            fields = layout(self.description, rows)
            os.ftruncate(memory, size(fields))
            self.arrays = carve(mmap.mmap(memory, size(fields)), fields)
            self._command("attach", [rows] * len(self._processes))
        except BaseException:
            self._close()
            raise
        finally:
            os.close(memory)

    def _build_here(self) -> ParallelRows:
        try:
            return ParallelRows(self.rules, range(self.rows))
        except MarlbenchError:
            raise
        except Exception as error:
            cause = f"{type(error).__name__}: {error}"
            raise SimulatorFailure(f"{self.rules.name} failed: {cause}") from error

    @property
    def process_ids(self) -> list[int]:
        return [process.popen.pid for process in self._processes]

    def step(self) -> None:
        """Take `arrays["action"]` in every row."""
        self._all("step")

    def reset(self) -> None:
        """Begin the episodes of `arrays["seed"]`."""
        self._all("reset")

    def save(self) -> list[Any]:
        """Per row, the actions of its present episode, see `ParallelRows.save`."""
        return [history for part in self._all("save") for history in part]

    def restore(self, histories: Sequence[Any]) -> None:
        """Begin the episodes of `arrays["seed"]` and play these actions, per row."""
        if self._here is not None:
            self._do_here("restore", histories)
        else:
            parts = [histories[process.rows.start : process.rows.stop] for process in self._processes]
            self._command("restore", parts, steps=1 + max(len(history) for history in histories))

    def render(self, row: int) -> NDArray[np.uint8]:
        """A picture of what a row shows: uint8 [height, width, 3]."""
        if self._here is not None:
            picture: NDArray[np.uint8] = self._do_here("render", row)
            return picture
        process = next(process for process in self._processes if row in process.rows)
        self._send(process, "render", row)
        return self._value(process, self._receive(process, None))

    def tell(self, row: int, what: str) -> Any:
        """What a row says of itself, see `Row.tell`."""
        if self._here is not None:
            return self._do_here("tell", row, what)
        process = next(process for process in self._processes if row in process.rows)
        self._send(process, "tell", (row, what))
        return self._value(process, self._receive(process, None))

    def close(self) -> None:
        """End the processes."""
        if self._here is not None:
            self._here.close()
        else:
            self._close()

    def _all(self, name: str) -> list[Any]:
        if self._here is not None:
            return [self._do_here(name)]
        return self._command(name, [None] * len(self._processes))

    def _do_here(self, name: str, *arguments: Any) -> Any:
        assert self._here is not None
        try:
            return getattr(self._here, name)(*arguments)
        except RowFailure as error:
            raise self._failure("", (error.cause, error.row, error.seed, error.steps)) from error

    def _command(self, name: str, arguments: Sequence[Any], steps: int = 1) -> list[Any]:
        """Send every process its part of a command, in which a row takes `steps`, then wait for all of them."""
        timeout = (
            None if self.step_timeout is None or name in ("build", "attach") else self.step_timeout * steps
        )
        for process, argument in zip(self._processes, arguments, strict=True):
            self._send(process, name, argument)
        replies = [self._receive(process, timeout) for process in self._processes]
        return [self._value(process, reply) for process, reply in zip(self._processes, replies, strict=True)]

    def _send(self, process: _Process, name: str, argument: Any) -> None:
        try:
            process.commands.send_bytes(pickle.dumps((name, argument)))
        except OSError as error:
            raise self._death(process) from error

    def _receive(self, process: _Process, timeout: float | None) -> tuple[str, Any]:
        """The reply of a process; no row of it may take longer than twice `timeout`."""
        try:
            if timeout is not None:
                # The first row begins with the command; a row that is met twice has had its time.
                playing = process.rows.start
                while not process.replied(timeout):
                    before, playing = playing, int(self.arrays["playing"][process.rows.start])
                    if playing == before:
                        raise self._hang(process, playing, timeout)
            reply: tuple[str, Any] = process.replies.recv()
        except (EOFError, OSError) as error:
            raise self._death(process) from error
        return reply

    def _value(self, process: _Process, reply: tuple[str, Any]) -> Any:
        outcome, value = reply
        if outcome == "refused":
            raise ConfigurationError(value[0], hint=value[1])
        if outcome == "failed":
            failure = self._failure(f"{process}: ", value)
            failure.add_note(value[4])
            raise failure
        return value

    def _hang(self, process: _Process, row: int, timeout: float) -> SimulatorFailure:
        process.popen.kill()
        return SimulatorFailure(
            f"{process} of {self.rules.name}: row {row} has not come back for {timeout:g} s "
            f"(the seed of its episode is {int(self.arrays['seed'][row])}); the process was ended.",
            hint="A step that is only slow needs a longer `step_timeout` among the task's parameters.",
        )

    def _failure(self, where: str, value: tuple[Any, ...]) -> SimulatorFailure:
        cause, row, seed, steps = value[:4]
        if row is None:
            return SimulatorFailure(f"{where}{self.rules.name} failed: {cause}")
        return SimulatorFailure(
            f"{where}{self.rules.name} failed in row {row} at step {steps} after reset(seed={seed}): {cause}",
            hint="The environment itself raised this; the log has its traceback.",
        )

    def _death(self, process: _Process) -> SimulatorFailure:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.popen.wait(_GRACE)
        code = process.popen.returncode
        if code is None:
            became = "closed its pipe"
        elif code < 0:
            became = f"was ended by {signal.Signals(-code).name}"
        else:
            became = f"left with exit code {code}"
        seeds = (
            self.arrays["seed"][process.rows.start : process.rows.stop].tolist()
            if hasattr(self, "arrays")
            else []
        )
        return SimulatorFailure(
            f"{process} of {self.rules.name}, process {process.popen.pid}, {became}; "
            f"the episodes of its rows have the seeds {seeds}.",
            hint="SIGKILL is often the system's answer to memory running out; fewer rows need less.",
        )


def _parts(rows: int, parts: int) -> list[range]:
    """Neighbouring rows in parts whose sizes differ by one at most."""
    edges = [rows * part // parts for part in range(parts + 1)]
    return [range(start, stop) for start, stop in pairwise(edges)]


def _start(number: int, rows: range, memory: int) -> _Process:
    commands_read, commands_write = os.pipe()
    replies_read, replies_write = os.pipe()
    environment = {
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "PYGAME_HIDE_SUPPORT_PROMPT": "1",
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }
    given = (commands_read, replies_write, memory)
    try:
        popen = subprocess.Popen(
            [sys.executable, "-P", "-m", "marlbench.adapters.worker", *map(str, given)],
            pass_fds=given,
            stdin=subprocess.DEVNULL,
            env=environment,
        )
    except OSError:
        os.close(commands_write)
        os.close(replies_read)
        raise
    finally:
        os.close(commands_read)
        os.close(replies_write)
    return _Process(
        number,
        rows,
        popen,
        Connection(commands_write, readable=False),
        Connection(replies_read, writable=False),
    )


def _end(processes: list[_Process]) -> None:
    """Close the pipes, on which workers leave by themselves; kill what is still there after a while."""
    for process in processes:
        with contextlib.suppress(OSError):
            process.commands.close()
            process.replies.close()
    for process in processes:
        try:
            process.popen.wait(_GRACE)
        except subprocess.TimeoutExpired:
            process.popen.kill()
            process.popen.wait()
    processes.clear()
