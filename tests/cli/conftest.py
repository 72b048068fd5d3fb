"""The command line as a user types it, in an empty directory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from marlbench.cli import main

Typed = Callable[..., tuple[int, str, str]]


@pytest.fixture
def typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Typed:
    """Types a command line; gives the exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    for name in ("MARLBENCH_SUITES", "MARLBENCH_RESULTS", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)

    def run(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main(words)
        captured = capsys.readouterr()
        return (end.value.code if isinstance(end.value.code, int) else 0), captured.out, captured.err

    return run
