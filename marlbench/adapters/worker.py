"""A worker process: it plays its rows whenever its parent says so, and leaves when its parent is gone.

Started as `python -P -m marlbench.adapters.worker COMMANDS REPLIES MEMORY`, three file descriptors. Torch is
never imported here. Commands are pickled pairs (name, argument); replies are ("done", value), ("refused",
(message, hint)) for what the user's configuration asks and cannot have, or ("failed", (message, row, seed,
steps, traceback)).
"""

from __future__ import annotations

import mmap
import os
import pickle
import signal
import sys
import traceback
from multiprocessing.connection import Connection
from typing import Any

from marlbench.adapters.arrays import carve, size
from marlbench.adapters.parallel_rows import ParallelRows, RowFailure, layout
from marlbench.errors import MarlbenchError


class _Worker:
    def __init__(self, memory: int) -> None:
        self._memory = memory
        self._played: ParallelRows

    def build(self, argument: Any) -> Any:
        rules, rows = argument
        self._played = ParallelRows(rules, rows)
        return self._played.description

    def attach(self, rows: int) -> None:
        fields = layout(self._played.description, rows)
        self._played.attach(carve(mmap.mmap(self._memory, size(fields)), fields))

    def reset(self, _: None) -> None:
        self._played.reset()

    def step(self, _: None) -> None:
        self._played.step()

    def save(self, _: None) -> Any:
        return self._played.save()

    def restore(self, histories: Any) -> None:
        self._played.restore(histories)

    def render(self, row: int) -> Any:
        return self._played.render(row)

    def tell(self, argument: Any) -> Any:
        row, what = argument
        return self._played.tell(row, what)

    def close(self, _: None) -> None:
        self._played.close()


def serve(commands: Connection, replies: Connection, memory: int) -> None:
    """Obey until the parent closes its end."""
    worker = _Worker(memory)
    while True:
        try:
            name, argument = commands.recv()
        except EOFError:
            return
        try:
            reply: tuple[str, Any] = ("done", getattr(worker, name)(argument))
        except MarlbenchError as error:
            reply = ("refused", (str(error), error.hint))
        except RowFailure as error:
            reply = ("failed", (error.cause, error.row, error.seed, error.steps, traceback.format_exc()))
        except Exception as error:
            cause = f"{type(error).__name__}: {error}"
            reply = ("failed", (cause, None, None, None, traceback.format_exc()))
        try:
            replies.send_bytes(pickle.dumps(reply))
        except BrokenPipeError:
            return


def main() -> None:
    # The parent alone decides what a signal to the whole group means: it may finish the step and save.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    # What the package prints belongs to the log.
    os.dup2(2, 1)
    commands, replies, memory = (int(text) for text in sys.argv[1:4])
    serve(Connection(commands, writable=False), Connection(replies, readable=False), memory)


if __name__ == "__main__":
    main()
