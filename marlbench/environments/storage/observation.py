"""What the two agents see: the columns of an observation, in the papers' bins and in the code's numbers."""

from __future__ import annotations

SHARED = (
    "type",
    "size_bin",
    "interval_bin",
    "count_bin",
    "free_bin",
    "device",
    "migration_interval_bin",
)
CODE = (
    "code_size",
    "code_type",
    "code_count",
    "code_locality",
    "code_pages",
    "code_device",
    "code_fast_used",
    "code_slow_used",
)
OUTCOME = ("latency", "eviction_time", "evicted_pages")


def features(devices: int) -> tuple[str, ...]:
    """Names of the columns of an observation, for a system of so many devices."""
    backlog = tuple(f"backlog_{device}" for device in range(devices))
    return ("is_placement", "is_migration", *SHARED, *CODE, *OUTCOME, *backlog, "interval")
