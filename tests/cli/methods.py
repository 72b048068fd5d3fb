"""Methods that misbehave as told: the plug-in `misbehaving` of the tests of `marlbench run`."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from marlbench.algorithms import base
from marlbench.algorithms.random_policy import RandomPolicy


class Settings(base.Hyperparameters):
    """`pause`: seconds before each rollout. `kills`: how often its process is killed. `folder`: for marks."""

    pause: float = 0.0
    kills: int = 0
    raises: bool = False
    folder: str = ""


class Misbehaving(RandomPolicy):
    Hyperparameters = Settings
    learns = True

    def __init__(self, setting: base.Setting, hyperparameters: Any) -> None:
        super().__init__(setting, hyperparameters)
        self.options = hyperparameters

    def begin(self, steps: int) -> None:
        if self.options.raises:
            raise ValueError("the reward is a string")
        if self.options.kills:
            for number in range(self.options.kills):
                mark = Path(self.options.folder) / f"killed-{number}"
                if not mark.exists():
                    mark.touch()
                    os.kill(os.getpid(), signal.SIGKILL)
        if self.options.folder:
            (Path(self.options.folder) / "busy").touch()
        time.sleep(self.options.pause)
