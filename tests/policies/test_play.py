from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from marlbench.catalog.matrix import Matrix
from marlbench.environments.keys import row_keys
from marlbench.errors import CONFIGURATION, USAGE
from marlbench.plugins import load
from marlbench.policies import films, playing, trained
from marlbench.store import naming
from marlbench.store.store import Store

from .conftest import Typed

CPU = torch.device("cpu")


def frames(tiny: tuple[Path, Matrix], name: str, **options: int) -> list[playing.Frame]:
    store = Store.open(tiny[0] / "results")
    _, rebuilt = trained.rebuild(store, naming.find(store, name), "best", CPU)
    return list(playing.frames(rebuilt, None, **{"episodes": 1, "seed": 0, "row": 0} | options))


def test_a_play_shows_every_step_and_the_end(tiny: tuple[Path, Matrix]) -> None:
    found = frames(tiny, "ippo/spread/s0", episodes=2)
    assert [(one.episode, one.step) for one in found] == [(e, t) for e in range(2) for t in range(7)]
    assert [one.over for one in found] == ([False] * 6 + [True]) * 2
    assert found[0].returned == 0.0
    assert all(one.picture.shape == found[0].picture.shape for one in found)
    # The end of an episode is not the start of the next.
    assert not np.array_equal(found[6].picture, found[7].picture)
    assert not np.array_equal(found[5].picture, found[6].picture)


def test_rows_and_seeds_are_other_episodes_and_the_same_again(tiny: tuple[Path, Matrix]) -> None:
    first = frames(tiny, "iql/spread/s0", episodes=2)
    second = frames(tiny, "iql/spread/s0", row=1)
    assert all(np.array_equal(a.picture, b.picture) for a, b in zip(first[7:], second, strict=True))
    assert not np.array_equal(first[0].picture, frames(tiny, "iql/spread/s0", seed=1)[0].picture)


def test_drawing_changes_nothing() -> None:
    environment = load("environments", "simple_spread")
    plain, drawn = (environment(environment.Parameters(episode_length=4), 2, CPU) for _ in range(2))
    keys = row_keys([3], 0, 2, CPU)
    steps = [each.reset(keys) for each in (plain, drawn)]
    for time in range(9):
        drawn.render(1)
        assert torch.equal(steps[0].observation, steps[1].observation)
        action = torch.full((2, 3), time % 5)
        steps = [each.step(action) for each in (plain, drawn)]


def test_a_matrix_shows_what_was_chosen() -> None:
    """The chosen cell is the one place where the picture of one joint action is not that of another."""
    environment = load("environments", "matrix_game")
    game = environment(environment.Parameters(game="climbing", rounds=3), 1, CPU)
    game.reset(row_keys([0], 0, 1, CPU))
    start = game.render(0)
    game.step(torch.tensor([[0, 2]]))
    chosen = game.render(0)
    changed = np.argwhere((start != chosen).any(-1))
    upper, lower = start.shape[0] * 0.15, start.shape[0] * 0.36
    inside = changed[(changed[:, 0] > upper) & (changed[:, 0] < lower)]
    # First row and third column of the matrix, besides the label of the row.
    right = inside[inside[:, 1] > 160]
    assert right[:, 1].min() > 300


@pytest.mark.parametrize("size", [(60, 40), (400, 500)])
def test_the_caption_stands_below_the_whole_picture(size: tuple[int, int]) -> None:
    picture = np.zeros((*size, 3), np.uint8)
    frame = playing.Frame(picture, 0, 3, -1.5, False)
    found = playing.captioned(frame, "tiny/spread/ippo/s0", 2)
    factor = max(1, 320 // size[1])
    assert found.shape == (size[0] * factor + 46, max(320, size[1] * factor), 3)
    assert (found[-46:] > 200).any()


def test_the_command_writes_a_gif(typed: Typed, tmp_path: Path) -> None:
    from PIL import Image

    path = tmp_path / "play.gif"
    code, out, said = typed("play", "ippo/stag/s0", "-o", str(path), "--episodes", "2", "--fps", "10")
    assert (code, out) == (0, "")
    assert "12 pictures" in said
    with Image.open(path) as film:
        assert (film.n_frames, film.info["duration"]) == (12, 100)  # type: ignore[attr-defined]
    assert [path.name for path in tmp_path.iterdir()] == ["play.gif"]


def test_an_mp4_is_written_with_what_ffmpeg_there_is(typed: Typed, tmp_path: Path) -> None:
    if shutil.which("ffmpeg") is None:
        pytest.importorskip("imageio_ffmpeg")
    path = tmp_path / "play.mp4"
    assert typed("play", "ippo/stag/s0", "-o", str(path))[0] == 0
    assert path.read_bytes()[4:8] == b"ftyp"


def test_without_ffmpeg_it_says_what_to_install(
    typed: Typed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    code, _, said = typed("play", "ippo/stag/s0", "-o", str(tmp_path / "play.mp4"))
    assert code == CONFIGURATION
    assert "pip install imageio-ffmpeg" in said


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--output", "play.avi"], "neither .gif nor .mp4"),
        (["--output", "nowhere/play.gif"], "there is no directory"),
        (["--window"], "there is no screen"),
    ],
)
def test_what_cannot_be_shown(typed: Typed, words: list[str], message: str) -> None:
    code, out, said = typed("play", "ippo/stag/s0", *words)
    assert (code, out) == (USAGE, "")
    assert message in said


def test_a_window_shows_the_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a canvas of matplotlib that needs no screen."""
    import matplotlib
    from matplotlib import pyplot

    matplotlib.use("agg", force=True)
    monkeypatch.setenv("DISPLAY", ":0")
    shown: list[float] = []
    monkeypatch.setattr(matplotlib, "use", lambda *arguments, **options: None)
    monkeypatch.setattr(pyplot, "pause", shown.append)
    monkeypatch.setattr(pyplot, "show", lambda: shown.append(0.0))
    films.show([(np.full((20, 30, 3), value, np.uint8), 0.1) for value in (0, 100, 255)], "title")
    assert shown == [0.1, 0.1, 0.1, 0.0]
    assert (np.asarray(pyplot.gcf().axes[0].images[0].get_array()) == 255).all()
    pyplot.close("all")


def test_of_a_long_episode_a_film_shows_some_moments(tiny: tuple[Path, Matrix]) -> None:
    every = frames(tiny, "ippo/spread/s0", episodes=2)
    some = frames(tiny, "ippo/spread/s0", episodes=2, most=3)
    assert [(one.episode, one.step, one.over) for one in some] == [
        (episode, step, step == 6) for episode in range(2) for step in (0, 4, 6)
    ]
    whole = {(one.episode, one.step): one for one in every}
    assert all(one.returned == whole[one.episode, one.step].returned for one in some)
    # Later pictures differ by the way that agents came: it leads through what is shown.
    assert np.array_equal(some[0].picture, every[0].picture)
