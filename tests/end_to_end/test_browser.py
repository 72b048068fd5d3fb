"""What a person sees in a browser: the report from disk, the curves in MLflow, and the report inside MLflow."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .chromium import Page, browser, executable

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(executable() is None, reason="there is no Chromium"),
]

SUITE = """\
schema: 1
suite: seen
title: Two methods on two games
rows: 8
seeds: 2
steps: 4096
protocol: {kind: episodic, policy: greedy, evaluations: 4, episodes: 8, absolute_episodes: 16}
algorithms:
  random: {}
  ippo: {hyperparameters: {rollout_length: 64}}
tasks:
  stag:
    environment: matrix_game:stag_hunt
    parameters: {rounds: 20}
    score: {metric: payoff_mean, low: 1.0, high: 4.0, source: the test}
  chicken:
    environment: matrix_game:prisoners_dilemma
    parameters: {rounds: 20}
    score: {metric: payoff_mean, low: 0.0, high: 1.0, source: the test}
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the suite and its store, where `marlbench run` has ended."""
    place = tmp_path_factory.mktemp("seen")
    (place / "seen.yaml").write_text(SUITE)
    command = [sys.executable, "-m", "marlbench", "run", "./seen.yaml", "--results", "results"]
    ended = subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=900)
    assert ended.returncode == 0, ended.stderr
    assert re.search(r"report: .*report\.html", ended.stderr), "a complete run leaves its report"
    return place


@pytest.fixture(scope="module")
def addresses(trained: Path) -> Iterator[dict[str, str]]:
    """What `marlbench ui` prints, by the words before each address."""
    process = subprocess.Popen(
        [sys.executable, "-m", "marlbench", "ui", "seen", "--results", "results"],
        cwd=trained,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        found: dict[str, str] = {}
        # The report's address is the last that is printed.
        while not any(words.startswith("report of") for words in found):
            line = process.stdout.readline()
            assert line, "marlbench ui has ended"
            words, _, address = line.strip().rpartition(": http")
            found[words] = f"http{address}"
        yield found
    finally:
        process.terminate()
        process.wait(60)
        if process.stdout is not None:
            process.stdout.close()


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    with browser(tmp_path / "profile") as found:
        yield found


def test_the_report_from_disk(trained: Path, page: Page) -> None:
    (path,) = trained.glob("results/reports/seen-*/report.html")
    page.call("Emulation.setScriptExecutionDisabled", value=True)
    page.open(path.as_uri(), width=900)
    assert page.evaluate("document.title") == "seen: Two methods on two games"
    # Nothing is fetched but the page itself.
    assert page.requests == [path.as_uri()]
    seen: Any = page.evaluate(
        """[...document.querySelectorAll('figure svg')].map(svg => {
            const box = svg.getBoundingClientRect();
            return [svg.parentElement.id, box.width, box.height,
                    svg.querySelectorAll('text').length, svg.scrollWidth];
        })"""
    )
    names = [name for name, *_ in seen]
    over = [f"{name}-builtin" for name in ("aggregates", "profiles", "improvement", "efficiency")]
    assert names == [*over, "curves-stag", "episodes-stag", "curves-chicken", "episodes-chicken"]
    assert all(width > 150 and height > 80 and texts > 3 for _, width, height, texts, _ in seen)
    # The page itself is never wider than the window: what is wide scrolls by itself.
    assert page.evaluate("document.documentElement.scrollWidth") <= 900
    for scheme, dark in (("light", False), ("dark", True)):
        page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        paper, ink = page.evaluate(
            """[document.documentElement, document.querySelector('figure svg text')].map(
                (one, place) => getComputedStyle(one)[place ? 'fill' : 'backgroundColor'])"""
        )
        assert (brightness(paper) < brightness(ink)) == dark, (scheme, paper, ink)


def brightness(colour: str) -> int:
    return sum(int(part) for part in re.findall(r"\d+", colour)[:3])


def test_the_curves_are_grouped_by_algorithm(addresses: dict[str, str], page: Page) -> None:
    (suite_view,) = [
        url for words, url in addresses.items() if re.fullmatch(r"seen, \d+ evaluations.*", words)
    ]
    page.open(suite_view)
    page.wait("document.body.innerText.includes('random (eval/score)')")
    text = page.evaluate("document.body.innerText")
    assert re.findall(r"Group: (\w+)", text) == ["ippo", "random"]
    # Four cells each: the run of the report is not among them.
    assert "8 matching runs" in text
    assert {"ippo (eval/score)", "random (eval/score)"} <= set(text.splitlines())
    # One line for each algorithm, with a point for each of the four evaluations, and its band.
    page.wait("document.querySelector('.js-plotly-plot')?.data?.length > 0")
    drawn = page.evaluate(
        """document.querySelector('.js-plotly-plot').data.map(
            trace => [trace.fill ? 'band' : trace.mode, new Set(trace.x).size])"""
    )
    assert [points for kind, points in drawn if kind == "lines+markers"] == [4, 4]
    assert sum(kind == "band" for kind, _ in drawn) == 2
    colours = page.evaluate(
        """[...document.querySelector('.js-plotly-plot').querySelectorAll('path.js-line')].map(
            line => getComputedStyle(line).stroke)"""
    )
    assert len(set(colours)) >= 2


def test_the_report_opens_inside_mlflow(addresses: dict[str, str], page: Page) -> None:
    (address,) = [url for words, url in addresses.items() if words.startswith("report of")]
    page.open(address)
    page.wait("!!document.querySelector('iframe')")
    assert page.evaluate("document.querySelector('iframe').sandbox.value") == "allow-scripts"
    with page.inside():
        page.wait("document.querySelectorAll('figure svg').length == 8")
        assert page.evaluate("document.querySelector('h1').innerText") == "seen: Two methods on two games"
        assert page.evaluate("document.querySelector('#task-stag td').getBoundingClientRect().width") > 0
    assert {request.split("/")[2] for request in page.requests if "://" in request} == {
        address.split("/")[2]
    }, "whoever looks at results tells nobody"
