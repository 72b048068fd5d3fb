"""Times BenchMARL 1.5.2's IPPO on mpe2's simple_spread; runs in a virtual environment of its own, prints one JSON.

The sizes are those of `suites/speed.yaml`: 16 environments x 128 steps (2,048 frames a batch), 4 epochs of 4
minibatches of 512 frames, networks of 2 x 64 tanh, 3 agents that share parameters, episodes of 25 steps. Evaluation,
logging to files and checkpoints are off, so that what is timed is acting, stepping and learning.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
import types
import warnings

import mpe2.all_modules
import torch
from benchmarl.algorithms import IppoConfig
from benchmarl.environments import PettingZooTask
from benchmarl.experiment import Callback, Experiment, ExperimentConfig
from benchmarl.models.mlp import MlpConfig

FRAMES = 2048


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


def configuration(iterations: int, folder: str) -> ExperimentConfig:
    """BenchMARL's defaults with the sizes of the comparison, and with everything off that is not training."""
    config = ExperimentConfig.get_from_yaml()
    config.prefer_continuous_actions = False
    config.share_policy_params = True
    config.on_policy_collected_frames_per_batch = FRAMES
    config.on_policy_n_envs_per_worker = 16
    config.on_policy_n_minibatch_iters = 4
    config.on_policy_minibatch_size = FRAMES // 4
    config.max_n_frames = None
    config.max_n_iters = iterations
    config.evaluation = False
    config.render = False
    config.loggers = []
    config.create_json = False
    config.save_folder = folder
    return config


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--iterations", type=int, default=3, help="timed iterations of 2,048 steps")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    alias_mpe()
    torch.set_num_threads(1)
    task = PettingZooTask.SIMPLE_SPREAD.get_from_yaml()
    task.config["max_cycles"] = 25
    network = MlpConfig(num_cells=[64, 64], activation_class=torch.nn.Tanh, layer_class=torch.nn.Linear)
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        Experiment(
            task=task,
            algorithm_config=IppoConfig.get_from_yaml(),
            model_config=network,
            critic_model_config=network,
            seed=0,
            config=configuration(1 + arguments.iterations, folder),
            callbacks=[clock],
        ).run()
    # The first iteration warms up and is not counted.
    wall = clock.ended[-1][0] - clock.ended[0][0]
    collecting = sum(
        at - before for at, (before, _) in zip(clock.collected[1:], clock.ended[:-1], strict=True)
    )
    measured = {
        "steps": FRAMES * arguments.iterations,
        "wall_seconds": wall,
        "cpu_seconds": clock.ended[-1][1] - clock.ended[0][1],
        "collection_share": collecting / wall,
    }
    print(json.dumps(measured))


if __name__ == "__main__":
    main()
