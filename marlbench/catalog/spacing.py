"""Where in a training something happens: a number of evenly spaced points, the last at the end."""

from __future__ import annotations


def total_steps(steps: int, rows: int) -> int:
    """Environment steps of a training: a joint step is one of every row, so budgets are met to within `rows`."""
    return -(-steps // rows) * rows


def spaced(steps: int, rows: int, count: int) -> list[int]:
    """Environment steps of `count` evenly spaced points of a training."""
    joint = -(-steps // rows)
    return [-(-joint * k // count) * rows for k in range(1, count + 1)]
