"""Search spaces: which hyperparameters are tried, and between which values.

A space is written as a YAML file, a mapping of hyperparameters to one of

    {log: [1e-5, 1e-2]}         a number, uniform in its logarithm
    {uniform: [0.9, 0.999]}     a number
    {integer: [1, 10]}          a whole number, both ends included
    {choice: [[64, 64], [128, 128]]}

or as `--space` options: `learning_rate=log:1e-5..1e-2`, `discount=0.9..0.999`, `epochs=1..10`,
`hidden=[[64, 64], [128, 128]]`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, ValidationError, model_validator

from marlbench.catalog.document import parse, read_document, scalar
from marlbench.catalog.fields import Model
from marlbench.catalog.provenance import first_problem, validate
from marlbench.errors import ConfigurationError, UsageError

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

# Digits of a number that is tried: what is reported is what was run, and can be read.
DIGITS = 4

_INTERVAL = re.compile(r"(?:(log|uniform|integer):)?\s*([^\s:]+?)\s*\.\.\s*([^\s:]+)")
_FORMS = (
    "Write for instance --space learning_rate=log:1e-5..1e-2, --space discount=0.9..0.999, --space epochs=1..10, "
    "--space 'hidden=[[64, 64], [128, 128]]', or the path of a YAML file."
)

Ends = Annotated[list[float], Field(min_length=2, max_length=2)]


class Dimension(Model):
    """The values of one hyperparameter; exactly one of the fields is set."""

    log: Ends | None = None
    uniform: Ends | None = None
    integer: Annotated[list[int], Field(min_length=2, max_length=2)] | None = None
    choice: Annotated[list[Any], Field(min_length=2)] | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Dimension:
        given = [name for name in type(self).model_fields if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError("exactly one of log, uniform, integer and choice has to be given")
        ends = self.log or self.uniform or self.integer
        if ends is not None and not ends[0] < ends[1]:
            raise ValueError(f"the lower end {ends[0]:g} is not below the upper end {ends[1]:g}")
        if self.log is not None and self.log[0] <= 0:
            raise ValueError("a logarithmic interval begins above 0")
        if self.choice is not None and any(self.choice.count(value) > 1 for value in self.choice):
            raise ValueError("a choice is named twice")
        return self

    def distribution(self) -> BaseDistribution:
        """What Optuna draws from; of choices, their places."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        if self.choice is not None:
            return CategoricalDistribution(tuple(range(len(self.choice))))
        if self.integer is not None:
            return IntDistribution(self.integer[0], self.integer[1])
        low, high = self.log or self.uniform or (0.0, 1.0)
        return FloatDistribution(low, high, log=self.log is not None)

    def value(self, drawn: Any) -> Any:
        """The hyperparameter that a drawn value stands for, rounded but within the interval."""
        if self.choice is not None:
            return self.choice[drawn]
        if self.integer is not None:
            return int(drawn)
        low, high = self.log or self.uniform or (0.0, 1.0)
        return min(max(float(f"{drawn:.{DIGITS}g}"), low), high)

    def drawn(self, value: Any) -> Any:
        """What `value` made the hyperparameter from; ValueError where it is none of the choices."""
        return self.choice.index(value) if self.choice is not None else value

    def extremes(self) -> list[Any]:
        """Values that between them show whether all can be used."""
        return list(self.choice or self.log or self.uniform or self.integer or ())


@dataclass(frozen=True)
class Space:
    """Hyperparameters by name, in their order."""

    dimensions: Mapping[str, Dimension]

    def to_json(self) -> dict[str, Any]:
        return {name: one.model_dump(mode="json", exclude_none=True) for name, one in self.dimensions.items()}


def read_space(texts: Iterable[str]) -> Space:
    """The space of `--space` options: files and single hyperparameters; later ones win.

    Raises:
        UsageError: an option that cannot be read, or none at all.
        ConfigurationError: a file that cannot be used.
    """
    dimensions: dict[str, Dimension] = {}
    for text in texts:
        if "=" in text:
            name, dimension = _option(text)
            dimensions[name] = dimension
        else:
            dimensions |= _file(Path(text).expanduser())
    if not dimensions:
        raise UsageError("there is nothing to search.", _FORMS)
    return Space(dimensions)


def _file(path: Path) -> dict[str, Dimension]:
    document = read_document(path.absolute())
    if not isinstance(document.value, dict):
        raise document.error((), "a search space is a mapping of hyperparameters to their values.")
    found = {}
    for name, value in document.value.items():
        try:
            found[str(name)] = validate(Dimension, value)
        except ValidationError as error:
            location, problem, hint = first_problem(error, Dimension, value)
            raise document.error((str(name), *location), problem, hint) from None
    return found


def _option(text: str) -> tuple[str, Dimension]:
    name, _, written = (part.strip() for part in text.partition("="))
    try:
        return name, validate(Dimension, _value(written))
    except ValidationError as error:
        _, problem, _ = first_problem(error, Dimension, {})
        raise UsageError(f"--space {text}: {problem}", _FORMS) from None
    except (ValueError, ConfigurationError):
        raise UsageError(f"--space {text}: this cannot be read.", _FORMS) from None


def _value(written: str) -> dict[str, Any]:
    interval = _INTERVAL.fullmatch(written)
    if interval is None:
        choices = parse(f"value: {written}".encode(), Path("--space")).value["value"]
        if not isinstance(choices, list):
            raise ValueError("neither an interval nor a list of choices")
        return {"choice": choices}
    kind, ends = interval[1], [scalar(interval[2]), scalar(interval[3])]
    # 1e2 without a point is a whole number too, which only says something where no kind is given.
    whole = all(isinstance(end, int) for end in ends) and kind in (None, "integer")
    return {"integer" if whole else kind or "uniform": ends}
