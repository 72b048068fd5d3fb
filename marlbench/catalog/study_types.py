"""What the block `study` of a suite file may say, typed: a question, and claims whose verdict the cells give.

docs/studies.md describes every key.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from marlbench.catalog.fields import Globs, Levels, LevelValue, Model, Name, Text

Reading = Literal["final", "last", "maximum", "area", "steps_to", "train"]
Statistic = Literal["mean", "iqm", "median"]


class Side(Model):
    """Groups of cells: those whose task, algorithm entry and backend match, at these levels of the axes.

    A grid is meant by the name of its entry (`shared`) or by globs over the names of its points.
    `best`: of the algorithm entries that match, the best one; which one that is counts as unknown.
    """

    algorithm: Globs = "*"
    task: Globs = "*"
    backend: Globs = "*"
    where: Levels = Field(default={})
    best: bool = False


class Sided(Model):
    """A contrast: a quantity made of one or more sides."""

    @property
    def sides(self) -> dict[str, Side]:
        """Role -> side, in the order of the fields."""
        found = {name: getattr(self, name) for name in type(self).model_fields}
        return {name: value for name, value in found.items() if isinstance(value, Side)}


class Level(Sided):
    """The quantity itself."""

    kind: Literal["level"]
    of: Side


class Difference(Sided):
    """a - b at every place, averaged over places."""

    kind: Literal["difference"]
    a: Side
    b: Side


class Ratio(Sided):
    """a / b at every place; the geometric mean over places."""

    kind: Literal["ratio"]
    a: Side
    b: Side


class GapClosed(Sided):
    """(a - b) / (oracle - b) at every place, averaged over places: 0 is no better than b, 1 is the oracle."""

    kind: Literal["gap_closed"]
    a: Side
    b: Side
    oracle: Side


class Trend(Sided):
    """The slope of the quantity along an axis, by least squares over its levels, averaged over places.

    `over` is an axis of a grid, `algorithm` or `task`. With `order`, or where levels are no numbers, they stand at
    0, 1, 2, ...; `per: range` gives the change from the first to the last instead of the change per unit.
    """

    kind: Literal["trend"]
    of: Side
    over: Name
    order: Annotated[list[LevelValue], Field(min_length=2)] | None = None
    per: Literal["unit", "range"] = "unit"


Contrast = Annotated[Level | Difference | Ratio | GapClosed | Trend, Field(discriminator="kind")]


class Holds(Model):
    """Where the contrast has to lie: above a threshold, below one, or between two."""

    above: float | None = None
    below: float | None = None
    between: Annotated[list[float], Field(min_length=2, max_length=2)] | None = None

    @model_validator(mode="after")
    def _one_of_them(self) -> Holds:
        if sum(value is not None for value in (self.above, self.below, self.between)) != 1:
            raise ValueError("give exactly one of `above`, `below` and `between`")
        if self.between is not None and self.between[0] >= self.between[1]:
            raise ValueError("`between` needs two rising numbers")
        return self


class Measure(Model):
    """What is read of each run.

    Attributes:
        metric: by default the metric of the task's score; `score` is the score itself.
        reading: `final`: of the absolute evaluation (the best policy), or the last where there is none; `last`: of the
            last evaluation; `maximum` and `area` (mean over the training): of the evaluations; `steps_to`: environment
            steps until an evaluation reaches `reach`, or all steps of the run where none does; `train`: the last record
            of a training measure.
        factor, offset: the value is multiplied and shifted by these.
        better: which end is better, where the task's score does not tell.
    """

    metric: Name | None = None
    reading: Reading = "final"
    reach: float | None = None
    factor: float = 1.0
    offset: float = 0.0
    better: Literal["higher", "lower"] | None = None

    @model_validator(mode="after")
    def _reach_belongs_to_steps(self) -> Measure:
        if (self.reading == "steps_to") != (self.reach is not None):
            raise ValueError("`reach` and `reading: steps_to` belong together")
        return self


class Claim(Measure):
    """One statement of the literature, and how it is judged.

    Attributes:
        says: the statement in words; `source` where it stands, `published` what is reported there.
        statistic: over the runs of one task and algorithm entry.
        places: `mean` takes the contrast over all places together; `every` demands it at each.
        least: fewest runs of every task and entry that it takes; by default the study's.
        normal: the runs may be taken as normally distributed, so that `least` of them suffice; otherwise a verdict
            takes so many that a test without assumptions could give it.
    """

    says: Text
    source: Text
    published: str = ""
    statistic: Statistic = "mean"
    contrast: Contrast
    places: Literal["mean", "every"] = "mean"
    holds: Holds
    least: Annotated[int, Field(ge=2)] | None = None
    normal: bool = False

    @model_validator(mode="after")
    def _every_place_has_a_worst(self) -> Claim:
        if self.places == "every" and self.holds.between is not None:
            raise ValueError("`places: every` needs `holds` with `above` or `below`")
        return self


class HeatMap(Measure):
    """Means over two axes of the grid, one panel for each entry of the algorithms."""

    kind: Literal["heat_map"]
    of: Side = Side()
    x: Name
    y: Name


class Bars(Measure):
    """Means with intervals, one group for each task."""

    kind: Literal["bars"]
    of: Side = Side()


class Lines(Measure):
    """Means with intervals over an axis of the grid, one line for each entry, one panel for each task."""

    kind: Literal["lines"]
    of: Side = Side()
    x: Name


class Curves(Model):
    """Learning curves of the task's score, one panel for each task."""

    kind: Literal["curves"]
    of: Side = Side()


Figure = Annotated[HeatMap | Bars | Lines | Curves, Field(discriminator="kind")]


class Study(Model):
    """A question of the literature with its claims.

    Attributes:
        confidence: with which no verdict of the whole study is wrong; intervals are widened for their number.
        least: fewest runs of every task and entry that a verdict takes.
        remarks: what a reader of the verdicts has to know.
    """

    question: Text
    source: Text
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    least: Annotated[int, Field(ge=2)] = 3
    claims: Annotated[dict[Name, Claim], Field(min_length=1)]
    figure: Figure | None = None
    remarks: list[Text] = Field(default=[])
