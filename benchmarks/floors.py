"""Whether a row of the speed table keeps its floor: medians of its series -> (the figure in words, whether it does)."""

from __future__ import annotations

from collections.abc import Callable

Sample = dict[str, float]
# Steps a CPU-second that eco-driving keeps, two thirds of what was measured.
ECO_DRIVING = 400.0
# What is asked of the simulators of social dilemmas and of navigation: steps a CPU-second with random actions.
_SIMULATORS = {
    "iterated": 300_000,
    "iterated_mixed": 300_000,
    "coin_game": 300_000,
    "fishery": 500_000,
    "harvest": 30_000,
    "clean_up": 30_000,
    "navigation": 150_000,
    "navigation_walker": 150_000,
}


def ratio(floor: float) -> Callable[[dict[str, Sample]], tuple[str, bool]]:
    def judge(of: dict[str, Sample]) -> tuple[str, bool]:
        # CPU seconds count the workers of an adapter, and the neighbours on a busy machine do not count in them.
        ours, theirs = (of[name]["steps_per_cpu_second"] for name in ("marlbench", "BenchMARL"))
        wall = of["marlbench"]["steps_per_second"] / of["BenchMARL"]["steps_per_second"]
        said = f"{ours / theirs:.1f} x ({ours:,.0f} against {theirs:,.0f} a CPU-second; {wall:.1f} x by the clock)"
        return said, ours / theirs >= floor

    return judge


def at_least(floor: float) -> Callable[[dict[str, Sample]], tuple[str, bool]]:
    def judge(of: dict[str, Sample]) -> tuple[str, bool]:
        speed, wall = (of["marlbench"][f"steps_per_{unit}"] for unit in ("cpu_second", "second"))
        return f"{speed:,.0f} a CPU-second ({wall:,.0f} by the clock)", speed >= floor

    return judge


def under(limit: float, figure: str) -> Callable[[dict[str, Sample]], tuple[str, bool]]:
    def judge(of: dict[str, Sample]) -> tuple[str, bool]:
        said = [
            f"{name}: {sample['wall_seconds']:.2f} s by the clock, {sample['cpu_seconds']:.2f} s of CPU"
            for name, sample in of.items()
        ]
        return "; ".join(said), next(iter(of.values()))[figure] < limit

    return judge


def fast_enough(of: dict[str, Sample]) -> tuple[str, bool]:
    (sample,) = of.values()
    said = ", ".join(f"{name} {speed:,.0f}" for name, speed in sample.items())
    return said, all(sample[name] >= floor for name, floor in _SIMULATORS.items())


def times_highway_env(of: dict[str, Sample]) -> tuple[str, bool]:
    (sample,) = of.values()
    ours, theirs = sample["marlbench"], sample["highway-env"]
    said = f"{ours / theirs:,.0f} x ({ours:,.0f} against {theirs:.1f} decisions a CPU-second)"
    return said, ours / theirs >= 300


def fits(of: dict[str, Sample]) -> tuple[str, bool]:
    (sample,) = of.values()
    disk, resident = sample["disk_bytes"] / 1e9, sample["resident_peak_bytes"] / 1e9
    said = f"{disk:.2f} GB of disk, {resident:.2f} GB resident, {sample['seconds_per_update']:.2f} CPU-s an update"
    return said, disk <= 3.0 and resident <= 1.0


def storage_speed(of: dict[str, Sample]) -> tuple[str, bool]:
    (sample,) = of.values()
    theirs = f"{sample['libcachesim_lru']:,.0f}" if "libcachesim_lru" in sample else "not installed"
    said = f"{sample['simulate_lru']:,.0f} and {sample['step']:,.0f} a CPU-second; libcachesim {theirs}"
    return said, sample["simulate_lru"] >= 2e6 and sample["step"] >= 3e5


def little_slower(of: dict[str, Sample]) -> tuple[str, bool]:
    (sample,) = of.values()
    slower, two, plain = (sample[name] for name in ("slower_with_job", "two_to_one", "two_to_one_plain"))
    said = f"{slower:.0%} slower; two rows {two:.2f} times one (two plain loops {plain:.2f} times one)"
    return said, slower <= 0.15 and two >= 1.7


def mostly_sumo(of: dict[str, Sample]) -> tuple[str, bool]:
    (sample,) = of.values()
    steps, share = sample["steps_per_cpu_second"], sample["share_of_sumo"]
    return f"{steps:,.0f} a CPU-second, of which SUMO takes {share:.0%}", steps >= ECO_DRIVING


def little_besides(of: dict[str, Sample]) -> tuple[str, bool]:
    one = of["marlbench"]
    told = f"{one['ratio']:.2f} times; a cell {one['cell_seconds']:.2f} s of CPU, its loop {one['bare_seconds']:.2f} s"
    return told, one["ratio"] <= 1.25


def little_more(of: dict[str, Sample]) -> tuple[str, bool]:
    one = of["marlbench"]
    return f"{one['share']:.1%}, {one['pictures_share']:.1%} of it pictures", one["share"] <= 0.02


def one_and_ten(of: dict[str, Sample]) -> tuple[str, bool]:
    one, ten = (of[name]["wall_seconds"] for name in ("one seed", "ten seeds"))
    speeds = " and ".join(f"{sample['steps_per_second']:,.0f}" for sample in of.values())
    return f"{ten / one:.2f} x the time ({speeds} seed-steps a second)", ten / one <= 2
