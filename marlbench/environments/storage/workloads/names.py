"""Names of workloads, and the published characteristics that synthetic ones are calibrated to."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Characteristics:
    """What is published of a trace that Sibyl was evaluated on (ISCA 2022) [unverified].

    Attributes:
        write_share: of all requests.
        kibibytes: mean size of a request.
        accesses: mean number of requests for each unique address.
        addresses: unique addresses.
    """

    write_share: float
    kibibytes: float
    accesses: float
    addresses: int

    @property
    def requests(self) -> int:
        """Requests of the whole trace."""
        return round(self.accesses * self.addresses)


CALIBRATED = {
    "hm_1": Characteristics(0.047, 15.2, 44.5, 6_265),
    "mds_0": Characteristics(0.881, 9.6, 3.5, 31_933),
    "prn_1": Characteristics(0.247, 20.0, 2.6, 6_891),
    "proj_0": Characteristics(0.875, 38.0, 48.3, 1_381),
    "proj_2": Characteristics(0.124, 42.4, 2.9, 27_967),
    "proj_3": Characteristics(0.052, 9.6, 3.6, 19_397),
    "prxy_0": Characteristics(0.969, 7.2, 95.7, 525),
    "prxy_1": Characteristics(0.345, 12.8, 150.1, 6_845),
    "rsrch_0": Characteristics(0.907, 9.2, 34.7, 5_504),
    "src1_0": Characteristics(0.436, 43.2, 12.7, 13_640),
    "stg_1": Characteristics(0.363, 40.8, 1.1, 3_787),
    "usr_0": Characteristics(0.596, 22.8, 19.7, 2_138),
    "wdev_2": Characteristics(0.999, 8.0, 17.7, 4_270),
    "web_1": Characteristics(0.459, 29.6, 1.2, 6_095),
}
PREFIX = "calibrated_"
PATTERNS = ("uniform", "zipf", "sequential", "phases")
TRACE = "trace"
WORKLOADS = (*PATTERNS, *(PREFIX + name for name in CALIBRATED), TRACE)


def title(name: str) -> str:
    """How a workload is called in pictures and tables: a synthetic one never goes by the trace's own name."""
    if name.startswith(PREFIX):
        return f"synthetic, calibrated to {name.removeprefix(PREFIX)}"
    return name if name == TRACE else f"synthetic, {name}"
