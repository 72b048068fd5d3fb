from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, model_validator

from marlbench.catalog.matrix import Matrix, resolve
from marlbench.catalog.resolution import CellGroup
from marlbench.catalog.selection import parse_overrides
from marlbench.errors import ConfigurationError, UsageError

from .conftest import Walking


class Careless:
    revision = 1

    class Hyperparameters(BaseModel):
        @model_validator(mode="after")
        def check(self) -> Any:
            return {}["nothing"]


class Unfinished:
    revision = 1

    class Hyperparameters(BaseModel):
        rate: "NoSuchType" = 1  # type: ignore[name-defined]  # noqa: F821, UP037


def group(matrix: Matrix, task: str, label: str) -> CellGroup:
    (found,) = [one for one in matrix.groups if (one.cell.task, one.cell.label) == (task, label)]
    return found


def edit(suites: Path, old: str, new: str) -> None:
    file = suites / "small.yaml"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def test_the_suite_resolves_in_its_order(suites: Path) -> None:
    matrix = resolve(["small"])
    assert [(c.task, c.label, c.seed) for c in matrix.cells] == [
        *[("walk", "learner", seed) for seed in range(3)],
        *[("walk", "slow_learner", seed) for seed in range(3)],
        ("walk", "scripted", 0),
        *[("walk_far", "learner", seed) for seed in range(3)],
        *[("walk_far", "slow_learner", seed) for seed in range(3)],
        ("walk_far", "scripted", 0),
        *[("read", "learner", seed) for seed in range(3)],
        ("read", "scripted", 0),
    ]
    assert matrix.preset == "full"
    assert matrix.notices == ()


def test_golden_ids_of_a_resolved_suite(suites: Path) -> None:
    # A promise like the golden ids of cells: a change of the resolution must not lose anyone's results.
    matrix = resolve(["small"])
    assert (
        group(matrix, "walk_far", "slow_learner").cell.id
        == "a328c8a9be354b9d97f4e3ad985fc3af04aaeb7fd88d13d22425530aa56620ee"
    )
    assert matrix.id == "f30fb3ee22ede3a4"


def test_what_a_cell_resolves_to(suites: Path) -> None:
    cell = group(resolve(["small"]), "walk", "learner").cell
    assert cell.parameters == {"agents": 3, "wind": 0.0}
    assert cell.hyperparameters == {
        "learning_rate": 0.1,
        "hidden": [64, 64],
        "sharing": "shared",
        "anneal": True,
    }
    assert (cell.algorithm, cell.algorithm_revision, cell.task_revision) == ("learner", 3, 1)
    assert (cell.rows, cell.steps, cell.dtype) == (4, 1000, "float32")
    assert cell.protocol["episodes"] == 32
    assert cell.score == {"metric": "return_mean", "low": -10.0, "high": 0.0, "source": "a coin"}
    assert cell.omitted == ("protocol.pictures",)


def test_task_entry_and_external_simulator(suites: Path) -> None:
    matrix = resolve(["small"])
    far = group(matrix, "walk_far", "learner").cell
    assert (far.task_revision, far.steps, far.rows, far.protocol["episodes"]) == (2, 2000, 2, 8)
    assert far.hyperparameters["learning_rate"] == 0.01
    assert group(matrix, "walk_far", "slow_learner").cell.hyperparameters["learning_rate"] == 0.001
    read = group(matrix, "read", "learner").cell
    assert read.environment == "reading:a.book"
    assert read.parameters == {"book": "a.book"}
    assert (read.backend, read.simulator, read.data) == ("library", "librarian 2.0", {"book": "0" * 64})


def test_origins_name_file_and_line(suites: Path) -> None:
    matrix = resolve(
        ["small"], overrides=parse_overrides(["task.wind=0.5", "learner.hidden=[32]"]), steps=500
    )
    walk = group(matrix, "walk", "learner").origins
    lines = (suites / "small.yaml").read_text().split("\n")

    def line(text: str) -> str:
        return f"suites/small.yaml:{lines.index(text) + 1}"

    assert str(walk["parameters.agents"]) == f"task ({line('    parameters: {agents: 3}')})"
    assert str(walk["parameters.wind"]) == "command line (--set task.wind=0.5)"
    assert str(walk["hyperparameters.learning_rate"]) == "default (tests:learner)"
    assert str(walk["hyperparameters.hidden"]) == "command line (--set learner.hidden=[32])"
    assert str(walk["protocol.evaluations"]).startswith("suite (suites/small.yaml:7")
    assert str(walk["protocol.episodes"]) == "default (marlbench)"
    assert str(walk["steps"]) == "command line (--steps 500)"
    assert str(walk["rows"]) == f"suite ({line('rows: 4')})"
    far = group(matrix, "walk_far", "learner").origins
    assert str(far["hyperparameters.learning_rate"]) == (
        f"task ({line('        hyperparameters: {learning_rate: 0.01}')})"
    )
    assert str(far["rows"]) == f"task ({line('    rows: 2')})"
    slow = group(matrix, "walk", "slow_learner").origins
    assert str(slow["hyperparameters.learning_rate"]) == (
        f"suite ({line('    hyperparameters: {learning_rate: 0.001}')})"
    )
    scripted = group(matrix, "walk", "scripted").origins
    assert str(scripted["seeds"]) == f"suite (suites/small.yaml:{lines.index('  scripted:') + 2})"


@pytest.mark.parametrize(
    ("written", "seeds"),
    [("2", [0, 1]), ("3-4", [3, 4]), ("[7]", [7]), ("[7, 0]", [7, 0]), ("'1,5'", [1, 5])],
)
def test_seeds_in_a_file(suites: Path, written: str, seeds: list[int]) -> None:
    edit(suites, "seeds: 3\n", f"seeds: {written}\n")
    cells = resolve(["small"], tasks=["walk"], algorithms=["learner"]).cells
    assert [cell.seed for cell in cells] == seeds


def test_a_preset_changes_protocol_steps_and_seeds(suites: Path) -> None:
    smoke, full = resolve(["small"], preset="smoke"), resolve(["small"])
    far = group(smoke, "walk_far", "learner")
    assert [cell.seed for cell in far.cells] == [0]
    assert (far.cell.steps, far.cell.protocol["evaluations"], far.cell.protocol["episodes"]) == (100, 1, 2)
    assert far.origins["steps"].level == "preset"
    assert smoke.labels == {"small": "not a comparison"}
    assert not {cell.id for cell in smoke.cells} & {cell.id for cell in full.cells}
    assert resolve(["small"], preset="full").id == full.id


def test_the_command_line_wins(suites: Path) -> None:
    matrix = resolve(
        ["small"],
        tasks=["walk_*"],
        algorithms=["slow_learner", "learner"],
        seeds=(7, 3),
        steps=400,
        preset="smoke",
        overrides=parse_overrides(["learner.learning_rate=0.5", "algorithm.learning_rate=0.25"]),
    )
    assert [(c.label, c.seed, c.steps) for c in matrix.cells] == [
        ("learner", 7, 400),
        ("learner", 3, 400),
        ("slow_learner", 7, 400),
        ("slow_learner", 3, 400),
    ]
    assert group(matrix, "walk_far", "learner").cell.hyperparameters["learning_rate"] == 0.5
    assert group(matrix, "walk_far", "slow_learner").cell.hyperparameters["learning_rate"] == 0.25


def test_overrides_of_every_kind_of_value(suites: Path) -> None:
    options = [
        "algorithm.sharing={groups: 2}",
        "algorithm.hidden=[]",
        "protocol.episodes=1e1",
        "task.agents=5",
    ]
    matrix = resolve(["small"], overrides=parse_overrides(options))
    cell = group(matrix, "walk", "learner").cell
    assert cell.hyperparameters["sharing"] == {"groups": 2}
    assert cell.hyperparameters["hidden"] == []
    assert cell.protocol["episodes"] == 10
    assert cell.parameters["agents"] == 5
    # What has no such field stays as it is.
    assert group(matrix, "read", "scripted").cell.hyperparameters == {}
    assert group(matrix, "read", "learner").cell.parameters == {"book": "a.book"}


@pytest.mark.parametrize(
    ("options", "error", "message", "hint"),
    [
        ({"tasks": ["wlak"]}, UsageError, "--task wlak: no task matches", "'walk'"),
        ({"tasks": ["read"], "algorithms": ["slow_learner"]}, UsageError, "nothing is selected", ""),
        ({"algorithms": ["laerner"]}, UsageError, "--algorithm laerner: there is no such", "'learner'"),
        ({"algorithms": [""]}, UsageError, "--algorithm : there is no such", "Known: "),
        ({"preset": "smoek"}, UsageError, "has no such preset", "'smoke'"),
        ({"set": "lerner.hidden=[1]"}, UsageError, "'lerner' is none of", "'learner'"),
        (
            {"set": "algorithm.lerning_rate=1"},
            UsageError,
            "nothing selected has 'lerning_rate'",
            "'learning_rate'",
        ),
        ({"set": "task.wnd=1"}, UsageError, "nothing selected has 'wnd'", "'wind'"),
        ({"set": "learner.hiden=[1]"}, ConfigurationError, "--set learner.hiden=[1]", "'hidden'"),
        ({"set": "protocol.episode=1"}, ConfigurationError, "the protocol has no 'episode'", "'episodes'"),
        (
            {"set": "learner.learning_rate=fast"},
            ConfigurationError,
            "--set learner.learning_rate=fast: the algorithm 'learner': learning_rate: \"fast\" should be",
            "",
        ),
        ({"set": "learner.learning_rate=-1"}, ConfigurationError, "greater than 0", ""),
        ({"set": "learner.learning_rate=true"}, ConfigurationError, "should be a valid number", ""),
        ({"set": "learner.sharing=shraed"}, ConfigurationError, "'shared' or 'independent'", "'shared'"),
        ({"set": "learner.sharing={group: 2}"}, ConfigurationError, "sharing.group: unknown key", "'groups'"),
        ({"set": "learner.hidden=[64, x]"}, ConfigurationError, "hidden[1]:", ""),
        ({"set": "task.agents=2.5"}, ConfigurationError, "the environment 'walking': agents: 2.5 should", ""),
        ({"set": "protocol.kind=continuing"}, ConfigurationError, "needs `length`", ""),
        ({"set": "protocol.length=5"}, ConfigurationError, "no meaning in a protocol of kind episodic", ""),
        ({"steps": 8}, ConfigurationError, "too few for the 5 evaluations", "Train longer"),
    ],
)
def test_what_cannot_be_selected(
    suites: Path, options: dict[str, Any], error: type[Exception], message: str, hint: str
) -> None:
    overrides = parse_overrides([options.pop("set")]) if "set" in options else ()
    with pytest.raises(error) as caught:
        resolve(["small"], overrides=overrides, **options)
    assert message in str(caught.value)
    assert hint in getattr(caught.value, "hint", "")


class OtherWalking(Walking):
    backend = "legs"


def test_another_backend_by_one_word(suites: Path, register: Any) -> None:
    register("environments", "walking.legs", OtherWalking)
    selection: dict[str, Any] = {"tasks": ["walk"], "algorithms": ["scripted"]}
    (ours,) = resolve(["small"], **selection).cells
    edit(suites, "rows: 4\nseeds: 3", "backend: builtin\nrows: 4\nseeds: 3")
    assert [cell.id for cell in resolve(["small"], **selection).cells] == [ours.id]
    edit(suites, "backend: builtin", "backend: legs")
    (other,) = resolve(["small"], **selection).cells
    assert (other.environment, other.backend, other.task) == ("walking.legs", "legs", ours.task)
    assert other.id != ours.id
    (back,) = resolve(["small"], overrides=parse_overrides(["task.backend=builtin"]), **selection).cells
    assert back.id == ours.id
    with pytest.raises(ConfigurationError, match="'walking' has no backend 'wings'") as caught:
        resolve(["small"], overrides=parse_overrides(["task.backend=wings"]), **selection)
    assert caught.value.hint == "Known: legs."
    with pytest.raises(UsageError, match="a backend is a name"):
        resolve(["small"], overrides=parse_overrides(["task.backend=3"]), **selection)


def test_an_installed_algorithm_may_be_added(suites: Path, register: Any) -> None:
    class Mine:
        revision = 1

        class Hyperparameters(BaseModel):
            depth: int = 2

    register("algorithms", "mine", Mine)
    matrix = resolve(["small"], algorithms=["mine", "learner"], tasks=["walk"])
    assert [group.cell.label for group in matrix.groups] == ["learner", "mine"]
    assert group(matrix, "walk", "mine").cell.hyperparameters == {"depth": 2}
    assert matrix.notices == ("small has no entry 'mine'; it is added with its default hyperparameters.",)


def test_settings_lie_between_the_defaults_and_the_entry(suites: Path) -> None:
    edit(suites, "  learner: {}", "  learner: {settings: somebody_1999}")
    edit(
        suites,
        "hyperparameters: {learning_rate: 0.001}",
        "settings: somebody_1999\n    hyperparameters: {hidden: [9]}",
    )
    matrix = resolve(["small"], tasks=["walk", "walk_far"])
    found = group(matrix, "walk", "learner")
    assert found.cell.hyperparameters["learning_rate"] == 0.25
    assert found.cell.hyperparameters["hidden"] == [8]
    origin = found.origins["hyperparameters.learning_rate"]
    assert origin.level == "settings"
    assert origin.where.endswith("small.yaml:15: somebody_1999, a paper")
    assert found.origins["hyperparameters.sharing"].level == "default"
    assert group(matrix, "walk", "slow_learner").cell.hyperparameters["hidden"] == [9]
    # The task's word is the last.
    assert group(matrix, "walk_far", "learner").cell.hyperparameters["learning_rate"] == 0.01


def test_settings_that_are_not_there(suites: Path) -> None:
    edit(suites, "  learner: {}", "  learner: {settings: somebody_1998}")
    with pytest.raises(ConfigurationError) as caught:
        resolve(["small"])
    assert (
        "small.yaml:15: algorithms.learner.settings: 'learner' has no settings called 'somebody_1998'"
        in str(caught.value)
    )
    assert "somebody_1999" in caught.value.hint


def test_two_labels_of_the_same_cells_are_refused(suites: Path) -> None:
    edit(suites, "hyperparameters: {learning_rate: 0.001}", "hyperparameters: {learning_rate: 0.1}")
    with pytest.raises(ConfigurationError) as caught:
        resolve(["small"])
    message = str(caught.value)
    assert "suites/small.yaml:16: " in message
    assert "'learner' and 'slow_learner' resolve to the same cells" in message
    # On the other task they differ.
    assert resolve(["small"], tasks=["walk_far"]).cells


def test_legacy_values_stay_out_of_the_identity(suites: Path) -> None:
    new = group(resolve(["small"]), "walk", "learner").cell
    old = group(
        resolve(["small"], overrides=parse_overrides(["learner.anneal=false"])), "walk", "learner"
    ).cell
    assert new.identity()["hyperparameters"]["anneal"] is True
    assert "anneal" not in old.identity()["hyperparameters"]
    assert old.hyperparameters["anneal"] is False
    assert old.omitted == ("hyperparameters.anneal", "protocol.pictures")


def test_several_suites(suites: Path) -> None:
    text = (suites / "small.yaml").read_text()
    (suites / "other.yaml").write_text(text.replace("suite: small", "suite: other"))
    both = resolve(["small", "other", "small"])
    assert [suite.name for suite in both.suites] == ["small", "other"]
    assert {c.id for c in both.cells} == {c.id for name in ("small", "other") for c in resolve([name]).cells}
    (suites / "copy.yaml").write_text(text)
    with pytest.raises(UsageError, match="are both the suite 'small'"):
        resolve(["small", "./suites/copy.yaml"])


def test_a_path_may_have_any_name(suites: Path, tmp_path: Path) -> None:
    file = tmp_path / "a copy.yml"
    file.write_text((suites / "small.yaml").read_text())
    assert resolve([str(file)]).id == resolve(["small"]).id


@pytest.mark.parametrize(
    ("group_name", "name", "target", "message"),
    [
        ("algorithms", "learner", ImportError("no jax"), "does not import: ImportError: no jax"),
        ("algorithms", "learner", object(), "lacks `revision`"),
        ("environments", "walking", object(), "lacks `Parameters`"),
        ("algorithms", "learner", Careless, "cannot check its settings: KeyError: 'nothing'"),
        ("algorithms", "learner", Unfinished, "lacks `revision`"),
    ],
)
def test_broken_plugins_are_named(
    suites: Path, register: Any, group_name: str, name: str, target: Any, message: str
) -> None:
    register(group_name, name, target)
    with pytest.raises(ConfigurationError) as caught:
        resolve(["small"])
    assert f"'{name}'" in str(caught.value)
    assert message in str(caught.value)


def test_an_environment_that_fails_names_itself(suites: Path, register: Any) -> None:
    class Failing:
        backend = "builtin"
        argument = None

        class Parameters(BaseModel):
            agents: int = 1

        @classmethod
        def simulator_version(cls, parameters: BaseModel) -> str:
            raise OSError("no such game")

    register("environments", "walking", Failing)
    with pytest.raises(ConfigurationError, match=r"'walking'.*failed: OSError: no such game"):
        resolve(["small"])


seeds = st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=5, unique=True)


@given(
    seeds,
    st.sets(st.sampled_from(["walk", "walk_far", "read"]), min_size=1),
    st.randoms(use_true_random=False),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=30)
def test_no_doubles_and_a_stable_order(suites: Path, seeds: list[int], tasks: set[str], random: Any) -> None:
    names = sorted(tasks)
    one = resolve(["small"], tasks=names, seeds=tuple(seeds))
    random.shuffle(names)
    other = resolve(["small"], tasks=names * 2, seeds=tuple(seeds))
    ids = [cell.id for cell in one.cells]
    assert len(set(ids)) == len(ids)
    assert [cell.id for cell in other.cells] == ids
    assert other.id == one.id
    random.shuffle(seeds)
    assert resolve(["small"], tasks=names, seeds=tuple(seeds)).id == one.id


def test_ten_thousand_cells_in_well_under_two_seconds(suites: Path) -> None:
    tasks = "".join(
        f"  walk_{index}:\n    environment: walking\n    parameters: {{agents: {index + 1}}}\n"
        "    score: {metric: return_mean, low: 0, high: 1, source: a coin}\n"
        for index in range(100)
    )
    entries = "".join(
        f"  learner_{index}: {{algorithm: learner, hyperparameters: {{learning_rate: {index + 1}}}}}\n"
        for index in range(10)
    )
    (suites / "large.yaml").write_text(
        "schema: 1\nsuite: large\ntitle: Large\nrows: 4\nseeds: 10\nsteps: 1000\n"
        "protocol: {kind: episodic, policy: greedy, evaluations: 5}\n"
        f"algorithms:\n{entries}tasks:\n{tasks}"
    )
    began = time.process_time()
    matrix = resolve(["large"])
    ids = {cell.id for cell in matrix.cells}
    groups = {cell.group() for cell in matrix.cells}
    spent = time.process_time() - began
    assert len(ids) == 10_000
    assert len(groups) == 1_000
    assert spent < 2
