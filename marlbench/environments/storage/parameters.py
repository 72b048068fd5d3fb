"""What a storage task is made of: devices, workload, who decides, and what a decision is paid."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, FiniteFloat, StringConstraints, field_validator, model_validator

from marlbench.environments import contract
from marlbench.environments.storage.devices import LETTERS
from marlbench.environments.storage.workloads.names import CALIBRATED, PATTERNS, TRACE, WORKLOADS

AGENT = "agent"
# The order is that of the kernel's codes.
PLACEMENTS = ("fast_only", "slow_only", "lru", "lfu", "cde", "hps", "oracle", "hindsight")
MIGRATIONS = ("none", "cold_eviction", "hotness", "periodic", "oracle", "hindsight")

Positive = Annotated[int, Field(ge=1, le=10**9)]
WorkloadName = Annotated[str, StringConstraints(min_length=1, max_length=64)]


class StorageParameters(contract.Parameters):
    """A hybrid storage system and what is asked of it. See docs/storage.md for every choice and its source."""

    configuration: str = Field(
        default="hm", description="two to four devices, fastest first: h, m, d, l, each at most once"
    )
    workload: WorkloadName | tuple[WorkloadName, ...] = Field(
        default="zipf", description="a name, or several, from which each episode of a row draws one"
    )
    test_workload: WorkloadName | tuple[WorkloadName, ...] | None = Field(
        default=None, description="what evaluations replay instead: train on some workloads, test on others"
    )
    requests: Positive | None = Field(
        default=20_000, description="of an episode, the first of the workload; null for all that it has"
    )
    segment: Positive | None = Field(
        default=None,
        description="requests after which measures are told although the system goes on, for online protocols",
    )
    warm_up: float = Field(
        default=0.2,
        ge=0,
        lt=1,
        description="share of an episode that its measures leave out; 0 with segments",
    )
    fast_share: float = Field(
        default=0.1, gt=0, le=1, description="capacity of the fastest device, as a share of the working set"
    )
    middle_share: float = Field(
        default=0.3, gt=0, le=1, description="capacity of every device between the fastest and the slowest"
    )
    arrivals: Literal["recorded", "closed"] = Field(
        default="recorded",
        description="requests come at their times, or each when the one before is done (one outstanding)",
    )
    load: FiniteFloat = Field(default=1.0, gt=0, description="times between requests are divided by it")
    placement: Literal[
        "agent", "fast_only", "slow_only", "lru", "lfu", "cde", "hps", "oracle", "hindsight"
    ] = Field(
        default="agent", description="who places: the agent, or a built-in player while the other learns"
    )
    migration: Literal["agent", "none", "cold_eviction", "hotness", "periodic", "oracle", "hindsight"] = (
        Field(default="agent", description="who migrates, likewise")
    )
    reward: Literal["sibyl", "sibyl_code", "harmonia"] = Field(
        default="sibyl", description="what placement is paid"
    )
    reward_unit: FiniteFloat = Field(
        default=10.0, gt=0, description="microseconds that latencies in rewards are counted in"
    )
    migration_batch: int = Field(
        default=10, ge=1, le=32, description="candidates that are decided, then moved together"
    )
    migration_window: int = Field(
        default=50, ge=1, le=1_000, description="requests after a decision whose latencies it is paid by"
    )
    ping_pong: float = Field(
        default=0.1, ge=0, description="weight of the penalty on moving what moved or was used lately"
    )
    hot_count: Positive = Field(default=4, description="accesses that make a page hot for cde, hps, hotness")
    cold_requests: Positive = Field(
        default=1_000, description="requests without access that make a page cold, and the period of hps"
    )
    addresses: Positive = Field(default=4_096, description="of the simple workloads")
    interval: FiniteFloat = Field(
        default=2_000.0, gt=0, description="mean microseconds between requests of synthetic workloads"
    )
    write_share: float = Field(default=0.3, ge=0, le=1, description="of the simple workloads")
    skew: float = Field(default=0.9, ge=0, le=5, description="exponent of Zipf's law in `zipf` and `phases`")
    trace: str | None = Field(
        default=None,
        description="file of the workload `trace`, relative to the suite file; its content is the identity",
        json_schema_extra={"stands_as": None, "path": True},
    )
    trace_format: Literal["msr", "mqsim", "cloudphysics", "csv", "libcachesim"] = Field(
        default="csv", description="of that file"
    )
    trace_skip: int = Field(default=0, ge=0, description="requests at its beginning that are left out")

    @field_validator("configuration")
    @classmethod
    def _known_devices(cls, value: str) -> str:
        known = [letter for letter in LETTERS if letter in value]
        if value != "".join(known) or not 2 <= len(value) <= 4:
            raise ValueError(
                f"'{value}' is not two to four of the devices {', '.join(LETTERS)}, fastest first, as in hm or hml"
            )
        return value

    @model_validator(mode="after")
    def _consistent(self) -> StorageParameters:
        for name in (*self.workloads, *self.test_workloads):
            if name not in WORKLOADS:
                raise ValueError(
                    f"there is no workload '{name}'; there are {', '.join((*PATTERNS, TRACE))} and "
                    f"calibrated_X for {', '.join(CALIBRATED)}"
                )
        if (self.trace is None) == (TRACE in (*self.workloads, *self.test_workloads)):
            raise ValueError(f"`trace` names the file of the workload '{TRACE}'; give both or neither")
        if self.segment is not None and self.warm_up:
            raise ValueError("with `segment` the protocol says what counts; `warm_up` must be 0")
        if self.segment is not None and self.requests is not None and self.segment > self.requests:
            raise ValueError("`segment` is longer than the episode, `requests`")
        return self

    @property
    def workloads(self) -> tuple[str, ...]:
        """Names of the workloads of episodes."""
        return (self.workload,) if isinstance(self.workload, str) else self.workload

    @property
    def test_workloads(self) -> tuple[str, ...]:
        """Names of those of evaluations."""
        if self.test_workload is None:
            return self.workloads
        return (self.test_workload,) if isinstance(self.test_workload, str) else self.test_workload
