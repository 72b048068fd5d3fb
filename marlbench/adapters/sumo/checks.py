"""`marlbench doctor traffic`: whether SUMO is here and a simulation runs."""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Iterator

from marlbench.adapters.games import how_to_install
from marlbench.adapters.sumo import installation
from marlbench.checks import Check, Status
from marlbench.errors import MarlbenchError

# netgenerate makes networks, netconvert brings those of others into SUMO's form.
_PROGRAMS = ("sumo", "netgenerate", "netconvert")


def check() -> Iterator[Check]:
    """SUMO's library, SUMO_HOME, programs, networks, and a few simulated seconds in a process of their own."""
    yield from _library()
    yield from _home()
    yield from _programs()
    yield from _simulation()


def _library() -> Iterator[Check]:
    try:
        version = installation.version()
    except MarlbenchError as error:
        yield Check("SUMO", "libsumo", Status.BROKEN, str(error), error.hint)
        return
    yield Check("SUMO", "libsumo", Status.OK, version)
    others = {name: _distribution(name) for name in ("eclipse-sumo", "sumo-data")}
    for name, other in others.items():
        if other is not None and f"SUMO {other}" != version:
            yield Check(
                "SUMO", name, Status.WARNING, f"{other}, while libsumo is {version}",
                f"pip install 'libsumo=={other}', or the other way round.",
            )  # fmt: skip


def _distribution(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _home() -> Iterator[Check]:
    whose = (
        "the environment" if os.environ.get("SUMO_HOME") else "the installed wheel; the variable is not set"
    )
    try:
        yield Check("SUMO", "SUMO_HOME", Status.OK, f"{installation.home()} (from {whose})")
    except MarlbenchError as error:
        yield Check("SUMO", "SUMO_HOME", Status.BROKEN, str(error), error.hint)


def _programs() -> Iterator[Check]:
    for name in _PROGRAMS:
        try:
            yield Check("SUMO", name, Status.OK, str(installation.program(name)))
        except MarlbenchError as error:
            yield Check("SUMO", name, Status.WARNING, str(error), error.hint)


def _simulation() -> Iterator[Check]:
    """One decision on a network of RESCO, which tries the library, the process and the pipes at once."""
    import torch

    from marlbench.adapters.sumo.signals.environment import Signals
    from marlbench.adapters.sumo.signals.parameters import SignalsParameters

    try:
        environment = Signals(SignalsParameters(network="cologne1"), 1, torch.device("cpu"))
    except MarlbenchError as error:
        yield Check("signals", "simulation", Status.BROKEN, str(error), error.hint)
        return
    try:
        environment.reset(torch.zeros(1, dtype=torch.int64))
        environment.step(torch.zeros(1, 1, dtype=torch.int64))
    except MarlbenchError as error:
        yield Check(
            "signals", "simulation", Status.BROKEN, str(error), error.hint or how_to_install("libsumo")
        )
    else:
        yield Check("signals", "simulation", Status.OK, "ten seconds of cologne1 were simulated")
    finally:
        environment.close()
