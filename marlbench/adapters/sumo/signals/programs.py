"""Phases of signals that a network's file has in comments only."""

from __future__ import annotations

import os
from pathlib import Path
from xml.etree import ElementTree

from marlbench.adapters.arrays import anonymous_file
from marlbench.errors import ConfigurationError


def commented_programs(network_file: str | Path) -> str:
    """Programs of the signals whose phases are partly in comments, with all of their phases.

    Of sumo-rl's copies of RESCO's networks, those of ingolstadt7 and ingolstadt21 have phases in comments with which
    RESCO's results were made.

    Returns:
        an additional file for SUMO, in which they replace the programs of the network; "" where there are none.

    Raises ConfigurationError where the file is no XML.
    """
    parser = ElementTree.XMLParser(target=ElementTree.TreeBuilder(insert_comments=True))
    try:
        logics = list(ElementTree.parse(network_file, parser).getroot().iter("tlLogic"))
    except (OSError, ElementTree.ParseError) as error:
        raise ConfigurationError(f"the network {network_file} cannot be read: {error}.") from error
    told = ElementTree.Element("additional")
    for logic in logics:
        phases = [_phase(child) for child in logic]
        if any(child.tag is ElementTree.Comment for child in logic):
            program = ElementTree.SubElement(told, "tlLogic", logic.attrib)
            program.set("programID", f"{logic.attrib['programID']}-with-comments")
            program.extend(phase for phase in phases if phase is not None)
    return ElementTree.tostring(told, "unicode") if len(told) else ""


def _phase(child: ElementTree.Element) -> ElementTree.Element | None:
    """A phase, in a comment or not; None where it is none."""
    if child.tag is ElementTree.Comment:
        try:
            child = ElementTree.fromstring(child.text or "")
        except ElementTree.ParseError:
            return None
    return child if child.tag == "phase" else None


class Additional:
    """A file in memory that SUMO reads.

    Attributes:
        options: what to add to the options of a simulation; [] where there is nothing to read.
    """

    def __init__(self, content: str) -> None:
        self._file = anonymous_file()
        os.write(self._file, content.encode())
        self.options = ["--additional-files", f"/proc/self/fd/{self._file}"] if content else []

    def close(self) -> None:
        os.close(self._file)
