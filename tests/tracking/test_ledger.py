from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from marlbench.tracking.ledger import NAME, Ledger, Row

ROW = Row("1", "run", "1-5 ippo", "mark")


def test_rows_of_a_target_are_kept(tmp_path: Path) -> None:
    with closing(Ledger(tmp_path, "a")) as ledger:
        ledger.put("cell", ROW)
        ledger.put("other", ROW)
        ledger.drop("other")
        ledger.flush()
    with closing(Ledger(tmp_path, "a")) as ledger:
        assert ledger.rows == {"cell": ROW}
    with closing(Ledger(tmp_path, "b")) as ledger:
        assert ledger.rows == {}


def test_another_database_is_recognised(tmp_path: Path) -> None:
    with closing(Ledger(tmp_path, "a")) as ledger:
        ledger.recognise("one", "1", "100")
        ledger.recognise("two", "2", "100")
        ledger.put("cell", ROW)
        ledger.put("other", Row("2", "r", "j"))
        ledger.recognise("one", "1", "100")
        assert set(ledger.rows) == {"cell", "other"}
        ledger.recognise("one", "1", "101")
        assert set(ledger.rows) == {"other"}
        assert ledger.suites() == ["one", "two"]
    with closing(Ledger(tmp_path, "a")) as ledger:
        assert set(ledger.rows) == {"other"}


@pytest.mark.parametrize("content", [b"not a database at all, but long enough" * 40, None])
def test_what_cannot_be_read_is_begun_anew(tmp_path: Path, content: bytes | None) -> None:
    with closing(Ledger(tmp_path, "a")) as ledger:
        ledger.put("cell", ROW)
        ledger.flush()
    if content is not None:
        (tmp_path / NAME).write_bytes(content)
    else:
        import sqlite3

        with closing(sqlite3.connect(tmp_path / NAME)) as connection:
            connection.execute("PRAGMA user_version = 99")
    with closing(Ledger(tmp_path, "a")) as ledger:
        assert ledger.rows == {}
        ledger.put("cell", ROW)
        ledger.flush()
    with closing(Ledger(tmp_path, "a")) as ledger:
        assert ledger.rows == {"cell": ROW}
