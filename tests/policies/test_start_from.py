"""Trainings that start from the policies of other cells: what they take over, their order, what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from marlbench.analysis import notes
from marlbench.catalog.cell import Cell
from marlbench.catalog.matrix import resolve
from marlbench.cli.carrying_out import Stage, carry_out, show_dry
from marlbench.cli.plan import Plan
from marlbench.cli.run_job import make_trainer
from marlbench.cli.training_options import How
from marlbench.engines.jobs import Report
from marlbench.errors import ConfigurationError, StoreError
from marlbench.store.initial import policies_for
from marlbench.store.states import State
from marlbench.store.store import Store

from .conftest import train

CPU = torch.device("cpu")
SUITE = """\
schema: 1
suite: stages
title: From short to long episodes
rows: 4
seeds: 2
steps: 128
protocol: {kind: episodic, policy: greedy, evaluations: 1, episodes: 2, absolute_episodes: 2, pictures: false}
"""


def write(folder: Path, algorithms: str) -> str:
    score = "score: {metric: return_mean, low: -40.0, high: -10.0, source: the test}"
    tasks = "".join(
        f"  {name}: {{environment: simple_spread, parameters: {{{parameters}}}, {score}}}\n"
        for name, parameters in (
            ("short", "episode_length: 4"),
            ("middle", "episode_length: 5"),
            ("long", "episode_length: 6"),
            ("crowded", "episode_length: 4, agents: 4"),
        )
    )
    path = folder / "stages.yaml"
    path.write_text(f"{SUITE}algorithms:\n{algorithms}tasks:\n{tasks}")
    return str(path)


SMALL = "hyperparameters: {rollout_length: 8, hidden: [8], epochs: 1}"
STAGED = f"  staged: {{algorithm: ippo, {SMALL}, curriculum: [short, middle, long]}}\n"
SCRATCH = f"  scratch: {{algorithm: ippo, {SMALL}}}\n"


def ids(cells: object) -> list[str]:
    return [cell.id for cell in cells]  # type: ignore[attr-defined]


def test_a_curriculum_names_the_cells_of_the_stage_before(tmp_path: Path) -> None:
    matrix = resolve([write(tmp_path, SCRATCH + STAGED)])
    groups = {(group.cell.label, group.cell.task): group.cells for group in matrix.groups}
    assert sorted(task for label, task in groups if label == "staged") == ["long", "middle"]
    short, middle, long = groups["scratch", "short"], groups["staged", "middle"], groups["staged", "long"]
    for before, after in ((short, middle), (middle, long)):
        assert [cell.init_from and cell.init_from["cell"] for cell in after] == ids(before)
        assert [cell.seed for cell in after] == [cell.seed for cell in before] == [0, 1]
        assert len({cell.group() for cell in after}) == 1
    assert [ids(stage) for stage in matrix.stages] == [ids(short), ids(middle)]
    # The same task from scratch, and from elsewhere, is another cell of another group.
    assert groups["scratch", "long"][0].group() != long[0].group()
    assert Cell.from_json(long[0].to_json()).id == long[0].id


def test_tables_tell_of_steps_that_are_not_counted(tmp_path: Path) -> None:
    groups = resolve([write(tmp_path, SCRATCH + STAGED)]).groups
    assert notes.started(groups) == [
        "on middle staged starts from the policy of staged on short, after 128 steps there and before; "
        "they are not counted",
        "on long staged starts from the policy of staged on middle, after 256 steps there and before; "
        "they are not counted",
    ]


def test_stages_need_not_be_selected(tmp_path: Path) -> None:
    path = write(tmp_path, STAGED)
    matrix = resolve([path], tasks=["long"], seeds=(3,), steps=64)
    assert [cell.task for cell in matrix.cells] == ["long"]
    assert [[(cell.task, cell.seed, cell.steps) for cell in stage] for stage in matrix.stages] == [
        [("short", 3, 64)],
        [("middle", 3, 64)],
    ]
    assert resolve([path], tasks=["long"], seeds=(3,)).cells[0].id != matrix.cells[0].id


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("init_from: {task: shrot}", "there is no task 'shrot'"),
        ("init_from: {task: short, algorithm: ippa}", "there is no algorithm 'ippa'"),
        ("init_from: {task: short}", "would start from itself"),
        ("init_from: {task: short}, curriculum: [short, long]", "both say what the trainings start from"),
        ("curriculum: [short, long, short]", "names a task twice"),
        ("curriculum: [short]", "curriculum"),
    ],
)
def test_starts_that_cannot_be_are_refused_with_their_line(tmp_path: Path, entry: str, said: str) -> None:
    path = write(tmp_path, f"  ippo: {{{SMALL}, {entry}}}\n")
    with pytest.raises(ConfigurationError, match=said) as refused:
        resolve([path])
    assert "stages.yaml:9" in str(refused.value)


def test_training_starts_where_the_other_ended(tmp_path: Path) -> None:
    matrix = resolve([write(tmp_path, STAGED)], tasks=["middle"])
    store = Store.open(tmp_path / "results", create=True)
    with pytest.raises(StoreError, match=r"staged/middle/s0 starts, is not done"):
        policies_for(matrix.cells, store.root)
    train(store, matrix.stages[0])
    taken = policies_for(matrix.cells, store.root)
    sources = [make_trainer([cell], tmp_path / "other", CPU) for cell in matrix.stages[0]]
    (tmp_path / "job").mkdir()
    trainer = make_trainer(matrix.cells, tmp_path / "job", CPU)
    trainer.start_from(taken)
    own = trainer.algorithm.policy.parameters()  # type: ignore[attr-defined]
    for member, source in enumerate(sources):
        best = dict(taken[member])
        assert torch.equal(own[member], source.algorithm.policy.parameters_of(best))  # type: ignore[attr-defined]
        fresh = source.algorithm.policy.parameters()[0]  # type: ignore[attr-defined]
        assert not torch.equal(own[member], fresh)
    # And the whole way, as a job: done, and learnt on from there.
    train(store, matrix.cells)
    assert {state.state for state in store.states(ids(matrix.cells)).values()} == {State.DONE}
    result = store.result(matrix.cells[0].id)
    assert result["identity"]["init_from"]["cell"] == matrix.stages[0][0].id


@pytest.mark.parametrize("algorithm", ["mappo", "vdn", "masac"])
def test_layers_may_be_chosen_and_targets_follow(tmp_path: Path, algorithm: str) -> None:
    """Of a task with more agents only what does not see them fits."""
    hidden = "hyperparameters: {hidden: [8, 8]}"
    entries = f"  {algorithm}: {{{hidden}, tasks: [short]}}\n"
    entries += (
        f"  moved: {{algorithm: {algorithm}, {hidden}, tasks: [crowded], "
        f"init_from: {{task: short, algorithm: {algorithm}, layers: ['*.1.*']}}}}\n"
    )
    (cell,) = resolve([write(tmp_path, entries)], tasks=["crowded"], seeds=(0,)).cells
    (source,) = resolve([write(tmp_path, entries)], tasks=["short"], seeds=(0,)).cells
    trainers = []
    for number, one in enumerate((source, cell)):
        (tmp_path / str(number)).mkdir()
        trainers.append(make_trainer([one], tmp_path / str(number), CPU))
    policy = trainers[0].algorithm.policy  # type: ignore[attr-defined]
    whole = policy.describe(policy.parameters()[0] + 1.0)
    taken = {name: value for name, value in whole.items() if ".1." in name}
    assert 0 < len(taken) < len(whole)
    learner = trainers[1].algorithm  # type: ignore[attr-defined]
    before = learner.policy.describe(learner.policy.parameters()[0])
    trainers[1].start_from([taken])
    after = learner.policy.describe(learner.policy.parameters()[0])
    assert all(torch.equal(after[name], taken.get(name, before[name])) for name in after)
    if algorithm == "vdn":
        assert torch.equal(learner.targets[0], learner.stack.flat.detach())
    with pytest.raises(ConfigurationError, match=r"moved on crowded cannot start .* is 1 x \d+ x 8 here and"):
        trainers[1].start_from([whole])
    with pytest.raises(ConfigurationError, match="has no parameter 'other'"):
        trainers[1].start_from([{"other": torch.zeros(1)}])


def test_sources_that_cannot_be_used_say_why(tmp_path: Path) -> None:
    entries = SCRATCH + f"  moved: {{algorithm: ippo, {SMALL}, tasks: [long], "
    path = write(tmp_path, entries + "init_from: {task: short, algorithm: scratch, layers: ['nothing*']}}\n")
    matrix = resolve([path], algorithms=["moved"], seeds=(0,))
    store = Store.open(tmp_path / "results", create=True)
    train(store, matrix.stages[0])
    with pytest.raises(StoreError, match=r"no parameter of .* matches nothing") as refused:
        policies_for(matrix.cells, store.root)
    assert "actor.0.weight" in (refused.value.hint or "")
    policy = store.cell(matrix.stages[0][0].id).directory / "policy.pt"
    policy.write_bytes(policy.read_bytes()[:100])
    with pytest.raises(StoreError, match="cannot be used"):
        policies_for(matrix.cells, store.root)


class NoProjector:
    """Nothing goes to MLflow."""

    def __init__(self, root: Path) -> None: ...

    def start(self) -> None: ...

    def news(self) -> list[str]:
        return []

    def finish(self, patience: float) -> str:
        return ""


def test_run_trains_stage_after_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    matrix = resolve([write(tmp_path, STAGED)], tasks=["long"], seeds=(1,))
    how = How("cpu", 1, tmp_path / "results", keep_states=0)
    show_dry(matrix, how, as_json=False)
    told = " ".join(capsys.readouterr().err.split())
    assert "Stage 1: 1 cell from which others start, 0 done: staged/short." in told
    ran: list[list[str]] = []

    def jobs_of(plan: Plan, store: Store, *_: object, **__: object) -> Report:
        """The jobs of a plan, here instead of in processes."""
        ran.append([cell.task for cell in plan.matrix.cells])
        train(store, plan.matrix.cells)
        return Report()

    monkeypatch.setattr("marlbench.cli.jobs.run_jobs", jobs_of)
    monkeypatch.setattr("marlbench.cli.projector.Projector", NoProjector)
    for _ in range(2):
        assert carry_out(matrix, how, lambda store, matrix: Stage()) == 0
        assert ran == [["short"], ["middle"], ["long"]]


def test_what_starts_from_others_waits_for_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = resolve([write(tmp_path, STAGED)], tasks=["long"], seeds=(1,))
    how = How("cpu", 1, tmp_path / "results", keep_states=0)
    asked: list[list[str]] = []

    def none_of(plan: Plan, *_: object, **__: object) -> Report:
        asked.append([cell.task for cell in plan.matrix.cells])
        return Report(signal=2)

    monkeypatch.setattr("marlbench.cli.jobs.run_jobs", none_of)
    monkeypatch.setattr("marlbench.cli.projector.Projector", NoProjector)
    assert carry_out(matrix, how, lambda store, matrix: Stage()) == 130
    assert asked == [["short"]]
