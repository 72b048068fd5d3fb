from __future__ import annotations

from pathlib import Path

import pytest

from marlbench.tracking.target import Target, TrackingError, cut


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000"),
        ("https://ann:s3cret@host:8080/path?token=abc#x", "https://host:8080/path"),
        ("postgresql://ann:p@ss/w?rd@host/db", "postgresql://host/db"),
        ("sqlite:////a b/mlflow.db", "sqlite:////a b/mlflow.db"),
        ("mlruns?x=1", "mlruns"),
    ],
)
def test_what_is_shown_of_a_uri(uri: str, shown: str) -> None:
    assert cut(uri) == shown
    target = Target(uri, own=False)
    assert str(target) == shown
    assert shown in repr(target)


def test_secrets_do_not_pass_through_other_peoples_messages() -> None:
    target = Target("https://ann:s3c%40ret@host/path?token=abcdef", own=False)
    text = target.hide(
        "API request to https://ann:s3c%40ret@host/path?token=abcdef/api failed:\n user ann:s3c@ret was refused; "
        "also postgresql://bob:hush@other/db?password=hush2 with abcdef"
    )
    for secret in ("s3c%40ret", "s3c@ret", "abcdef", "hush"):
        assert secret not in text
    assert "\n" not in text
    assert "host/path" in text


def test_the_key_does_not_change_with_the_password() -> None:
    keys = {Target(f"https://ann:{word}@host/", own=False).key for word in ("one", "two")}
    assert len(keys | {Target("https://bob@host/", own=False).key}) == 1
    assert Target("https://host2/", own=False).key not in keys


def test_the_database_in_the_store_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "my results"
    assert Target.locate(root) == Target(f"sqlite:///{root}/mlflow.db", own=True)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", " http://127.0.0.1:1 ")
    assert Target.locate(root) == Target("http://127.0.0.1:1", own=False)
    assert Target.locate(root).is_server
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    assert Target.locate(root).own
    assert Target.locate(root).is_database
    with pytest.raises(TrackingError, match="characters"):
        Target.locate(tmp_path / "what?")
