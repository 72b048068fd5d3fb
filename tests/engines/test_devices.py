from __future__ import annotations

import pytest

from marlbench.engines import devices
from marlbench.engines.devices import Devices, Gpu, pool_names, resolve_devices, visible_gpus
from marlbench.errors import USAGE, UsageError


def pretend(monkeypatch: pytest.MonkeyPatch, count: int, found: list[dict] | None = None) -> None:
    """A machine on which torch sees `count` GPUs."""
    if found is None:
        found = [{"uuid": f"uuid-{index}", "title": "X", "memory": 80} for index in range(count)]
    monkeypatch.setattr(devices, "_device_count", lambda: count)
    monkeypatch.setattr(devices, "_probe", lambda: found)


@pytest.mark.parametrize(
    ("listed", "names"),
    [
        ("", []),
        ("0", ["0"]),
        ("2,3", ["2", "3"]),
        (" 1 , 0 ", ["1", "0"]),
        ("01", ["1"]),
        ("GPU-8932f937-d72c,GPU-1", ["GPU-8932f937-d72c", "GPU-1"]),
        ("MIG-GPU-8932f937/1/2", ["MIG-GPU-8932f937/1/2"]),
        ("MIG-41d5d6b9", ["MIG-41d5d6b9"]),
        ("-1", []),
        ("0,-1,1", ["0"]),
        ("0,0", []),
        ("NoDevFiles", []),
        ("1,cuda", ["1"]),
    ],
)
def test_a_pool_is_read_as_cuda_reads_it(listed: str, names: list[str]) -> None:
    assert pool_names(listed) == names


def test_without_a_pool_every_gpu_is_visible_by_its_index(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, 2)
    assert visible_gpus({}) == (Gpu("0", "uuid-0", "X", 80), Gpu("1", "uuid-1", "X", 80))


def test_a_gpu_has_one_key_whatever_it_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, 1, [{"uuid": "abc", "title": "X", "memory": 80}])
    by_index = visible_gpus({"CUDA_VISIBLE_DEVICES": "3"})
    by_uuid = visible_gpus({"CUDA_VISIBLE_DEVICES": "GPU-abc"})
    assert [gpu.name for gpu in by_index + by_uuid] == ["3", "GPU-abc"]
    assert by_index[0].key == by_uuid[0].key == "abc"


def test_an_empty_pool_is_no_gpu_and_asks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    def ask() -> int:
        raise AssertionError

    monkeypatch.setattr(devices, "_device_count", ask)
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": ""}) == ()


@pytest.mark.parametrize(
    "found",
    [
        [],
        [{"uuid": "same", "title": "X", "memory": 80}] * 2,
        [{"uuid": "", "title": "X", "memory": 80}, {"uuid": "a", "title": "X", "memory": 80}],
    ],
    ids=["no answer", "parts of one GPU", "an old torch"],
)
def test_names_are_keys_where_uuids_tell_nothing_apart(
    monkeypatch: pytest.MonkeyPatch, found: list[dict]
) -> None:
    pretend(monkeypatch, 2, found)
    assert [gpu.key for gpu in visible_gpus({"CUDA_VISIBLE_DEVICES": "MIG-a,MIG-b"})] == ["MIG-a", "MIG-b"]


def test_auto_is_every_gpu_or_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, 0)
    assert resolve_devices("auto", {}) == Devices("cpu")
    pretend(monkeypatch, 2)
    assert [gpu.name for gpu in resolve_devices("auto", {}).gpus] == ["0", "1"]


def test_cpu_asks_for_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def ask() -> int:
        raise AssertionError

    monkeypatch.setattr(devices, "_device_count", ask)
    assert resolve_devices("cpu", {}) == Devices("cpu")


def test_indices_count_within_the_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, 3)
    environment = {"CUDA_VISIBLE_DEVICES": "5,6,7"}
    assert [gpu.name for gpu in resolve_devices("cuda", environment).gpus] == ["5", "6", "7"]
    assert [gpu.name for gpu in resolve_devices("cuda:2,0", environment).gpus] == ["7", "5"]


@pytest.mark.parametrize(
    "request_", ["gpu", "cuda:", "cuda:x", "cuda:0,0", "cuda:-1", "cpu:0", "auto:1", "", "cuda:9"]
)
def test_what_is_no_device_is_a_usage_error(monkeypatch: pytest.MonkeyPatch, request_: str) -> None:
    pretend(monkeypatch, 2)
    with pytest.raises(UsageError) as caught:
        resolve_devices(request_, {})
    assert caught.value.exit_code == USAGE
    assert caught.value.hint


def test_a_gpu_that_is_not_there_is_a_usage_error_that_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, 0)
    with pytest.raises(UsageError, match="torch"):
        resolve_devices("cuda", {})
    with pytest.raises(UsageError, match="hides every GPU"):
        resolve_devices("cuda", {"CUDA_VISIBLE_DEVICES": ""})
