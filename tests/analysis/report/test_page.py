"""The page of a report, read as a browser without network and without scripts would."""

from __future__ import annotations

import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from marlbench.analysis.report.provenance import Asked
from marlbench.analysis.report.writing import keep, write_folder, write_page
from marlbench.catalog.matrix import Matrix, resolve
from marlbench.store import kept_reports
from marlbench.store.store import Store

ASKED = Asked("small", ("--seeds", "3"))
VOID = {"meta", "br", "link", "img", "input", "hr"}


class Reader(HTMLParser):
    """Checks nesting, and keeps ids, links, texts and what would be fetched."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.anchors: list[str] = []
        self.fetched: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append((tag, found))
        if tag not in VOID:
            self.open.append(tag)
        self.ids += [found["id"] or ""] if "id" in found else []
        for name in ("href", "src", "xlink:href", "data", "action"):
            target = found.get(name) or ""
            if target.startswith("#"):
                self.anchors.append(target[1:])
            elif target:
                self.fetched.append(target)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1:] == [tag], self.getpos()
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.words += f"{data} "


def table_of(text: str, task: str) -> list[list[str]]:
    """The texts of the first table of a task, line by line."""
    section = text[text.index(f'id="task-{task}"') :]
    body = re.search(r"<tbody>(.*?)</tbody>", section, re.DOTALL)
    assert body is not None
    lines = re.findall(r"<tr[^>]*>(.*?)</tr>", body[1], re.DOTALL)
    cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", line, re.DOTALL) for line in lines]
    return [[re.sub("<[^>]*>", "", cell).strip() for cell in line] for line in cells]


@pytest.fixture
def full(store: Store, record: Any) -> Matrix:
    """Every cell of the suite is done; on `walk` the second algorithm is far ahead of the first."""
    matrix = resolve(["small"])
    for group in matrix.groups:
        value = {"first": -8.0, "second": -2.0, "third": -4.0}[group.cell.label]
        record(group.cells, [value + seed / 10 for seed in range(len(group.cells))])
    return matrix


_written: list[str] = []


@pytest.fixture
def page(tmp_path: Path, store: Store, full: Matrix) -> str:
    """The page of it, drawn once: `test_the_same_store_gives_the_same_bytes` shows that this is all the same."""
    if not _written:
        write_page(tmp_path / "page.html", store, full, ASKED)
        _written.append((tmp_path / "page.html").read_text(encoding="utf-8"))
    return _written[0]


def test_the_page_needs_nothing_else(page: str) -> None:
    reader = Reader(page)
    assert reader.fetched == []
    assert not {tag for tag, _ in reader.tags} & {"script", "link", "img", "iframe", "object", "embed"}
    assert not [name for _, found in reader.tags for name in found if name.startswith("on")]
    # Names of XML name spaces are not addresses that anyone visits.
    addresses = re.findall(r"(?:https?:)?//[\w.]+", re.sub(r'xmlns(:\w+)?="[^"]*"', "", page))
    assert addresses == []
    assert re.findall(r"url\((?!#)", page) == []
    assert "@import" not in page


def test_every_id_is_there_once_and_every_anchor_leads_somewhere(page: str) -> None:
    reader = Reader(page)
    assert len(reader.ids) == len(set(reader.ids))
    assert set(reader.anchors) <= set(reader.ids)
    assert set(re.findall(r"url\(#([^)]+)\)", page)) <= set(reader.ids)


def test_whoever_does_not_see_the_figures_is_told_what_they_show(page: str) -> None:
    figures = re.findall(r"<svg[^>]*>\s*<title[^>]*>([^<]+)</title>", page)
    assert len(figures) == page.count("<figure") == page.count("<svg")
    curves = next(text for text in figures if text.startswith("Learning curves of return_mean on walk"))
    assert "second ends at -1.9 after 1k steps" in curves
    over = next(text for text in figures if text.startswith("Score over environment steps"))
    assert "over walk (builtin): first ends at 0.210; second ends at 0.810; third ends at 0.610." in over
    heads = re.findall(r"<th\b[^>]*>", page)
    assert heads
    assert all('scope="' in head for head in heads)


def test_figures_take_the_colour_of_the_text(page: str) -> None:
    assert "#010203" not in page
    assert page.count("currentColor") > 100


def test_the_numbers_are_those_of_the_comparison(page: str) -> None:
    lines = {line[0]: line for line in table_of(page, "walk")}
    assert list(lines) == ["first", "second", "third"]
    assert lines["second"][1:6] == ["-1.900", "[-2.000, -1.800]", "0.810", "best", "3/3"]
    assert lines["first"][4:6] == ["not told from the best", "3/3"]
    # 72 seconds are two hundredths of an hour.
    assert lines["first"][6:] == ["1.00k", ".020", "1.0G"]


def test_what_is_needed_to_get_the_same_again(page: str, full: Matrix) -> None:
    words = Reader(page).words
    for wanted in (
        "marlbench run small --seeds 3",
        "marlbench compare small --seeds 3",
        "marlbench report small --seeds 3",
        "c" * 40,
        "torch==2.13.0",
        "a processor",
        full.suites[0].sha256,
        "schema: 1",
        "rate",
    ):
        assert wanted in words, wanted
    assert all(cell.id in words for cell in full.cells)


def test_the_same_store_gives_the_same_bytes(tmp_path: Path, store: Store, page: str) -> None:
    write_page(tmp_path / "page.html", store, resolve(["small"]), ASKED)
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == page


def test_figures_are_files_too(tmp_path: Path, store: Store, full: Matrix) -> None:
    part = resolve(["small"], tasks=["read"], algorithms=["first"])
    first, second = tmp_path / "one", tmp_path / "two"
    (second / "figures").mkdir(parents=True)
    (second / "figures" / "old.png").write_text("of another comparison")
    (second / "mine.txt").write_text("kept")
    for folder in (first, second):
        write_folder(folder, store, part, ASKED)
    names = [f"{name}-read.{suffix}" for name in ("curves", "episodes") for suffix in ("pdf", "png")]
    assert sorted(path.name for path in (second / "figures").iterdir()) == names
    assert sorted(path.name for path in second.iterdir()) == ["figures", "mine.txt", "report.html"]
    assert (first / "report.html").read_bytes() == (second / "report.html").read_bytes()
    for name in names:
        content = (first / "figures" / name).read_bytes()
        assert content == (second / "figures" / name).read_bytes()
        if name.endswith("png"):
            assert content.startswith(b"\x89PNG")
        else:
            # Texts are texts in a font of outlines, not pictures of letters: journals refuse those (Type 3).
            assert b"/Subtype /Type3" not in content
            assert b"/FontFile2" in content


def test_missing_and_diverged_runs_are_told(tmp_path: Path, store: Store, record: Any) -> None:
    matrix = resolve(["small"], tasks=["walk"])
    first, second, _ = (group.cells for group in matrix.groups)
    record(first, [-5.0, None, -6.0])
    record(second[:1], [-1.0])
    write_page(tmp_path / "page.html", store, matrix, ASKED)
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    words = Reader(page).words
    assert "4 of 9 cells have a result (5 planned)" in words
    assert "counted with the suite's score for them: first 1" in words
    lines = {line[0]: line for line in table_of(page, "walk")}
    assert lines["third"][1:4] == ["-", "-", "-"]
    assert [line[5] for line in lines.values()] == ["3/3", "1/3", "0/3"]
    rows = re.findall(r'<th scope="row">(\w+/walk/s\d)</th><td[^>]*>([^<]*)</td><td[^>]*>([^<]*)', page)
    assert rows[1] == ("first/walk/s1", "diverged", "-10")
    assert rows[-1] == ("third/walk/s2", "planned", "")
    # Its episodes before the parameters became NaN are not those that count; the curve goes on with the rule's score.
    assert "first from -8.5 to -2.5" in page


def test_a_single_run(tmp_path: Path, store: Store, record: Any) -> None:
    matrix = resolve(["small"], tasks=["walk"], algorithms=["first"], seeds=(0,))
    record(matrix.cells, [-5.0])
    write_page(tmp_path / "page.html", store, matrix, ASKED)
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "1 algorithm (first) on 1 task, 1 seed each" in Reader(page).words
    assert table_of(page, "walk")[0][1:6] == ["-5.000", "-", "0.500", "", "1/1"]
    assert "<h2>Over all tasks" not in page


def test_a_clear_difference_is_said_to_be_one(tmp_path: Path, store: Store, record: Any) -> None:
    matrix = resolve(["small"], tasks=["walk", "sail"], algorithms=["first", "second"], seeds=tuple(range(5)))
    for group in matrix.groups:
        better = group.cell.label == "second"
        value = (-2.0 if better else -8.0) if group.cell.task == "walk" else (10.0 if better else 80.0)
        record(group.cells, [value + seed / 10 for seed in range(5)])
    write_page(tmp_path / "page.html", store, matrix, ASKED)
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    words = Reader(page).words
    assert "Score over environment steps, over 2 tasks (builtin): first ends at 0." in page
    assert "Significantly better there than every other algorithm" in words
    assert "second on walk, sail." in words
    assert "Its difference to every other algorithm is significant." in words
    assert "lower is better" in words


def test_a_preset_with_a_label_warns_first(tmp_path: Path, store: Store, record: Any) -> None:
    matrix = resolve(["small"], preset="smoke")
    record(matrix.cells, [-5.0] * len(matrix.cells))
    write_page(tmp_path / "page.html", store, matrix, ASKED)
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert page.index("not a comparison.</strong>") < page.index("<h2>")


def test_words_of_users_are_words(tmp_path: Path, store: Store, record: Any, suite: Path) -> None:
    text = suite.read_text().replace("title: A small suite", "title: '<script>alert(1)</script> & $x_1$'")
    suite.write_text(text.replace("metric: return_mean", "metric: return_mean.x_1"))
    matrix = resolve(["small"], tasks=["walk"])
    record(matrix.cells, [-5.0] * len(matrix.cells))
    write_page(tmp_path / "page.html", store, matrix, ASKED)
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    reader = Reader(page)
    assert "script" not in {tag for tag, _ in reader.tags}
    assert "<script>alert(1)</script> & $x_1$" in reader.words
    assert "return_mean.x_1 of an episode" in reader.words


def test_an_algorithm_has_its_colour_in_every_selection(tmp_path: Path, store: Store, page: str) -> None:
    def colours(text: str) -> dict[str, str]:
        return {name: colour for colour, name in re.findall(r'style="background:(#\w+)"></span>(\w+)<', text)}

    path = tmp_path / "part.html"
    write_page(path, store, resolve(["small"], algorithms=["third", "second"], tasks=["walk"]), ASKED)
    everything = colours(page)
    assert len(set(everything.values())) == 3
    part = colours(path.read_text(encoding="utf-8"))
    assert part == {label: everything[label] for label in ("second", "third")}


def test_the_store_keeps_what_the_report_is_of(store: Store, full: Matrix) -> None:
    part = resolve(["small"], tasks=["read"], algorithms=["first"])
    path = keep(store, part, ASKED, figures=False)
    assert path == store.root / "reports" / f"small-{part.id}" / "report.html"
    found = kept_reports.read(path.parent)
    assert found is not None
    assert (found.suite, found.matrix, found.finished_ms) == ("small", part.id, 1_700_000_000_000)
    assert found.title == "small: 3 of 3 cells done"
    assert found.summary[0].startswith("1 algorithm (first) on 1 task, 3 seeds each.")
    (before,) = kept_reports.marks(store.root).items()
    shutil.rmtree(path.parent)
    assert kept_reports.read(path.parent) is None
    assert kept_reports.marks(store.root) == {}
    assert before[0] == path.parent.name
