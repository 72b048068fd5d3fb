"""`marlbench study` with cells that are really trained: the same cells and store as `run`."""

from __future__ import annotations

import json
from pathlib import Path

from marlbench.errors import CONFIGURATION, USAGE

from .conftest import Typed

STUDY = """\
schema: 1
suite: coin
title: Is a random player fair?
rows: 8
seeds: 4
steps: 64
protocol: {kind: episodic, policy: greedy, evaluations: 1, episodes: 8, absolute_episodes: 64}
algorithms:
  random: {}
tasks:
  game:
    environment: matrix_game:prisoners_dilemma
    grid: {rounds: [10, 20]}
    score: {metric: payoff_mean, low: 0, high: 1, source: mutual defection and mutual cooperation}
study:
  question: Is a random player fair?
  source: arithmetic
  claims:
    fair:
      says: It cooperates in half of the rounds.
      source: arithmetic
      metric: cooperation_rate
      contrast: {kind: level, of: {}}
      holds: {between: [0.4, 0.6]}
    greedy:
      says: It hardly ever cooperates.
      source: nobody
      metric: cooperation_rate
      contrast: {kind: level, of: {}}
      holds: {below: 0.2}
    longer:
      says: The longer, the more it cooperates.
      source: nobody
      metric: cooperation_rate
      contrast: {kind: trend, of: {}, over: rounds}
      holds: {above: 0}
      least: 5
  figure: {kind: lines, x: rounds, metric: cooperation_rate}
"""


def test_a_study_from_the_plan_to_the_verdicts(typed: Typed, tmp_path: Path) -> None:
    folder = tmp_path / "suites" / "studies"
    folder.mkdir(parents=True)
    (folder / "coin.yaml").write_text(STUDY)
    cpu = ("--device", "cpu", "--jobs", "1")
    code, out, err = typed("study", "coin", *cpu, "--dry-run")
    assert (code, out) == (0, "")
    assert "8: 0 done" in " ".join(err.split())
    assert not (tmp_path / "results").exists()

    code, out, _ = typed("run", "coin", *cpu, "--seeds", "1", "--json")
    assert (code, json.loads(out)["done_now"]) == (0, 2)
    code, out, err = typed("study", "coin", *cpu, "--json")
    assert code == 0, err
    assert "8: 2 done" in " ".join(err.split())
    document = json.loads(out)
    found = {claim["name"]: claim for claim in document["claims"]}
    assert {name: claim["verdict"] for name, claim in found.items()} == {
        "fair": "holds",
        "greedy": "does not hold",
        "longer": "undecided",
    }
    assert found["longer"]["reason"] == "2 of 2 groups of cells have fewer than 5 runs"
    assert found["fair"]["n"] == 8
    report = tmp_path / "results" / "reports" / f"coin-{document['matrix_id']}"
    assert {path.name for path in (report / "study").iterdir()} == {"coin.md", "coin.json", "coin.png"}
    assert (report / "report.html").is_file()

    # Nothing is left to train, and what is written elsewhere is the same.
    code, out, err = typed("study", "coin", *cpu, "--out", "elsewhere")
    assert code == 0
    assert "8: 8 done" in " ".join(err.split())
    assert "Of 3 claims 1 does not hold, 1 holds, 1 is undecided." in out
    for name in ("coin.md", "coin.json", "coin.png"):
        assert (tmp_path / "elsewhere" / name).read_bytes() == (report / "study" / name).read_bytes()


def test_what_starts_its_jobs_is_named_as_for_run(typed: Typed, tmp_path: Path) -> None:
    (tmp_path / "coin.yaml").write_text(STUDY)
    code, _, said = typed("study", "./coin.yaml", "--engine", "slrum")
    assert code == CONFIGURATION
    assert "Did you mean 'slurm'?" in said
    code, _, said = typed("study", "./coin.yaml", "--detach")
    assert code == USAGE
    assert "'local' is none" in said
    code, _, said = typed("study", "./coin.yaml", "--time-limit", "soon")
    assert code == USAGE
    assert "--time-limit" in said
    assert not (tmp_path / "results").exists()
