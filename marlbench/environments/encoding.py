"""Pictures as the bytes of files: PNG, and GIF for pictures in a row."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]

_COLOURS = 128
# A GIF counts hundredths of a second, and most programs slow down what is faster than this.
_LEAST_HUNDREDTHS = 2


def png(picture: Picture) -> bytes:
    """uint8 [height, width, 3] as PNG."""
    from PIL import Image

    written = io.BytesIO()
    Image.fromarray(picture).save(written, "PNG")
    return written.getvalue()


def indexed(picture: Picture) -> Any:
    """A picture with a palette of its own, a third of its size: what `gif` takes, as PIL has it."""
    from PIL import Image

    # Median cut takes several times as long and shows no more of pictures with few colours.
    octree = Image.Quantize.FASTOCTREE
    return Image.fromarray(picture).quantize(_COLOURS, method=octree, dither=Image.Dither.NONE)


def gif(frames: Sequence[Any], seconds: Iterable[float]) -> bytes:
    """Frames as `indexed` made them, each shown for some seconds, over and over."""
    durations = [10 * max(_LEAST_HUNDREDTHS, round(100 * one)) for one in seconds]
    written = io.BytesIO()
    frames[0].save(
        written,
        "GIF",
        save_all=True,
        append_images=frames[1:],
        duration=durations,
        loop=0,
        optimize=False,
    )
    return written.getvalue()
