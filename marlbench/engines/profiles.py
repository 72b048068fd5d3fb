"""Profiles of queues: tables of `marlbench.toml`, `[slurm.NAME]` and the like."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from marlbench.errors import ConfigurationError, did_you_mean

FILE = "marlbench.toml"
VARIABLE = "MARLBENCH_CONFIG"
DEFAULT = "default"

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", re.IGNORECASE)
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_DURATION = re.compile(r"(?:(\d+)d)?\s*(?:(\d+)h)?\s*(?:(\d+)m)?\s*(?:(\d+)s)?")


def parse_size(value: object) -> int:
    """Bytes of `8G`, `512M` or a number of bytes; ValueError for anything else."""
    match = _SIZE.fullmatch(str(value).strip())
    if match is None or (size := int(float(match[1]) * _UNITS[match[2].upper()])) <= 0:
        raise ValueError(f"'{value}' is not a size: write it like 512M or 8G")
    return size


def parse_duration(value: object) -> int:
    """Seconds of `90s`, `30m`, `4h`, `1d12h` or a number of seconds; ValueError for anything else."""
    text = str(value).strip()
    match = _DURATION.fullmatch(text)
    if text.isdecimal():
        seconds = int(text)
    elif match is not None and text:
        days, hours, minutes, rest = (int(group or 0) for group in match.groups())
        seconds = ((days * 24 + hours) * 60 + minutes) * 60 + rest
    else:
        seconds = 0
    if seconds <= 0:
        raise ValueError(f"'{value}' is not a duration: write it like 30m, 4h or 1d12h")
    return seconds


Size = Annotated[int, BeforeValidator(parse_size)]
Duration = Annotated[int, BeforeValidator(parse_duration)]


class Profile(BaseModel):
    """What every profile may say."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Described = TypeVar("Described", bound=Profile)


def read_profile(kind: type[Described], engine: str, name: str | None) -> Described:
    """The profile `name` of an engine in ./marlbench.toml, or the file that MARLBENCH_CONFIG names.

    Without a name it is the one called `default`, or what `kind` says by itself where there is none.

    Raises:
        ConfigurationError: it is not there, or has an error; the message names file and key.
    """
    path = Path(os.environ.get(VARIABLE) or FILE)
    found = _tables(path, engine)
    wanted = name or DEFAULT
    if wanted not in found:
        if name is None:
            return kind()
        raise ConfigurationError(f"{path} has no table [{engine}.{name}].", did_you_mean(name, found))
    try:
        return kind.model_validate(found[wanted])
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        hint = did_you_mean(key, kind.model_fields) if first["type"] == "extra_forbidden" else ""
        raise ConfigurationError(
            f"{path}: [{engine}.{wanted}] {key}: {first['msg']}.".replace("..", "."), hint
        ) from None


def _tables(path: Path, engine: str) -> dict[str, Any]:
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if os.environ.get(VARIABLE):
            raise ConfigurationError(f"there is no {path}, which {VARIABLE} names.") from None
        return {}
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}.") from None
    tables = document.get(engine, {})
    if not isinstance(tables, dict) or not all(isinstance(table, dict) for table in tables.values()):
        raise ConfigurationError(f"{path}: [{engine}] must hold tables.", f"Write [{engine}.{DEFAULT}].")
    return tables
