from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from marlbench.tracking.matrices import Matrices, record


def test_runs_that_begin_at_the_same_time_write_a_matrix_once(tmp_path: Path) -> None:
    runs, cells = 8, ["a", "b"]
    for attempt in range(5):
        root = tmp_path / str(attempt)
        together = threading.Barrier(runs)

        def begin(run: int, root: Path = root, together: threading.Barrier = together) -> None:
            together.wait()
            record(root, "0" * 16, cells)

        with ThreadPoolExecutor(runs) as pool:
            list(pool.map(begin, range(runs)))
        matrices = Matrices(root)
        matrices.refresh()
        assert [matrices.of(cell) for cell in cells] == ["0" * 16] * 2
