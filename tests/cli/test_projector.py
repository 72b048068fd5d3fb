from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from marlbench.cli.projector import Projector

Make = Callable[[str], Projector]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """A projector whose process runs a program; `folder` in it is a folder of the test's own."""

    def make(program: str) -> Projector:
        start = f"import pathlib, sys, time\nfolder = pathlib.Path({str(tmp_path)!r})\n"
        return Projector(tmp_path, [sys.executable, "-c", start + program])

    return make


FOLLOWS = "sys.stdin.read(); (folder / 'ended').touch()"


def test_it_ends_by_itself_once_its_input_ends(make: Make, tmp_path: Path) -> None:
    projector = make(FOLLOWS)
    projector.start()
    projector.start()
    time.sleep(0.3)
    assert not (tmp_path / "ended").exists()
    assert projector.finish() == ""
    assert (tmp_path / "ended").exists()


def test_without_a_start_there_is_nothing_to_finish(make: Make) -> None:
    assert make("raise SystemExit(1)").finish() == ""


def test_its_own_lines_are_news_and_a_librarys_are_not(make: Make) -> None:
    projector = make(
        "print('a library warns', file=sys.stderr)\n"
        "print('sync: MLflow does not answer.', file=sys.stderr, flush=True)\n"
        "sys.stdin.read()\nprint('sync: it is up to date again.', file=sys.stderr)\n"
    )
    projector.start()
    told: list[str] = []
    deadline = time.monotonic() + 20
    while not told:
        assert time.monotonic() < deadline
        told = projector.news()
        time.sleep(0.02)
    assert told == ["MLflow does not answer."]
    assert projector.news() == []
    assert projector.finish() == ""
    assert projector.news() == ["it is up to date again."]


def test_trouble_is_told_in_one_line(make: Make) -> None:
    projector = make("print('x', file=sys.stderr); sys.exit('error: no such server.\\n  Start it.')")
    projector.start()
    assert projector.finish() == "no such server."
    silent = make("raise SystemExit(6)")
    silent.start()
    assert silent.finish() == "it left with exit code 6"
    missing = Projector(Path(), ["/nothing/here"])
    missing.start()
    assert "could not be started" in missing.finish()


def test_it_is_not_waited_for_longer_than_promised(make: Make, tmp_path: Path) -> None:
    projector = make("(folder / 'ready').touch(); time.sleep(60)")
    projector.start()
    start = time.monotonic()
    assert "not finished" in projector.finish(patience=0.5)
    assert time.monotonic() - start < 15


def test_it_ends_when_the_run_is_killed(tmp_path: Path) -> None:
    program = (
        "import pathlib, sys, time\n"
        "from marlbench.cli.projector import Projector\n"
        f"folder = {str(tmp_path)!r}\n"
        f"follower = [sys.executable, '-c', 'import sys, pathlib; folder = pathlib.Path(sys.argv[1]);'\n"
        f"  'sys.stdin.read(); (folder / \"ended\").touch()', folder]\n"
        "Projector(pathlib.Path(folder), follower).start()\n"
        "print('started', flush=True)\n"
        "time.sleep(60)\n"
    )
    run = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert run.stdout is not None
    assert run.stdout.readline() == "started\n"
    run.kill()
    run.wait(20)
    run.stdout.close()
    deadline = time.monotonic() + 20
    while not (tmp_path / "ended").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
