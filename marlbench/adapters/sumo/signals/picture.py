"""Pictures of a network: queues now, queues over time, mean delays on a map."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from marlbench.adapters.sumo.signals.watching import Map, Moment, Shape, Story
from marlbench.environments.drawing import FAINT, INK, PALETTE, Canvas, Colour, colour, mixed

SIZE, _EDGE, _HEAD = 640, 28.0, 34.0
_LOW: Colour = PALETTE[2]
_HIGH: Colour = PALETTE[1]
# Vehicles on a lane, and seconds lost on a road, that take the darkest colour.
_MOST_STANDING, _LEAST_SCALE = 10.0, 5.0
_CHART_WIDTH, _CHART_HEIGHT = 720, 380
_LABELLED = 7


class _Places:
    """From metres to pixels: the whole map in a square, north at the top."""

    def __init__(self, drawn: Map) -> None:
        points = np.concatenate([*drawn.edges.values(), *drawn.lanes])
        self._low, high = points.min(0), points.max(0)
        room = np.array([SIZE - 2 * _EDGE, SIZE - _HEAD - 2 * _EDGE])
        extent = np.maximum(high - self._low, 1.0)
        self._scale = float((room / extent).min())
        self._pad = (room - extent * self._scale) / 2

    def of(self, shape: Shape) -> list[tuple[float, float]]:
        moved = (shape - self._low) * self._scale + self._pad
        return [(_EDGE + float(x), SIZE - _EDGE - float(y)) for x, y in moved]


def moment_picture(title: str, drawn: Map, moment: Moment) -> NDArray[np.uint8]:
    """The network, its incoming lanes coloured by how many vehicles stand on them: uint8 [640, 640, 3]."""
    canvas, places = Canvas(SIZE, SIZE), _Places(drawn)
    hours, seconds = divmod(int(moment.time), 3_600)
    canvas.text(_EDGE, 18, title, 15, INK, bold=True)
    told = f"{hours:02d}:{seconds // 60:02d}:{seconds % 60:02d}   {int(moment.standing.sum())} vehicles stand"
    canvas.text(SIZE - _EDGE, 18, told, 13, INK, "rm")
    for shape in drawn.edges.values():
        canvas.line(places.of(shape), FAINT, 2.0)
    for shape, standing in zip(drawn.lanes, moment.standing.tolist(), strict=True):
        canvas.line(places.of(shape), mixed(_LOW, _HIGH, min(1.0, standing / _MOST_STANDING)), 4.0)
    for place in drawn.signals.values():
        canvas.circle(*places.of(np.array([place]))[0], 3.5, INK)
    return canvas.pixels()


def delay_picture(title: str, drawn: Map, story: Story) -> NDArray[np.uint8]:
    """The network, its roads coloured by the seconds that a vehicle loses on them: uint8 [640, 640, 3]."""
    canvas, places = Canvas(SIZE, SIZE), _Places(drawn)
    worst = max(_LEAST_SCALE, *story.delays.values()) if story.delays else _LEAST_SCALE
    canvas.text(_EDGE, 18, f"{title}: mean delay on each road", 15, INK, bold=True)
    canvas.text(SIZE - _EDGE, 18, f"at most {worst:.0f} s", 13, _HIGH, "rm")
    for edge, shape in sorted(drawn.edges.items(), key=lambda entry: story.delays.get(entry[0], -1.0)):
        delay = story.delays.get(edge)
        tint = FAINT if delay is None else mixed(_LOW, _HIGH, delay / worst)
        canvas.line(places.of(shape), tint, 2.0 if delay is None else 4.0)
    for place in drawn.signals.values():
        canvas.circle(*places.of(np.array([place]))[0], 3.5, INK)
    return canvas.pixels()


def queue_picture(title: str, signals: list[str], story: Story) -> NDArray[np.uint8]:
    """Vehicles that stand before each signal, over time; the worst ones in colour: uint8 [380, 720, 3]."""
    canvas = Canvas(_CHART_WIDTH, _CHART_HEIGHT)
    left, right, top, bottom = 56.0, _CHART_WIDTH - 190.0, 40.0, _CHART_HEIGHT - 44.0
    most = max(1, int(story.standing.max()))
    steps = max(1, len(story.standing) - 1)
    canvas.text(left, 20, f"{title}: vehicles that stand before each signal", 15, INK, bold=True)
    canvas.rectangle(left, top, right, bottom, None, FAINT)
    canvas.text(left - 8, top + 6, str(most), 12, INK, "rm")
    canvas.text(left - 8, bottom - 6, "0", 12, INK, "rm")
    minutes = steps * story.interval / 60
    canvas.text(left, bottom + 16, "0 min", 12, INK, "lm")
    canvas.text(right, bottom + 16, f"{minutes:.0f} min", 12, INK, "rm")
    worst_first = np.argsort(-story.standing.mean(0), kind="stable").tolist()
    for rank, signal in reversed(list(enumerate(worst_first))):
        values = story.standing[:, signal].tolist()
        points = [
            (left + (right - left) * step / steps, bottom - (bottom - top) * value / most)
            for step, value in enumerate(values)
        ]
        canvas.line(points, colour(rank) if rank < _LABELLED else FAINT, 1.6)
    for rank, signal in enumerate(worst_first[:_LABELLED]):
        mean = float(story.standing[:, signal].mean())
        told = signals[signal] if len(signals[signal]) <= 14 else f"{signals[signal][:13]}…"
        canvas.text(right + 14, top + 10 + 22 * rank, f"{told}  mean {mean:.1f}", 11.5, colour(rank))
    return canvas.pixels()
