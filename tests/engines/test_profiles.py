from __future__ import annotations

from pathlib import Path

import pytest

from marlbench.engines.profiles import parse_duration, parse_size, read_profile
from marlbench.engines.slurm import SlurmProfile
from marlbench.errors import ConfigurationError

TEXT = """\
[slurm.default]
partition = "cpu"

[slurm.gpu]
gpus = 1
memory = "32G"
time = "1d12h"
options = {mail-type = "FAIL"}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("MARLBENCH_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_sizes_and_durations() -> None:
    assert [parse_size(text) for text in ("512M", "8G", "8 GiB", "1.5g", 4096)] == [
        512 << 20,
        8 << 30,
        8 << 30,
        3 << 29,
        4096,
    ]
    assert [parse_duration(text) for text in ("90s", "30m", "1d12h", "2h5m1s", 7)] == [
        90,
        1800,
        129600,
        7501,
        7,
    ]
    for text in ("", "8X", "-1G", "0"):
        with pytest.raises(ValueError, match="is not a size"):
            parse_size(text)
    for text in ("", "0s", "h", "1w", "-5"):
        with pytest.raises(ValueError, match="is not a duration"):
            parse_duration(text)


def test_profiles_by_name_and_by_default(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_profile(SlurmProfile, "slurm", None) == SlurmProfile()
    (folder / "marlbench.toml").write_text(TEXT)
    assert read_profile(SlurmProfile, "slurm", None).partition == "cpu"
    profile = read_profile(SlurmProfile, "slurm", "gpu")
    assert (profile.gpus, profile.memory, profile.time, profile.partition) == (1, 32 << 30, 129600, None)
    other = folder / "elsewhere.toml"
    other.write_text('[slurm.default]\npartition = "other"\n')
    monkeypatch.setenv("MARLBENCH_CONFIG", str(other))
    assert read_profile(SlurmProfile, "slurm", None).partition == "other"


@pytest.mark.parametrize(
    ("text", "name", "match"),
    [
        (TEXT, "gpus", r"has no table \[slurm.gpus\]"),
        ("[slurm.default]\npartitoin = 1\n", None, "partitoin"),
        ('[slurm.default]\ntime = "soon"\n', None, "is not a duration"),
        ('[slurm]\npartition = "cpu"\n', None, "must hold tables"),
        ("[slurm.default\n", None, "cannot be read"),
    ],
)
def test_errors_name_file_and_key(folder: Path, text: str, name: str | None, match: str) -> None:
    (folder / "marlbench.toml").write_text(text)
    with pytest.raises(ConfigurationError, match=match) as raised:
        read_profile(SlurmProfile, "slurm", name)
    assert "marlbench.toml" in str(raised.value)


def test_a_file_that_is_named_must_be_there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARLBENCH_CONFIG", str(folder / "nothing.toml"))
    with pytest.raises(ConfigurationError, match=r"there is no .*nothing.toml"):
        read_profile(SlurmProfile, "slurm", None)
