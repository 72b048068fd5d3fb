"""Placement over time: where the pages of the last requests lay, how long they took, how full the devices are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from marlbench.environments.drawing import FAINT, INK, Canvas, colour
from marlbench.environments.storage.devices import DEVICES

WIDTH, HEIGHT = 720, 420
SHOWN = 200
_LEFT, _RIGHT, _TOP, _MIDDLE, _BOTTOM = 84.0, 600.0, 40.0, 270.0, 390.0

# First page, device of that page afterwards, latency in microseconds, whether it was a write.
Moment = tuple[int, int, float, bool]


def picture(
    title: str, configuration: str, pages: int, moments: Sequence[Moment], used: Sequence[float]
) -> NDArray[np.uint8]:
    """Above, a mark for each of the last requests at its page, in the colour of the device that holds it then, filled
    for a write; below, their latencies; at the right, the used share of every device. uint8 [420, 720, 3]."""
    canvas = Canvas(WIDTH, HEIGHT)
    canvas.text(_LEFT, 20, title, 15, INK, bold=True)
    canvas.rectangle(_LEFT, _TOP, _RIGHT, _MIDDLE, None, FAINT)
    canvas.rectangle(_LEFT, _MIDDLE + 14, _RIGHT, _BOTTOM, None, FAINT)
    canvas.text(_LEFT - 8, _TOP + 8, "page", 12, INK, "rm")
    canvas.text(_LEFT - 8, _MIDDLE + 22, "1 s", 12, INK, "rm")
    canvas.text(_LEFT - 8, _BOTTOM - 8, "1 us", 12, INK, "rm")
    canvas.text((_LEFT + _RIGHT) / 2, _BOTTOM + 15, f"the last {SHOWN} requests", 12, INK, "mm")
    step = (_RIGHT - _LEFT) / SHOWN
    for number, (page, device, latency, write) in enumerate(moments[-SHOWN:]):
        x = _LEFT + (number + 0.5) * step
        y = _MIDDLE - 4 - (_MIDDLE - _TOP - 8) * page / max(1, pages - 1)
        tint = colour(device)
        canvas.circle(x, y, 2.6, tint if write else None, tint)
        height = min(1.0, max(0.0, np.log10(max(1.0, latency)) / 6.0))
        top = _BOTTOM - 1 - (_BOTTOM - _MIDDLE - 16) * float(height)
        canvas.line([(x, _BOTTOM - 1), (x, top)], tint, max(1.0, step - 0.6))
    for device, (letter, share) in enumerate(zip(configuration, used, strict=True)):
        top = _TOP + device * 88
        canvas.text(_RIGHT + 16, top + 8, f"{letter.upper()}  {share:.0%} used", 13, INK, bold=True)
        canvas.rectangle(_RIGHT + 16, top + 22, WIDTH - 16, top + 38, None, FAINT)
        width = (WIDTH - 32 - _RIGHT) * min(1.0, share)
        canvas.rectangle(_RIGHT + 16, top + 22, _RIGHT + 16 + width, top + 38, colour(device))
        canvas.text(_RIGHT + 16, top + 52, DEVICES[letter].title.split(",")[0], 8.5, INK)
    return canvas.pixels()
