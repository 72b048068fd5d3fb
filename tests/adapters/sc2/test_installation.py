"""What is missing of game, maps and packages is told before anything starts, with what to do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from marlbench.adapters.sc2 import installation
from marlbench.adapters.sc2.checks import check
from marlbench.adapters.sc2.environment import Sc2, Sc2Parameters
from marlbench.checks import Status
from marlbench.environments.smac.scenarios import SCENARIOS
from marlbench.errors import ConfigurationError

HERE = Path(__file__).parent
BINARY = "Versions/Base75689/SC2_x64"
FLAT = "Maps/SMAC_Maps/32x32_flat.SC2Map"


def broken() -> dict[str, installation.Finding]:
    return {finding.name: finding for finding in installation.findings(SCENARIOS) if not finding.ok}


def missing_of_game() -> dict[str, installation.Finding]:
    of_game = ("game", "game binary", "game version", "maps")
    return {name: finding for name, finding in broken().items() if name in of_game}


def test_a_whole_game_has_nothing_missing(game: Path) -> None:
    assert missing_of_game() == {}
    assert installation.game_version() == "StarCraft II Base75689"


@pytest.mark.parametrize(
    ("change", "name", "detail", "hint"),
    [
        (lambda game: game.rename(game.parent / "elsewhere"), "game", "does not exist", "set SC2PATH"),
        (lambda game: (game / "Versions").rename(game / "Other"), "game", "no folder Versions", "4.10"),
        (
            lambda game: (game / "Versions/Base75689").rename(game / "Versions/x"),
            "game binary",
            "Base<n",
            "4.10",
        ),
        (lambda game: (game / BINARY).unlink(), "game binary", "does not exist", "4.10"),
        (lambda game: (game / BINARY).chmod(0o644), "game binary", "cannot be executed", "chmod +x"),
        (lambda game: (game / FLAT).unlink(), "maps", "does not have 32x32_flat", "cp -r"),
    ],
)
def test_what_is_missing_of_the_game(
    game: Path, change: Callable[[Path], object], name: str, detail: str, hint: str
) -> None:
    change(game)
    finding = missing_of_game()[name]
    assert finding.fatal
    assert detail in finding.detail
    assert hint in finding.hint


def test_another_version_is_told_and_can_be_played(game: Path) -> None:
    (game / "Versions/Base75689").rename(game / "Versions/Base87702")
    (finding,) = missing_of_game().values()
    assert (finding.name, finding.fatal) == ("game version", False)
    assert "not comparable" in finding.hint
    assert installation.game_version() == "StarCraft II Base87702"


def test_the_newest_version_counts(game: Path) -> None:
    for number in (9999, 100000):
        (game / f"Versions/Base{number}").mkdir()
    assert installation.builds(game)[-1] == 100000
    assert "Base100000" in missing_of_game()["game binary"].detail


def test_the_other_library_called_smac_is_not_taken_for_the_maps(
    game: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "site" / "smac" / "facade").mkdir(parents=True)
    (tmp_path / "site" / "smac" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path / "site")
    finding = broken()["smac"]
    assert "another library" in finding.detail
    assert "github.com/oxwhirl/smac" in finding.hint
    with pytest.raises(ConfigurationError, match="smac: another library"):
        Sc2.simulator_version(Sc2Parameters(scenario="3m"))


@pytest.mark.parametrize(
    ("version", "pure", "ok"), [("3.20.3", False, True), ("7.36.2", False, False), ("7.36.2", True, True)]
)
def test_protobuf(monkeypatch: pytest.MonkeyPatch, version: str, pure: bool, ok: bool) -> None:
    monkeypatch.setattr(installation, "_version", lambda distribution: version)
    if pure:
        monkeypatch.setenv("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION", "python")
    else:
        monkeypatch.delenv("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION", raising=False)
    assert ("protobuf" not in broken()) == ok


def test_a_job_refuses_before_it_starts_a_game(
    game: Path, faults: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(HERE / "stubs")
    for name in ("_protobuf", "_package"):
        monkeypatch.setattr(installation, name, lambda *_: installation.Finding("", True, True, ""))
    monkeypatch.setattr(installation.importlib.util, "find_spec", lambda name: object())
    (game / FLAT).unlink()
    parameters = Sc2Parameters(scenario="terran_5_vs_5")
    for refused in (lambda: Sc2(parameters, 1, None), lambda: Sc2.data_hashes(parameters)):  # type: ignore[arg-type]
        with pytest.raises(ConfigurationError, match=r"maps: .* does not have 32x32_flat") as caught:
            refused()
        assert "cp -r" in caught.value.hint
    assert Sc2.examples() == [Sc2Parameters(scenario="3m", episode_limit=4, sparse_reward=True)]
    assert not list(faults([]).glob("start-*"))


@pytest.mark.parametrize(("fixed", "told"), [(True, "fix_obs on"), (False, "fix_obs off")])
def test_the_version_tells_whether_observations_are_repaired(
    game: Path, monkeypatch: pytest.MonkeyPatch, fixed: bool, told: str
) -> None:
    monkeypatch.syspath_prepend(HERE / "stubs")
    version = Sc2.simulator_version(Sc2Parameters(scenario="terran_5_vs_5", fix_obs=fixed))
    assert version.startswith("smacv2 ")
    assert version.endswith(f", {told}, StarCraft II Base75689")


def test_doctor_tells_everything_and_starts_nothing_where_something_is_missing(game: Path) -> None:
    (game / FLAT).unlink()
    told = {one.name: one for one in check()}
    assert told["maps"].status is Status.BROKEN
    assert told["game binary"].status is Status.OK
    assert {"smacv2", "smac", "pysc2", "s2clientprotocol", "protobuf", "game version"} <= set(told)
    assert not any(name.startswith("battle") for name in told)
    assert all(one.hint for one in told.values() if one.status is not Status.OK)


def test_only_smacv2_has_extended_partial_observability() -> None:
    with pytest.raises(ValueError, match="extended_partial_observability is smacv2's, and smac plays '3m'"):
        Sc2Parameters(scenario="3m", extended_partial_observability=True)
    with pytest.raises(ValueError, match="there is no scenario '4m'"):
        Sc2Parameters(scenario="4m")
