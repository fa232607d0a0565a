"""Opening a corpus database: what is no corpus is refused with its cause, and never changed."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from conftest import CorpusMaker
from sqlalchemy import create_engine, text

from storage.corpus import status_counts
from storage.database import Database, parse_url
from storage.errors import DatabaseUnreadable, SchemaMismatch, StorageError
from storage.schema import SCHEMA_VERSION


def set_version(database: Database, version: str) -> None:
    with database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = :v"), {"v": version})


def test_a_new_corpus_is_empty_and_of_the_newest_version(database: Database) -> None:
    with database.read() as connection:
        assert status_counts(connection) == {"seeds": {}, "samples": {}}
        version = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one()
    assert version == SCHEMA_VERSION


def test_a_corpus_opens_again_with_what_was_in_it(database_url: str) -> None:
    first = Database.open(database_url, create=True)
    CorpusMaker(first).seed()
    first.close()
    second = Database.open(database_url)
    with second.read() as connection:
        assert status_counts(connection)["seeds"] == {"done": 1}
    second.close()


def test_a_newer_schema_version_is_refused_and_not_offered_an_upgrade(
    database: Database, database_url: str
) -> None:
    set_version(database, "9999")
    with pytest.raises(SchemaMismatch) as refused:
        Database.open(database_url, create=True)
    assert "9999" in refused.value.what and SCHEMA_VERSION in refused.value.what
    assert "newer" in refused.value.cause
    assert refused.value.command is None


def test_an_older_schema_version_is_refused_with_the_way_up(
    database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.database.SCHEMA_VERSION", "9998")
    with pytest.raises(SchemaMismatch) as refused:
        Database.open(database_url, create=True)
    assert "older" in refused.value.cause
    assert refused.value.command is not None and "db upgrade" in refused.value.command


def test_a_database_with_other_tables_is_refused_and_left_alone(database_url: str) -> None:
    engine = create_engine(parse_url(database_url))
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE customers (id INTEGER)"))
    with pytest.raises(SchemaMismatch, match="not Stillhouse's") as refused:
        Database.open(database_url, create=True)
    assert "customers" in refused.value.cause
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM customers")).scalar_one() == 0
    engine.dispose()


def test_an_empty_postgresql_database_is_a_corpus_only_for_a_run(postgres_url: str) -> None:
    with pytest.raises(DatabaseUnreadable, match="holds no corpus"):
        Database.open(postgres_url)
    Database.open(postgres_url, create=True).close()
    Database.open(postgres_url).close()


def test_a_missing_file_is_named_and_not_made(tmp_path: Path) -> None:
    path = tmp_path / "nothing.db"
    with pytest.raises(DatabaseUnreadable, match=r"nothing\.db") as missing:
        Database.open(str(path))
    assert "does not exist" in missing.value.cause
    assert not path.exists()


def test_an_empty_file_holds_no_corpus(tmp_path: Path) -> None:
    path = tmp_path / "empty.db"
    path.touch()
    with pytest.raises(DatabaseUnreadable, match="holds no corpus"):
        Database.open(str(path))


def test_a_missing_folder_is_made_for_a_new_corpus(tmp_path: Path) -> None:
    path = tmp_path / "here" / "and there" / "corpus.db"
    Database.open(str(path), create=True).close()
    assert path.is_file()


def test_a_folder_that_cannot_be_made_is_an_error_with_a_cause(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DatabaseUnreadable, match="cannot be made") as refused:
        Database.open(str(tmp_path / "file" / "corpus.db"), create=True)
    assert str(tmp_path / "file") in refused.value.cause


@pytest.mark.parametrize("create", [True, False])
def test_a_file_that_is_no_database_is_refused_and_left_as_it_is(
    tmp_path: Path, create: bool
) -> None:
    path = tmp_path / "notes.txt"
    written = b"These are my notes, and no database at all.\n" * 100
    path.write_bytes(written)
    with pytest.raises(DatabaseUnreadable, match="not a readable corpus"):
        Database.open(str(path), create=create)
    assert path.read_bytes() == written


def test_a_folder_is_no_database(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot be used"):
        Database.open(str(tmp_path))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_an_unreadable_file_is_an_error_with_a_cause(tmp_path: Path) -> None:
    path = tmp_path / "corpus.db"
    Database.open(str(path), create=True).close()
    path.chmod(0)
    with pytest.raises(StorageError, match="cannot be used"):
        Database.open(str(path))


@pytest.mark.parametrize("db", [":memory:", "sqlite://", "sqlite:///:memory:"])
def test_a_corpus_in_memory_is_refused(db: str) -> None:
    with pytest.raises(DatabaseUnreadable, match="cannot live in memory"):
        Database.open(db, create=True)


def test_an_unknown_kind_of_database_names_the_known_ones() -> None:
    with pytest.raises(DatabaseUnreadable, match="mysql") as refused:
        Database.open("mysql://someone@127.0.0.1/corpus")
    assert "postgresql://" in refused.value.solution


def test_a_url_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(DatabaseUnreadable, match="cannot be read"):
        Database.open("postgresql://127.0.0.1:port/corpus")


def test_a_server_that_is_not_there_is_an_error_without_the_password() -> None:
    # Port 1 is reserved and nothing listens on it.
    with pytest.raises(DatabaseUnreadable, match="cannot be used") as refused:
        Database.open("postgresql://someone:sesame@127.0.0.1:1/corpus")
    assert "sesame" not in str(refused.value)


def test_a_damaged_file_is_called_damaged(tmp_path: Path) -> None:
    path = tmp_path / "corpus.db"
    database = Database.open(str(path), create=True)
    maker = CorpusMaker(database)
    for number in range(40):
        maker.seed(f"Seed {number}. " + "word " * 4000)
    database.close()
    with path.open("r+b") as file:
        half = path.stat().st_size // 8192 * 4096
        file.seek(half)
        file.write(b"\xff" * half)
    damaged = Database.open(str(path))
    with (
        pytest.raises(DatabaseUnreadable, match="not a readable corpus"),
        damaged.read() as connection,
    ):
        connection.execute(text("SELECT * FROM seed ORDER BY instruction")).all()
    damaged.close()


_OPEN = """
import sys
from storage.database import Database
sys.stdin.readline()
Database.open(sys.argv[1], create=True).close()
"""


def test_programs_that_make_one_corpus_at_the_same_time_all_find_it(database_url: str) -> None:
    programs = [
        subprocess.Popen(
            [sys.executable, "-c", _OPEN, database_url], stdin=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    for program in programs:
        assert program.stdin is not None
        program.stdin.write("go\n")
        program.stdin.close()
    assert [program.wait(60) for program in programs] == [0, 0, 0, 0]
    database = Database.open(database_url)
    with database.read() as connection:
        assert connection.execute(text("SELECT count(*) FROM alembic_version")).scalar_one() == 1
    database.close()


def test_a_process_killed_while_it_makes_a_corpus_leaves_no_half_schema(tmp_path: Path) -> None:
    path = tmp_path / "corpus.db"
    half = (
        "import os, sys; from sqlalchemy import event; import storage.schema as s;"
        "from storage.database import Database; from sqlmodel import SQLModel;"
        "event.listen(SQLModel.metadata.tables['verdict'], 'after_create',"
        "lambda *a, **k: os.kill(os.getpid(), 9)); Database.open(sys.argv[1], create=True)"
    )
    killed = subprocess.run([sys.executable, "-c", half, str(path)], timeout=60)
    assert killed.returncode == -9
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == []
    Database.open(str(path), create=True).close()


def test_a_snapshot_does_not_see_what_is_written_after_it_began(
    database: Database, corpus: CorpusMaker
) -> None:
    corpus.seed("One.")
    with database.snapshot() as connection:
        assert status_counts(connection)["seeds"] == {"done": 1}
        corpus.seed("Two.")
        assert status_counts(connection)["seeds"] == {"done": 1}
    with database.snapshot() as connection:
        assert status_counts(connection)["seeds"] == {"done": 2}


def test_a_transaction_that_raises_leaves_nothing_behind(
    database: Database, corpus: CorpusMaker
) -> None:
    with pytest.raises(StorageError, match="refused a statement"), database.write() as connection:
        connection.execute(text("UPDATE run SET status = 'finished'"))
        connection.execute(text("UPDATE run SET status = 'no such state'"))
    with database.read() as connection:
        assert connection.execute(text("SELECT status FROM run")).scalar_one() == "running"
