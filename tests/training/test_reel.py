"""Moments of an episode, thinned out."""

from __future__ import annotations

import numpy as np
import pytest

from marlbench.training.reel import Reel


def test_long_episodes_are_thinned_out_evenly() -> None:
    reel = Reel[int](96)
    for time in range(1_001):
        reel.add(time)
    assert len(reel.kept) < 2 * 96
    times = reel.chosen(20)
    assert (times[0], times[-1], len(times)) == (0, 1_000, 20)
    gaps = np.diff(times)
    assert gaps.max() <= 2 * gaps.min()


@pytest.mark.parametrize("length", [1, 2, 19, 20])
def test_short_episodes_are_shown_whole(length: int) -> None:
    reel = Reel[int](20)
    for time in range(length):
        reel.add(time)
    assert reel.chosen(20) == list(range(length))
