"""The training of one job: cells that differ in their seed alone, trained together, one joint step at a time.

A `Trainer` is a state machine. `advance` takes it to the next step boundary and returns what belongs into the
journals; `state_dict` holds everything from which `load_state_dict` continues bit for bit. It writes nothing but the
replay files of its algorithm, and it never looks at a clock: what it returns depends on the cells alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from marlbench.algorithms.base import Algorithm, Setting, generators
from marlbench.catalog.cell import Cell
from marlbench.catalog.types import Protocol
from marlbench.environments.contract import BatchedEnvironment
from marlbench.environments.keys import row_keys
from marlbench.plugins import load
from marlbench.training.episodes import EpisodeSums, Window
from marlbench.training.evaluation import Evaluator, cut_memory

TRAINING_STREAM = 0
# Streams of evaluations follow; the absolute metric's lies beyond any number of them.
FIRST_EVALUATION_STREAM = 1
ABSOLUTE_STREAM = 1 << 30
TRAIN_RECORDS = 100


@dataclass(frozen=True)
class Record:
    """One line for the journal of one member.

    Attributes:
        member: index into the job's cells.
        kind: `evaluation`, `train`, `absolute` or `diverged`.
        step: environment steps of that member.
        values: name -> number; not finite ones are possible.
        episodes: per-episode values of an evaluation.
    """

    member: int
    kind: str
    step: int
    values: dict[str, float]
    episodes: dict[str, list[float]] | None = None


def environment_class(cell: Cell) -> type[BatchedEnvironment]:
    """The environment behind `name` or `name:argument`."""
    found: type[BatchedEnvironment] = load("environments", cell.environment.partition(":")[0])
    return found


class Trainer:
    """Trains and evaluates the cells of one job.

    Args:
        cells: the members, alike but for their seed.
        directory: the job's; `replay/` under it is the trainer's own.
        device: where tensors live.
    """

    def __init__(self, cells: Sequence[Cell], directory: Path, device: torch.device) -> None:
        first = cells[0]
        if any(cell.group() != first.group() for cell in cells):
            raise ValueError("the cells of a job may differ in their seed alone")
        self.cells, self.device = tuple(cells), device
        self.members = len(cells)
        self.seeds = tuple(cell.seed for cell in cells)
        self.rows = first.rows
        self.protocol = Protocol.model_validate(first.protocol)
        self.score_metric = str(first.score["metric"])
        self.low, self.high = float(first.score["low"]), float(first.score["high"])
        environment = environment_class(first)
        parameters = environment.Parameters(**first.parameters)

        def build(rows: int) -> BatchedEnvironment:
            return environment(parameters, rows, device)

        self.environment = build(self.members * self.rows)
        specification = self.environment.specification
        agents = len(specification.agents)
        setting = Setting(specification, self.seeds, self.rows, first.steps, device, directory)
        method: type[Algorithm] = load("algorithms", first.algorithm)
        self.algorithm = method(setting, method.Hyperparameters(**first.hyperparameters))
        self.online = self.protocol.kind == "online"
        self.trains = self.algorithm.learns or self.online
        self.evaluator = (
            None
            if self.online
            else Evaluator(
                build,
                environment.maximum_rows,
                self.algorithm.policy,
                self.protocol,
                self.seeds,
                self.protocol.episodes,
            )
        )
        # A joint step is one environment step of every row, so budgets and points are met to within `rows`.
        self.total_steps = -(-first.steps // self.rows) * self.rows
        self.points = self._spaced(self.protocol.evaluations)
        self.train_points = self._spaced(min(TRAIN_RECORDS, self.total_steps // self.rows))
        if len(set(self.points)) != len(self.points):
            raise ValueError("more evaluations than joint steps")
        self.generators = generators(self.seeds, stream=1)
        self.steps = 0
        self.time = 0
        self.evaluated = 0
        self.phase = "train"
        self.evaluations: list[list[dict[str, Any]]] = [[] for _ in cells]
        self.absolute: list[dict[str, float]] = [{} for _ in cells]
        self.diverged_at: list[int | None] = [None] * self.members
        self.best_value = [-torch.inf] * self.members
        self.best = self.algorithm.policy.parameters()
        self.last = self.best.clone()
        self.sums = EpisodeSums(self.members * self.rows, agents, device)
        self.window, self.point_window, self.final_window = (Window(self.members, device) for _ in range(3))
        self.view = self.environment.reset(row_keys(self.seeds, TRAINING_STREAM, self.rows, device))
        self.memory: Tensor | None = None
        if self.algorithm.policy.memory_size:
            self.memory = torch.zeros(
                self.members * self.rows, agents, self.algorithm.policy.memory_size, device=device
            )
        self.noise = torch.zeros(0)

    def _spaced(self, count: int) -> list[int]:
        """Environment steps of `count` evenly spaced points, the last at the end."""
        joint = self.total_steps // self.rows
        return [-(-joint * k // count) * self.rows for k in range(1, count + 1)]

    @property
    def finished(self) -> bool:
        return self.phase == "finished"

    @property
    def must_checkpoint(self) -> bool:
        """True when a checkpoint has to be durable before `advance` is called again."""
        return self.algorithm.must_checkpoint

    def checkpoint_done(self) -> None:
        """The last state that `state_dict` returned is durable."""
        self.algorithm.checkpoint_done()

    def advance(self) -> list[Record]:
        """To the next step boundary: one joint step of training or of evaluation."""
        if self.phase == "train":
            return self._train()
        if self.phase in ("evaluate", "absolute"):
            assert self.evaluator is not None
            self.evaluator.advance()
            if self.evaluator.running:
                return []
            return self._evaluated() if self.phase == "evaluate" else self._absolute()
        raise RuntimeError("the training has finished")

    def _train(self) -> list[Record]:
        if not self.trains:
            self.steps = self.points[self.evaluated]
            self._begin_evaluation()
            return []
        algorithm, policy = self.algorithm, self.algorithm.policy
        if self.time == 0:
            algorithm.begin(self.steps)
            self.noise = self._block()
        before, memory = self.view, self.memory
        action, self.memory = policy.act(before, memory, self.noise[self.time], "behaviour")
        step = self.environment.step(action)
        if algorithm.learns:
            algorithm.observe(before, memory, action, step)
        self.view = step
        self.memory = cut_memory(self.memory, step)
        self._count(step)
        self.steps += self.rows
        self.time += 1
        if self.time == algorithm.rollout_length:
            self.time = 0
            for name, value in algorithm.learn().items():
                self.window.add(name, value, 1.0)
        records = self._record_training()
        if self.evaluated < len(self.points) and self.steps >= self.points[self.evaluated]:
            if self.online:
                records += self._record_online()
            else:
                self._begin_evaluation()
        return records

    def _block(self) -> Tensor:
        """The noise of a whole rollout, each member's from its own generator: [time, row, agent, uniforms]."""
        shape = (
            self.algorithm.rollout_length,
            self.rows,
            len(self.environment.specification.agents),
            self.algorithm.policy.uniforms("behaviour"),
        )
        drawn = torch.stack([torch.rand(shape, generator=g) for g in self.generators], 1)
        return self.algorithm.policy.noise(drawn.flatten(1, 2).to(self.device))

    def _count(self, step: Any) -> None:
        self.sums.add(step)
        if step.any_ended:
            values = self.sums.metrics(step)
            for window in self._windows():
                window.add_rows(values, step.ended)
            self.sums.clear(step.ended)
        if self.online:
            reward = step.reward.to(torch.float64).view(self.members, self.rows, -1)
            for window in self._windows()[1:]:
                window.add("reward_mean", reward.mean((1, 2)), 1.0)
                window.add("reward_sum", reward.sum(2).mean(1), 1.0)

    def _windows(self) -> list[Window]:
        if not self.online:
            return [self.window]
        assert self.protocol.window is not None
        counted = self.protocol.window * (1.0 - (self.protocol.warm_up or 0.0))
        final = [self.final_window] if self.steps >= self.total_steps - counted else []
        return [self.window, self.point_window, *final]

    def _record_training(self) -> list[Record]:
        if not self.train_points or self.steps < self.train_points[0]:
            return []
        self.train_points.pop(0)
        records = self._check_finite()
        for member, means in enumerate(self.window.means()):
            if means and self.diverged_at[member] is None:
                records.append(Record(member, "train", self.steps, means))
        self.window.clear()
        return records

    def _check_finite(self) -> list[Record]:
        """Freeze the members whose parameters are no longer numbers."""
        finite = self.algorithm.policy.parameters().isfinite().all(1).tolist()
        records = []
        for member, sound in enumerate(finite):
            if not sound and self.diverged_at[member] is None:
                self.diverged_at[member] = self.steps
                records.append(Record(member, "diverged", self.steps, {}))
        if all(at is not None for at in self.diverged_at):
            self.last = self.algorithm.policy.parameters()
            self.phase = "finished"
        return records

    def _begin_evaluation(self) -> None:
        if self.phase == "finished":
            return
        assert self.evaluator is not None
        self.phase = "evaluate"
        self.evaluator.begin(FIRST_EVALUATION_STREAM + self.evaluated, self.protocol.episodes)

    def _evaluated(self) -> list[Record]:
        records = self._check_finite()
        self.evaluated += 1
        if self.phase == "finished":
            return records
        assert self.evaluator is not None
        results = self.evaluator.results()
        present = self.algorithm.policy.parameters()
        for member in range(self.members):
            if self.diverged_at[member] is not None:
                continue
            values, episodes = self._member_values(results, member)
            self.evaluations[member].append({"step": self.steps, "values": values})
            records.append(Record(member, "evaluation", self.steps, values, episodes))
            signed = values["score"]
            if signed > self.best_value[member]:
                self.best_value[member] = signed
                self.best[member] = present[member]
        if self.evaluated < len(self.points):
            self.phase = "train"
            return records
        self.last = present
        self.algorithm.policy.load_parameters(self.best)
        self.phase = "absolute"
        self.evaluator.begin(ABSOLUTE_STREAM, self.protocol.absolute_episodes)
        return records

    def _member_values(
        self, results: Mapping[str, Tensor], member: int
    ) -> tuple[dict[str, float], dict[str, list[float]]]:
        episodes = {name: value[member].tolist() for name, value in results.items()}
        values = {name: float(value[member].mean()) for name, value in results.items()}
        return self._with_score(values), episodes

    def _with_score(self, values: dict[str, float]) -> dict[str, float]:
        if self.score_metric not in values:
            raise ValueError(
                f"the task is scored by '{self.score_metric}', which is not among its metrics: "
                f"{', '.join(sorted(values))}"
            )
        return {**values, "score": (values[self.score_metric] - self.low) / (self.high - self.low)}

    def _absolute(self) -> list[Record]:
        assert self.evaluator is not None
        results = self.evaluator.results()
        self.algorithm.policy.load_parameters(self.last)
        records = []
        for member in range(self.members):
            if self.diverged_at[member] is None:
                self.absolute[member], episodes = self._member_values(results, member)
                records.append(Record(member, "absolute", self.steps, self.absolute[member], episodes))
        self.phase = "finished"
        return records

    def _record_online(self) -> list[Record]:
        """Evaluation of an online task: what the training itself brought since the point before."""
        records = self._check_finite()
        self.evaluated += 1
        over = self.evaluated == len(self.points)
        finals = self.final_window.means()
        for member, means in enumerate(self.point_window.means()):
            if self.diverged_at[member] is not None:
                continue
            values = self._with_score(means)
            self.evaluations[member].append({"step": self.steps, "values": values})
            records.append(Record(member, "evaluation", self.steps, values))
            if over:
                self.absolute[member] = self._with_score(finals[member])
                records.append(Record(member, "absolute", self.steps, self.absolute[member]))
        self.point_window.clear()
        if over:
            self.best = self.last = self.algorithm.policy.parameters()
            self.phase = "finished"
        return records

    def outcome(self, member: int) -> dict[str, Any]:
        """What a finished member found: everything in it depends on the cell and the job's membership alone."""
        at = self.diverged_at[member]
        digest = hashlib.sha256()
        for parameters in (self.best, self.last):
            digest.update(parameters[member].cpu().contiguous().numpy().tobytes())
        evaluations = self.evaluations[member]
        return {
            "status": "completed" if at is None else "diverged",
            "steps": self.steps if at is None else at,
            "evaluations": evaluations,
            "final": evaluations[-1]["values"] if evaluations else {},
            "absolute": self.absolute[member],
            "parameters_sha256": digest.hexdigest(),
            "resume": self.environment.resume,
        }

    def policy(self, member: int) -> dict[str, Any]:
        """The best and the last policy of a finished member: tensors and plain values."""
        cell, describe = self.cells[member], self.algorithm.policy.describe
        return {
            "cell": cell.id,
            "algorithm": cell.algorithm,
            "best": describe(self.best[member]),
            "last": describe(self.last[member]),
        }

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values. What lies in files of the algorithm is made durable first."""
        self.algorithm.checkpoint_begins()
        return {
            "algorithm": self.algorithm.state_dict(),
            "environment": self.environment.state_dict(),
            "evaluator": None if self.evaluator is None else self.evaluator.state_dict(),
            "generators": [g.get_state() for g in self.generators],
            "noise": self.noise.clone(),
            "memory": self.memory,
            "sums": self.sums.state_dict(),
            "windows": [w.state_dict() for w in (self.window, self.point_window, self.final_window)],
            "best": self.best.clone(),
            "last": self.last.clone(),
            "plain": {name: deepcopy(getattr(self, name)) for name in _PLAIN},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what `state_dict` returned in a trainer of the same cells."""
        self.algorithm.load_state_dict(state["algorithm"])
        for name in _PLAIN:
            setattr(self, name, deepcopy(state["plain"][name]))
        for generator, saved in zip(self.generators, state["generators"], strict=True):
            generator.set_state(saved)
        self.noise = state["noise"].to(self.device)
        self.memory = None if state["memory"] is None else state["memory"].to(self.device, copy=True)
        self.sums.load_state_dict(state["sums"])
        windows = (self.window, self.point_window, self.final_window)
        for window, saved in zip(windows, state["windows"], strict=True):
            window.load_state_dict(saved)
        self.best, self.last = (state[name].to(self.device, copy=True) for name in ("best", "last"))
        self.view = self.environment.load_state_dict(state["environment"])
        if self.environment.resume == "episode":
            self._start_rows_again()
        if self.evaluator is not None:
            self.evaluator.load_state_dict(state["evaluator"])
        if self.phase == "absolute":
            self.algorithm.policy.load_parameters(self.best)

    def _start_rows_again(self) -> None:
        """The rows came back with fresh episodes: forget what depended on the interrupted ones."""
        forgotten = self.algorithm.rows_restarted()
        self.steps -= forgotten * self.rows
        self.time -= forgotten
        self.sums.clear(torch.ones_like(self.view.ended))
        if self.memory is not None:
            self.memory.zero_()

    def close(self) -> None:
        """End the processes of environments and free what the algorithm holds."""
        self.environment.close()
        if self.evaluator is not None:
            self.evaluator.close()
        self.algorithm.close()


_PLAIN = (
    "steps",
    "time",
    "evaluated",
    "phase",
    "evaluations",
    "absolute",
    "diverged_at",
    "best_value",
    "train_points",
)
