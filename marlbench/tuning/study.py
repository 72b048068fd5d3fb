"""A study: trials of hyperparameters, each of which is ordinary cells of the store, and what they came to.

Nothing lives in memory alone. A trial's hyperparameters are written before its cells are trained, its value after; the
next trial is drawn by Optuna's sampler from what is written, with a seed of its own. So a study goes on after any
interruption as if there had been none, and a larger budget continues a smaller one.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from marlbench.catalog.identity import identity_id
from marlbench.errors import StoreError, UsageError
from marlbench.store import durable
from marlbench.tuning.space import Space

if TYPE_CHECKING:
    from optuna.study import Study as OptunaStudy
    from optuna.trial import FrozenTrial

SCHEMA = 1
FOLDER = "tuning"

Sampler = Literal["tpe", "random"]


@dataclass(frozen=True)
class Trial:
    """One point of the space.

    Attributes:
        scores: of its runs, by task and seed; empty until all are there.
        failed: why there will be none; '' otherwise.
    """

    number: int
    hyperparameters: Mapping[str, Any]
    scores: tuple[float, ...] = ()
    failed: str = ""

    @property
    def value(self) -> float | None:
        """The mean score over tasks and seeds, which have equally many each."""
        return sum(self.scores) / len(self.scores) if self.scores else None

    @property
    def open(self) -> bool:
        return not self.scores and not self.failed


class Study:
    """The trials of one search, kept in `<store>/tuning/<id>.json`.

    Args:
        root: of the store.
        question: everything that the trials depend on, but for how many there are.
    """

    def __init__(
        self, root: Path, question: Mapping[str, Any], space: Space, sampler: Sampler, seed: int
    ) -> None:
        self.space, self.sampler, self.seed = space, sampler, seed
        self.question = {**question, "space": space.to_json(), "sampler": sampler, "sampler_seed": seed}
        self.id = identity_id(self.question)[:16]
        self.path = root / FOLDER / f"{self.id}.json"
        self.trials: list[Trial] = self._read()

    def next(self, count: int, budget: int) -> list[Trial]:
        """Open trials, those begun before first; new ones up to `count` together, and to `budget` in all."""
        waiting = [trial for trial in self.trials if trial.open]
        while len(waiting) < count and len(self.trials) < budget:
            trial = Trial(len(self.trials), self._drawn())
            self.trials.append(trial)
            waiting.append(trial)
        self._write()
        return waiting[:count]

    def finish(self, number: int, scores: Sequence[float], failed: str = "") -> None:
        """Write down what a trial came to."""
        self.trials[number] = replace(self.trials[number], scores=tuple(scores), failed=failed)
        self._write()

    @property
    def best(self) -> Trial | None:
        """The trial of the highest value, the earliest of equal ones."""
        known = [trial for trial in self.trials if trial.value is not None]
        return max(known, key=lambda trial: (trial.value or 0.0, -trial.number)) if known else None

    def _drawn(self) -> dict[str, Any]:
        study = self._rebuilt()
        distributions = {name: one.distribution() for name, one in self.space.dimensions.items()}
        drawn = study.ask(distributions).params
        return {name: one.value(drawn[name]) for name, one in self.space.dimensions.items()}

    def _rebuilt(self) -> OptunaStudy:
        """Optuna's view of the trials so far; the sampler's seed depends on how many they are."""
        import numpy

        optuna = library()
        # Not a sum: search 1 would repeat what search 0 drew for its next trial.
        seed = int(numpy.random.SeedSequence((self.seed, len(self.trials))).generate_state(1)[0])
        samplers: dict[str, Any] = {
            "tpe": lambda: optuna.samplers.TPESampler(seed=seed, constant_liar=True),
            "random": lambda: optuna.samplers.RandomSampler(seed=seed),
        }
        study: OptunaStudy = optuna.create_study(direction="maximize", sampler=samplers[self.sampler]())
        study.add_trials([self._frozen(trial) for trial in self.trials])
        return study

    def _frozen(self, trial: Trial) -> FrozenTrial:
        optuna = library()
        states = optuna.trial.TrialState
        state = (
            states.COMPLETE if trial.value is not None else states.FAIL if trial.failed else states.RUNNING
        )
        found: FrozenTrial = optuna.trial.create_trial(
            params={
                name: one.drawn(trial.hyperparameters[name]) for name, one in self.space.dimensions.items()
            },
            distributions={name: one.distribution() for name, one in self.space.dimensions.items()},
            value=trial.value,
            state=state,
        )
        return found

    def _write(self) -> None:
        durable.make_directory(self.path.parent)
        trials = [
            {
                "number": trial.number,
                "hyperparameters": dict(trial.hyperparameters),
                "scores": list(trial.scores),
                "failed": trial.failed,
            }
            for trial in self.trials
        ]
        durable.write_json(self.path, {"schema": SCHEMA, "study": self.question, "trials": trials})

    def _read(self) -> list[Trial]:
        try:
            document = durable.read(self.path)
            if document is None:
                return []
            return [
                Trial(one["number"], one["hyperparameters"], tuple(one["scores"]), one["failed"])
                for one in document["trials"]
            ]
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(
                f"{self.path} cannot be read: {error}.",
                "Move it away to search anew: trials that were trained are found again as cells.",
            ) from None


def library() -> Any:
    """Optuna, which says nothing by itself.

    Raises:
        UsageError: it is not installed.
    """
    try:
        import optuna
    except ImportError:
        raise UsageError(
            "tuning needs Optuna, which is not installed.", "Install it: pip install 'marlbench[tune]'."
        ) from None
    optuna.logging.set_verbosity(logging.ERROR)
    return optuna
