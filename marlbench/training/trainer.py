"""The training of one job: cells that differ in their seed alone, trained together, one joint step at a time.

A `Trainer` is a state machine. `advance` takes it to the next step boundary and returns what belongs into the
journals; `state_dict` holds everything from which `load_state_dict` continues bit for bit. It writes nothing but the
replay files of its algorithm, and it never looks at a clock: what it returns depends on the cells alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from marlbench.algorithms.base import Algorithm, Setting, generators
from marlbench.catalog.cell import Cell
from marlbench.catalog.spacing import spaced, total_steps
from marlbench.catalog.types import Protocol
from marlbench.environments.contract import BatchedEnvironment
from marlbench.environments.keys import row_keys
from marlbench.errors import ConfigurationError
from marlbench.plugins import load
from marlbench.training.agent_costs import agent_costs
from marlbench.training.evaluation import Evaluator, cut_memory
from marlbench.training.findings import Findings
from marlbench.training.starting import with_parts_of
from marlbench.training.tally import Tally

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
        environment = environment_class(first)
        parameters = environment.Parameters(**first.parameters)

        def build(rows: int) -> BatchedEnvironment:
            return environment(environment.for_evaluation(parameters), rows, device)

        self.build: Callable[[int], BatchedEnvironment] = build

        self.environment = environment(parameters, self.members * self.rows, device)
        specification = self.environment.specification
        if specification.continuing and self.protocol.kind == "episodic":
            raise ConfigurationError(
                f"the episodes of {first.environment} never end, and the protocol evaluates episodes.",
                hint="Give the task a protocol of `kind: continuing` with a length, or `online` with a window.",
            )
        agents = len(specification.agents)
        schedule = first.schedule_steps or first.steps
        setting = Setting(specification, self.seeds, self.rows, schedule, device, directory)
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
        self.total_steps = total_steps(first.steps, self.rows)
        self.points = spaced(first.steps, self.rows, self.protocol.evaluations)
        self.train_points = spaced(first.steps, self.rows, min(TRAIN_RECORDS, self.total_steps // self.rows))
        if len(set(self.points)) != len(self.points):
            raise ValueError("more evaluations than joint steps")
        self.generators = generators(self.seeds, stream=1)
        self.steps = 0
        self.time = 0
        self.evaluated = 0
        self.phase = "train"
        self.findings = Findings(cells, self.algorithm.policy.parameters())
        self.tally = Tally(
            specification,
            self.members,
            self.rows,
            self.protocol if self.online else None,
            self.total_steps,
            device,
        )
        self.view = self.environment.reset(row_keys(self.seeds, TRAINING_STREAM, self.rows, device))
        self.memory: Tensor | None = None
        if self.algorithm.policy.memory_size:
            self.memory = torch.zeros(
                self.members * self.rows, agents, self.algorithm.policy.memory_size, device=device
            )
        self.noise = torch.zeros(0)

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
        if self.online:
            self.tally.add_online(policy.measures(before), self.steps)
        step = self.environment.step(action)
        if algorithm.learns:
            algorithm.observe(before, memory, action, step)
        self.view = step
        self.memory = cut_memory(self.memory, step)
        self.tally.count(step, self.steps)
        self.steps += self.rows
        self.time += 1
        if self.time == algorithm.rollout_length:
            self.time = 0
            for name, value in algorithm.learn().items():
                self.tally.since_record.add(name, value, 1.0)
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

    def _record_training(self) -> list[Record]:
        if not self.train_points or self.steps < self.train_points[0]:
            return []
        self.train_points.pop(0)
        records = self._check_finite()
        means = self.tally.since_record.means()
        records += [
            Record(member, "train", self.steps, means[member])
            for member in self.findings.live()
            if means[member]
        ]
        self.tally.since_record.clear()
        return records

    def _check_finite(self) -> list[Record]:
        """Freeze the members whose parameters are no longer numbers."""
        parameters = self.algorithm.policy.parameters()
        finite = parameters.isfinite().all(1).tolist()
        broken = [member for member in self.findings.live() if not finite[member]]
        for member in broken:
            self.findings.diverged_at[member] = self.steps
        if not self.findings.live():
            self.findings.last = parameters
            self.phase = "finished"
        return [Record(member, "diverged", self.steps, {}) for member in broken]

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
        present = self.algorithm.policy.parameters()
        for record in self._records("evaluation"):
            self.findings.evaluated(record.member, self.steps, record.values, present[record.member])
            records.append(record)
        if self.evaluated < len(self.points):
            self.phase = "train"
            return records
        self.findings.last = present
        self.algorithm.policy.load_parameters(self.findings.best)
        self.phase = "absolute"
        self.evaluator.begin(ABSOLUTE_STREAM, self.protocol.absolute_episodes)
        return records

    def _records(self, kind: str) -> list[Record]:
        """What the evaluation that just ended says of every live member."""
        assert self.evaluator is not None
        results = self.evaluator.results()
        records = []
        for member in self.findings.live():
            episodes = {name: value[member].tolist() for name, value in results.items()}
            values = {name: float(value[member].mean()) for name, value in results.items()}
            records.append(Record(member, kind, self.steps, self.findings.with_score(values), episodes))
        return records

    def _absolute(self) -> list[Record]:
        records = self._records("absolute")
        for record in records:
            self.findings.absolute[record.member] = record.values
        self.algorithm.policy.load_parameters(self.findings.last)
        self.phase = "finished"
        return records

    def _record_online(self) -> list[Record]:
        """Evaluation of an online task: what the training itself brought since the point before."""
        records = self._check_finite()
        self.evaluated += 1
        over = self.evaluated == len(self.points)
        present = self.algorithm.policy.parameters()
        means, finals = self.tally.since_point.means(), self.tally.final.means()
        for member in self.findings.live():
            values = self.findings.with_score(means[member])
            self.findings.evaluated(member, self.steps, values, present[member])
            records.append(Record(member, "evaluation", self.steps, values))
            if over:
                self.findings.absolute[member] = self.findings.with_score(finals[member])
                records.append(Record(member, "absolute", self.steps, self.findings.absolute[member]))
        self.tally.since_point.clear()
        if over:
            self.findings.last = present
            self.phase = "finished"
        return records

    def agent_costs(self, clock: Callable[[], float]) -> dict[str, float]:
        """What a system needs of the agents, see `agent_costs`: no part of the outcome."""
        return agent_costs(self.algorithm, self.view, self.memory, self.protocol.policy, clock)

    def outcome(self, member: int) -> dict[str, Any]:
        """What a finished member found: it depends on the cell and the job's membership alone."""
        return self.findings.outcome(member, self.steps, self.environment.resume)

    def policy(self, member: int) -> dict[str, Any]:
        """The best and the last policy of a finished member: tensors and plain values."""
        return self.findings.policy(member, self.algorithm.policy)

    def pictures(self, left: Callable[[], float]) -> dict[int, dict[str, bytes]]:
        """What `pictures_of` makes of this trainer, which is not used afterwards."""
        from marlbench.training.pictures import pictures_of

        return pictures_of(self, left)

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
            **self.tally.state_dict(),
            "findings": self.findings.state_dict(),
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
        self.tally.load_state_dict(state)
        self.findings.load_state_dict(state["findings"])
        if self.findings.source is not None:
            self._keep_points_of_source(self.findings.source)
        self.view = self.environment.load_state_dict(state["environment"])
        if self.environment.resume == "episode":
            self._start_rows_again()
        if self.evaluator is not None:
            self.evaluator.load_state_dict(state["evaluator"])
        if self.phase == "absolute":
            self.algorithm.policy.load_parameters(self.findings.best)

    def start_from(self, taken: Sequence[Mapping[str, Tensor]]) -> None:
        """Put parameters of other policies in the place of fresh ones, before the first step.

        Args:
            taken: of each member, name -> value, as `Policy.describe` told of the other policy.

        Raises:
            ConfigurationError: this policy has no such parameter, or one of another shape.
        """
        fresh = self.algorithm.policy.parameters()
        started = with_parts_of(taken, self.algorithm.policy, fresh, self.cells)
        self.algorithm.start_from(started)
        self.findings.best = self.algorithm.policy.parameters()
        self.findings.last = self.findings.best.clone()

    def extend(self, state: Mapping[str, Any]) -> None:
        """Go on from the finished training of the cells' sources, as if it had not ended there.

        The evaluations of the source stay what they were; those to come are the ones of the longer training that lie
        beyond the source's end.
        """
        self.load_state_dict(state)
        reached = int(state["plain"]["steps"])
        self.findings.go_on(reached, self.evaluated)
        assert self.findings.source is not None
        self._keep_points_of_source(self.findings.source)
        rows = self.total_steps // self.rows
        self.train_points = [
            p for p in spaced(self.cells[0].steps, self.rows, min(TRAIN_RECORDS, rows)) if p > reached
        ]
        self.tally.final.clear()
        self.phase = "train" if self.findings.live() else "finished"

    def _keep_points_of_source(self, source: Mapping[str, int]) -> None:
        """The source's evaluations count as the first ones; only those beyond its end have a point here."""
        own = spaced(self.cells[0].steps, self.rows, self.protocol.evaluations)
        self.points = [0] * source["evaluations"] + [point for point in own if point > source["steps"]]

    def _start_rows_again(self) -> None:
        """The rows came back with fresh episodes: forget what depended on the interrupted ones."""
        forgotten = self.algorithm.rows_restarted()
        self.steps -= forgotten * self.rows
        self.time -= forgotten
        self.tally.episodes.clear(torch.ones_like(self.view.ended))
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
    "train_points",
)
