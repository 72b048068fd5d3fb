"""A study on plug-ins that do nothing, beside the suite of the other tests of the analysis."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from marlbench.analysis.studies.findings import Findings, find_out
from marlbench.catalog.matrix import resolve

STUDY = """\
schema: 1
suite: asked
title: Is a high rate better?
rows: 4
seeds: 8
steps: 1000
protocol: {kind: episodic, policy: greedy, evaluations: 2}
presets:
  short: {seeds: 4, grid: {agents: [2]}}
algorithms:
  first: {grid: {rate: [1.0, 2.0, 4.0]}}
  second: {}
  third: {}
tasks:
  walk:
    environment: walking
    grid: {agents: [2, 3]}
    score: {metric: return_mean, low: -10, high: 0, source: a coin}
study:
  question: Is a high rate better?
  source: nobody
  claims:
    rises:
      says: The higher the rate, the better.
      source: page 1
      published: by a lot
      contrast: {kind: trend, of: {algorithm: first}, over: rate, per: range}
      holds: {above: 0}
    beats_the_best:
      says: The highest rate beats the others.
      source: page 2
      contrast:
        kind: difference
        a: {algorithm: first, where: {rate: [4]}}
        b: {algorithm: [second, third], best: true}
      holds: {above: 0}
    reaches:
      says: It is nearly perfect everywhere.
      source: page 3
      metric: score
      contrast: {kind: level, of: {algorithm: first, where: {rate: [4]}}}
      places: every
      holds: {above: 0.9}
  figure: {kind: heat_map, x: rate, y: agents}
  remarks: [Nobody trained these.]
"""

Values = Mapping[tuple[str, str], Sequence[float | None]]
Judge = Callable[..., Findings]


@pytest.fixture
def study(suite: Path) -> Path:
    """The file of the study, in ./suites/studies."""
    folder = suite.parent / "studies"
    folder.mkdir()
    (folder / "asked.yaml").write_text(STUDY)
    return folder / "asked.yaml"


@pytest.fixture
def judge_by(study: Path, store: Any, finish: Any) -> Judge:
    """Gives groups, by task and label, the values of their first seeds, and judges the study."""

    def judge(values: Values, preset: str | None = None) -> Findings:
        matrix = resolve(["asked"], preset=preset)
        for group in matrix.groups:
            of = values.get((group.cell.task, group.cell.label), ())
            if of:
                finish(group.cells[: len(of)], of)
        return find_out(store, matrix, "marlbench study asked")

    return judge
