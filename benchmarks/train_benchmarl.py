"""Times a method of BenchMARL 1.5.2; runs in a virtual environment of its own, prints one JSON.

The sizes are those of `suites/speed.yaml`; episodes of simple_spread (mpe2) have 25 steps and 3 agents, those of
balance (VMAS) 100 steps and 4 agents, and agents share parameters.

- ippo, mappo: 16 environments x 128 steps (2,048 frames a batch), 4 epochs of 4 minibatches, networks of 2 x 64 tanh;
  on balance 64 environments x 128 steps.
- iql, vdn, qmix: BenchMARL's defaults, which are 10 environments, 1,000 updates of 128 frames for every 6,000 frames, a
  replay of 1,000,000 frames, with networks of 2 x 64 relu.

Evaluation, logging to files and checkpoints are off, so that what is timed is acting, stepping and learning.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
import types
import warnings
from typing import Any

import mpe2.all_modules
import torch
from benchmarl.algorithms import IppoConfig, IqlConfig, MappoConfig, QmixConfig, VdnConfig
from benchmarl.environments import PettingZooTask, VmasTask
from benchmarl.experiment import Callback, Experiment, ExperimentConfig
from benchmarl.models.mlp import MlpConfig

METHODS = {"ippo": IppoConfig, "mappo": MappoConfig, "iql": IqlConfig, "vdn": VdnConfig, "qmix": QmixConfig}
ON_POLICY = ("ippo", "mappo")
EPOCHS, MINIBATCHES, ROLLOUT = 4, 4, 128
OFF_POLICY_FRAMES, OFF_POLICY_UPDATES = 6000, 1000


class Clock(Callback):
    """When each iteration's collection and learning ended."""

    def __init__(self) -> None:
        super().__init__()
        self.collected: list[float] = []
        self.ended: list[tuple[float, float]] = []

    def on_batch_collected(self, batch: object) -> None:
        self.collected.append(time.perf_counter())

    def on_train_end(self, training_td: object, group: str) -> None:
        self.ended.append((time.perf_counter(), time.process_time()))


def alias_mpe() -> None:
    """Let torchrl find mpe2 where it looks for the particle environments."""
    sys.modules["pettingzoo.mpe"] = mpe2
    sys.modules["pettingzoo.mpe.all_modules"] = mpe2.all_modules
    # torchrl asks this module first, and PettingZoo's own no longer knows the particle environments.
    every = types.ModuleType("pettingzoo.utils.all_modules")
    every.all_environments = mpe2.all_modules.mpe_environments  # type: ignore[attr-defined]
    sys.modules["pettingzoo.utils.all_modules"] = every


def task_of(name: str) -> Any:
    if name == "balance":
        task = VmasTask.BALANCE.get_from_yaml()
        task.config["max_steps"] = 100
        return task
    task = PettingZooTask.SIMPLE_SPREAD.get_from_yaml()
    task.config["max_cycles"] = 25
    return task


def configuration(method: str, task: str, iterations: int, folder: str) -> tuple[ExperimentConfig, int]:
    """BenchMARL's defaults with the sizes of the comparison, and with everything off that is not training.

    Returns the configuration and the frames of one iteration.
    """
    config = ExperimentConfig.get_from_yaml()
    config.prefer_continuous_actions = task == "balance"
    config.share_policy_params = True
    config.max_n_frames = None
    config.max_n_iters = iterations
    config.evaluation = False
    config.render = False
    config.loggers = []
    config.create_json = False
    config.save_folder = folder
    if method not in ON_POLICY:
        config.off_policy_collected_frames_per_batch = OFF_POLICY_FRAMES
        config.off_policy_n_envs_per_worker = 10
        config.off_policy_n_optimizer_steps = OFF_POLICY_UPDATES
        config.off_policy_train_batch_size = 128
        config.off_policy_memory_size = 1_000_000
        return config, OFF_POLICY_FRAMES
    environments = 64 if task == "balance" else 16
    frames = environments * ROLLOUT
    config.on_policy_collected_frames_per_batch = frames
    config.on_policy_n_envs_per_worker = environments
    config.on_policy_n_minibatch_iters = EPOCHS
    config.on_policy_minibatch_size = frames // MINIBATCHES
    return config, frames


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--method", choices=METHODS, default="ippo")
    parser.add_argument("--task", choices=["simple_spread", "balance"], default="simple_spread")
    parser.add_argument("--iterations", type=int, default=3, help="timed iterations")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    alias_mpe()
    torch.set_num_threads(1)
    activation = torch.nn.Tanh if arguments.method in ON_POLICY else torch.nn.ReLU
    network = MlpConfig(num_cells=[64, 64], activation_class=activation, layer_class=torch.nn.Linear)
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        config, frames = configuration(arguments.method, arguments.task, 1 + arguments.iterations, folder)
        Experiment(
            task=task_of(arguments.task),
            algorithm_config=METHODS[arguments.method].get_from_yaml(),
            model_config=network,
            critic_model_config=network,
            seed=0,
            config=config,
            callbacks=[clock],
        ).run()
    # The first iteration warms up and is not counted.
    wall = clock.ended[-1][0] - clock.ended[0][0]
    collecting = sum(
        at - before for at, (before, _) in zip(clock.collected[1:], clock.ended[:-1], strict=True)
    )
    measured = {
        "steps": frames * arguments.iterations,
        "wall_seconds": wall,
        "cpu_seconds": clock.ended[-1][1] - clock.ended[0][1],
        "collection_share": collecting / wall,
    }
    print(json.dumps(measured))


if __name__ == "__main__":
    main()
