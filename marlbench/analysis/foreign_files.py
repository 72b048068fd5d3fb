"""Files with results of other programs: marl-eval's JSON, score arrays as rliable takes them, CSV with named columns.

A reader gives runs and knows nothing of suites. What it cannot read it refuses with the place: file and line and
column of a CSV, the keys that lead there in JSON, the array of an archive.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from marlbench.errors import UsageError, did_you_mean

MARL_EVAL, ARRAYS, CSV = "marl-eval", "rliable", "csv"
_NAME = re.compile(r"[^\x00-\x1f\x7f]{1,64}")
_COLUMNS = ("task", "algorithm", "seed", "value", "score", "metric", "step", "low", "high")


@dataclass(frozen=True)
class ForeignRun:
    """One run of another program.

    Attributes:
        metrics: metric -> the one value that counts: of the absolute evaluation where there is one, else the last.
        traces: metric -> (step, value) of every evaluation, by step; empty where the file has none.
        steps: of the last evaluation; 0 where that is not known.
        bounds: (low, high) of the score where the file has them.
        place: file, and line where it has lines.
    """

    task: str
    algorithm: str
    seed: int
    metrics: Mapping[str, float]
    traces: Mapping[str, tuple[tuple[int, float], ...]]
    steps: int
    bounds: tuple[float, float] | None
    place: str


def read(path: Path, kind: str | None) -> list[ForeignRun]:
    """The runs of a file; `kind` is marl-eval, rliable or csv, and told from the file where it is None.

    Raises:
        UsageError: the file cannot be read, or something in it is not what the format asks for.
    """
    suffix = path.suffix.lower()
    if kind not in (None, *READERS):
        raise UsageError(f"'{kind}' is not a format of foreign results.", did_you_mean(str(kind), READERS))
    if kind is None and suffix not in (".csv", ".json", ".npz"):
        raise UsageError(
            f"{path}: the format cannot be told from the suffix '{suffix}'.",
            f"Write {path}:FORMAT with one of {', '.join(READERS)}.",
        )
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}.") from None
    if kind is None:
        kind = {".csv": CSV, ".npz": ARRAYS}.get(suffix) or _kind_of_json(path, content)
    runs = READERS[kind](path, content)
    if not runs:
        raise UsageError(f"{path}: there is no run in it.")
    return runs


def _kind_of_json(path: Path, content: bytes) -> str:
    root = _json(path, content)
    inner = [value for key, value in root.items() if key != "tasks"] if isinstance(root, dict) else []
    return ARRAYS if inner and all(isinstance(value, list) for value in inner) else MARL_EVAL


def _json(path: Path, content: bytes) -> Any:
    try:
        return json.loads(content)
    except UnicodeDecodeError:
        raise UsageError(f"{path}: it is not UTF-8.") from None
    except json.JSONDecodeError as error:
        raise UsageError(f"{path}:{error.lineno}:{error.colno}: it is not JSON: {error.msg}.") from None
    except RecursionError:
        raise UsageError(f"{path}: it is nested too deeply.") from None


# marl-eval: environment -> task -> algorithm -> run -> step_k {step_count, metric: [..]} and absolute_metrics


def _marl_eval(path: Path, content: bytes) -> list[ForeignRun]:
    runs = []
    for (_, task, algorithm), found in _levels(
        path, _json(path, content), ("environment", "task", "algorithm")
    ):
        of_algorithm = _mapping(path, found, (task, algorithm), "runs")
        for place, (name, run) in enumerate(of_algorithm.items()):
            where = (task, algorithm, name)
            run = _mapping(path, run, where, "logged steps")
            absolute: dict[str, float] = {}
            logged: dict[int, dict[str, float]] = {}
            for key, values in run.items():
                here = (*where, key)
                values = _mapping(path, values, here, "metrics")
                metrics = {
                    metric: _mean(path, numbers, (*here, metric))
                    for metric, numbers in values.items()
                    if metric not in ("step_count", "elapsed_time")
                }
                if "absolute" in key.lower():
                    absolute = metrics
                    continue
                step = values.get("step_count")
                if isinstance(step, bool) or not isinstance(step, int) or step < 0:
                    raise UsageError(f"{_keys(path, here)}: step_count is no number of steps: {step!r}.")
                if step in logged:
                    raise UsageError(f"{_keys(path, here)}: the step_count {step} is there twice.")
                logged[step] = metrics
            traces: dict[str, list[tuple[int, float]]] = {}
            for step in sorted(logged):
                for metric, value in logged[step].items():
                    traces.setdefault(metric, []).append((step, value))
            last = {metric: of[-1][1] for metric, of in traces.items()}
            if not (last or absolute):
                raise UsageError(f"{_keys(path, where)}: the run has no metric.")
            runs.append(
                ForeignRun(
                    task=task,
                    algorithm=algorithm,
                    seed=_seed(name, place),
                    metrics=last | absolute,
                    traces={metric: tuple(of) for metric, of in traces.items()},
                    steps=max(logged, default=0),
                    bounds=None,
                    place=_keys(path, where),
                )
            )
    return runs


def _levels(path: Path, root: Any, names: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every mapping below as many levels of keys as there are names, with the keys that lead to it."""

    def below(found: Any, keys: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
        if len(keys) == len(names):
            yield keys, found
            return
        for key, value in _mapping(path, found, keys, f"{names[len(keys)]}s").items():
            yield from below(value, (*keys, _name(key, f"{path}: the {names[len(keys)]}")))

    yield from below(root, ())


def _mapping(path: Path, found: Any, keys: tuple[str, ...], of: str) -> dict[str, Any]:
    if not isinstance(found, dict) or not found:
        raise UsageError(
            f"{_keys(path, keys)}: {of} by name were expected here.",
            "marl-eval's layout is environment -> task -> algorithm -> run -> step_1 and absolute_metrics -> metric.",
        )
    return found


def _mean(path: Path, numbers: Any, keys: tuple[str, ...]) -> float:
    values = numbers if isinstance(numbers, list) else [numbers]
    if not values or not all(_finite(value) for value in values):
        raise UsageError(f"{_keys(path, keys)}: a list of finite numbers was expected here.")
    return math.fsum(values) / len(values)


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _keys(path: Path, keys: tuple[str, ...]) -> str:
    return f"{path}: {' -> '.join(keys)}" if keys else str(path)


def _seed(name: str, place: int) -> int:
    """The seed in names such as `seed_3` and `7`; `run_1` counts from one, and other names by their place."""
    found = re.fullmatch(r"(?:seed[_-]?)?([0-9]{1,9})", name, re.IGNORECASE)
    return int(found[1]) if found else place


# rliable: algorithm -> array [run, task]


def _arrays(path: Path, content: bytes) -> list[ForeignRun]:
    import numpy as np

    found: Mapping[str, Any]
    if content[:2] == b"PK":
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as archive:
                found = {name: archive[name] for name in archive.files}
        except (ValueError, OSError, zipfile.BadZipFile, EOFError) as error:
            raise UsageError(f"{path}: it is not an archive of plain arrays: {error}.") from None
    else:
        found = _json(path, content)
        if not isinstance(found, dict):
            raise UsageError(f"{path}: an array [run, task] for each algorithm was expected, by its name.")
    found = dict(found)
    named = found.pop("tasks", None)
    runs = []
    for algorithm, values in found.items():
        where = f"{path}: {algorithm}"
        try:
            scores = np.array(values, dtype=np.float64)
        except (ValueError, TypeError):
            raise UsageError(f"{where}: it is not an array of numbers [run, task].") from None
        if scores.ndim != 2 or 0 in scores.shape:
            raise UsageError(
                f"{where}: an array [run, task] was expected, not one of shape {list(scores.shape)}."
            )
        if np.isinf(scores).any():
            raise UsageError(f"{where}: a score is infinite.", "A run that is missing is NaN (null in JSON).")
        tasks = [f"task_{place + 1}" for place in range(scores.shape[1])]
        if named is not None:
            tasks = [_name(str(name), f"{path}: tasks") for name in np.atleast_1d(np.array(named)).tolist()]
            if len(tasks) != scores.shape[1] or len(set(tasks)) < len(tasks):
                raise UsageError(
                    f"{path}: tasks: {scores.shape[1]} different names were expected, as of {algorithm}."
                )
        for task, column in zip(tasks, scores.T.tolist(), strict=True):
            for seed, score in enumerate(column):
                if not math.isnan(score):
                    runs.append(
                        ForeignRun(
                            task,
                            _name(algorithm, where),
                            seed,
                            {"score": score},
                            {},
                            0,
                            (0.0, 1.0),
                            f"{where}, {task}",
                        )
                    )
    return runs


# CSV: a line for each run, or for each evaluation of each run


def _csv(path: Path, content: bytes) -> list[ForeignRun]:
    try:
        lines = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True)
        header = [name.strip() for name in next(lines, [])]
        _check_header(path, header)
        runs: dict[tuple[str, str, int], _Evaluations] = {}
        for values in lines:
            if values:
                _add(runs, _Line(path, lines.line_num, header, values))
    except UnicodeDecodeError:
        raise UsageError(f"{path}: it is not UTF-8.") from None
    except csv.Error as error:
        raise UsageError(f"{path}:{lines.line_num}: it is not CSV: {error}.") from None
    return [evaluations.run(*key) for key, evaluations in runs.items()]


def _check_header(path: Path, header: list[str]) -> None:
    for name in header:
        if name not in _COLUMNS or header.count(name) > 1:
            twice = "is there twice" if header.count(name) > 1 else "is not a known one"
            raise UsageError(f"{path}:1: the column '{name}' {twice}.", did_you_mean(name, _COLUMNS))
    lacking = [name for name in ("task", "algorithm", "seed") if name not in header]
    if lacking or ("value" in header) == ("score" in header):
        what = (
            f"the column '{lacking[0]}' is missing"
            if lacking
            else "there must be one of the columns 'value' and 'score'"
        )
        raise UsageError(
            f"{path}:1: {what}.",
            "Columns are task, algorithm, seed, value (raw) or score (normalised); if known metric, step, low, high.",
        )
    if ("low" in header) != ("high" in header):
        raise UsageError(f"{path}:1: the columns 'low' and 'high' belong together.")


@dataclass
class _Line:
    path: Path
    number: int
    header: list[str]
    values: list[str]

    def __post_init__(self) -> None:
        if len(self.values) != len(self.header):
            raise UsageError(
                f"{self.where}: {len(self.values)} values where there are {len(self.header)} columns."
            )

    @property
    def where(self) -> str:
        return f"{self.path}:{self.number}"

    def text(self, column: str) -> str:
        return self.values[self.header.index(column)].strip()

    def number_of(self, column: str) -> float:
        try:
            value = float(self.text(column))
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            problem = f"column '{column}': {self.text(column)!r} is not a finite number"
            raise UsageError(f"{self.where}: {problem}.", "Leave out lines of runs that are missing.")
        return value

    def whole(self, column: str) -> int:
        value = self.number_of(column)
        if value != int(value) or not 0 <= value < 2**53:
            raise UsageError(
                f"{self.where}: column '{column}': {self.text(column)!r} is not a whole number from 0."
            )
        return int(value)

    def name(self, column: str) -> str:
        return _name(self.text(column), f"{self.where}: column '{column}'")


class _Evaluations:
    """The lines of one run."""

    def __init__(self, place: str) -> None:
        self.place = place
        self.values: dict[str, dict[int, float]] = {}
        self.bounds: tuple[float, float] | None = None

    def run(self, task: str, algorithm: str, seed: int) -> ForeignRun:
        traces = {metric: tuple(sorted(of.items())) for metric, of in self.values.items()}
        steps = max(trace[-1][0] for trace in traces.values())
        return ForeignRun(
            task=task,
            algorithm=algorithm,
            seed=seed,
            metrics={metric: trace[-1][1] for metric, trace in traces.items()},
            traces=traces if steps else {},
            steps=steps,
            bounds=self.bounds,
            place=self.place,
        )


def _add(runs: dict[tuple[str, str, int], _Evaluations], line: _Line) -> None:
    of = "score" if "score" in line.header else "value"
    metric = line.name("metric") if "metric" in line.header else of
    step = line.whole("step") if "step" in line.header else 0
    bounds = (0.0, 1.0) if of == "score" else None
    if "low" in line.header:
        bounds = (line.number_of("low"), line.number_of("high"))
    key = (line.name("task"), line.name("algorithm"), line.whole("seed"))
    run = runs.setdefault(key, _Evaluations(line.where))
    values = run.values.setdefault(metric, {})
    told = f"{line.where}: {key[1]} on {key[0]}, seed {key[2]}"
    if step in values:
        at = f" at step {step}" if "step" in line.header else ""
        raise UsageError(f"{told}{at} is there twice.", "A run has one line, or one for each step.")
    if run.bounds not in (None, bounds):
        raise UsageError(f"{told}: other bounds than in the line before.")
    values[step], run.bounds = line.number_of(of), bounds


def _name(text: str, where: str) -> str:
    if not _NAME.fullmatch(text):
        raise UsageError(f"{where}: {text[:70]!r} is not a name.", "Names have 1 to 64 printable characters.")
    return text


READERS: Mapping[str, Callable[[Path, bytes], list[ForeignRun]]] = {
    MARL_EVAL: _marl_eval,
    ARRAYS: _arrays,
    CSV: _csv,
}
