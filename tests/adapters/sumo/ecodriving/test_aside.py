"""A copy of the process answers later, as the process was when the copy was made; and its end is told."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import psutil
import pytest

from marlbench.adapters.sumo.ecodriving.aside import Aside
from marlbench.errors import MarlbenchError


@pytest.fixture(autouse=True)
def _no_process_stays() -> Iterator[None]:
    before = set(psutil.Process().children())
    yield
    assert set(psutil.Process().children()) <= before


def test_a_copy_answers_as_the_process_was() -> None:
    state = {"value": 1}
    aside = Aside(lambda factor: factor * state["value"])
    state["value"] = 10
    assert aside.ask(7) == 7


@pytest.mark.parametrize("end", [lambda _: os.kill(os.getpid(), signal.SIGKILL), lambda _: 1 / 0])
def test_a_copy_that_ends_without_an_answer_is_told(end: object, capfd: pytest.CaptureFixture[str]) -> None:
    aside = Aside(end)  # type: ignore[arg-type]
    with pytest.raises(MarlbenchError, match="SUMO ended while it drove the plain traffic"):
        aside.ask(1)


def test_a_copy_that_is_not_asked_is_ended() -> None:
    aside = Aside(lambda question: question)
    aside.close()
    aside.close()
