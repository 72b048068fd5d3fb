"""Times of signals against a plain scan of the program, and against SUMO."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marlbench.adapters.sumo.ecodriving import generated
from marlbench.adapters.sumo.ecodriving.contexts import Drawn
from marlbench.adapters.sumo.ecodriving.signal_times import AMBER, GREEN, RED, Clock, Program

PHASES = st.lists(st.tuples(st.integers(1, 6), st.sampled_from("Ggyrs")), min_size=1, max_size=6)


@settings(max_examples=150, deadline=None)
@given(PHASES, st.integers(-7, 7), st.integers(0, 40))
def test_a_light_is_what_a_scan_of_its_program_finds(
    phases: list[tuple[int, str]], offset: int, time: int
) -> None:
    """Second by second: the colour, and how long until green ends or begins, once, twice and three times."""
    program = Program(tuple((float(seconds), letter) for seconds, letter in phases), float(offset))
    letters = [letter for seconds, letter in phases for _ in range(seconds)]
    cycle = len(letters)

    def green(at: int) -> bool:
        return letters[(at - offset) % cycle] in "Gg"

    light = Clock(program).light(0, float(time))
    now = letters[(time - offset) % cycle]
    if all(letter in "Gg" for letter in letters):
        assert (light.colour, light.remaining) == (GREEN, cycle)
        return
    assert light.colour == (GREEN if green(time) else AMBER if now == "y" and "G" in _upper(letters) else RED)
    if not any(letter in "Gg" for letter in letters):
        assert (light.remaining, light.second, light.third) == (cycle, 2 * cycle, 3 * cycle)
        return
    coming = range(time, time + 5 * cycle)
    begins = [at - time for at in coming if green(at) and not green(at - 1)]
    if green(time):
        assert light.remaining == next(at - time for at in coming if not green(at))
        later = [at for at in begins if at > 0]
        assert (light.second, light.third) == (later[0], later[1])
    else:
        assert (light.remaining, light.second, light.third) == tuple(begins[:3])


def _upper(letters: list[str]) -> str:
    return "".join(letters).upper()


def test_programs_run_as_in_sumo() -> None:
    """The letters of all links at every half second of two cycles, with an offset."""
    pytest.importorskip("libsumo")
    from marlbench.adapters.sumo.ecodriving import intersection
    from marlbench.adapters.sumo.simulation import Simulation

    content = generated.network(Drawn(2, 80.0, 15.0, 20.5, 26.0)).replace(b'offset="0"', b'offset="7"')
    handed, simulation = generated.Handed(), Simulation()
    try:
        handed.write(content)
        read = intersection.read("a test", handed.path)
        assert read.program.offset == 7
        assert [seconds for seconds, _ in read.program.phases] == [20.5, 3.0, 26.0, 3.0]
        simulation.begin(["--net-file", handed.path, "--step-length", "0.5"])
        for _ in range(210):
            shown = simulation.libsumo.trafficlight.getRedYellowGreenState(read.signal)
            # What is read at a time was decided for the half second that ends there.
            assert shown == read.program.state(simulation.time - 0.25 if simulation.time else 0.0)
            simulation.step_to(0)
    finally:
        simulation.close()
        handed.close()
