from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from marlbench.catalog.matrix import Matrix, resolve
from marlbench.errors import STORE, USAGE
from marlbench.policies import evaluating, trained
from marlbench.store import naming
from marlbench.store.store import Store

from .conftest import Typed, train

CPU = torch.device("cpu")


def test_every_absolute_evaluation_repeats_bit_for_bit(tiny: tuple[Path, Matrix]) -> None:
    store = Store.open(tiny[0] / "results")
    for cell in tiny[1].cells:
        stored = trained.read(store, store.cell(cell.id))
        found, member = evaluating.repeat(trained.whole_job(store, stored), stored, CPU)
        absolute = stored.outcome["absolute"]
        assert set(found.values) == set(absolute) - {"score"}
        for name, values in found.values.items():
            assert float(values[member].mean()) == absolute[name], f"{naming.name(cell)}: {name}"


def test_fresh_episodes_are_others_and_the_same_for_the_same_seed(tiny: tuple[Path, Matrix]) -> None:
    store = Store.open(tiny[0] / "results")
    entry = naming.find(store, "ippo/spread/s0")
    stored, rebuilt = trained.rebuild(store, entry, "best", CPU)
    values = [evaluating.evaluate(rebuilt, None, 8, seed).values["return_mean"] for seed in (0, 0, 1)]
    again, _ = evaluating.repeat([stored], stored, CPU)
    assert torch.equal(values[0], values[1])
    assert not set(values[0][0].tolist()) & set(values[2][0].tolist())
    assert not set(values[0][0].tolist()) & set(again.values["return_mean"][0].tolist())


def test_best_and_last_are_the_policies_that_were_evaluated(tiny: tuple[Path, Matrix]) -> None:
    """The last of two evaluations, on its stream, gives what the journal has."""
    store = Store.open(tiny[0] / "results")
    entry = naming.find(store, "iql/spread/s1")
    job = trained.whole_job(store, trained.read(store, entry))
    rebuilt = trained.Rebuilt(job, "last", CPU)
    protocol = evaluating.protocol_for(rebuilt, None)
    seeds = [cell.seed for cell in rebuilt.cells]
    found = evaluating.play(rebuilt, rebuilt.policy, protocol, seeds, 2, 3)
    assert (
        float(found.values["return_mean"][1].mean())
        == store.result(entry.id)["outcome"]["final"]["return_mean"]
    )


def test_the_command(typed: Typed) -> None:
    code, out, _ = typed("eval", "tiny/spread/ippo/s0", "--json")
    document = json.loads(out)
    assert code == 0
    assert (document["which"], document["episodes"], document["stream"]) == ("best", 8, "fresh 0")
    assert document["recorded"]["kind"] == "absolute"
    assert document["recorded"]["episodes"] == 8
    mean = document["metrics"]["return_mean"]
    assert mean["low"] < mean["mean"] < mean["high"]
    assert document["metrics"]["score"]["mean"] == pytest.approx((mean["mean"] + 40) / 30)
    repeated = json.loads(typed("eval", "ippo/spread/s0", "--repeat", "--json")[1])
    assert repeated["repeats"] is True
    assert repeated["metrics"] == repeated["recorded"]["metrics"]
    code, out, _ = typed("eval", "iql/stag/s1", "--which", "last", "--policy", "sampled", "--episodes", "3")
    assert code == 0
    assert "the last policy of 512 steps, sampled actions, 3 episodes (fresh, --seed 0)" in out
    assert "recorded: the last evaluation of 3 episodes" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["tiny/spread/ippo/s9"], "no cell called 'tiny/spread/ippo/s9'"),
        (["tiny/spread/ippo"], "it names no seed"),
        (["nothing"], "neither the id of a cell nor the name of one"),
        (["ippo/spread/s0", "--repeat", "--seed", "3"], "--repeat plays what was recorded"),
        (["ippo/spread/s0", "--seed", str(2**31)], "--seed"),
        (["ippo/spread/s0", "--device", "cuba"], "no such device"),
    ],
)
def test_what_cannot_be_evaluated(typed: Typed, words: list[str], message: str) -> None:
    code, out, said = typed("eval", *words)
    assert (code, out) == (USAGE, "")
    assert message in said


def test_a_cell_that_is_not_done_and_a_policy_that_was_changed(
    typed: Typed, tiny: tuple[Path, Matrix], tmp_path: Path
) -> None:
    shutil.copytree(tiny[0] / "results", tmp_path / "results")
    results = ["--results", str(tmp_path / "results")]
    entry = naming.find(Store.open(tmp_path / "results"), "ippo/spread/s0")
    path = entry.directory / "policy.pt"
    document = torch.load(path, weights_only=True)
    next(iter(document["best"].values()))[0].add_(1.0)
    torch.save(document, path)
    code, _, said = typed("eval", "ippo/spread/s0", *results)
    assert code == STORE
    assert "is not the one that its result was found with" in said
    path.write_bytes(path.read_bytes()[:-100])
    code, _, said = typed("eval", "ippo/spread/s0", *results)
    assert code == STORE
    assert "cannot be used" in said
    path.unlink()
    assert "is missing" in typed("eval", "ippo/spread/s0", *results)[2]
    (entry.directory / "result.json").unlink()
    code, _, said = typed("eval", "ippo/spread/s0", *results)
    assert code == USAGE
    assert "is not done" in said


ONLINE = """\
schema: 1
suite: online
title: A task with episodes, learnt online
rows: 4
seeds: 1
steps: 256
protocol: {kind: online, policy: behaviour, evaluations: 1, window: 128, warm_up: 0.5}
algorithms:
  iql: {hyperparameters: {replay_steps: 400, learning_starts: 50, hidden: [16]}}
tasks:
  spread:
    environment: simple_spread
    parameters: {episode_length: 6}
    score: {metric: return_mean, low: -40.0, high: -10.0, source: the test}
"""


def test_what_was_learnt_online_is_evaluated_over_episodes_where_there_are_any(tmp_path: Path) -> None:
    (tmp_path / "online.yaml").write_text(ONLINE)
    store = Store.open(tmp_path / "results", create=True)
    train(store, resolve([str(tmp_path / "online.yaml")]).cells)
    _, rebuilt = trained.rebuild(store, naming.find(store, "iql/spread/s0"), "best", CPU)
    found = evaluating.evaluate(rebuilt, None, 5, 0)
    assert found.protocol.kind == "episodic"
    assert found.values["episode_length"].tolist() == [[6.0] * 5]
