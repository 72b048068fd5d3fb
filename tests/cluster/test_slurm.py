"""`--engine slurm` against a real Slurm: whatever is killed, every cell is done exactly once."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import psutil

from .conftest import Start, suite
from .daemons import wait_for
from .looking import SECONDS, assert_all_done_once, finish, results, workers
from .slurm import Cluster


def run(start: Start, cluster: Cluster, *options: str) -> Any:
    return start(
        "run", "small.yaml", "--engine", "slurm", "--seeds-per-job", "1", *options, env=cluster.environment
    )


def test_a_matrix_is_one_array_and_its_outcomes_are_those_of_local_runs(
    cluster: Cluster, folder: Path, start: Start
) -> None:
    finish(run(start, cluster))
    assert_all_done_once(folder, 4, "slurm")
    assert len(list(folder.glob("results/submissions/*/"))) == 1
    finish(start("run", "small.yaml", "--seeds-per-job", "1", "--results", "calm"))
    calm = {
        path.parent.name: json.loads(path.read_text()) for path in folder.glob("calm/cells/*/result.json")
    }
    assert {cell: result["outcome"] for cell, result in results(folder).items()} == {
        cell: result["outcome"] for cell, result in calm.items()
    }


def test_the_command_may_leave_and_be_given_again(cluster: Cluster, folder: Path, start: Start) -> None:
    said = finish(run(start, cluster, "--detach"))
    assert "4 jobs submitted to slurm" in said
    status = json.loads(finish(start("status", "--json", env=cluster.environment)))
    assert len(status["queued"]) == 4
    said = finish(run(start, cluster))
    assert "0 jobs submitted to slurm, 4 jobs there already" in said
    assert_all_done_once(folder, 4, "slurm")


def test_a_killed_command_leaves_its_jobs(cluster: Cluster, folder: Path, start: Start) -> None:
    process = run(start, cluster)
    wait_for(lambda: workers(folder), SECONDS)
    process.kill()
    process.communicate()
    finish(run(start, cluster))
    assert_all_done_once(folder, 4, "slurm")
    assert len(list(folder.glob("results/submissions/*/"))) == 1


def test_a_killed_job_starts_again_in_its_place(cluster: Cluster, folder: Path, start: Start) -> None:
    suite(folder, seeds=2, steps=16000)
    process = run(start, cluster)
    wait_for(lambda: len(workers(folder)) == 2, SECONDS)
    for worker in workers(folder):
        worker.kill()
    finish(process)
    assert_all_done_once(folder, 2, "slurm")
    assert len(list(folder.glob("results/submissions/*/"))) == 1


def test_a_killed_task_is_submitted_again(cluster: Cluster, folder: Path, start: Start) -> None:
    suite(folder, seeds=2, steps=16000)
    process = run(start, cluster)
    wait_for(lambda: len(workers(folder)) == 2, SECONDS)
    for worker in workers(folder):
        task = worker.parent()
        assert task is not None
        assert "submitit.core._submit" in task.cmdline()
        task.kill()
    said = finish(process)
    assert "retry 1" in said
    assert_all_done_once(folder, 2, "slurm")
    wait_for(lambda: not workers(folder), what="the end of all jobs")


def test_a_time_limit_is_a_checkpoint_and_another_turn(cluster: Cluster, folder: Path, start: Start) -> None:
    suite(folder, seeds=1, steps=600_000)
    process = run(start, cluster, "--profile", "minute")
    log = "results/submissions/*/*_log.out"
    wait_for(
        lambda: any("Exiting gracefully" in path.read_text() for path in folder.glob(log)),
        SECONDS,
        "a time limit",
    )
    wait_for(lambda: cluster.jobs("PENDING,RUNNING"), what="the requeued job")
    process.send_signal(signal.SIGINT)
    finish(process, 130)
    (record,) = (json.loads(path.read_text()) for path in folder.glob("results/cells/*/attempts/1.json"))
    assert record["outcome"] == "interrupted"
    assert list(folder.glob("results/jobs/*/checkpoint.pt"))
    finish(start("cancel", "--all", env=cluster.environment))
    wait_for(lambda: not cluster.jobs("PENDING,RUNNING"), what="the end of the cancelled job")


def test_preemption_is_a_checkpoint_and_another_turn(cluster: Cluster, folder: Path, start: Start) -> None:
    suite(folder, seeds=1, steps=60_000)
    process = run(start, cluster)
    wait_for(lambda: list(folder.glob("results/jobs/*/progress.json")), SECONDS)
    cluster.ask(
        "sbatch", "--partition=urgent", "--cpus-per-task=2", "--output=/dev/null", "--wrap", "sleep 5"
    )
    finish(process)
    assert_all_done_once(folder, 1, "slurm")
    outcomes = [
        json.loads(path.read_text())["outcome"] for path in folder.glob("results/cells/*/attempts/*.json")
    ]
    assert outcomes.count("interrupted") == 1


def test_the_controller_is_killed_while_jobs_run(cluster: Cluster, folder: Path, start: Start) -> None:
    process = run(start, cluster)
    wait_for(lambda: workers(folder), SECONDS)
    cluster.controller.stop(signal.SIGKILL)
    wait_for(lambda: not cluster.ask("squeue"), what="silence")
    psutil.Process(os.getpid()).cpu_percent(3.0)
    cluster.controller.start()

    def ended() -> bool:
        cluster.mend()
        return process.poll() is not None

    wait_for(ended, SECONDS, "the end of the run")
    said = finish(process)
    assert_all_done_once(folder, 4, "slurm")
    assert "failed" not in said


def test_cancelled_jobs_leave_and_can_go_on(cluster: Cluster, folder: Path, start: Start) -> None:
    suite(folder, seeds=3, steps=60_000)
    process = run(start, cluster)
    wait_for(lambda: len(list(folder.glob("results/jobs/*/progress.json"))) == 2, SECONDS)
    finish(start("cancel", "small", env=cluster.environment))
    finish(process, 4)
    wait_for(lambda: not cluster.jobs("PENDING,RUNNING"), what="an empty queue")
    suite(folder, seeds=3, steps=60_000)
    status = json.loads(finish(start("status", "--json", env=cluster.environment)))
    assert status["states"].get("interrupted") == 2
    assert not status["states"].get("failed")


def test_each_job_gets_a_gpu_of_its_own(cluster: Cluster, folder: Path, start: Start) -> None:
    """The GPUs are no GPUs, so jobs end with an exception; what they were given is in their environment."""
    suite(folder, seeds=2)
    process = run(start, cluster, "--profile", "gpu", "--detach")
    finish(process)
    wait_for(lambda: not cluster.jobs("PENDING,RUNNING"), SECONDS, "the end of both jobs")
    status = json.loads(finish(start("status", "--json", env=cluster.environment)))
    assert status["states"] == {"failed": 2}
    said = " ".join(path.read_text() for path in folder.glob("results/submissions/*/*_log.out"))
    assert sorted(word for word in said.split() if word.startswith("gpu=")) == ["gpu=0", "gpu=1"]
    records = [json.loads(path.read_text()) for path in folder.glob("results/cells/*/attempts/*.json")]
    assert [record["device"] for record in records] == ["cuda", "cuda"]


STUDY = """
study:
  question: Does the agent learn?
  source: the test
  claims:
    learns:
      says: It is better than the lower bound.
      source: the test
      contrast: {kind: level, of: {}}
      holds: {above: -40.0}
"""


def test_a_study_and_a_search_are_trained_there_too(cluster: Cluster, folder: Path, start: Start) -> None:
    suite(folder, seeds=2, steps=2000)
    with (folder / "small.yaml").open("a") as file:
        file.write(STUDY)
    slurm = ("--engine", "slurm", "--json")
    said = finish(start("study", "./small.yaml", *slurm, "--seeds-per-job", "1", env=cluster.environment))
    assert json.loads(said)["claims"][0]["n"] == 2
    assert_all_done_once(folder, 2, "slurm")
    search = ("--algorithm", "ippo", "--space", "epochs=1..2", "--budget", "2", "--seeds-per-trial", "1")
    said = finish(start("tune", "./small.yaml", *search, *slurm, env=cluster.environment))
    assert len(json.loads(said)["trials"]) == 2
    found = results(folder)
    assert {result["execution"]["engine"] for result in found.values()} == {"slurm"}
    assert len(found) in (3, 4), "two trials of the same settings are one cell"


def test_what_slurm_refuses_is_one_message_and_submits_nothing(
    cluster: Cluster, folder: Path, start: Start
) -> None:
    (folder / "marlbench.toml").write_text('[slurm.default]\npartition = "nowhere"\n')
    said = finish(run(start, cluster), 3)
    assert "Slurm does not take the jobs" in said
    assert "invalid partition" in said
    assert "Traceback" not in said
    assert not list(folder.glob("results/jobs/*/submission.json"))


def test_it_works_with_accounting_too(accounted: Cluster, folder: Path, start: Start) -> None:
    suite(folder, seeds=2)
    process = run(start, accounted)
    wait_for(lambda: workers(folder), SECONDS)
    workers(folder)[0].parent().kill()  # type: ignore[union-attr]
    finish(process)
    assert_all_done_once(folder, 2, "slurm")
    states = accounted.ask("sacct", "--noheader", "--allocations", "--format=State").split()
    assert "COMPLETED" in states
    assert len(states) == 3
