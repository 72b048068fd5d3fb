"""Imports torch once and forks a process for every job, so that hundreds of crashes take seconds.

Reads one JSON object a line, forks, runs what it says, and answers with the exit code (negative: the signal).
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from fakes import Disturbance, FakeMeter, FakeTrainer
from power import Power

from marlbench.catalog.cell import Cell
from marlbench.store import execution, process
from marlbench.store import job as jobs
from marlbench.store.job_training import Settings
from marlbench.store.kept import DEFAULT_LIMIT
from marlbench.store.store import Store


def work(order: dict[str, Any]) -> int:
    """Claim the cells and run their jobs, as one process; or run one job of an existing store.

    Orders: `job`, only this job; `power`, `stop_at`, `remains`, see power.py; `operations`, a file for their number;
    `keep_states`, bytes; `kill_after`, seconds; `at_step` send itself `signal`, or else close the scheduler's end of
    the lifeline; `user`, become this one first; `meter`, measure what the training costs; `file_limit`, bytes of the
    largest file that can be written.
    """
    root = Path(order["root"])
    power = Power(root.parent, order.get("stop_at"), _path(order.get("remains")))
    if order.get("power"):
        power.install()
    if "kill_after" in order:
        threading.Timer(order["kill_after"], os.kill, (os.getpid(), signal.SIGKILL)).start()
    if "at_step" in order:
        lifeline, scheduler = os.pipe()
        os.environ["MARLBENCH_LIFELINE"] = str(lifeline)
        Disturbance.step = order["at_step"]
        number = order.get("signal")
        Disturbance.happen = lambda: os.kill(os.getpid(), number) if number else os.close(scheduler)
    if "user" in order:
        os.setuid(order["user"])
    if "file_limit" in order:
        resource.setrlimit(resource.RLIMIT_FSIZE, (order["file_limit"], resource.RLIM_INFINITY))
    settings = Settings(
        make_meter=FakeMeter if order.get("meter") else None,
        checkpoint_seconds=order.get("checkpoint_seconds", 1e9),
        keep_states=order.get("keep_states", DEFAULT_LIMIT),
        pictures_from=order.get("pictures_from", 0.0),
    )
    if "job" in order:
        return jobs.main(root, order["job"], FakeTrainer, settings)
    code = 0
    try:
        store = Store.open(root, create=True)
        cells = [Cell.from_json(cell) for cell in order["cells"]]
        for job in store.claim(cells, slots=1):
            code = jobs.main(root, job.id, FakeTrainer, settings) or code
    finally:
        if "operations" in order:
            Path(order["operations"]).write_text(str(power.operations))
    return code


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)


def main() -> None:
    # Asked once here instead of in every fork.
    execution.git_sha()
    process.GRACE = 0.5
    for line in sys.stdin:
        order = json.loads(line)
        if (child := os.fork()) == 0:
            code = 99
            try:
                os.dup2(os.open(order["output"], os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
                code = work(order)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
