"""From what a user asks for (`--device`) to the devices that jobs get."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from marlbench.errors import UsageError, did_you_mean

VISIBLE = "CUDA_VISIBLE_DEVICES"

# Asked in a process of its own: a CUDA context here would take memory from the jobs for the whole run.
_PROBE = """
import json, torch
found = []
for index in range(torch.cuda.device_count()):
    properties = torch.cuda.get_device_properties(index)
    uuid = getattr(properties, "uuid", None)
    uuid = str(uuid) if uuid else ""
    found.append({"uuid": uuid, "title": properties.name, "memory": properties.total_memory})
print(json.dumps(found))
"""
_PROBE_SECONDS = 120.0


@dataclass(frozen=True)
class Gpu:
    """One GPU or MIG instance.

    Attributes:
        name: what `CUDA_VISIBLE_DEVICES` of a job says.
        key: the same for every process of this machine, whatever name it uses.
        title: the model, '' where it is not known.
        memory_bytes: of the whole device; None where it is not known.
    """

    name: str
    key: str
    title: str = ""
    memory_bytes: int | None = None


@dataclass(frozen=True)
class Devices:
    """`kind` is what torch calls the device; `gpus` is the pool for `cuda` and empty for `cpu`."""

    kind: str
    gpus: tuple[Gpu, ...] = ()


def resolve_devices(request: str, environment: Mapping[str, str] | None = None) -> Devices:
    """The devices behind `auto`, `cpu`, `cuda` or `cuda:0,1` (indices into what CUDA_VISIBLE_DEVICES leaves).

    `auto` is every visible GPU, or the CPU where torch can use none.

    Raises:
        UsageError: a request that is none of these, or for a GPU that is not there.
    """
    environment = os.environ if environment is None else environment
    kind, colon, listed = request.strip().partition(":")
    if kind not in ("auto", "cpu", "cuda") or (colon and kind != "cuda"):
        raise UsageError(
            f"--device {request}: no such device.",
            hint=did_you_mean(request, ("auto", "cpu", "cuda", "cuda:0", "cuda:0,1")),
        )
    if kind == "cpu":
        return Devices("cpu")
    indices = _indices(request, listed) if colon else None
    visible = visible_gpus(environment)
    if not visible:
        if kind == "auto":
            return Devices("cpu")
        raise UsageError(f"--device {request}: {_why_no_gpu(environment)}", hint="Use --device cpu.")
    if indices is None:
        return Devices("cuda", visible)
    if max(indices) >= len(visible):
        raise UsageError(
            f"--device {request}: there is no GPU {max(indices)}; {len(visible)} can be seen.",
            hint=f"Use --device cuda:{','.join(str(index) for index in range(len(visible)))}.",
        )
    return Devices("cuda", tuple(visible[index] for index in indices))


def visible_gpus(environment: Mapping[str, str]) -> tuple[Gpu, ...]:
    """The GPUs that torch can use here, in CUDA's order, under the names by which a job can be given one."""
    if environment.get(VISIBLE) is not None and not pool_names(environment[VISIBLE]):
        return ()
    count = _device_count()
    if count == 0:
        return ()
    listed = environment.get(VISIBLE)
    names = [str(index) for index in range(count)] if listed is None else pool_names(listed)[:count]
    found = _probe()
    # MIG instances may all report the GPU that they are part of; then the names tell them apart.
    keys = [entry["uuid"] for entry in found]
    if len(found) != len(names) or len(set(keys)) != len(keys) or "" in keys:
        keys = names
    details = found if len(found) == len(names) else [{"title": "", "memory": None} for _ in names]
    return tuple(
        Gpu(name, key, entry["title"], entry["memory"])
        for name, key, entry in zip(names, keys, details, strict=True)
    )


def pool_names(listed: str) -> list[str]:
    """The entries of a CUDA_VISIBLE_DEVICES: indices, UUIDs (`GPU-...`) or MIG names (`MIG-...`).

    As CUDA reads it: what follows an entry that names nothing is invisible, and a GPU that is listed twice
    makes all of them invisible.
    """
    names: list[str] = []
    for entry in listed.split(","):
        name = entry.strip()
        if not (name.isdecimal() or name.startswith(("GPU-", "MIG-"))):
            break
        names.append(str(int(name)) if name.isdecimal() else name)
    return names if len(set(names)) == len(names) else []


def _indices(request: str, listed: str) -> list[int]:
    words = [word.strip() for word in listed.split(",")]
    if not all(word.isdecimal() for word in words) or len(set(words)) != len(words):
        raise UsageError(f"--device {request}: cannot be read.", hint="Write it like cuda:0 or cuda:0,1.")
    return [int(word) for word in words]


def _device_count() -> int:
    # Asked through NVML where it can be: no context is made.
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def _probe() -> Sequence[dict]:
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", _PROBE],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PROBE_SECONDS,
            check=True,
        )
        found = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return ()
    return found if isinstance(found, list) else ()


def _why_no_gpu(environment: Mapping[str, str]) -> str:
    if environment.get(VISIBLE) is not None and not pool_names(environment[VISIBLE]):
        return f"{VISIBLE}={environment[VISIBLE]!r} hides every GPU."
    import torch

    if torch.version.cuda is None and torch.version.hip is None:
        return f"torch {torch.__version__} is built without CUDA."
    return "torch finds no GPU that it can use."
