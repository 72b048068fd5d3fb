"""Contexts: what is drawn, which are held out, and what a data folder must have."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from marlbench.adapters.sumo.ecodriving.contexts import Drawn, contexts, data_hash, read_inflows
from marlbench.adapters.sumo.ecodriving.environment import EcoDriving
from marlbench.adapters.sumo.ecodriving.parameters import EcoDrivingParameters
from marlbench.errors import ConfigurationError


def test_contexts_lie_in_the_published_ranges_and_follow_from_the_parameters() -> None:
    parameters = EcoDrivingParameters(contexts=200)
    found = contexts(parameters, "train")
    assert found == contexts(parameters, "train")
    assert found != contexts(parameters.model_copy(update={"context_seed": 1}), "train")
    networks = [context.network for context in found if isinstance(context.network, Drawn)]
    assert len(networks) == 200
    for values, (low, high) in (
        ([network.length for network in networks], (50, 750)),
        ([network.green for network in networks], (20, 30)),
        ([network.red for network in networks], (20, 30)),
        ([network.speed_limit for network in networks], (15, 20)),
        ([context.flows[0] for context in found], (100, 500)),
    ):
        assert low <= min(values) < low + (high - low) / 10
        assert high - (high - low) / 10 < max(values) <= high
    assert {network.lanes for network in networks} == {1, 2, 3}


def test_held_out_contexts_are_others() -> None:
    parameters = EcoDrivingParameters()
    assert not set(contexts(parameters, "train")) & set(contexts(parameters, "held_out"))
    evaluated = EcoDriving.for_evaluation(parameters)
    assert isinstance(evaluated, EcoDrivingParameters)
    assert evaluated.split == "held_out"
    seen = EcoDriving.for_evaluation(EcoDrivingParameters(evaluate_on="train"))
    assert isinstance(seen, EcoDrivingParameters)
    assert seen.split == "train"


def folders(where: Path, count: int = 4, inflows: str = "1000\n2000\n7\n") -> Path:
    for number in range(count):
        folder = where / f"crossing_{number}"
        folder.mkdir()
        (folder / "net.net.xml").write_text(f"<net number='{number}'/>")
        (folder / "inflows.txt").write_text(inflows)
    return where


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_folder_is_split_once_and_for_all(tmp_path: Path, share: float) -> None:
    parameters = EcoDrivingParameters(data=str(folders(tmp_path, 10)), held_out_share=share)
    train, held_out = (
        {c.name for c in contexts(parameters, "train")},
        {c.name for c in contexts(parameters, "held_out")},
    )
    assert len(held_out) == round(10 * share)
    assert not train & held_out
    assert len(train | held_out) == 10


def test_flows_of_an_hour_follow_from_those_of_a_day(tmp_path: Path) -> None:
    data = str(folders(tmp_path, inflows="1000\n\n20000.5\n"))
    [peak, *_] = contexts(EcoDrivingParameters(data=data), "train")
    [quiet, *_] = contexts(EcoDrivingParameters(data=data, hour="off_peak"), "train")
    assert peak.flows == pytest.approx((84.0, 900.0))
    assert quiet.flows == pytest.approx((55.0, 900.0))


@pytest.mark.parametrize(
    ("inflows", "said"),
    [
        ("100\nmany\n", "line 2: 'many'"),
        ("-5\n", "line 1: '-5'"),
        ("nan\n", "line 1: 'nan'"),
        ("1e99\n", "line 1"),
        ("\n\n", "is empty"),
    ],
)
def test_malformed_inflows_are_told(tmp_path: Path, inflows: str, said: str) -> None:
    path = folders(tmp_path, 2, inflows) / "crossing_0" / "inflows.txt"
    with pytest.raises(ConfigurationError, match=said) as error:
        read_inflows(path)
    assert error.value.hint
    # Before anything is run: a plan asks for the identity of the data.
    with pytest.raises(ConfigurationError, match=said):
        EcoDriving.data_hashes(EcoDrivingParameters(data=str(tmp_path)))


def test_missing_files_are_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="does not exist"):
        contexts(EcoDrivingParameters(data=str(tmp_path / "nowhere")), "train")
    with pytest.raises(ConfigurationError, match="has 0 intersections"):
        contexts(EcoDrivingParameters(data=str(tmp_path)), "train")
    (folders(tmp_path) / "crossing_2" / "net.net.xml").unlink()
    with pytest.raises(ConfigurationError, match=r"crossing_2 has no net\.net\.xml"):
        contexts(EcoDrivingParameters(data=str(tmp_path)), "train")


def test_the_content_of_a_folder_is_the_identity(tmp_path: Path) -> None:
    before = data_hash(folders(tmp_path))
    assert before == data_hash(tmp_path)
    (tmp_path / "crossing_1" / "inflows.txt").write_text("1001\n2000\n7\n")
    assert data_hash(tmp_path) != before
    parameters = EcoDrivingParameters(data=str(tmp_path))
    assert EcoDriving.data_hashes(parameters) == {"data": data_hash(tmp_path)}
    assert EcoDriving.data_hashes(EcoDrivingParameters()) == {}


@pytest.mark.parametrize(
    "wrong",
    [
        {"inflow": (500, 100)},
        {"lanes": (0, 2)},
        {"lanes": (1, 9)},
        {"approach_length": (5, 50)},
        {"duration": 20.0},
        {"controlled_share": 0},
        {"emissions": "MOVES"},
    ],
)
def test_parameters_without_sense_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        EcoDrivingParameters(**wrong)  # type: ignore[arg-type]
