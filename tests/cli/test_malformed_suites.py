"""Malformed suite files end with one message that names file, line and key, and exit code 3."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from marlbench import errors

GOOD = """\
schema: 1
suite: mine
title: A suite
rows: 4
seeds: 2
steps: 1000
protocol: {kind: episodic, policy: greedy, evaluations: 2}
presets:
  smoke: {steps: 100, protocol: {evaluations: 1}}
algorithms:
  random: {}
  ippo:
    hyperparameters:
      learning_rate: 0.001
tasks:
  spread:
    environment: simple_spread
    parameters:
      agents: 3
    score:
      metric: return_mean
      low: -40
      high: -15
      source: measured
"""


def replaced(old: str, new: str) -> str:
    assert GOOD.count(old) == 1
    return GOOD.replace(old, new)


# name: (content, line, key or part of the message, hint)
MALFORMED: dict[str, tuple[str, int, str, str]] = {
    "unknown key": (replaced("rows: 4", "rosw: 4"), 4, "rosw: unknown key", "Did you mean 'rows'?"),
    "unknown nested key": (
        replaced("agents: 3\n    score", "agents: 3\n    stpes: 5\n    score"),
        20,
        "tasks.spread.stpes: unknown key",
        "Did you mean 'steps'?",
    ),
    "unknown key of the score": (
        replaced("      low: -40", "      lowest: -40"),
        22,
        "tasks.spread.score.lowest: unknown key",
        "Did you mean 'low'?",
    ),
    "missing key": (replaced("title: A suite\n", ""), 1, "the key 'title' is missing", ""),
    "missing nested key": (
        replaced("      source: measured\n", ""),
        20,
        "tasks.spread.score: the key 'source' is missing",
        "",
    ),
    "duplicate key": (
        replaced("steps: 1000", "rows: 5"),
        6,
        "rows: the key is given twice, first on line 4",
        "",
    ),
    "anchor": (
        replaced("agents: 3", "agents: &n 3"),
        19,
        "tasks.spread.parameters.agents: the anchor &n",
        "",
    ),
    "alias": (replaced("agents: 3", "agents: *n"), 19, "tasks.spread.parameters.agents: the alias *n", ""),
    "tag": (replaced("title: A suite", "title: !!str A suite"), 3, "title: the tag !!str is refused", ""),
    "not finite": (replaced("low: -40", "low: -.inf"), 22, "tasks.spread.score.low: the number -.inf", ""),
    "equal bounds": (
        replaced("low: -40", "low: -15"),
        20,
        "tasks.spread.score: `low` and `high` are equal",
        "",
    ),
    "not YAML": (replaced("seeds: 2", "seeds: [2"), 6, "not valid YAML", ""),
    "a list": ("- 1\n", 1, "a suite file is a mapping", ""),
    "empty": ("", 1, "the file is empty", ""),
    "newer": (replaced("schema: 1", "schema: 2"), 1, "schema: version 2 is newer", "Update marlbench."),
    "text for a number": (replaced("steps: 1000", "steps: many"), 6, 'steps: "many" should be', ""),
    "not positive": (replaced("rows: 4", "rows: 0"), 4, "rows: 0 should be greater than or equal to 1", ""),
    "too many rows": (replaced("rows: 4", "rows: 1e9"), 4, "rows: 1000000000 should be less than", ""),
    "another schema": (replaced("schema: 1", "schema: 1.0"), 1, "schema: 1.0 should be a valid integer", ""),
    "not a mapping": (
        replaced("  random: {}", "  random: [1]"),
        11,
        "algorithms.random: [1] should be a mapping",
        "",
    ),
    "a seed twice": (replaced("seeds: 2", "seeds: [3, 3]"), 5, "has a seed twice", "3,7 for a list"),
    "no seeds": (replaced("seeds: 2", "seeds: 0"), 5, "seeds: '0' cannot be read", "5 for seeds 0 to 4"),
    "a large seed": (replaced("seeds: 2", "seeds: 1,2147483648"), 5, "not below 2**31", ""),
    "no algorithms": (
        replaced("  random: {}\n  ippo:\n    hyperparameters:\n      learning_rate: 0.001\n", "  {}\n"),
        10,
        "algorithms: must not be empty",
        "",
    ),
    "a bad name": (
        replaced("  spread:", "  'spread it':"),
        16,
        "'spread it' is not a name",
        "1 to 64 letters",
    ),
    "a reserved name": (
        replaced("  random: {}", "  task: {}"),
        11,
        "algorithms.task: 'task' has another",
        "",
    ),
    "a bad suite name": (replaced("suite: mine", "suite: ../mine"), 2, "'../mine' is not a name", ""),
    "unknown algorithm": (
        replaced("  random: {}", "  randon: {}"),
        11,
        "no algorithm is called 'randon'",
        "Did you mean 'random'?",
    ),
    "unknown environment": (
        replaced("environment: simple_spread", "environment: simple_spred"),
        17,
        "tasks.spread.environment: no environment is called 'simple_spred'",
        "Did you mean 'simple_spread'?",
    ),
    "text behind an environment": (
        replaced("environment: simple_spread", "environment: 'simple_spread:x'"),
        17,
        "takes nothing after the colon",
        "",
    ),
    "unknown hyperparameter": (
        replaced("learning_rate", "lerning_rate"),
        14,
        "the algorithm 'ippo' has no 'lerning_rate'",
        "Did you mean 'learning_rate'?",
    ),
    "hyperparameter out of range": (
        replaced("learning_rate: 0.001", "learning_rate: -1"),
        14,
        "the algorithm 'ippo': learning_rate: -1 should be greater than 0",
        "",
    ),
    "unknown parameter": (
        replaced("agents: 3", "agnets: 3"),
        19,
        "the environment 'simple_spread' has no 'agnets'",
        "Did you mean 'agents'?",
    ),
    "unknown protocol": (
        replaced("kind: episodic", "kind: episodical"),
        7,
        "protocol.kind: \"episodical\" should be 'episodic'",
        "Did you mean 'episodic'?",
    ),
    "unknown key of a preset's protocol": (
        replaced("{evaluations: 1}", "{evaluation: 1}"),
        9,
        "the protocol has no 'evaluation'",
        "Did you mean 'evaluations'?",
    ),
    "a preset called full": (replaced("  smoke:", "  full:"), 9, "presets.full:", ""),
    "a glob that matches nothing": (
        replaced("  random: {}", "  random: {tasks: [spred]}"),
        11,
        "algorithms.random.tasks[0]: no task matches 'spred'",
        "Did you mean 'spread'?",
    ),
    "an entry that a task lacks": (
        replaced("    score:\n", "    algorithms: {ipo: {}}\n    score:\n"),
        20,
        "tasks.spread.algorithms.ipo: the suite has no algorithm entry 'ipo'",
        "Did you mean 'ippo'?",
    ),
    "more evaluations than steps": (
        replaced("evaluations: 2", "evaluations: 300"),
        6,
        "too few for the 300 evaluations",
        "Train longer",
    ),
    "two entries of the same cells": (
        replaced("  random: {}", "  random: {}\n  same: {algorithm: random}"),
        12,
        "the entries 'random' and 'same' resolve to the same cells",
        "Remove one",
    ),
}


def test_the_good_suite_is_good(typed: Any) -> None:
    Path("mine.yaml").write_text(GOOD)
    code, out, err = typed("validate", "mine.yaml")
    assert code == errors.OK
    assert out == "mine.yaml: ok (1 task; cells: full 4, smoke 4)\n"
    assert err == ""


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_suites(name: str, typed: Any) -> None:
    content, line, message, hint = MALFORMED[name]
    Path("mine.yaml").write_text(content)
    code, out, err = typed("validate", "mine.yaml")
    assert code == errors.CONFIGURATION
    assert out == ""
    assert err.startswith(f"error: mine.yaml:{line}: ")
    assert message in err
    assert hint in err
    assert err.count("\n") <= 2
    assert err.count("error: ") == 1
    assert "Traceback" not in err


@pytest.mark.parametrize("content", [b"title: \xff\n", b"#" * (1 << 20) + b"\n", b"\x00\x01\x02"])
def test_what_is_no_text(content: bytes, typed: Any) -> None:
    Path("mine.yaml").write_bytes(content)
    code, _, err = typed("validate", "mine.yaml")
    assert code == errors.CONFIGURATION
    assert err.startswith("error: mine.yaml")
    assert err.count("\n") <= 2


def test_through_the_installed_command(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(MALFORMED["unknown key"][0])
    done = subprocess.run(
        [sys.executable, "-m", "marlbench", "validate", "mine.yaml"],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == errors.CONFIGURATION
    assert done.stdout == ""
    assert done.stderr == "error: mine.yaml:4: rosw: unknown key.\n  Did you mean 'rows'?\n"
