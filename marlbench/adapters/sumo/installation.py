"""Where SUMO is on this machine: the wheels libsumo, sumo-data and eclipse-sumo bring all that is needed.

Nothing here imports libsumo, which loads a hundred megabytes, except `library`.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
from pathlib import Path
from typing import Any

from marlbench.adapters.games import how_to_install
from marlbench.errors import ConfigurationError

# What a folder must have to be a SUMO_HOME: the schemes that SUMO checks its files against.
_MARK = Path("data", "xsd")
# In the order in which they are asked for a home.
_HOMES = ("sumo", "sumo_data")


def version() -> str:
    """`SUMO 1.28.0`, of libsumo.

    Raises ConfigurationError where it is not installed.
    """
    if importlib.util.find_spec("libsumo") is None:
        raise ConfigurationError("the package 'libsumo' is not installed.", hint=how_to_install("libsumo"))
    return f"SUMO {importlib.metadata.version('libsumo')}"


def home() -> Path:
    """SUMO_HOME, from the environment where it is set, else from the installed wheels.

    Raises ConfigurationError where the variable names no SUMO, or there is none.
    """
    named = os.environ.get("SUMO_HOME")
    if named:
        if not Path(named, _MARK).is_dir():
            raise ConfigurationError(
                f"SUMO_HOME is {named}, where there is no {_MARK}.",
                hint="Unset it to use the installed wheel, or set it to the folder of a SUMO installation.",
            )
        return Path(named)
    for package in _HOMES:
        spec = importlib.util.find_spec(package)
        for folder in (spec.submodule_search_locations if spec is not None else None) or ():
            if Path(folder, _MARK).is_dir():
                return Path(folder)
    raise ConfigurationError(
        "SUMO_HOME is not set and no wheel of SUMO is installed.", how_to_install("sumo")
    )


def program(name: str) -> Path:
    """A program of SUMO, such as `netgenerate` or `netconvert`.

    Raises ConfigurationError where it is not installed.
    """
    places = [home()]
    spec = importlib.util.find_spec("sumo")
    places += [
        Path(folder) for folder in (spec.submodule_search_locations if spec is not None else None) or ()
    ]
    for place in places:
        if (place / "bin" / name).is_file():
            return place / "bin" / name
    raise ConfigurationError(
        f"SUMO's program {name} is not installed.", hint="It comes with the package eclipse-sumo."
    )


def library() -> Any:
    """The module libsumo, ready for use.

    Raises ConfigurationError where it is not installed or does not load.
    """
    version()
    os.environ["SUMO_HOME"] = str(home())
    # libsumo warns on stdout of another pyarrow, which no process of a simulation ever loads.
    os.environ.setdefault("LIBSUMO_AS_TRACI", "quiet")
    try:
        import libsumo
    except (ImportError, OSError) as error:
        raise ConfigurationError(f"libsumo does not load: {error}", hint=how_to_install("libsumo")) from error
    return libsumo
