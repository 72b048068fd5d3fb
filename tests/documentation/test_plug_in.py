"""The README's plug-in does what the README says, and a broken one breaks nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

ROOT = Path(__file__).parents[2]


def test_the_readme_shows_a_whole_package(files: dict[str, str]) -> None:
    assert sorted(files) == ["meeting.yaml", "meeting/reinforce.py", "meeting/ring.py", "pyproject.toml"]


def test_it_runs_from_installation_to_table(
    installed: Path, package: Path, tmp_path: Path, shell: Any
) -> None:
    shutil.copy(package / "meeting.yaml", tmp_path)
    here = shell(installed)
    choice = ("./meeting.yaml", "--task", "small_ring", "--algorithm", "random,reinforce", "--seeds", "1")
    short = (*choice, "--steps", "20000")
    outcome = here.json("run", *short)
    assert (outcome["cells"], outcome["done"], outcome["failed"]) == (2, 2, 0)
    random, reinforce = here.json("compare", *short)["rows"]
    assert (random["algorithm"], reinforce["algorithm"]) == ("random", "reinforce")
    # Two agents at random places of eight share one in an eighth of the time.
    assert random["iqm"] == pytest.approx(0.125, abs=0.03)
    assert reinforce["iqm"] > random["iqm"] + 0.2


def test_every_cell_of_the_suite_resolves_and_builds(
    installed: Path, package: Path, tmp_path: Path, shell: Any
) -> None:
    shutil.copy(package / "meeting.yaml", tmp_path)
    here = shell(installed)
    here.marlbench("validate", "--build", "./meeting.yaml")
    assert "24: 0 done, 0 to resume, 24 to run" in here.marlbench("run", "./meeting.yaml", "--dry-run").stderr
    listed = here.json("list", "plugins")["plugins"]
    ours = {row["name"]: row for row in listed if row["package"] == "meeting"}
    assert ours.keys() == {"ring", "reinforce"}


def test_the_environment_keeps_the_contract(installed: Path, tmp_path: Path, shell: Any) -> None:
    contract = ROOT / "tests" / "environments" / "test_contract.py"
    options = ("-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-k", "ring-0")
    done = shell(installed).python("-m", "pytest", *options, str(contract), cwd=ROOT)
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout


@pytest.mark.usefixtures("plugged")
@pytest.mark.parametrize("sharing", ["shared", "independent"])
def test_the_algorithm_goes_on_bit_for_bit(tmp_path: Path, sharing: str) -> None:
    from marlbench.catalog.cell import Cell
    from marlbench.plugins import load
    from marlbench.training.trainer import Trainer

    method, environment = load("algorithms", "reinforce"), load("environments", "ring")
    protocol = {
        "kind": "episodic",
        "policy": "greedy",
        "evaluations": 2,
        "episodes": 3,
        "absolute_episodes": 5,
    }
    cells = [
        Cell(
            suite="tests",
            task="ring",
            task_revision=1,
            environment="ring",
            parameters=environment.Parameters().model_dump(),
            backend="builtin",
            simulator="",
            data={},
            algorithm="reinforce",
            algorithm_revision=method.revision,
            hyperparameters=method.Hyperparameters(sharing=sharing).model_dump(),
            label="reinforce",
            rows=4,
            dtype="float32",
            protocol=protocol,
            steps=1000,
            seed=seed,
            score={"metric": "time_together", "low": 0.0, "high": 1.0, "source": "by definition"},
        )
        for seed in (3, 4)
    ]

    def trainer(name: str) -> Trainer:
        (tmp_path / name).mkdir(exist_ok=True)
        return Trainer(cells, tmp_path / name, torch.device("cpu"))

    whole, cut = trainer("whole"), trainer("cut")
    for _ in range(100):
        cut.advance()
    torch.save(cut.state_dict(), tmp_path / "checkpoint.pt")
    resumed = trainer("cut")
    resumed.load_state_dict(torch.load(tmp_path / "checkpoint.pt", weights_only=True))
    for one in (whole, resumed):
        while not one.finished:
            one.advance()
    assert [resumed.outcome(member) for member in (0, 1)] == [whole.outcome(member) for member in (0, 1)]
    assert whole.outcome(0)["parameters_sha256"] != whole.outcome(1)["parameters_sha256"]


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """A directory for the path with a package whose modules fail on import."""
    site = tmp_path / "site"
    information = site / "broken_package-1.0.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-package\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(
        "[marlbench.environments]\nunusable = broken_package:Environment\n"
        "[marlbench.algorithms]\nunusable = broken_package:Algorithm\nippo = broken_package:Algorithm\n"
        "[marlbench.suites]\nunusable = broken_package:suite\n"
    )
    (site / "broken_package.py").write_text("raise RuntimeError('out of [order]')\n")
    return site


def test_a_broken_plug_in_is_listed_and_breaks_nothing_else(broken: Path, tmp_path: Path, shell: Any) -> None:
    here = shell(broken)
    listed = here.json("list", "plugins")["plugins"]
    errors = {(row["group"], row["name"]): row["error"] for row in listed if row.get("error")}
    assert errors.keys() == {(group, "unusable") for group in ("environments", "algorithms", "suites")}
    assert all("RuntimeError: out of [order]" in error for error in errors.values())
    assert "out of [order]" in here.marlbench("list").stdout
    assert "broken-package" in here.python("-m", "marlbench", "doctor").stdout
    # What is ours still works, and keeps its names.
    here.marlbench("show", "quickstart")
    outcome = here.json(
        "run", "quickstart", "--preset", "smoke", "--task", "stag_hunt", "--algorithm", "ippo"
    )
    assert (outcome["done"], outcome["failed"]) == (1, 0)


def test_a_suite_that_needs_a_broken_plug_in_says_which(broken: Path, tmp_path: Path, shell: Any) -> None:
    text = (ROOT / "suites" / "quickstart.yaml").read_text(encoding="utf-8")
    (tmp_path / "mine.yaml").write_text(
        text.replace("suite: quickstart", "suite: mine").replace("  iql: {}", "  unusable: {}")
    )
    done = shell(broken).marlbench("run", "./mine.yaml", code=3)
    assert "unusable" in done.stderr
    assert "package broken-package" in done.stderr
    assert "RuntimeError: out of [order]" in done.stderr
    assert not (tmp_path / "results").exists()
