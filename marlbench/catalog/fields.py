"""What the models of a suite file are made of: their base, names, counts."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"

Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
Text = Annotated[str, Field(min_length=1)]
Positive = Annotated[int, Field(ge=1)]
Steps = Annotated[int, Field(ge=1, le=10**12)]
Rows = Annotated[int, Field(ge=1, le=2**20)]
# A count (5 = seeds 0 to 4), text as `--seeds` takes it, or a list of seeds.
SeedsValue = int | str | list[int]
Globs = str | Annotated[list[str], Field(min_length=1)]
# A place on an axis of a grid: the value itself, or its name.
LevelValue = bool | int | float | str
# Axis -> levels of it.
Levels = dict[Name, Annotated[list[LevelValue], Field(min_length=1)]]


class Model(BaseModel):
    """Base of all: nothing unknown, nothing changed afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def globs(value: Globs) -> list[str]:
    """One glob or several, as a list."""
    return [value] if isinstance(value, str) else value
