"""The example of docs/traffic_signals.md, as it is written there, from the road network to the table."""

from __future__ import annotations

import importlib.util
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "traffic_signals.md"


def block(kind: str, containing: str) -> str:
    found = [
        text for text in re.findall(rf"```{kind}\n(.*?)```", PAGE.read_text(), re.S) if containing in text
    ]
    assert len(found) == 1
    return found[0]


@pytest.mark.slow
@pytest.mark.skipif(
    any(importlib.util.find_spec(package) is None for package in ("libsumo", "sumo")),
    reason="marlbench[traffic] is not installed",
)
def test_a_network_of_ones_own(tmp_path: Path) -> None:
    from marlbench.adapters.sumo.installation import program

    words = shlex.split(block("sh", "netgenerate").replace("\\\n", " "))
    subprocess.run([program(words[0]), *words[1:]], cwd=tmp_path, check=True, capture_output=True)
    (tmp_path / "two.rou.xml").write_text(block("xml", "<routes>"))
    suite = (
        block("yaml", "two_crossings").replace("steps: 1200", "steps: 120").replace("end: 600", "end: 300")
    )
    (tmp_path / "two.yaml").write_text(suite)
    command = [
        sys.executable,
        "-m",
        "marlbench",
        "run",
        "./two.yaml",
        "--seeds",
        "1",
        "--results",
        "kept",
    ]

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, "--algorithm", "max_pressure"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )

    first = run()
    assert first.returncode == 0, first.stderr
    assert "1 of 1 cells done" in first.stdout
    assert len(list((tmp_path / "kept" / "cells").iterdir())) == 1
    # Another demand is another cell; the first one stays.
    demand = tmp_path / "two.rou.xml"
    demand.write_text(demand.read_text().replace('period="5"', 'period="4"'))
    assert run().returncode == 0
    assert len(list((tmp_path / "kept" / "cells").iterdir())) == 2
    # What SUMO refuses is one message and an exit code of its own; nothing that is done is lost.
    demand.write_text("<routes><flow")
    refused = run()
    assert refused.returncode in (3, 4)
    assert "SUMO refuses two.net.xml, two.rou.xml" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert len(list((tmp_path / "kept" / "cells").glob("*/result.json"))) == 2
