"""Results of other programs: what is read, onto which scale, and what is refused with which place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from marlbench.analysis.comparison import compare_foreign, compare_matrix
from marlbench.analysis.foreign import Scale, gather, parse_bounds, parse_file
from marlbench.analysis.foreign_files import read
from marlbench.catalog.matrix import resolve
from marlbench.errors import UsageError
from marlbench.store.store import Store

LINES = "task,algorithm,seed,value\nwalk,theirs,0,-3\nwalk,theirs,1,-2\nwalk,other,0,-1\n"
RUN = {
    "step_1": {"step_count": 100, "elapsed_time": 1.5, "return": [1.0, 3.0], "won": [0.0]},
    "step_2": {"step_count": 200, "return": [5.0, 5.0], "won": [1.0]},
    "absolute_metrics": {"return": [4.0, 4.0, 7.0], "won": [0.5]},
}


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def file(name: str, content: Any) -> str:
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return str(path)

    return file


def test_csv_of_runs(write: Any) -> None:
    found = compare_foreign(gather([write("runs.csv", LINES)], bounds=parse_bounds(["-10:0"])))
    assert (found.suite, found.done) == ("runs", 3)
    assert [(row.cell.label, row.cell.backend, row.n, row.expected) for row in found.rows] == [
        ("theirs", "foreign", 2, 2),
        ("other", "foreign", 1, 1),
    ]
    assert found.rows[0].score is not None
    assert found.rows[0].score.point == pytest.approx(0.75)
    assert json.dumps(found.to_json(), allow_nan=False)


def test_csv_of_evaluations_has_traces_and_its_last_one_counts(write: Any) -> None:
    text = "algorithm,seed,task,step,score\na,0,t,20,0.5\na,0,t,10,0.25\na,1,t,10,1\n"
    found = gather([write("runs.csv", text)])
    (group,) = found.groups
    assert [found.runs[cell.id].value for cell in group.cells] == [0.5, 1.0]
    trace = found.traces[group.cells[0].id]
    assert (trace.steps.tolist(), trace.scores.tolist()) == ([10, 20], [0.25, 0.5])
    assert group.cell.steps == 20


def test_bounds_of_the_option_come_before_those_of_the_file_and_those_before_the_suites(write: Any) -> None:
    with_bounds = write("runs.csv", "task,algorithm,seed,value,low,high\nwalk,a,0,5,0,10\n")
    plain = write("plain.csv", "task,algorithm,seed,value\nwalk,b,0,5\n")
    suite = {"walk": Scale(0, 50, "return_mean")}

    def low_high(file: str, **options: Any) -> tuple[float, float]:
        score = gather([file], suite="s", tasks=suite, **options).groups[0].cell.score
        return score["low"], score["high"]

    assert low_high(plain) == (0, 50)
    assert low_high(with_bounds) == (0, 10)
    assert low_high(with_bounds, bounds=parse_bounds(["walk=9:1"])) == (9, 1)


def test_marl_eval(write: Any) -> None:
    file = write(
        "raw.json", {"env": {"hall": {"QMIX": {"seed_3": RUN, "seed_1": RUN}, "VDN": {"run_1": RUN}}}}
    )
    runs = read(Path(file), None)
    assert [(run.task, run.algorithm, run.seed, run.steps) for run in runs] == [
        ("hall", "QMIX", 3, 200),
        ("hall", "QMIX", 1, 200),
        ("hall", "VDN", 0, 200),
    ]
    assert runs[0].metrics == {"return": 5.0, "won": 0.5}
    assert runs[0].traces["return"] == ((100, 2.0), (200, 5.0))
    found = gather([file], bounds=parse_bounds(["0:10"]), metric="return")
    assert [run.value for run in found.runs.values()] == [5.0, 5.0, 5.0]
    with pytest.raises(UsageError, match="metric to compare is not clear: one of several of return, won"):
        gather([file], bounds=parse_bounds(["0:10"]))
    # The suite says which metric of its task counts.
    found = gather([file], suite="s", tasks={"hall": Scale(0, 1, "won")})
    assert [run.value for run in found.runs.values()] == [0.5] * 3


def test_score_arrays(write: Any, tmp_path: Path) -> None:
    scores = np.array([[0.1, 0.2], [0.3, np.nan]])
    np.savez(tmp_path / "scores.npz", ours=scores, tasks=np.array(["walk", "sail"]))
    found = compare_foreign(gather([str(tmp_path / "scores.npz")]))
    assert [(row.cell.task, row.n) for row in found.rows] == [("walk", 2), ("sail", 1)]
    assert found.aggregate[0].score is not None
    text = write("scores.json", {"ours": [[0.1, 0.2], [0.3, None]]})
    again = compare_foreign(gather([text]))
    assert again.aggregate[0].score == found.aggregate[0].score
    assert [row.cell.task for row in again.rows] == ["task_1", "task_2"]


def test_beside_ours_they_are_rows_of_their_own_and_change_nothing_else(
    suite: Path, store: Store, finish: Any, write: Any
) -> None:
    matrix = resolve(["small"], tasks=["walk"], algorithms=["first", "second"])
    finish(matrix.cells, [-1.0, -2.0, -3.0, -4.0, -5.0, -6.0])
    alone = compare_matrix(store, matrix)[0]
    file = write("runs.csv", LINES + "fly,theirs,0,1\nwalk,first,0,-7\n")
    foreign = gather([file], suite="small", tasks={"walk": Scale(-10, 0, "return_mean")})
    found = compare_matrix(store, matrix, foreign=foreign)[0]
    assert found.rows[: len(alone.rows)] == alone.rows
    assert [(row.cell.backend, row.cell.label) for row in found.rows[len(alone.rows) :]] == [
        ("foreign", "theirs"),
        ("foreign", "other"),
        ("foreign", "first"),
    ]
    assert found.aggregate[:2] == alone.aggregate
    assert {one.backend for one in found.aggregate[2:]} == {"foreign"}
    assert (found.done, found.expected) == (alone.done, alone.expected)
    assert any("left out" in note and "fly" in note for note in found.notes)


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("", ":1: the column 'task' is missing"),
        ("task,algorithm,seed\n", ":1: there must be one of the columns 'value' and 'score'"),
        ("task,algorithm,sed,value\n", ":1: the column 'sed' is not a known one"),
        ("task,algorithm,seed,seed,value\n", ":1: the column 'seed' is there twice"),
        ("task,algorithm,seed,value,low\n", ":1: the columns 'low' and 'high'"),
        ("task,algorithm,seed,value\na,b,0\n", ":2: 3 values where there are 4"),
        ("task,algorithm,seed,value\na,b,0,1\na,b,1,much\n", ":3: column 'value': 'much' is not a finite"),
        ("task,algorithm,seed,value\na,b,0,nan\n", ":2: column 'value'"),
        ("task,algorithm,seed,value\na,b,1.5,1\n", ":2: column 'seed': '1.5' is not a whole"),
        ("task,algorithm,seed,value\n,b,1,1\n", ":2: column 'task': '' is not a name"),
        ("task,algorithm,seed,value\na,b,0,1\na,b,0,2\n", ":3: b on a, seed 0 is there twice"),
        ('task,algorithm,seed,value\na,"b,0,1\n', "it is not CSV"),
        ("task,algorithm,seed,value\n", "there is no run in it"),
    ],
)
def test_lines_of_a_csv_that_are_refused(write: Any, text: str, where: str) -> None:
    file = write("runs.csv", text)
    with pytest.raises(UsageError) as caught:
        read(Path(file), None)
    assert where in str(caught.value)
    assert file in str(caught.value)


def changed(*path: str, to: Any) -> dict[str, Any]:
    root = json.loads(json.dumps({"env": {"hall": {"QMIX": {"seed_0": RUN}}}}))
    found = root
    for key in path[:-1]:
        found = found[key]
    found[path[-1]] = to
    return root


PLACE = ("env", "hall", "QMIX", "seed_0")


@pytest.mark.parametrize(
    ("content", "where"),
    [
        (
            changed(*PLACE, "step_1", "return", to=["x"]),
            "seed_0 -> step_1 -> return: a list of finite numbers",
        ),
        (changed(*PLACE, "step_1", "return", to=[]), "seed_0 -> step_1 -> return: a list of finite numbers"),
        (
            changed(*PLACE, "step_2", "step_count", to=100),
            "seed_0 -> step_2: the step_count 100 is there twice",
        ),
        (changed(*PLACE, "step_2", "step_count", to="x"), "step_count is no number of steps: 'x'"),
        (changed(*PLACE, to=[1]), "QMIX -> seed_0: logged steps by name"),
        (changed("env", "hall", to={}), "algorithms by name were expected"),
        ([1], "environments by name were expected"),
        ("{\n  oops", ":2:3: it is not JSON"),
    ],
)
def test_what_is_not_marl_eval_is_refused(write: Any, content: Any, where: str) -> None:
    file = write("raw.json", content)
    with pytest.raises(UsageError) as caught:
        read(Path(file), None)
    assert where in str(caught.value)
    assert file in str(caught.value)


@pytest.mark.parametrize(
    ("content", "where"),
    [
        ({"a": [1, 2]}, "a: an array [run, task] was expected, not one of shape [2]"),
        ({"a": [[1, "x"]]}, "a: it is not an array of numbers"),
        ({"a": [[1], [2, 3]]}, "a: it is not an array of numbers"),
        ({"a": [[1, 2]], "tasks": ["x"]}, "tasks: 2 different names were expected"),
    ],
)
def test_what_is_not_a_score_array_is_refused(write: Any, content: Any, where: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(Path(write("scores.json", content)), None)
    assert where in str(caught.value)


def test_pickled_arrays_are_never_loaded(tmp_path: Path) -> None:
    np.savez(tmp_path / "scores.npz", a=np.array([{"x": 1}], dtype=object))
    with pytest.raises(UsageError, match="not an archive of plain arrays"):
        read(tmp_path / "scores.npz", None)


def test_what_cannot_be_compared_is_refused(write: Any, tmp_path: Path) -> None:
    file = write("runs.csv", LINES)
    with pytest.raises(UsageError, match="bounds of the task 'walk' are not known") as caught:
        gather([file])
    assert "--bounds walk=LOW:HIGH" in caught.value.hint
    with pytest.raises(UsageError, match="theirs on walk, seed 0 is there twice"):
        gather([file, file], bounds=parse_bounds(["0:1"]))
    with pytest.raises(UsageError, match="none of the foreign results is of a task of s: walk"):
        gather([file], suite="s", tasks={"walkk": Scale(0, 1)})
    with pytest.raises(UsageError, match="cannot be read"):
        gather([str(tmp_path / "nothing.csv")])
    with pytest.raises(UsageError, match="cannot be told from the suffix"):
        gather([write("runs.txt", LINES)])
    assert gather([write("runs.txt", LINES) + ":csv"], bounds=parse_bounds(["0:1"])).runs


@pytest.mark.parametrize("text", ["1", "a=1", "1:x", "2:2", "nan:1", "walk=-10:"])
def test_bounds_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match="two different numbers"):
        parse_bounds([text])


def test_a_format_is_told_from_a_colon_in_the_name() -> None:
    assert parse_file("a:b.csv") == (Path("a:b.csv"), None)
    assert parse_file("a:b:rliable") == (Path("a:b"), "rliable")
