"""Networks that SUMO's own `netgenerate` makes: one junction with a signal and four arms."""

from __future__ import annotations

import os
import subprocess
from functools import lru_cache
from xml.etree import ElementTree

from marlbench.adapters.arrays import anonymous_file
from marlbench.adapters.sumo.ecodriving.contexts import Drawn
from marlbench.adapters.sumo.installation import home, program
from marlbench.errors import ConfigurationError

AMBER = 3.0
"""Seconds [code]."""


class Handed:
    """A file in memory that is handed to SUMO: nothing stays behind however the process ends.

    Attributes:
        path: for SUMO's options.
    """

    def __init__(self) -> None:
        self._file = anonymous_file()
        self.path = f"/proc/self/fd/{self._file}"

    def write(self, content: bytes) -> None:
        """Put this in the place of what was there."""
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, content, 0)

    def close(self) -> None:
        os.close(self._file)


@lru_cache(maxsize=256)
def network(drawn: Drawn) -> bytes:
    """The network file, with the signal's two main phases and amber between them.

    Raises ConfigurationError where netgenerate is not installed or refuses.
    """
    made = ElementTree.fromstring(_generate(drawn))
    comments = [child for child in made if not isinstance(child.tag, str)]
    for comment in comments:
        made.remove(comment)
    main = [drawn.green, drawn.red]
    for phase in made.iter("phase"):
        phase.set("duration", str(AMBER if "y" in phase.attrib["state"] else main.pop(0)))
    return ElementTree.tostring(made)


def _generate(drawn: Drawn) -> bytes:
    command = [
        str(program("netgenerate")),
        "--grid", "--grid.number", "1",
        "--grid.attach-length", str(drawn.length),
        "--default.lanenumber", str(drawn.lanes),
        "--default.speed", str(drawn.speed_limit),
        "--tls.set", "A0",
        "--tls.left-green.time", "0",
        "--no-turnarounds",
        "--no-warnings",
        "--xml-validation", "never",
        "--output-file", "/dev/stdout",
    ]  # fmt: skip
    done = subprocess.run(
        command, capture_output=True, stdin=subprocess.DEVNULL, env={**os.environ, "SUMO_HOME": str(home())}
    )
    if done.returncode:
        said = " ".join(done.stderr.decode(errors="replace").split())
        raise ConfigurationError(
            f"netgenerate made no network of {drawn}: {said[:300]}", hint="Change the ranges of the task."
        )
    end = b"</net>"
    return done.stdout[: done.stdout.index(end) + len(end)]
