"""What a comparison has to know of a result: its last and its absolute evaluation, and what they cost.

Everything else of result.json, single evaluations above all, stays there. A summary is made of a result that was
verified, and kept in the index.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from pydantic_core import from_json

from marlbench.catalog.identity import canonical
from marlbench.store.numbers import decode, encode

# Of `execution`: what single cells differ in; the other keys below are the same for thousands of them.
_COST = (
    "seconds",
    "steps_per_second",
    "cpu_seconds",
    "peak_memory_bytes",
    "agent_bytes",
    "decision_microseconds",
)
_CONDITIONS = ("device", "device_name", "engine", "threads", "git_sha", "versions")


@dataclass(frozen=True)
class Summary:
    """The gist of one result; NaN and infinities stand as such.

    Attributes:
        status: "completed" or "diverged".
        steps: environment steps that were trained.
        final, absolute: metric -> value of the last and of the absolute evaluation.
        cost: `seconds`, `steps_per_second`, `cpu_seconds`, `peak_memory_bytes` of its job, `members`, how many seeds
            the job trained together, `agent_bytes` and `decision_microseconds` of the agents; a key is absent where
            nothing was recorded.
        conditions: `device`, `device_name`, `engine`, `threads`, `git_sha`, `versions`; shared, never to be changed.
    """

    status: str
    steps: int
    final: Mapping[str, Any]
    absolute: Mapping[str, Any]
    cost: Mapping[str, float]
    conditions: Mapping[str, Any]


def summarise(result: Mapping[str, Any]) -> Summary:
    """The summary of a verified result, as `validity.verify` returns it."""
    outcome, execution = result["outcome"], result["execution"]
    cost = {key: float(value) for key in _COST if isinstance(value := execution.get(key), int | float)}
    members = execution.get("members")
    if isinstance(members, list) and members:
        cost["members"] = float(len(members))
    conditions = {key: execution.get(key) for key in _CONDITIONS}
    steps = outcome.get("steps")
    return Summary(
        status=outcome["status"],
        steps=steps if isinstance(steps, int) else 0,
        final=_metrics(outcome.get("final")),
        absolute=_metrics(outcome.get("absolute")),
        cost=cost,
        conditions=conditions,
    )


def pack(summary: Summary) -> tuple[str, str, str]:
    """The summary as text, the key of its conditions, and these as text."""
    content = canonical(encode(dict(summary.conditions)))
    told = {
        "status": summary.status,
        "steps": summary.steps,
        "final": dict(summary.final),
        "absolute": dict(summary.absolute),
        "cost": dict(summary.cost),
    }
    return canonical(encode(told)), hashlib.sha256(content.encode()).hexdigest()[:16], content


def unpack(told: str, conditions: str) -> Summary:
    """What `pack` packed.

    Raises:
        ValueError, TypeError, KeyError: it is not that.
    """
    fields = decode(from_json(told, allow_inf_nan=False))
    return Summary(
        status=fields["status"],
        steps=fields["steps"],
        final=_metrics(fields["final"]),
        absolute=_metrics(fields["absolute"]),
        cost={str(key): float(value) for key, value in fields["cost"].items()},
        conditions=_conditions(conditions),
    )


@lru_cache(maxsize=256)
def _conditions(content: str) -> Mapping[str, Any]:
    found = from_json(content, allow_inf_nan=False)
    if not isinstance(found, dict):
        raise ValueError("conditions are an object")
    return decode(found)


def _metrics(found: Any) -> Mapping[str, Any]:
    return found if isinstance(found, dict) else {}
