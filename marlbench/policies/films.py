"""Pictures in a row as a GIF, an MP4, or in a window."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from marlbench.environments.encoding import Picture, gif, indexed
from marlbench.errors import ConfigurationError, UsageError

FORMATS = (".gif", ".mp4")


def check_output(path: Path) -> None:
    """Raise where a film cannot be written there, before anything is played.

    Raises:
        UsageError: another ending than .gif and .mp4, or no such directory.
        ConfigurationError: there is no ffmpeg for an MP4.
    """
    if path.suffix.lower() not in FORMATS:
        raise UsageError(f"--output {path}: its name ends in neither .gif nor .mp4.", "Choose one of them.")
    if not path.absolute().parent.is_dir():
        raise UsageError(
            f"--output {path}: there is no directory {path.absolute().parent}.", "Make it first."
        )
    if path.suffix.lower() == ".mp4":
        ffmpeg()


def save(path: Path, pictures: Sequence[tuple[Picture, float]]) -> None:
    """Write a film; `pictures` come with the seconds for which each is shown.

    Raises:
        UsageError: the file cannot be written.
        ConfigurationError: there is no ffmpeg for an MP4, or it fails.
    """
    temporary = path.with_name(f".{path.stem}.tmp{path.suffix}")
    try:
        if path.suffix.lower() == ".gif":
            _save_gif(temporary, pictures)
        else:
            _save_mp4(temporary, pictures)
        temporary.replace(path)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}.") from error
    finally:
        temporary.unlink(missing_ok=True)


def _save_gif(path: Path, pictures: Sequence[tuple[Picture, float]]) -> None:
    frames = [indexed(picture) for picture, _ in pictures]
    path.write_bytes(gif(frames, [seconds for _, seconds in pictures]))


def ffmpeg() -> str:
    """The ffmpeg of this machine, or else of the package imageio-ffmpeg; ConfigurationError without either."""
    if found := shutil.which("ffmpeg"):
        return found
    try:
        from imageio_ffmpeg import get_ffmpeg_exe
    except ImportError:
        raise ConfigurationError(
            "an MP4 needs ffmpeg, and there is none on this machine.",
            "Install it, or `pip install imageio-ffmpeg`, or write a .gif.",
        ) from None
    return str(get_ffmpeg_exe())


def _save_mp4(path: Path, pictures: Sequence[tuple[Picture, float]]) -> None:
    # The rate at which the shortest picture is one frame; longer ones are repeated.
    rate = round(1 / min(seconds for _, seconds in pictures))
    height, width = pictures[0][0].shape[:2]
    # Half of all pixels in either direction carry the colour, so both sides are even.
    size = (height + height % 2, width + width % 2)
    command = [ffmpeg(), "-y", "-loglevel", "error", "-f", "rawvideo", "-pix_fmt", "rgb24"]
    command += ["-s", f"{size[1]}x{size[0]}", "-r", str(rate), "-i", "-", "-an", "-pix_fmt", "yuv420p"]
    command += ["-f", "mp4", "-movflags", "+faststart", str(path)]

    def content() -> Iterator[bytes]:
        for picture, seconds in pictures:
            padded = np.zeros((*size, 3), np.uint8)
            padded[:height, :width] = picture
            yield padded.tobytes() * max(1, round(seconds * rate))

    process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    _, said = process.communicate(b"".join(content()))
    if process.returncode != 0:
        lines = said.decode(errors="replace").strip().splitlines()
        raise ConfigurationError(
            f"ffmpeg could not write the film: {lines[-1] if lines else process.returncode}.",
            "Write a .gif instead.",
        )


def has_screen() -> bool:
    """Whether there is a screen to open a window on."""
    if sys.platform in ("darwin", "win32"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def show(pictures: Iterable[tuple[Picture, float]], title: str) -> None:
    """Show pictures in a window as they come, until they end or it is closed.

    Raises:
        UsageError: there is no screen, or nothing installed that opens windows.
    """
    if not has_screen():
        raise UsageError("there is no screen to open a window on.", "Write a film: --output play.gif.")
    import matplotlib

    try:
        from matplotlib import pyplot

        if matplotlib.get_backend().lower() == "agg":
            matplotlib.use("TkAgg", force=True)
        iterator = iter(pictures)
        picture, seconds = next(iterator)
        height, width = picture.shape[:2]
        figure = pyplot.figure(title, figsize=(width / 100, height / 100), dpi=100)
    except (ImportError, RuntimeError) as error:
        raise UsageError(
            f"no window can be opened: {error}.",
            "Install tkinter for this Python, or write --output play.gif.",
        ) from None
    image = figure.add_axes((0, 0, 1, 1)).imshow(picture)
    figure.axes[0].axis("off")
    pyplot.pause(seconds)
    for picture, seconds in iterator:
        if not pyplot.fignum_exists(figure.number):
            return
        image.set_data(picture)
        pyplot.pause(seconds)
    if pyplot.fignum_exists(figure.number):
        pyplot.show()
