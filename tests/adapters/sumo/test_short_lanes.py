"""What Ingolstadt's larger networks have: incoming lanes too short to stand on, and phases in comments."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from marlbench.adapters.sumo.installation import program
from marlbench.adapters.sumo.signals.networks import files
from marlbench.adapters.sumo.signals.parameters import SignalsParameters
from marlbench.adapters.sumo.signals.players import PLAYERS
from marlbench.adapters.sumo.signals.programs import commented_programs
from marlbench.errors import ConfigurationError

from .conftest import Played

NODES = """<nodes>
  <node id="west" x="-200" y="0"/><node id="joint" x="-9" y="0"/>
  <node id="middle" x="0" y="0" type="traffic_light"/>
  <node id="east" x="200" y="0"/><node id="south" x="0" y="-200"/><node id="north" x="0" y="200"/>
</nodes>"""
EDGES = """<edges>
  <edge id="far" from="west" to="joint" numLanes="2"/>
  <edge id="stub" from="joint" to="middle" numLanes="2" length="2"/>
  <edge id="out" from="middle" to="east"/>
  <edge id="up" from="south" to="middle"/><edge id="on" from="middle" to="north"/>
</edges>"""
DEMAND = """<routes>
  <flow id="a" begin="0" end="300" vehsPerHour="600" from="far" to="out"/>
  <flow id="b" begin="0" end="300" vehsPerHour="900" from="up" to="on"/>
</routes>"""


@pytest.fixture(scope="session")
def stub_network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A crossing whose western approach ends in an edge of two metres."""
    folder = tmp_path_factory.mktemp("stub")
    for name, text in (("nod", NODES), ("edg", EDGES), ("rou", DEMAND)):
        (folder / f"stub.{name}.xml").write_text(text)
    subprocess.run(
        [
            program("netconvert"), "-n", folder / "stub.nod.xml", "-e", folder / "stub.edg.xml",
            "-o", folder / "stub.net.xml", "--no-turnarounds",
        ],
        check=True,
        capture_output=True,
    )  # fmt: skip
    return folder


def test_short_lanes_are_seen_by_those_before_them(play: Callable[..., Played], stub_network: Path) -> None:
    own = {
        "network_file": str(stub_network / "stub.net.xml"),
        "route_file": str(stub_network / "stub.rou.xml"),
        "end": 300,
    }
    seen = play(**own).row.plans[0]
    blind = play(**own, shortest_lane=0.0)
    stubs = [lane for lane in blind.row.plans[0].lanes if lane.startswith("stub")]
    lengths = dict(zip(blind.row.plans[0].lanes, blind.row.plans[0].lengths, strict=True))
    assert stubs
    assert max(lengths[lane] for lane in stubs) < 5
    assert {lane for lane in seen.lanes if lane not in ("up_0",)} == {"far_0", "far_1"}
    assert all(way.incoming in seen.lanes for ways in seen.movements for way in ways)
    # Nobody stands on the stub, so greedy sees nobody wait there.
    greedy = -1 - list(PLAYERS).index("greedy")
    unseen = blind.play(greedy)
    assert unseen["delay_all"] > 1.3 * play(**own).play(greedy)["delay_all"]


def test_phases_in_comments(play: Callable[..., Played], stub_network: Path, tmp_path: Path) -> None:
    plain = (stub_network / "stub.net.xml").read_text()
    phases = [line for line in plain.splitlines() if "<phase " in line]
    hidden = phases[-2].strip()
    commented = tmp_path / "commented.net.xml"
    commented.write_text(plain.replace(hidden, f"<!-- {hidden} --> <!-- a remark -->"))
    own = {"route_file": str(stub_network / "stub.rou.xml"), "end": 300}

    def fixed_time(network: Path | str, **more: Any) -> dict[str, float]:
        played = play(network_file=str(network), **own, **more)
        return played.play(-1 - list(PLAYERS).index("fixed_time"))

    whole = fixed_time(stub_network / "stub.net.xml")
    assert fixed_time(commented, commented_phases=True) == whole
    assert "rr" not in hidden or commented_programs(commented).count("<phase") == len(phases)
    assert commented_programs(stub_network / "stub.net.xml") == ""
    # Without it only one phase is left, and no choice.
    with pytest.raises(ConfigurationError, match="two green phases"):
        fixed_time(commented)


def test_ingolstadt_has_the_phases_of_resco() -> None:
    # RESCO's files have them; sumo-rl's copies have them in comments.
    for network, count in (("ingolstadt7", 1), ("ingolstadt21", 2), ("cologne3", 0)):
        told = commented_programs(files(network)[0])
        assert told.count("<tlLogic") == count
        assert (told.count('state="rrrrrrGGGGrr"') == 1) == (count > 0)
        assert SignalsParameters(network=network).commented_phases == (count > 0)
