"""A cell: one task, one algorithm, one seed, with everything resolved that its result depends on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from marlbench.catalog.identity import canonical, identity_id, sha256
from marlbench.errors import ConfigurationError

# The parts of a cell that are models of their own; a field of theirs may be left out of the identity.
_MODELS = ("parameters", "hyperparameters", "protocol")


@dataclass(frozen=True)
class Cell:
    """Everything is a plain JSON value; dictionaries are shared between cells and never changed.

    Attributes:
        suite, task, task_revision: which task of which suite.
        environment: as in the suite file, for instance `simple_spread` or `pettingzoo:mpe2.simple_spread_v3`.
        parameters: all parameters of the environment.
        backend, simulator: which implementation of the task, and name and version of the external simulator.
        data: sha256 of every data file the task reads, by name.
        algorithm, algorithm_revision, hyperparameters: the method, all hyperparameters resolved.
        label: the name of the entry in the suite; for display and grouping, not part of the identity.
        rows: environment rows per seed.
        dtype: floating-point type of the networks.
        protocol: the evaluation protocol, see `types.Protocol`.
        steps: environment steps of the training.
        seed: in [0, 2**31).
        score: metric and bounds, see `types.Score`. Bounds only rescale raw metrics, so they are not part of
            the identity and a change of them reruns nothing.
        init_from: whose policy the training starts from, None for a fresh one: `cell`, its id; `group`, that of its
            group; `layers`, globs of the names of the parameters that are taken over.
        source: id of the cell that this one goes on from: the same but for fewer steps (and another source).
        schedule_steps: over how many steps the schedules of the method run: those of the cell in which the
            training began, where this one goes on from another. It follows from `source`, so it is not part of
            the identity.
        omitted: fields such as `hyperparameters.sharing` that stay out of the identity because they equal
            their legacy value (see `identity.legacy_fields`).
        standing: fields such as `parameters.workers` that change no result, with what stands in the identity
            instead of their value (see `identity.stand_ins`).
    """

    suite: str
    task: str
    task_revision: int
    environment: str
    parameters: dict[str, Any]
    backend: str
    simulator: str
    data: dict[str, str]
    algorithm: str
    algorithm_revision: int
    hyperparameters: dict[str, Any]
    label: str
    rows: int
    dtype: str
    protocol: dict[str, Any]
    steps: int
    seed: int
    score: dict[str, Any]
    init_from: dict[str, Any] | None = None
    source: str | None = None
    schedule_steps: int | None = None
    omitted: tuple[str, ...] = ()
    standing: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def id(self) -> str:
        """sha256 of the canonical JSON of `identity()`, 64 hexadecimal digits."""
        return identity_id(self.identity())

    def identity(self) -> dict[str, Any]:
        """What the result depends on. Absent: legacy values, and options of the protocol that are not set."""
        identity = {
            "suite": self.suite,
            "task": self.task,
            "task_revision": self.task_revision,
            "environment": self.environment,
            "parameters": self._in_identity("parameters"),
            "backend": self.backend,
            "simulator": self.simulator,
            "data": self.data,
            "algorithm": self.algorithm,
            "algorithm_revision": self.algorithm_revision,
            "hyperparameters": self._in_identity("hyperparameters"),
            "rows": self.rows,
            "dtype": self.dtype,
            "protocol": {k: v for k, v in self._in_identity("protocol").items() if v is not None},
            "steps": self.steps,
            "seed": self.seed,
        }
        if self.init_from is not None:
            identity["init_from"] = self.init_from
        if self.source is not None:
            identity["source"] = self.source
        return identity

    def group(self) -> str:
        """The id of the identity without the seed: cells of one group may train together in one job.

        Each cell that goes on from another has a source of its own; such cells train together if their sources did.
        Cells that start from others have each its own, too, and train together all the same.
        """
        return self._group

    @cached_property
    def _group(self) -> str:
        identity = self.identity()
        del identity["seed"]
        if self.init_from is not None:
            identity["init_from"] = {**self.init_from, "cell": ""}
        if self.source is not None:
            identity["source"] = ""
        return identity_id(identity)

    @cached_property
    def lineage(self) -> str:
        """The id of the identity without steps and source: a cell can go on from a shorter one of its lineage."""
        identity = self.identity()
        del identity["steps"]
        identity.pop("source", None)
        return identity_id(identity)

    def continuing(self, source: Cell) -> Cell:
        """This cell as one that goes on from `source`, with its seed."""
        schedule = source.schedule_steps or source.steps
        return replace(self, seed=source.seed, source=source.id, schedule_steps=schedule)

    def starting_from(self, other: Cell, layers: Sequence[str]) -> Cell:
        """This cell as one whose training starts from the policy of `other`, with its seed."""
        initial = {"cell": other.id, "group": other.group(), "layers": list(layers)}
        return replace(self, seed=other.seed, init_from=initial)

    def to_json(self) -> dict[str, Any]:
        """`identity`, `label`, `score`, `legacy`, the values that the identity leaves out, and where there are any
        `outside`, the values that others stand for in it, and `schedule_steps`."""
        document: dict[str, Any] = {"identity": self.identity(), "label": self.label, "score": self.score}
        document["legacy"] = self._values(path for path in self.omitted if path not in self.standing)
        if self.standing:
            document["outside"] = self._values(self.standing)
        if self.schedule_steps is not None:
            document["schedule_steps"] = self.schedule_steps
        return document

    def _values(self, paths: Iterable[str]) -> dict[str, dict[str, Any]]:
        """Values of the fields at these paths, by model."""
        values: dict[str, dict[str, Any]] = {}
        for path in paths:
            model, _, name = path.partition(".")
            values.setdefault(model, {})[name] = getattr(self, model)[name]
        return values

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Cell:
        """The cell that `to_json` describes; other keys of the document are ignored.

        Raises:
            ConfigurationError: the document lacks a key or has another shape.
        """
        try:
            values = dict(document["identity"])
            legacy, outside = document.get("legacy", {}), document.get("outside", {})
            omitted = [f"{model}.{name}" for model in legacy for name in legacy[model]]
            standing = {}
            for model in _MODELS:
                stood, actual = values[model], outside.get(model, {})
                values[model] = {**stood, **legacy.get(model, {}), **actual}
                standing.update({f"{model}.{name}": stood.get(name) for name in actual})
                omitted += [f"{model}.{name}" for name in actual if name not in stood]
            return cls(
                **values,
                label=document["label"],
                score=document["score"],
                schedule_steps=document.get("schedule_steps"),
                omitted=tuple(omitted),
                standing=standing,
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ConfigurationError(
                f"the description of a cell cannot be read: {type(error).__name__}: {error}."
            ) from None

    def with_seeds(self, seeds: Sequence[int]) -> tuple[Cell, ...]:
        """The same cell for each of the seeds.

        Their ids come from one canonical text, which makes large matrices several times faster to resolve.
        """
        identity = self.identity()
        # Keys are sorted, so the seed stands between these two parts.
        before = canonical({key: value for key, value in identity.items() if key < "seed"})[1:-1]
        after = canonical({key: value for key, value in identity.items() if key > "seed"})[1:-1]
        group = self.group()
        cells = []
        for seed in seeds:
            cell = replace(self, seed=seed)
            cell.__dict__["id"] = sha256(f'{{{before},"seed":{seed},{after}}}')
            cell.__dict__["_group"] = group
            cells.append(cell)
        return tuple(cells)

    def __hash__(self) -> int:
        return hash(self.id)

    def _in_identity(self, model: str) -> dict[str, Any]:
        values: dict[str, Any] = getattr(self, model)
        kept = dict(values)
        for path, value in self.standing.items():
            if path.startswith(f"{model}."):
                kept[path.partition(".")[2]] = value
        for path in self.omitted:
            if path.startswith(f"{model}."):
                kept.pop(path.partition(".")[2], None)
        return kept
