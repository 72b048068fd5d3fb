"""What a suite file may say, typed. Checked strictly: no text where a number belongs, no unknown keys."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StringConstraints, model_validator

from marlbench.catalog.fields import (
    Levels,
    LevelValue,
    Model,
    Name,
    Positive,
    Rows,
    SeedsValue,
    Steps,
)
from marlbench.catalog.study_types import Study

# Words that `--set` gives another meaning to.
RESERVED = ("algorithm", "task", "protocol")
SEED_LIMIT = 2**31
# Seeds from here on are for choosing hyperparameters, those below for comparing.
TUNING_SEED = 10_000
FULL = "full"


def _empty(value: Any) -> Any:
    # `ippo:` with nothing behind it is how people write an entry without options.
    return {} if value is None else value


# The levels of an axis: values of the parameter that it is called after, or for each level's name what it sets.
Axis = (
    Annotated[list[LevelValue], Field(min_length=1)]
    | Annotated[dict[Name, dict[str, Any]], Field(min_length=1)]
)


def seeds_text(value: SeedsValue) -> str:
    """Seeds of a suite file as `selection.parse_seeds` takes them: a list of one seed is no count."""
    return ",".join(f"{seed}-{seed}" for seed in value) if isinstance(value, list) else str(value)


class Protocol(Model):
    """When and how policies are evaluated. All of it is part of a cell's identity.

    Attributes:
        kind: `episodic`: fresh rows, exactly one episode each; `continuing`: windows of a task without end;
            `online`: the training itself is measured.
        policy: which actions are evaluated.
        evaluations: how many, evenly spaced over the training; the last at its end.
        episodes: rows of one evaluation, one episode each.
        absolute_episodes: episodes of the absolute metric, the best evaluated policy evaluated again.
        length: steps of one evaluation of a continuing task.
        window: steps at the end of an online task that count.
        warm_up: share of an evaluation or of the window, at its beginning, that does not count.
        diverged_score: the score of a cell whose parameters became NaN.
        pictures: whether an episode of the final policy is drawn; no part of the identity.
    """

    kind: Literal["episodic", "continuing", "online"]
    policy: Literal["greedy", "sampled", "behaviour"]
    evaluations: Annotated[int, Field(ge=1, le=100_000)]
    episodes: Annotated[int, Field(ge=1, le=1_000_000)] = 32
    absolute_episodes: Annotated[int, Field(ge=1, le=10_000_000)] = 320
    length: Positive | None = None
    window: Positive | None = None
    warm_up: Annotated[float, Field(ge=0, lt=1)] | None = None
    diverged_score: float = 0.0
    pictures: bool = Field(True, json_schema_extra={"legacy": True, "stands_as": True})

    @model_validator(mode="after")
    def _options_of_the_kind(self) -> Protocol:
        if self.kind == "continuing" and self.length is None:
            raise ValueError("a continuing protocol needs `length`, the steps of one evaluation")
        if self.kind == "online" and self.window is None:
            raise ValueError("an online protocol needs `window`, the steps at the end that count")
        for name, kinds in (
            ("length", ("continuing",)),
            ("window", ("online",)),
            ("warm_up", ("continuing", "online")),
        ):
            if getattr(self, name) is not None and self.kind not in kinds:
                raise ValueError(f"`{name}` has no meaning in a protocol of kind {self.kind}")
        return self


class Score(Model):
    """How a raw metric becomes a score: (value - low) / (high - low), bounds fixed and their source named.

    `high` is the better end; where a metric is minimised, low > high.
    """

    metric: Name
    low: float
    high: float
    source: Annotated[str, Field(min_length=1)]

    @model_validator(mode="after")
    def _bounds_differ(self) -> Score:
        if self.low == self.high:
            raise ValueError("`low` and `high` are equal, so no score can be computed")
        return self


class TaskAlgorithm(Model):
    """What one task changes about one entry of `algorithms`."""

    hyperparameters: dict[str, Any] = Field(default={})


class Task(Model):
    """One environment with fixed parameters, a revision, and its score.

    `revision` is raised by hand when the task changes in a way that nothing else of the identity shows.
    `protocol` holds only the fields that differ from the suite's. `grid` makes a task of every combination of its
    levels of parameters, see `catalog.grid`.
    """

    environment: Annotated[str, Field(min_length=1, max_length=200)]
    grid: dict[Name, Axis] = Field(default={})
    revision: Positive = 1
    title: str = ""
    parameters: Annotated[dict[str, Any], BeforeValidator(_empty)] = Field(default={})
    steps: Steps | None = None
    rows: Rows | None = None
    protocol: dict[str, Any] = Field(default={})
    algorithms: dict[Name, TaskAlgorithm] = Field(default={})
    score: Score


class Tuning(Model):
    """What it cost to choose an entry's hyperparameters. It changes no result and is no part of an identity.

    Attributes:
        trials, seeds, steps: so many hyperparameters were tried, on these seeds (as `--seeds` takes them), each trained
            so long.
        metric: by which the best was chosen.
        tasks: on which it was searched, where that is known.
        date: ISO 8601.
    """

    trials: Positive
    seeds: SeedsValue
    steps: Steps
    metric: Name
    tasks: list[Name] = Field(default=[])
    date: Annotated[str, StringConstraints(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$")] | None = None

    @property
    def seeds_text(self) -> str:
        """The seeds as `selection.parse_seeds` takes them."""
        return seeds_text(self.seeds)


class InitFrom(Model):
    """Whose policy an entry's trainings start from: the cell of that task and entry that has the same seed.

    Attributes:
        algorithm: label of an entry; the entry's own by default.
        layers: globs; parameters whose names match one are taken over, the others are drawn as ever.
    """

    task: Name
    algorithm: Name | None = None
    layers: Annotated[list[str], Field(min_length=1)] = Field(default=["*"])


class AlgorithmEntry(Model):
    """One row of the comparison: a method with its hyperparameters in this suite.

    `algorithm` is the plug-in's name (default: the entry's own); `settings` names tuned settings of it, over
    which `hyperparameters` lie; `grid` makes an entry of every combination of its levels of hyperparameters, see
    `catalog.grid`; `tasks` restricts the entry to tasks whose name matches one of the globs; `tuning`
    says what the search for them cost. `init_from` starts its trainings from other cells' policies; `curriculum`
    names tasks, of which each but the first starts from this entry's cells of the one before.
    """

    algorithm: Name | None = None
    settings: Name | None = None
    hyperparameters: Annotated[dict[str, Any], BeforeValidator(_empty)] = Field(default={})
    grid: dict[Name, Axis] = Field(default={})
    rows: Rows | None = None
    steps: Steps | None = None
    seeds: SeedsValue | None = None
    tasks: Annotated[list[str], Field(min_length=1)] | None = None
    init_from: InitFrom | None = None
    curriculum: Annotated[list[Name], Field(min_length=2)] | None = None
    tuning: Tuning | None = None

    @model_validator(mode="after")
    def _one_start(self) -> AlgorithmEntry:
        if self.curriculum is not None:
            if self.init_from is not None:
                raise ValueError("`curriculum` and `init_from` both say what the trainings start from")
            if len(set(self.curriculum)) != len(self.curriculum):
                raise ValueError("`curriculum` names a task twice")
        return self


class PresetEntry(Model):
    """What a preset has of the algorithm entries that a glob matches: on which tasks and levels, and its own seeds,
    steps and rows."""

    seeds: SeedsValue | None = None
    steps: Steps | None = None
    rows: Rows | None = None
    tasks: Annotated[list[str], Field(min_length=1)] | None = None
    grid: Levels = Field(default={})


class Preset(Model):
    """A variation of the whole suite. `label` is shown with every table of its cells.

    `tasks` and `algorithms` (globs, or names of entries with a grid) and `grid` (axis -> levels) say what of the
    suite it has; of several globs of `algorithms` that match an entry, the first one's values count.
    """

    label: str | None = None
    seeds: SeedsValue | None = None
    steps: Steps | None = None
    rows: Rows | None = None
    protocol: dict[str, Any] = Field(default={})
    tasks: Annotated[list[str], Field(min_length=1)] | None = None
    algorithms: (
        Annotated[dict[str, Annotated[PresetEntry, BeforeValidator(_empty)]], Field(min_length=1)] | None
    ) = None
    grid: Levels = Field(default={})


class Suite(Model):
    """A suite file. `schema` is the version of this form; a `study` asks something of its cells.

    `backend` is the implementation that plays the tasks; by default the one that their environments name.
    """

    version: Annotated[int, Field(alias="schema", ge=1, le=1)]
    name: Annotated[Name, Field(alias="suite")]
    title: Annotated[str, Field(min_length=1)]
    description: str = ""
    backend: Name | None = None
    rows: Rows
    seeds: SeedsValue
    steps: Steps
    protocol: Protocol
    presets: dict[Name, Preset] = Field(default={})
    algorithms: Annotated[dict[Name, Annotated[AlgorithmEntry, BeforeValidator(_empty)]], Field(min_length=1)]
    tasks: Annotated[dict[Name, Task], Field(min_length=1)]
    study: Study | None = None
