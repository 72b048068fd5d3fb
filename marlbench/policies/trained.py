"""Trained policies of done cells, built again from what the store keeps of them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from pydantic import ValidationError
from torch import Tensor

from marlbench.algorithms.base import Algorithm, Policy, Setting
from marlbench.catalog.cell import Cell
from marlbench.environments.contract import BatchedEnvironment, EnvironmentSpecification
from marlbench.errors import ConfigurationError, MarlbenchError, StoreError, UsageError
from marlbench.plugins import load
from marlbench.store import checkpoint, naming
from marlbench.store.states import CellEntry
from marlbench.store.store import Store
from marlbench.training.trainer import environment_class

Which = Literal["best", "last"]


@dataclass(frozen=True)
class StoredPolicy:
    """What the store keeps of a done cell.

    Attributes:
        result: its result.json, verified.
        descriptions: `best` and `last` -> named tensors, as `Policy.describe` made them.
    """

    cell: Cell
    result: Mapping[str, Any]
    descriptions: Mapping[str, Mapping[str, Tensor]]

    @property
    def outcome(self) -> Mapping[str, Any]:
        outcome: Mapping[str, Any] = self.result["outcome"]
        return outcome


def read(store: Store, entry: CellEntry) -> StoredPolicy:
    """The policies of a cell.

    Raises:
        UsageError: the cell is not done, or its training diverged.
        StoreError: its policy.pt is missing or cannot be read.
    """
    naming.require_done(store, [entry])
    result = store.result(entry.id)
    called = f"{naming.name(entry.cell)} ({entry.id[:12]})"
    if result["outcome"]["status"] == "diverged":
        raise UsageError(
            f"{called} diverged at step {result['outcome']['steps']:,}: its parameters are not numbers.",
            "Choose another seed.",
        )
    path = entry.directory / "policy.pt"
    try:
        document = checkpoint.read(path)
    except checkpoint.Corrupt as error:
        raise StoreError(f"{path} cannot be used: {error}.", _retrain(entry)) from None
    if document is None:
        raise StoreError(f"{path} is missing.", _retrain(entry))
    best, last = document.get("best"), document.get("last")
    if document.get("cell") != entry.id or not isinstance(best, dict) or not isinstance(last, dict):
        raise StoreError(f"{path} is not the policy of this cell.", _retrain(entry))
    return StoredPolicy(entry.cell, result, {"best": best, "last": last})


def _retrain(entry: CellEntry) -> str:
    return f"Delete {entry.directory / 'result.json'} and `marlbench run {entry.cell.suite}` trains it again."


class Rebuilt:
    """The policies of cells that differ in their seed alone, side by side as they were trained.

    Attributes:
        algorithm: built for these cells; nothing of its training is restored but the policies.
        specification: of the task.
        notes: what has changed since the cells were trained, one sentence each.
    """

    def __init__(self, stored: Sequence[StoredPolicy], which: Which, device: torch.device) -> None:
        self.cells = tuple(one.cell for one in stored)
        self.device = device
        first = self.cells[0]
        self._class = environment_class(first)
        method = load("algorithms", first.algorithm)
        try:
            self._parameters = self._class.for_evaluation(self._class.Parameters(**first.parameters))
            hyperparameters = method.Hyperparameters(**first.hyperparameters)
        except ValidationError as error:
            reason = error.errors()[0]
            raise ConfigurationError(
                f"{naming.name(first)} cannot be built again: {'.'.join(map(str, reason['loc']))}: {reason['msg']}.",
                "Its environment or algorithm has changed since it was trained.",
            ) from None
        self.notes = self._changes(first, method)
        sample = self.environment(1)
        self.specification: EnvironmentSpecification = sample.specification
        sample.close()
        seeds = tuple(cell.seed for cell in self.cells)
        setting = Setting(self.specification, seeds, first.rows, first.steps, device)
        self.algorithm: Algorithm = method(setting, hyperparameters)
        for one in stored:
            self._check(one)
        self.policy.load_parameters(
            torch.stack([self._flat(one, which) for one in stored]).to(self.policy.parameters())
        )

    @property
    def policy(self) -> Policy:
        return self.algorithm.policy

    @property
    def maximum_rows(self) -> int | None:
        return self._class.maximum_rows

    @property
    def draws_final(self) -> bool:
        return self._class.draws_final

    def environment(self, rows: int) -> BatchedEnvironment:
        """The task with this many rows."""
        return self._class(self._parameters, rows, self.device)

    def close(self) -> None:
        """Free what the algorithm holds."""
        self.algorithm.close()

    def _changes(self, cell: Cell, method: type[Algorithm]) -> tuple[str, ...]:
        told = []
        if method.revision != cell.algorithm_revision:
            told.append(
                f"{cell.algorithm} has revision {method.revision} now, and the cell was trained with "
                f"{cell.algorithm_revision}"
            )
        simulator = self._class.simulator_version(self._parameters)
        if cell.simulator and simulator != cell.simulator:
            told.append(f"the simulator is {simulator} now, and the cell was trained with {cell.simulator}")
        return tuple(told)

    def _flat(self, stored: StoredPolicy, which: str) -> Tensor:
        try:
            return self.policy.parameters_of(stored.descriptions[which])
        except (ValueError, RuntimeError) as error:
            raise StoreError(
                f"the policy of {naming.name(stored.cell)} does not fit {stored.cell.algorithm}: {error}.",
                "The algorithm has changed since, without a new revision, or policy.pt has.",
            ) from None

    def _check(self, stored: StoredPolicy) -> None:
        """Raise StoreError where the policies are not those that the result was found with."""
        digest = hashlib.sha256()
        for which in ("best", "last"):
            flat = self._flat(stored, which)
            digest.update(flat.cpu().contiguous().numpy().tobytes())
        if digest.hexdigest() != stored.outcome["parameters_sha256"]:
            raise StoreError(
                f"policy.pt of {naming.name(stored.cell)} is not the one that its result was found with.",
                "Delete the cell's result.json, and the next run trains it again.",
            )


def rebuild(
    store: Store, entry: CellEntry, which: Which, device: torch.device
) -> tuple[StoredPolicy, Rebuilt]:
    """One cell's policy, alone; see `read` and `Rebuilt` for the errors."""
    stored = read(store, entry)
    return stored, Rebuilt([stored], which, device)


def whole_job(store: Store, stored: StoredPolicy) -> list[StoredPolicy]:
    """The members that trained together with a cell, by seed, and the cell itself among them.

    A member that the store cannot give any more is stood in for by the cell: how many stand in a batched product may
    change its rounding, what the others hold does not.
    """
    members = []
    for member in stored.result["execution"].get("members") or [stored.cell.id]:
        if member == stored.cell.id:
            members.append(stored)
            continue
        try:
            members.append(read(store, store.cell(member)))
        except MarlbenchError:
            members.append(stored)
    return members
