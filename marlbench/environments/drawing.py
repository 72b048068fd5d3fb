"""Pictures of simulators: shapes in the task's own coordinates, smooth edges, one palette for all."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Colour = tuple[int, int, int]

INK: Colour = (38, 44, 54)
PAPER: Colour = (250, 250, 247)
FAINT: Colour = (222, 224, 226)
# Wong 2011 ("Points of view: Color blindness", Nature Methods 8): told apart by colour-blind people, too.
PALETTE: tuple[Colour, ...] = (
    (0, 114, 178),
    (213, 94, 0),
    (0, 158, 115),
    (204, 121, 167),
    (230, 159, 0),
    (86, 180, 233),
    (148, 116, 75),
)
# Drawn so much larger and then reduced, which smooths every edge.
_OVERSAMPLING = 3

Anchor = Literal["lm", "mm", "rm", "lt", "mt"]


def colour(index: int) -> Colour:
    """The colour of the agent with this number."""
    return PALETTE[index % len(PALETTE)]


def mixed(one: Colour, other: Colour, share: float) -> Colour:
    """`share` of the other colour in the one."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
    return red, green, blue


class Canvas:
    """A picture of `width` x `height` pixels; y grows downwards."""

    def __init__(self, width: int, height: int, background: Colour = PAPER) -> None:
        from PIL import Image, ImageDraw

        self.width, self.height = width, height
        size = (width * _OVERSAMPLING, height * _OVERSAMPLING)
        self._image = Image.new("RGB", size, background)
        self._draw = ImageDraw.Draw(self._image)

    def circle(
        self,
        x: float,
        y: float,
        radius: float,
        fill: Colour | None,
        edge: Colour | None = None,
        line: float = 1.5,
    ) -> None:
        """A disc with an edge, or either."""
        box = _scaled((x - radius, y - radius, x + radius, y + radius))
        self._draw.ellipse(box, fill=fill, outline=edge, width=_width(line) if edge else 0)

    def rectangle(
        self,
        left: float,
        top: float,
        right: float,
        bottom: float,
        fill: Colour | None,
        edge: Colour | None = None,
        line: float = 1.5,
        rounding: float = 0.0,
    ) -> None:
        """A rectangle, with round corners if wanted."""
        box = _scaled((left, top, right, bottom))
        width = _width(line) if edge else 0
        self._draw.rounded_rectangle(box, rounding * _OVERSAMPLING, fill=fill, outline=edge, width=width)

    def line(self, points: Sequence[tuple[float, float]], fill: Colour, width: float = 1.5) -> None:
        """A line through points."""
        if len(points) > 1:
            scaled = [(x * _OVERSAMPLING, y * _OVERSAMPLING) for x, y in points]
            self._draw.line(scaled, fill=fill, width=_width(width), joint="curve")

    def text(
        self,
        x: float,
        y: float,
        text: str,
        size: float = 14,
        fill: Colour = INK,
        anchor: Anchor = "lm",
        bold: bool = False,
    ) -> None:
        """A line of text; the anchor is its left, middle or right, and its middle or top."""
        font = _font(round(size * _OVERSAMPLING), bold)
        self._draw.text((x * _OVERSAMPLING, y * _OVERSAMPLING), text, font=font, fill=fill, anchor=anchor)

    def text_width(self, text: str, size: float = 14, bold: bool = False) -> float:
        """Pixels that a line of text takes."""
        return float(_font(round(size * _OVERSAMPLING), bold).getlength(text)) / _OVERSAMPLING

    def pixels(self) -> NDArray[np.uint8]:
        """uint8 [height, width, 3]."""
        return np.asarray(self._image.reduce(_OVERSAMPLING))


def captioned(picture: NDArray[np.uint8], title: str, left: str, right: str) -> NDArray[np.uint8]:
    """A picture with a title below it and a line with something at the left and at the right."""
    width = picture.shape[1]
    # Small pictures, as of pixels of a game, are enlarged until the line fits.
    wide = max(width, 320)
    factor = max(1, wide // width)
    strip = Canvas(max(wide, width * factor), 46, background=INK)
    strip.text(12, 14, title, 13, (255, 255, 255), "lm", bold=True)
    strip.text(12, 33, left, 12, (205, 210, 216))
    strip.text(strip.width - 12, 33, right, 12, (205, 210, 216), "rm")
    picture = picture.repeat(factor, 0).repeat(factor, 1)
    if picture.shape[1] < strip.width:
        pad = strip.width - picture.shape[1]
        picture = np.pad(picture, ((0, 0), (pad // 2, pad - pad // 2), (0, 0)), constant_values=250)
    return np.concatenate([picture, strip.pixels()])


@functools.cache
def _font(size: int, bold: bool) -> Any:
    """The font that matplotlib brings along: the same on every machine."""
    from PIL import ImageFont

    # Importing matplotlib for the path takes longer than drawing a film.
    spec = importlib.util.find_spec("matplotlib")
    assert spec is not None
    assert spec.origin is not None
    folder = Path(spec.origin).parent / "mpl-data" / "fonts" / "ttf"
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(folder / name), size)


def _scaled(box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    left, top, right, bottom = box
    return left * _OVERSAMPLING, top * _OVERSAMPLING, right * _OVERSAMPLING, bottom * _OVERSAMPLING


def _width(line: float) -> int:
    return max(1, round(line * _OVERSAMPLING))
