"""What the page on eco-driving says of parameters, measures, observations and suites is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from marlbench.adapters.sumo.ecodriving.ledger import COMPARED
from marlbench.adapters.sumo.ecodriving.view import FEATURES
from marlbench.catalog.document import parse
from marlbench.catalog.lookup import GIVEN, Found
from marlbench.catalog.suite import check
from marlbench.plugins import load

from .test_pages import blocks, check_fields, read, rows

PAGE = "docs/traffic_eco_driving.md"


@pytest.mark.parametrize(("kind", "name"), [("environments", "eco_driving"), ("algorithms", "glosa")])
def test_parameters_and_hyperparameters(kind: str, name: str) -> None:
    plugin = load(kind, name)
    model = plugin.Parameters if kind == "environments" else plugin.Hyperparameters
    check_fields(name, model, PAGE)


def test_every_measure_against_plain_driving_is_described() -> None:
    described = set(re.findall(r"`([a-z_0-9]+)`", " ".join(row[0] for row in rows(read(PAGE), "metric"))))
    abbreviated = {"mean_speed_plain", "standing_share_plain"}
    assert set(COMPARED) - abbreviated <= described


def test_the_observation_has_as_many_numbers_as_are_described() -> None:
    counts = [int(row[0]) for row in rows(read(PAGE), "numbers")]
    assert sum(counts) == len(FEATURES)
    assert f"{len(FEATURES)} numbers named" in read(PAGE)


def test_the_suite_of_a_data_folder_is_one(tmp_path: Path) -> None:
    (example,) = blocks(read(PAGE), "yaml")
    path = tmp_path / "intersectionzoo.yaml"
    path.write_text(example, encoding="utf-8")
    suite, _, _ = check(parse(example.encode(), path), Found(path, GIVEN))
    assert suite.name == path.stem
    assert set(suite.tasks) == {"salt_lake_city"}
