"""SQLite files that are replaced while they are open, or that may not be written to."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text

from storage.database import Database
from storage.errors import DatabaseReadOnly, DatabaseReplaced
from storage.read_only import is_read_only, read_only_url


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A new corpus without rows."""
    Database.open(str(tmp_path / "a.db"), create=True).close()
    return tmp_path / "a.db"


def count(database: Database) -> int:
    with database.read() as connection:
        return int(connection.execute(text("SELECT count(*) FROM sample")).scalar_one())


def test_nothing_is_read_from_or_written_to_a_file_that_was_replaced(path: Path) -> None:
    database = Database.open(str(path))
    assert count(database) == 0
    other = Path(shutil.copy(path, path.with_name("b.db")))
    other.replace(path)
    for use in (database.read, database.snapshot, database.write):
        with pytest.raises(DatabaseReplaced, match="was replaced"), use():
            pass
    database.close()
    again = Database.open(str(path))
    assert count(again) == 0
    again.close()


def test_a_file_that_was_taken_away_is_told_too(path: Path) -> None:
    database = Database.open(str(path))
    path.unlink()
    with pytest.raises(DatabaseReplaced, match="was taken away"), database.read():
        pass
    database.close()


def test_a_new_corpus_is_the_file_that_was_made(tmp_path: Path) -> None:
    database = Database.open(str(tmp_path / "new.db"), create=True)
    assert count(database) == 0
    (tmp_path / "new.db").rename(tmp_path / "old.db")
    with pytest.raises(DatabaseReplaced), database.write():
        pass
    database.close()


def test_a_read_only_corpus_is_read_and_never_written(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.database.is_read_only", lambda _path: True)
    before = path.read_bytes()
    database = Database.open(str(path))
    assert database.read_only
    assert database.name == str(path)
    assert count(database) == 0
    with pytest.raises(DatabaseReadOnly), database.write():
        pass
    with database.read() as connection, pytest.raises(Exception, match="readonly"):
        connection.execute(text("DELETE FROM sample"))
    database.close()
    assert path.read_bytes() == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_corpus_in_a_folder_of_somebody_elses_is_opened_for_reading(path: Path) -> None:
    path.chmod(0o444)
    path.parent.chmod(0o555)
    try:
        assert is_read_only(str(path))
        database = Database.open(str(path))
        assert count(database) == 0
        database.close()
    finally:
        path.parent.chmod(0o755)


def test_the_url_for_reading_leads_to_the_file_whatever_its_name(tmp_path: Path) -> None:
    path = tmp_path / "ein & zwei? #3 長.db"
    Database.open(str(path), create=True).close()
    assert not is_read_only(str(tmp_path / "none.db"))
    url = read_only_url(str(path))
    with closing(sqlite3.connect(f"{url.database}?mode=ro", uri=True)) as connection:
        assert connection.execute("SELECT count(*) FROM sample").fetchone() == (0,)
