"""The rows of the speed table: what is timed, by which command, and the floor that it has to keep."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import benchmarl_environment
import floors
import measure
from floors import Sample
from measure import HERE, Failed, marlbench

SPEED = str(HERE / "suites" / "speed.yaml")
SPEED_RUN = (
    "run",
    SPEED,
    "--task",
    "native",
    "--algorithm",
    "ippo",
    "--device",
    "cpu",
    "--jobs",
    "1",
    "--json",
)
MATRIX = str(HERE / "suites" / "matrix.yaml")
STORE = HERE / "out" / "store"
DONE = 9000


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        work: what is timed.
        floor: what is asked for, in words.
        figures: series -> function that takes one sample of it; series of one row are taken in turn.
        judge: medians of the series -> (the figure in words, whether it keeps the floor).
    """

    work: str
    floor: str
    figures: dict[str, Callable[[], Sample]]
    judge: Callable[[dict[str, Sample]], tuple[str, bool]]
    prepare: Callable[[], None] = field(default=lambda: None)


def medians(samples: dict[str, list[Sample]]) -> dict[str, Sample]:
    """The median of every figure of every series."""
    return {
        name: {figure: median(sample[figure] for sample in taken) for figure in taken[0]}
        for name, taken in samples.items()
    }


def _speed(measured: dict[str, Any]) -> Sample:
    sample = {name: float(value) for name, value in measured.items()}
    sample["steps_per_cpu_second"] = sample["steps"] / sample["cpu_seconds"]
    sample["steps_per_second"] = sample["steps"] / sample["wall_seconds"]
    return sample


def _ours(*arguments: str) -> Callable[[], Sample]:
    return lambda: _speed(measure.script(sys.executable, "train_ours.py", *arguments))


def _theirs(*arguments: str) -> Callable[[], Sample]:
    return lambda: _speed(measure.script(benchmarl_environment.python(), "train_benchmarl.py", *arguments))


def _standard(method: str, *, warm_up: int = 1) -> Row:
    """A standard method on simple_spread, ours in the native simulator and theirs in mpe2."""
    return Row(
        f"{method.upper()} on native simple_spread, the sizes of `train_benchmarl.py`: whole training",
        "8 x BenchMARL on mpe2",
        {
            "marlbench": _ours("--method", method, "--rollouts", "10", "--warm-up", str(warm_up)),
            "BenchMARL": _theirs("--method", method, "--iterations", "1"),
        },
        floors.ratio(8),
    )


def _battles(scenario: str, floor: float) -> Row:
    return Row(
        f"battles of {scenario}, random legal policies, 1,024 rows, all rules on",
        f"{floor:,.0f} a CPU-second",
        {"marlbench": lambda: _speed(measure.script(sys.executable, "time_battles.py", scenario))},
        floors.at_least(floor),
    )


def _command(*arguments: str, one_core: bool = True, results: Path | None = None) -> Callable[[], Sample]:
    """Times a command of marlbench with a store of its own, and checks what `run --json` says at its end."""

    def sample() -> Sample:
        with tempfile.TemporaryDirectory() as folder:
            reads = {"run", "compare", "status"} & set(arguments)
            store = ["--results", str(results or Path(folder) / "results")] if reads else []
            timed = measure.run(marlbench(*arguments, *store), one_core=one_core, directory=Path(folder))
        if "run" in arguments:
            said = json.loads(timed.stdout)
            wanted = DONE if "--dry-run" in arguments else said["cells"]
            if said["done"] != wanted:
                raise Failed(f"{said['done']} of {said['cells']} cells are done, {wanted} were expected")
        return {"wall_seconds": timed.wall_seconds, "cpu_seconds": timed.cpu_seconds}

    return sample


def _fill() -> None:
    """A store with 9,000 of the 10,000 cells done and indexed; one of another version of marlbench is filled anew."""
    resolve = _command("run", MATRIX, "--dry-run", "--json", results=STORE)
    if STORE.exists():
        try:
            resolve()
        except Failed:
            shutil.rmtree(STORE)
    if not STORE.exists():
        print("Filling a store with 9,000 finished cells: a minute or two.", file=sys.stderr, flush=True)
        measure.run([sys.executable, str(HERE / "fill_store.py"), str(STORE), "90"], one_core=False)
    measure.run(marlbench("status", "--results", str(STORE)))
    resolve()


def _without_index() -> Sample:
    with tempfile.TemporaryDirectory(dir=STORE.parent) as aside:
        kept = [file.rename(Path(aside) / file.name) for file in STORE.glob("index.sqlite*")]
        try:
            return _command("run", MATRIX, "--dry-run", "--json", results=STORE)()
        finally:
            for file in kept:
                file.rename(STORE / file.name)


def _replay() -> Sample:
    return {name: float(v) for name, v in measure.script(sys.executable, "measure_replay.py").items()}


def _simulators() -> Sample:
    timed = measure.script(sys.executable, "time_simulators.py")
    return {name: float(figures["steps_per_cpu_second"]) for name, figures in timed.items()}


def _highway() -> Sample:
    timed = measure.script(sys.executable, "time_highway.py", "--samples", "3")
    return {name: float(speed) for name, speed in timed["decisions_per_cpu_second"].items()}


def _storage() -> Sample:
    return {name: float(v) for name, v in measure.script(sys.executable, "measure_storage.py").items()}


def _signals() -> Sample:
    timed = measure.run([sys.executable, str(HERE / "time_signals.py")], one_core=False)
    told = json.loads(timed.stdout.splitlines()[-1])
    return {name: float(value) for name, value in told.items() if name != "network"}


def _eco_driving() -> Sample:
    return {name: float(v) for name, v in measure.script(sys.executable, "time_eco_driving.py").items()}


ROWS = {
    "native": Row(
        "IPPO on native simple_spread, 16 environments x 128 steps, one seed: whole training",
        "12 x BenchMARL on mpe2",
        {"marlbench": _ours("--task", "native"), "BenchMARL": _theirs()},
        floors.ratio(12),
    ),
    "mappo": _standard("mappo"),
    "qmix": _standard("qmix", warm_up=2),
    "vdn": _standard("vdn", warm_up=2),
    "iql": _standard("iql", warm_up=2),
    "balance": Row(
        "IPPO on VMAS's balance, 64 environments x 128 steps, 4 epochs: whole training",
        "1.2 x BenchMARL",
        {
            "marlbench": _ours("--task", "balance", "--rollouts", "2"),
            "BenchMARL": _theirs("--task", "balance", "--iterations", "2"),
        },
        floors.ratio(1.2),
    ),
    "recurrent": Row(
        "recurrent QMIX on native simple_spread, 32 episodes of 25 steps for every episode played, GRU of 64 units",
        "a figure",
        {"marlbench": _ours("--method", "qmix_recurrent", "--rollouts", "10", "--warm-up", "2")},
        floors.at_least(0),
    ),
    "recurrent_battles": Row(
        "recurrent MAPPO on the battles of 3m, 128 environments x 128 steps, 4 epochs of 4 minibatches, 128 units",
        "2,100 a CPU-second",
        {"marlbench": _ours("--task", "3m", "--method", "mappo_battles", "--rollouts", "1")},
        floors.at_least(2_100),
    ),
    "battles": _battles("terran_5_vs_5", 18_000),
    "large_battles": _battles("terran_10_vs_11", 6_000),
    "command": Row(
        "the same for 200,000 steps, from the command to the recorded result, with 6 evaluations",
        "under 32 s",
        {"marlbench": _command(*SPEED_RUN)},
        floors.under(32, "wall_seconds"),
    ),
    "ten_seeds": Row(
        "the same, ten seeds in one job",
        "15,000 seed-steps a second",
        {"marlbench": _ours("--task", "native", "--seeds", "10", "--rollouts", "8")},
        floors.at_least(15_000),
    ),
    "mpe2": Row(
        "IPPO on mpe2 simple_spread through the adapter, workers' CPU counted",
        "2 x BenchMARL",
        {"marlbench": _ours("--task", "mpe2", "--rollouts", "4"), "BenchMARL": _theirs()},
        floors.ratio(2),
    ),
    "gpu": Row(
        "ten seeds in one job on a GPU, against one seed",
        "at most 2 x the time",
        {
            "one seed": _ours("--device", "cuda"),
            "ten seeds": _ours("--device", "cuda", "--seeds", "10"),
        },
        floors.one_and_ten,
    ),
    "quickstart": Row(
        "marlbench run quickstart, on every core",
        "under 4 minutes on two cores",
        {"marlbench": _command("run", "quickstart", "--device", "cpu", "--json", one_core=False)},
        floors.under(240, "wall_seconds"),
    ),
    "replay": Row(
        "recurrent QMIX, 10 agents x 170 features, state 306, 5,000 episodes of 200 steps in an int8 replay",
        "3 GB of disk, 1 GB resident",
        {"marlbench": _replay},
        floors.fits,
    ),
    "simulators": Row(
        "simulators of social dilemmas and navigation, random actions, 1,024 rows (harvest, clean_up: 64)",
        "300,000 a CPU-second; fishery 500,000; harvest and clean_up 30,000; navigation 150,000",
        {"marlbench": _simulators},
        floors.fast_enough,
    ),
    "highway": Row(
        "the highway: 5 agents with random actions among 50 others, 256 rows, and highway-env in the same process",
        "300 x highway-env",
        {"marlbench and highway-env": _highway},
        floors.times_highway_env,
    ),
    "iplan": Row(
        "iPLAN on the native highway, 8 environments x 90 steps, 15 epochs, inference too: whole training",
        "30 a CPU-second",
        {
            "marlbench": _ours(
                *("--task", "highway", "--method", "iplan", "--length", "90", "--rollouts", "2")
            )
        },
        floors.at_least(30),
    ),
    "signals": Row(
        "signals on grid4x4 through the adapter beside a plain libsumo loop with the same actions and reads",
        "at most 15 % slower, the job's part included; two rows on two cores 1.7 times one",
        {"marlbench": _signals},
        floors.little_slower,
    ),
    "eco_driving": Row(
        "eco-driving, whole episodes of 5 minutes with their plain driving: steps of half a second",
        f"{floors.ECO_DRIVING:,.0f} steps a CPU-second",
        {"marlbench": _eco_driving},
        floors.mostly_sumo,
    ),
    "storage": Row(
        "storage placement, 64 systems: LRU inside, a step with a policy outside; libcachesim's LRU from Python",
        "2,000,000 and 300,000 requests a CPU-second",
        {"marlbench": _storage},
        floors.storage_speed,
    ),
    "help": Row(
        "marlbench --help",
        "under 0.5 s of CPU",
        {"marlbench": _command("--help")},
        floors.under(0.5, "cpu_seconds"),
    ),
    "statistics": Row(
        "four aggregates of 10 algorithms x 10 seeds x 20 tasks with 50,000 shared resamples",
        "under 25 s of CPU",
        {
            "marlbench": lambda: {
                k: float(v) for k, v in measure.script(sys.executable, "time_statistics.py").items()
            }
        },
        floors.under(25, "cpu_seconds"),
    ),
    "short_cells": Row(
        "1,000 cells of a second each, every one a job of its own, reckoned from runs of 5 and of 25",
        "at most 1.25 times their bare training loops",
        {
            "marlbench": lambda: {
                k: float(v) for k, v in measure.script(sys.executable, "time_harness.py", "short").items()
            }
        },
        floors.little_besides,
    ),
    "overhead": Row(
        "what a job does besides training, in a job of about a minute",
        "at most 2 %",
        {
            "marlbench": lambda: {
                k: float(v) for k, v in measure.script(sys.executable, "time_harness.py", "long").items()
            }
        },
        floors.little_more,
    ),
    "status": Row(
        "marlbench status of a store of 10,000 cells",
        "under 2 s of CPU",
        {"marlbench": _command("status", "--json", results=STORE)},
        floors.under(2, "cpu_seconds"),
        _fill,
    ),
    "compare": Row(
        "marlbench compare on a matrix of 10,000 cells with 9,000 done",
        "under 10 s of CPU",
        {"marlbench": _command("compare", MATRIX, "--json", results=STORE)},
        floors.under(10, "cpu_seconds"),
        _fill,
    ),
    "matrix": Row(
        "resolving a matrix of 10,000 cells with 9,000 done",
        "under 5 s",
        {
            "marlbench": _command("run", MATRIX, "--dry-run", "--json", results=STORE),
            "without the index": _without_index,
        },
        floors.under(5, "wall_seconds"),
        _fill,
    ),
}
