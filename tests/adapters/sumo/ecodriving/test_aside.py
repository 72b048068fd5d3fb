"""A copy of the process answers later, as the process was when the copy was made; and its end is told."""

from __future__ import annotations

import os
import signal

import psutil
import pytest

from marlbench.adapters.sumo.ecodriving.aside import Aside
from marlbench.errors import MarlbenchError


def test_a_copy_answers_as_the_process_was() -> None:
    state = {"value": 1}
    aside = Aside(lambda factor: factor * state["value"])
    state["value"] = 10
    assert aside.ask(7) == 7
    assert not psutil.Process().children()


@pytest.mark.parametrize("end", [lambda _: os.kill(os.getpid(), signal.SIGSEGV), lambda _: 1 / 0])
def test_a_copy_that_ends_without_an_answer_is_told(end: object, capfd: pytest.CaptureFixture[str]) -> None:
    aside = Aside(end)  # type: ignore[arg-type]
    with pytest.raises(MarlbenchError, match="SUMO ended while it drove the plain traffic"):
        aside.ask(1)
    assert not psutil.Process().children()


def test_a_copy_that_is_not_asked_is_ended() -> None:
    aside = Aside(lambda question: question)
    assert len(psutil.Process().children()) == 1
    aside.close()
    aside.close()
    assert not psutil.Process().children()
