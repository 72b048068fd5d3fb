"""A particle world as a picture: discs, the points that they go to, and where they came from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from marlbench.environments.drawing import FAINT, INK, PAPER, Canvas, colour, mixed

SIZE = 480
_MARGIN = 24
# The square in which episodes begin; the picture grows when somebody leaves it.
_HOME = 1.0
_LANDMARK = 0.05

Point = tuple[float, float]


def draw_world(
    agents: Sequence[Point],
    landmarks: Sequence[Point],
    radii: Sequence[float],
    trails: Sequence[Sequence[Point]],
) -> NDArray[np.uint8]:
    """Agents with the ways they took, and landmarks, ringed where an agent is near."""
    canvas = Canvas(SIZE, SIZE)
    reach = max([_HOME + 0.15, *(abs(c) + 0.2 for point in (*agents, *landmarks) for c in point)])
    # In steps, so that the picture does not shake while somebody moves away.
    reach = np.ceil(reach * 4) / 4
    scale = (SIZE / 2 - _MARGIN) / reach

    def at(point: Point) -> Point:
        return SIZE / 2 + point[0] * scale, SIZE / 2 - point[1] * scale

    low, high = at((-_HOME, _HOME)), at((_HOME, -_HOME))
    canvas.rectangle(*low, *high, fill=(255, 255, 255), edge=FAINT, line=1.5)
    for half in (-0.5, 0.0, 0.5):
        canvas.line([at((half, -_HOME)), at((half, _HOME))], mixed(FAINT, PAPER, 0.5), 1)
        canvas.line([at((-_HOME, half)), at((_HOME, half))], mixed(FAINT, PAPER, 0.5), 1)
    for index, trail in enumerate(trails):
        shade = mixed(colour(index), (255, 255, 255), 0.55)
        canvas.line([at(point) for point in trail], shade, 2.5)
    for landmark in landmarks:
        near = any(np.hypot(a[0] - landmark[0], a[1] - landmark[1]) < 0.1 for a in agents)
        x, y = at(landmark)
        canvas.circle(x, y, 0.1 * scale, None, INK if near else FAINT, 2 if near else 1.5)
        canvas.circle(x, y, _LANDMARK * scale, INK)
    for index, (agent, radius) in enumerate(zip(agents, radii, strict=True)):
        x, y = at(agent)
        own = colour(index)
        canvas.circle(x, y, radius * scale, mixed(own, (255, 255, 255), 0.25), own, 2)
        canvas.text(
            x, y, str(index), size=max(10, radius * scale * 0.8), fill=(255, 255, 255), anchor="mm", bold=True
        )
    return canvas.pixels()
