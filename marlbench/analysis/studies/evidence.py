"""The cells of a study, found by the sides of its claims."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from typing import TYPE_CHECKING

from marlbench.analysis.studies.contrasts import SpotKey, key_of
from marlbench.analysis.studies.readings import Finished, reading
from marlbench.catalog.fields import globs
from marlbench.catalog.study import Spot, selected, spot

if TYPE_CHECKING:
    from marlbench.catalog.grid import Points
    from marlbench.catalog.resolution import CellGroup
    from marlbench.catalog.study_types import Measure, Side


@dataclass(frozen=True)
class Evidence:
    """The cells of a study and those that are done.

    Attributes:
        groups: of the matrix.
        points: of the suite's grids.
        finished: by id.
        whole: spots of the whole study, of which the matrix may have a part.
    """

    groups: Sequence[CellGroup]
    points: Points
    finished: Mapping[str, Finished]
    whole: Sequence[Spot]

    def spots(self, side: Side) -> list[Spot]:
        """The spots of a side among the cells of the matrix."""
        return [
            one
            for one in selected(side, self.here, self.points)
            if any(fnmatchcase(self.group(one).cell.backend, glob) for glob in globs(side.backend))
        ]

    @cached_property
    def here(self) -> list[Spot]:
        """The spots of the matrix; an algorithm that the command line added is no part of the study."""
        known = self.points["algorithms"]
        return [spot(task, label, self.points) for task, label in self._groups if label in known]

    @cached_property
    def _groups(self) -> dict[SpotKey, CellGroup]:
        return {(group.cell.task, group.cell.label): group for group in self.groups}

    def group(self, one: Spot) -> CellGroup:
        """The cells of a spot."""
        return self._groups[key_of(one)]

    def values(self, measure: Measure, one: Spot) -> dict[int, float]:
        """What the measure reads of the runs of a spot, by seed."""
        cells = [cell for cell in self.group(one).cells if cell.id in self.finished]
        found = {cell.seed: reading(measure, self.finished[cell.id]) for cell in cells}
        return {seed: value for seed, value in found.items() if value is not None}
