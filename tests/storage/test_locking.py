"""One run at a time on one database, and a lock that ends with its holder however that ends."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sqlalchemy import text

from storage.database import Database
from storage.errors import DatabaseBusy

_HOLD = """
import sys, time
from storage.database import Database
database = Database.open(sys.argv[1])
with database.run_lock():
    print("held", flush=True)
    sys.stdin.readline()
print("let go", flush=True)
sys.stdin.readline()
"""


def holder(url: str) -> subprocess.Popen[str]:
    """A process that holds the lock until it reads a line."""
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLD, url],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    return process


def end(process: subprocess.Popen[str]) -> None:
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=30)


def test_a_second_run_is_refused_while_another_process_holds_the_database(
    database: Database, database_url: str
) -> None:
    other = holder(database_url)
    try:
        with pytest.raises(DatabaseBusy) as refused, database.run_lock():
            pytest.fail("two runs hold one database")
        assert "one run at a time" in refused.value.cause
        if database.is_sqlite:
            assert f"process {other.pid}" in refused.value.cause
    finally:
        end(other)


def test_the_lock_is_free_once_its_holder_lets_go(database: Database, database_url: str) -> None:
    other = holder(database_url)
    try:
        assert other.stdin is not None and other.stdout is not None
        other.stdin.write("\n")
        other.stdin.flush()
        assert other.stdout.readline() == "let go\n"
        with database.run_lock():
            assert database.run_lock().is_held()
    finally:
        end(other)


def test_a_killed_holder_lets_go(database: Database, database_url: str) -> None:
    end(holder(database_url))
    # A server notices that its client is gone a moment later.
    for _ in range(200):
        if not database.run_lock().is_held():
            break
        time.sleep(0.05)
    with database.run_lock():
        assert database.run_lock().is_held()


def test_two_locks_of_one_process_exclude_each_other(database: Database, database_url: str) -> None:
    second = Database.open(database_url)
    with database.run_lock(), pytest.raises(DatabaseBusy), second.run_lock():
        pytest.fail("two runs hold one database")
    with second.run_lock():
        assert second.run_lock().is_held()
    second.close()


def test_whether_the_lock_is_held_can_be_asked_without_taking_it(database: Database) -> None:
    assert not database.run_lock().is_held()
    with database.run_lock():
        assert database.run_lock().is_held()
        assert database.run_lock().is_held()
    assert not database.run_lock().is_held()


def test_two_names_of_one_file_meet_at_one_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "corpus.db"
    first = Database.open(str(path), create=True)
    (tmp_path / "linked.db").symlink_to(path)
    monkeypatch.chdir(tmp_path)
    for name in ("linked.db", "./corpus.db"):
        second = Database.open(name)
        with first.run_lock(), pytest.raises(DatabaseBusy), second.run_lock():
            pytest.fail("two runs hold one database")
        second.close()
    first.close()


def test_corpora_beside_each_other_do_not_lock_each_other(tmp_path: Path) -> None:
    first = Database.open(str(tmp_path / "a.db"), create=True)
    second = Database.open(str(tmp_path / "b.db"), create=True)
    with first.run_lock(), second.run_lock():
        assert first.run_lock().is_held() and second.run_lock().is_held()
    first.close()
    second.close()


def test_a_lock_whose_server_session_is_ended_is_let_go_without_an_error(postgres_url: str) -> None:
    database = Database.open(postgres_url, create=True)
    with database.run_lock(), database.write() as connection:
        connection.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' "
                "AND database = (SELECT oid FROM pg_database "
                "WHERE datname = current_database())"
            )
        )
    with database.run_lock():
        assert database.run_lock().is_held()
    database.close()


def test_a_run_begins_although_somebody_looks_at_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database.open(str(tmp_path / "corpus.db"), create=True)
    looking = os.open(tmp_path / "corpus.db.lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(looking, fcntl.LOCK_SH)
    # The glance of `is_held` is over by the time that the lock is tried again.
    monkeypatch.setattr("storage.locking.time.sleep", lambda seconds: os.close(looking))
    with database.run_lock():
        assert database.run_lock().is_held()
    database.close()
