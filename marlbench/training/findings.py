"""What a job finds out about its members: their curves, their best and last policies, which of them diverged."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor

from marlbench.algorithms.base import Policy
from marlbench.catalog.cell import Cell


class Findings:
    """One job's; everything in it depends on the cells and on who trains together alone.

    Attributes:
        evaluations: of each member, `{"step", "values"}` in order.
        absolute: of each member, the metrics of its best policy evaluated again; empty until then.
        diverged_at: of each member, the environment steps at which its parameters were no longer numbers, or None.
        best, last: parameters [member, parameters] of the best evaluated and of the last policy.
        source: where the training goes on from another: `steps` at which it did, and how many `evaluations` each
            member had had until then; None where it began here.
    """

    def __init__(self, cells: Sequence[Cell], parameters: Tensor) -> None:
        self.cells = tuple(cells)
        score = cells[0].score
        self._metric = str(score["metric"])
        self._low, self._high = float(score["low"]), float(score["high"])
        self.evaluations: list[list[dict[str, Any]]] = [[] for _ in cells]
        self.absolute: list[dict[str, float]] = [{} for _ in cells]
        self.diverged_at: list[int | None] = [None] * len(self.cells)
        self._best_score = [-torch.inf] * len(self.cells)
        self.best = parameters.clone()
        self.last = parameters.clone()
        self.source: dict[str, int] | None = None

    def go_on(self, steps: int, evaluations: int) -> None:
        """The training that had ended after these steps goes on as that of other cells."""
        self.source = {"steps": steps, "evaluations": evaluations}
        self.absolute = [{} for _ in self.cells]

    def live(self) -> list[int]:
        """The members that have not diverged."""
        return [member for member, at in enumerate(self.diverged_at) if at is None]

    def with_score(self, values: Mapping[str, float]) -> dict[str, float]:
        """The values and, under `score`, the task's metric rescaled by the task's bounds.

        Raises ValueError where the environment does not report that metric.
        """
        if self._metric not in values:
            known = ", ".join(sorted(values))
            raise ValueError(
                f"the task is scored by '{self._metric}', which is not among its metrics: {known}"
            )
        return {**values, "score": (values[self._metric] - self._low) / (self._high - self._low)}

    def evaluated(self, member: int, step: int, values: dict[str, float], parameters: Tensor) -> None:
        """A member was evaluated with these parameters [parameters]; `values` holds its score."""
        self.evaluations[member].append({"step": step, "values": values})
        if values["score"] > self._best_score[member]:
            self._best_score[member] = values["score"]
            self.best[member] = parameters

    def outcome(self, member: int, steps: int, resume: str) -> dict[str, Any]:
        """The `outcome` of a result, after `steps` environment steps."""
        at = self.diverged_at[member]
        digest = hashlib.sha256()
        for parameters in (self.best, self.last):
            digest.update(parameters[member].cpu().contiguous().numpy().tobytes())
        evaluations = self.evaluations[member]
        outcome = {
            "status": "completed" if at is None else "diverged",
            "steps": steps if at is None else at,
            "evaluations": evaluations,
            "final": evaluations[-1]["values"] if evaluations else {},
            "absolute": self.absolute[member],
            "parameters_sha256": digest.hexdigest(),
            "resume": resume,
        }
        if self.source is not None:
            outcome["source"] = {"cell": self.cells[member].source, **self.source}
        return outcome

    def policy(self, member: int, policy: Policy) -> dict[str, Any]:
        """The best and the last policy as tensors and plain values."""
        return {
            "cell": self.cells[member].id,
            "algorithm": self.cells[member].algorithm,
            "best": policy.describe(self.best[member]),
            "last": policy.describe(self.last[member]),
        }

    def state_dict(self) -> dict[str, Any]:
        plain = {
            "evaluations": self.evaluations,
            "absolute": self.absolute,
            "diverged_at": self.diverged_at,
            "best_score": self._best_score,
            "source": self.source,
        }
        return {**deepcopy(plain), "best": self.best.clone(), "last": self.last.clone()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        device = self.best.device
        self.evaluations = deepcopy(state["evaluations"])
        self.absolute = deepcopy(state["absolute"])
        self.diverged_at = list(state["diverged_at"])
        self._best_score = list(state["best_score"])
        # Checkpoints of earlier versions know no sources.
        self.source = deepcopy(state.get("source"))
        self.best, self.last = (state[name].to(device, copy=True) for name in ("best", "last"))
