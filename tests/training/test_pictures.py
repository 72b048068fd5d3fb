"""Films of what was trained: what is on them, and that they cost no more than they may."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from marlbench.environments.contract import BatchedEnvironment
from marlbench.environments.encoding import png
from marlbench.training import pictures
from marlbench.training.trainer import Trainer

from .cells import make_cells
from .resuming import CPU, finish
from .simulators import Ragged

SMALL = {"rollout_length": 16, "hidden": (8,), "epochs": 1}


def plenty() -> float:
    return 60.0


def frames(film: bytes) -> int:
    return int(getattr(Image.open(io.BytesIO(film)), "n_frames", 1))


def trained(tmp_path: Path, environment: str = "simple_spread", **options: Any) -> Trainer:
    hyperparameters = {} if options.get("algorithm") == "random" else SMALL
    options = {"algorithm": "ippo", "seeds": (0, 1), "steps": 200, **options}
    trainer = Trainer(
        make_cells(environment=environment, hyperparameters=hyperparameters, **options), tmp_path, CPU
    )
    finish(trainer)
    return trainer


def test_a_film_of_every_member_shows_every_step_of_a_short_episode(tmp_path: Path) -> None:
    trainer = trained(tmp_path, parameters={"episode_length": 6})
    outcomes = [trainer.outcome(member) for member in range(2)]
    found = trainer.pictures(plenty)
    assert {member: list(files) for member, files in found.items()} == {
        0: ["episode.gif"],
        1: ["episode.gif"],
    }
    assert [frames(files["episode.gif"]) for files in found.values()] == [7, 7]
    assert found[0] != found[1]
    assert [trainer.outcome(member) for member in range(2)] == outcomes


def test_a_member_that_diverged_has_none(tmp_path: Path) -> None:
    trainer = trained(tmp_path, parameters={"episode_length": 6})
    trainer.findings.diverged_at[0] = 100
    trainer.findings.best[0] = torch.nan
    assert list(trainer.pictures(plenty)) == [1]


def test_a_suite_may_want_none(tmp_path: Path) -> None:
    protocol = {
        "kind": "episodic",
        "policy": "greedy",
        "evaluations": 1,
        "episodes": 2,
        "absolute_episodes": 2,
    }
    trainer = trained(tmp_path, protocol=protocol | {"pictures": False})
    assert trainer.pictures(plenty) == {}


def test_what_cannot_be_drawn_has_none(tmp_path: Path) -> None:
    assert trained(tmp_path, "ragged").pictures(plenty) == {}


@pytest.mark.parametrize(("tenths", "least", "most"), [(0, 0, 0), (5, 2, 5), (40, 10, 40), (10_000, 51, 51)])
def test_as_many_moments_are_drawn_as_there_is_time_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tenths: int, least: int, most: int
) -> None:
    """A clock by which a picture takes a tenth of a second, and nothing else takes any time."""
    trainer = trained(tmp_path, seeds=(0,), parameters={"episode_length": 50})
    spent = [0.0]
    draw = pictures._frame

    def slow(*arguments: Any) -> Any:
        spent[0] += 0.1
        return draw(*arguments)

    monkeypatch.setattr(pictures, "_frame", slow)
    found = trainer.pictures(lambda: tenths / 10 - spent[0])
    shown = frames(found[0]["episode.gif"]) if found else 0
    assert least <= shown <= most
    assert spent[0] <= tenths / 10 + 0.1


def test_an_episode_that_takes_too_long_is_cut(tmp_path: Path) -> None:
    trainer = trained(tmp_path, seeds=(0,), parameters={"episode_length": 200})
    asked = [0]

    def left() -> float:
        asked[0] += 1
        return 100.0 - asked[0]

    # Half of the allowance is for playing, and the clock ticks once a step.
    assert 2 <= frames(trainer.pictures(left)[0]["episode.gif"]) <= 52


class WithPlot(Ragged):
    """Brings pictures of its own, and some that are not taken."""

    def artifacts(self, row: int) -> Mapping[str, NDArray[np.uint8] | bytes]:
        plot = np.full((4, 5, 3), 10 + row, np.uint8)
        return {"queues.png": plot, "queues.csv": b"1,2\n", "../out.png": plot, "episode.gif": plot}


def test_a_task_may_have_other_pictures(tmp_path: Path) -> None:
    trainer = trained(tmp_path, "ragged")
    build: Callable[[int], BatchedEnvironment] = lambda rows: WithPlot(WithPlot.Parameters(), rows, CPU)  # noqa: E731
    trainer.build = build
    found = trainer.pictures(plenty)
    assert [sorted(found[member]) for member in (0, 1)] == [["queues.csv", "queues.png"]] * 2
    assert found[1]["queues.png"] == png(np.full((4, 5, 3), 11, np.uint8))


class WithStory(Ragged):
    """Has a file that tells the row that it was asked for."""

    keeps_artifacts = True

    def artifacts(self, row: int) -> Mapping[str, NDArray[np.uint8] | bytes]:
        return {"story.txt": f"{self.rows} rows, row {row}".encode()}


def test_pictures_of_the_last_evaluation_need_no_time_to_play(tmp_path: Path) -> None:
    trainer = trained(tmp_path, "ragged")
    assert trainer.evaluator is not None
    rows = trainer.evaluator.rows
    trainer.evaluator.environment.__class__ = WithStory
    spent = iter([1.0, *[0.0] * 1_000])
    found = trainer.pictures(lambda: next(spent))
    # The first row of each member.
    assert found == {m: {"story.txt": f"{2 * rows} rows, row {m * rows}".encode()} for m in range(2)}


def test_states_are_drawn_as_they_were(tmp_path: Path) -> None:
    """What `record` kept is not changed by the steps that follow."""
    trainer = trained(tmp_path, "ragged", seeds=(0,))
    for name, parameters in (
        ("simple_spread", {"episode_length": 9}),
        ("matrix_game:stag_hunt", {"rounds": 9}),
    ):
        environment = trained(tmp_path, name, seeds=(0,), parameters=parameters).build(2)
        environment.reset(torch.tensor([5, 6]))
        later, now = [], []
        for time in range(5):
            later.append(environment.record(1))
            now.append(environment.render(1) if name == "simple_spread" else later[-1]())
            action: Tensor = torch.full((2, len(environment.specification.agents)), time % 2)
            environment.step(action)
        assert all(np.array_equal(draw(), picture) for draw, picture in zip(later, now, strict=True))
        assert not np.array_equal(now[0], now[-1])
    trainer.close()
