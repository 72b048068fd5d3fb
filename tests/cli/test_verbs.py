"""The app itself, and list, show, validate and doctor on the plug-ins that are installed."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import marlbench.cli
from marlbench import __version__, errors, plugins
from marlbench.cli import VERBS
from marlbench.cli.options import names_given
from marlbench.plugins import Plugin

SUITE = """\
schema: 1
suite: mine
title: A suite
rows: 4
seeds: 2
steps: 1000
protocol: {kind: episodic, policy: greedy, evaluations: 2}
presets:
  smoke: {label: not a comparison, steps: 100, protocol: {evaluations: 1}}
algorithms:
  random: {}
  ippo: {hyperparameters: {learning_rate: 0.001}}
tasks:
  spread:
    environment: simple_spread
    parameters: {agents: 2}
    score: {metric: return_mean, low: -40, high: -15, source: measured}
  wide:
    environment: simple_spread
    parameters: {agents: 5}
    algorithms: {ippo: {hyperparameters: {learning_rate: 0.002}}}
    score: {metric: landmarks_covered, low: 0, high: 5, source: by definition}
"""


class BrokenEntryPoint:
    def load(self) -> Any:
        raise ImportError("no such thing")


@pytest.fixture
def broken_plugin(monkeypatch: pytest.MonkeyPatch) -> str:
    """A plug-in of somebody else's that does not import, among those installed."""
    installed = plugins.plugins
    entry_point: Any = BrokenEntryPoint()
    theirs = Plugin("algorithms", "theirs", "theirs:Method", "their-package", entry_point)

    def with_theirs(group: str) -> dict[str, Plugin]:
        return {**installed(group), **({"theirs": theirs} if group == "algorithms" else {})}

    monkeypatch.setattr(plugins, "plugins", with_theirs)
    return "theirs"


def test_help_names_every_verb_but_hidden_ones(typed: Any) -> None:
    code, out, _ = typed("--help")
    assert code == errors.OK
    for name, verb in VERBS.items():
        assert (verb.help in out) != verb.hidden
        assert (f" {name} " in out) != verb.hidden


def test_help_takes_under_half_a_second_of_cpu_and_imports_nothing_heavy(tmp_path: Path) -> None:
    program = (
        "import sys, time\n"
        "from marlbench.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'mlflow', 'numpy', 'scipy', 'pydantic', 'ruamel', 'matplotlib'} & set(sys.modules)\n"
        "print(time.process_time(), sorted(heavy), file=sys.stderr)\n"
    )
    measured = []
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-c", program],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        seconds, heavy = done.stderr.split(maxsplit=1)
        assert heavy.strip() == "[]"
        measured.append(float(seconds))
    # The least of three: other processes on the machine cost caches.
    assert min(measured) < 0.5


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_explains_itself(name: str, typed: Any) -> None:
    if importlib.util.find_spec(f"marlbench.cli.{VERBS[name].module}") is None:
        pytest.skip("the verb is not written yet")
    code, out, _ = typed(name, "--help")
    assert code == errors.OK
    assert f"Usage: marlbench {name}" in out


def test_version_names_marlbench_torch_and_device(typed: Any) -> None:
    import torch

    code, out, _ = typed("--version")
    assert code == errors.OK
    assert out.startswith(f"marlbench {__version__}, torch {torch.__version__}, device ")


@pytest.mark.parametrize(
    "words", [("lst",), ("--nothing",), ("show",), ("list", "sweets"), ("show", "a", "--steps", "x")]
)
def test_usage_errors(words: tuple[str, ...], typed: Any) -> None:
    code, out, err = typed(*words)
    assert code == errors.USAGE
    assert out == ""
    assert "Error" in err


def test_a_mistyped_verb_gets_a_suggestion(typed: Any) -> None:
    assert "Did you mean 'list'?" in typed("lst")[2]


def test_a_bug_is_told_as_one(typed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> Any:
        raise ZeroDivisionError("one over nothing")

    monkeypatch.setattr(marlbench.cli, "_command", broken)
    code, _, err = typed("list")
    assert code == errors.INTERNAL
    assert "internal error: ZeroDivisionError: one over nothing" in err
    assert "This is a bug in marlbench." in err


def test_brackets_in_errors_are_not_markup(typed: Any) -> None:
    code, _, err = typed("show", "./[bold]no[/nothing].yaml")
    assert code == errors.CONFIGURATION
    assert "[bold]no[/nothing].yaml: there is no such file." in err


def test_validate_goes_on_after_an_error(typed: Any) -> None:
    Path("mine.yaml").write_text(SUITE)
    Path("bad.yaml").write_text(SUITE.replace("rows: 4", "rows: 0"))
    code, out, err = typed("validate", "bad.yaml", "missing.yaml", "mine.yaml")
    assert code == errors.CONFIGURATION
    assert out == "mine.yaml: ok (2 tasks; cells: full 8, smoke 8)\n"
    assert err.count("error: ") == 2
    code, out, _ = typed("validate", "--json", "bad.yaml", "mine.yaml")
    document = json.loads(out)
    assert code == errors.CONFIGURATION
    assert [report["ok"] for report in document["suites"]] == [False, True]
    assert document["suites"][1]["cells"] == {"full": 8, "smoke": 8}


def test_validate_without_names_takes_every_suite(typed: Any) -> None:
    Path("suites").mkdir()
    Path("suites/mine.yaml").write_text(SUITE)
    _, out, err = typed("validate")
    assert "mine: ok" in out
    assert "error: suites/mine" not in err


def test_validate_build_checks_the_metric(typed: Any) -> None:
    Path("mine.yaml").write_text(SUITE)
    assert typed("validate", "--build", "mine.yaml")[0] == errors.OK
    Path("mine.yaml").write_text(SUITE.replace("landmarks_covered", "landmarks_coverd"))
    assert typed("validate", "mine.yaml")[0] == errors.OK
    code, _, err = typed("validate", "--build", "mine.yaml")
    assert code == errors.CONFIGURATION
    assert "mine.yaml:22: tasks.wide.score.metric: the task has no metric 'landmarks_coverd'." in err
    assert "Did you mean 'landmarks_covered'?" in err


def test_validate_build_builds_algorithms(typed: Any) -> None:
    Path("mine.yaml").write_text(SUITE.replace("{learning_rate: 0.001}", "{sharing: {groups: 5}}"))
    code, _, err = typed("validate", "--build", "mine.yaml")
    assert code == errors.CONFIGURATION
    assert "mine.yaml:12: algorithms.ippo: on the task 'spread': sharing: groups: 5 is more than" in err


def test_show_says_where_values_came_from(typed: Any) -> None:
    Path("mine.yaml").write_text(SUITE)
    code, out, err = typed("show", "mine.yaml", "--set", "ippo.epochs=7", "--seeds", "3,7")
    assert (code, err) == (0, "")
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert "mine: A suite" in lines
    assert "agents 2 task (mine.yaml:16)" in lines
    assert "learning_rate 0.001 suite (mine.yaml:12) only spread" in lines
    assert "learning_rate 0.002 task (mine.yaml:21) only wide" in lines
    assert "epochs 7 command line (--set ippo.epochs=7)" in lines
    assert "discount 0.99 default (marlbench.algorithms.ippo:IPPO)" in lines
    assert "seeds 3,7 command line (--seeds 3,7)" in lines
    assert "steps 1000 suite (mine.yaml:6)" in lines
    _, out, _ = typed("show", "mine.yaml", "--preset", "smoke")
    assert "preset smoke (not a comparison)" in out
    assert "preset (mine.yaml:9)" in out


def test_show_json_holds_ids_and_origins(typed: Any) -> None:
    Path("mine.yaml").write_text(SUITE)
    code, out, _ = typed("show", "mine.yaml", "--json")
    document = json.loads(out)
    assert code == errors.OK
    assert document["schema"] == 1
    assert [(group["task"], group["label"]) for group in document["groups"]] == [
        ("spread", "random"),
        ("spread", "ippo"),
        ("wide", "random"),
        ("wide", "ippo"),
    ]
    ids = [identity for group in document["groups"] for identity in group["cells"].values()]
    assert len(set(ids)) == 8
    assert document["groups"][1]["origins"]["hyperparameters.learning_rate"] == "suite (mine.yaml:12)"


def test_show_tells_of_added_algorithms(typed: Any) -> None:
    Path("mine.yaml").write_text(SUITE)
    code, out, err = typed("show", "mine.yaml", "--algorithm", "iql")
    assert code == errors.OK
    assert "algorithm iql" in out
    assert "mine has no entry 'iql'; it is added" in err


def test_list_shows_broken_plugins_and_suites(typed: Any, broken_plugin: str) -> None:
    Path("suites").mkdir()
    Path("suites/mine.yaml").write_text(SUITE)
    Path("suites/bad.yaml").write_text(SUITE)
    code, out, _ = typed("list")
    assert code == errors.OK
    for word in ("mine", "spread", "ippo", "simple_spread", "local", "landmarks_covered"):
        assert word in out
    assert "broken: suites/bad.yaml:2: suite: the suite calls itself 'mine'" in out
    assert "the plug-in 'theirs' (algorithms, theirs:Method, package their-package) does not import" in out
    code, out, _ = typed("list", "algorithms", "--json")
    document = json.loads(out)
    assert list(document) == ["schema", "algorithms"]
    rows = {row["name"]: row for row in document["algorithms"]}
    assert "ImportError: no such thing" in rows["theirs"]["error"]
    assert rows["ippo"]["error"] is None
    assert "learning_rate" in rows["ippo"]["hyperparameters"]


def checks(out: str) -> dict[str, dict[str, str]]:
    return {check["name"]: check for check in json.loads(out)["checks"]}


def test_doctor_finds_what_is_needed(typed: Any, broken_plugin: str) -> None:
    _, out, _ = typed("doctor", "--json")
    found = checks(out)
    for name in ("python", "torch", "numpy", "mlflow", "algorithms", "engines", "writable", "free disk"):
        assert found[name]["status"] == "ok", found[name]
    # A plug-in of somebody else's breaks nothing of ours.
    assert found["algorithms: theirs"]["status"] == "warning"
    assert "pip install" in found["smacv2"]["hint"] or found["smacv2"]["status"] == "ok"
    assert "TensorFlow" in found["meltingpot"]["hint"] or found["meltingpot"]["status"] == "ok"


def test_doctor_tells_by_its_exit_code(typed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, _ = typed("doctor", "--json")
    assert code == (errors.OK if json.loads(out)["ok"] else errors.CONFIGURATION)
    installed = plugins.plugins
    monkeypatch.setattr(plugins, "plugins", lambda group: {} if group == "algorithms" else installed(group))
    code, out, _ = typed("doctor", "--json")
    assert code == errors.CONFIGURATION
    assert checks(out)["algorithms"]["status"] == "broken"


def test_doctor_refuses_a_store_that_cannot_be_written(typed: Any) -> None:
    Path("file").write_text("not a directory")
    code, out, _ = typed("doctor", "--json", "--results", "file/results")
    assert checks(out)["writable"]["status"] == "broken"
    others = [check for check in json.loads(out)["checks"] if check["status"] == "broken"]
    assert code == (
        errors.STORE if {check["area"] for check in others} == {"store"} else errors.CONFIGURATION
    )


def test_doctor_hides_secrets(typed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://me:pa55word@mlflow.invalid/path?token=t0ken")
    _, out, _ = typed("doctor")
    assert "https://mlflow.invalid/path" in out
    assert "pa55word" not in out
    assert "t0ken" not in out


def test_doctor_says_what_is_missing(typed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib import metadata

    real = metadata.version

    def without(name: str) -> str:
        if name in ("numba", "mpe2"):
            raise metadata.PackageNotFoundError(name)
        return "3.18.0" if name == "mlflow" else real(name)

    monkeypatch.setattr(metadata, "version", without)
    code, out, _ = typed("doctor", "--json")
    found = checks(out)
    assert code == errors.CONFIGURATION
    assert (found["numba"]["status"], found["numba"]["detail"]) == ("broken", "is not installed")
    assert "numba>=" in found["numba"]["hint"]
    # MLflow 3.18.0 is one that cannot be installed beside us.
    assert (found["mlflow"]["status"], found["mlflow"]["detail"]) == ("broken", "3.18.0")
    assert (found["mpe"]["status"], found["mpe"]["hint"]) == ("note", "pip install 'marlbench[mpe]'")


def test_the_module_is_the_command(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "marlbench", "show", "nothing"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == errors.CONFIGURATION
    assert done.stdout == ""
    assert done.stderr.startswith("error: no suite is called 'nothing'.\n")


@pytest.mark.parametrize(
    ("sink", "message"), [("| true", ""), ("> /dev/full", "error: the system refused: [Errno 28]")]
)
@pytest.mark.parametrize("form", ["", "--json"])
def test_an_output_that_takes_nothing_is_no_bug(sink: str, message: str, form: str, tmp_path: Path) -> None:
    done = subprocess.run(
        f"'{sys.executable}' -m marlbench list suites {form} {sink}",
        shell=True,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stderr.startswith(message)
    assert len(done.stderr.splitlines()) == (2 if message else 0)


def test_algorithms_and_tasks_are_named_one_or_several_at_a_time() -> None:
    assert names_given(["iql, ippo", "vdn"]) == ("iql", "ippo", "vdn")
    assert names_given(None) == ()
