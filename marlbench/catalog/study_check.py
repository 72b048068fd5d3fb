"""Whether a study can be judged: everything its claims name exists, and their sides can be set against each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from marlbench.catalog.document import Document, Location
from marlbench.catalog.fields import globs
from marlbench.catalog.grid import Points, check_levels, level_name, matching
from marlbench.catalog.study import MismatchError, Spot, lay_out, positions, selected, spots
from marlbench.catalog.study_types import Claim, GapClosed, HeatMap, Lines, Measure, Side, Study, Trend
from marlbench.errors import did_you_mean

if TYPE_CHECKING:
    from marlbench.catalog.types import Suite


def check_study(study: Study, document: Document, points: Points, suite: Suite) -> None:
    """Raise ConfigurationError, naming file, line and key, where a claim or the figure cannot be made of the suite."""
    known = spots(suite, points)
    for name, claim in study.claims.items():
        _check_claim(claim, document, ("study", "claims", name), points, known, suite)
    figure = study.figure
    if figure is None:
        return
    place: Location = ("study", "figure")
    found = _check_side(figure.of, document, (*place, "of"), points, known)
    for key in ("x", "y"):
        axis = getattr(figure, key, None)
        if isinstance(figure, HeatMap | Lines) and axis is not None:
            _check_axis(axis, document, (*place, key), found)


def _check_claim(
    claim: Claim, document: Document, place: Location, points: Points, known: Sequence[Spot], suite: Suite
) -> None:
    contrast, at = claim.contrast, (*place, "contrast")
    found = {
        role: _check_side(side, document, (*at, role), points, known) for role, side in contrast.sides.items()
    }
    best = [role for role, side in contrast.sides.items() if side.best]
    if len(best) > 1 or (best and isinstance(contrast, Trend)):
        raise document.error((*at, best[-1], "best"), "only one side may be the best of several.", "")
    if best or isinstance(contrast, GapClosed):
        _check_direction(claim, document, place, found[best[0] if best else "b"], suite)
    if isinstance(contrast, Trend):
        levels = _check_axis(contrast.over, document, (*at, "over"), found["of"])
        for index, value in enumerate(contrast.order or ()):
            if level_name(value) not in levels:
                raise document.error(
                    (*at, "order", index),
                    f"{contrast.over} has no {level_name(value)} here.",
                    did_you_mean(level_name(value), levels),
                )
        if len(positions(contrast, levels)) < 2:
            raise document.error((*at, "over"), f"there is one level of '{contrast.over}' only.", "")
    try:
        layout = lay_out(contrast, found)
    except MismatchError as error:
        raise document.error((*at, error.role), str(error), error.hint) from None
    if not layout.places:
        raise document.error(
            at, "the sides meet nowhere.", "Choose tasks and levels that they have in common."
        )


def _check_side(
    side: Side, document: Document, place: Location, points: Points, known: Sequence[Spot]
) -> list[Spot]:
    for key, section in (("task", "tasks"), ("algorithm", "algorithms")):
        wanted = getattr(side, key)
        for index, glob in enumerate(globs(wanted)):
            if not matching(glob, points[section]):
                raise document.error(
                    (*place, key, index) if isinstance(wanted, list) else (*place, key),
                    f"no {key} of the suite matches '{glob}'.",
                    did_you_mean(
                        glob, {point.entry for point in points[section].values()} | set(points[section])
                    ),
                )
    check_levels(document, (*place, "where"), side.where, points)
    found = selected(side, known, points)
    if not found:
        raise document.error(place, "no cell of the suite is meant by it.", "")
    return found


def _check_axis(axis: str, document: Document, place: Location, found: Sequence[Spot]) -> list[str]:
    """The levels that the spots have on an axis."""
    names = dict.fromkeys(name for one in found for name in one.coordinates)
    if axis not in names:
        raise document.error(place, f"there is no axis '{axis}' here.", did_you_mean(axis, names))
    return list(dict.fromkeys(one.coordinates[axis] for one in found if axis in one.coordinates))


def _check_direction(
    measure: Measure, document: Document, place: Location, found: Sequence[Spot], suite: Suite
) -> None:
    if measure.better or measure.reading == "steps_to" or measure.metric in (None, "score"):
        return
    for one in found:
        if suite.tasks[one.task].score.metric != measure.metric:
            raise document.error(
                (*place, "metric"),
                f"which end of '{measure.metric}' is better? The score of the task '{one.task}' does not tell.",
                "Add `better: higher` or `better: lower`.",
            )
