"""New calls are given once each, also where a connection breaks while they are read."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from conftest import CorpusMaker
from sqlalchemy import create_engine, event, text

from inspector import new_calls
from inspector.new_calls import OVERLAP, call_reader
from storage.database import Database
from storage.errors import StorageError

NOW = datetime(2031, 4, 5, 6, 7, 8, tzinfo=UTC)


def add_calls(corpus: CorpusMaker, seed: str, seconds: range, word: str = "") -> None:
    """A call for each of these seconds, written in this order."""
    for second in seconds:
        at = NOW + timedelta(seconds=second)
        corpus.call(seed, None, "expansion", f"{word}{second}", created_at=at)


def given(reader: Any) -> Counter[str]:
    return Counter(row[-1 if len(row) == 17 else -2] for rows in reader.pieces() for row in rows)


def written(database: Database) -> Counter[str]:
    with database.read() as connection:
        return Counter(connection.execute(text("SELECT id FROM agent_call")).scalars())


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(new_calls, "_PIECE", 7)


def test_each_call_is_given_once(database: Database, corpus: CorpusMaker) -> None:
    seed, reader = corpus.seed(), call_reader(database)
    assert not given(reader)
    found: Counter[str] = Counter()
    for begin in (0, 30, 37):
        add_calls(corpus, seed, range(begin, begin + (30 if begin == 0 else 7)))
        found += given(reader)
        assert found == written(database)
    assert not given(reader)
    # A clock that was put back a little.
    add_calls(corpus, seed, range(44, 41, -1), "late ")
    found += given(reader)
    assert found == written(database)


def test_a_connection_that_breaks_half_way_costs_no_call(
    database: Database, corpus: CorpusMaker
) -> None:
    if database.is_sqlite:
        pytest.skip("a file has no connection that breaks")
    # The latest first: what is read in the order of writing is not in that of its times.
    add_calls(corpus, corpus.seed(), range(60, 0, -1))
    reader = call_reader(database)
    pieces = reader.pieces()
    found = Counter(row[-1] for _ in range(3) for row in next(pieces))
    assert len(found) == 21
    _break_connections(database)
    with pytest.raises(StorageError):
        next(pieces)
    found += given(reader)
    assert found == written(database)


def test_only_the_calls_of_the_overlap_are_remembered(
    database: Database, corpus: CorpusMaker
) -> None:
    if database.is_sqlite:
        pytest.skip("SQLite numbers rows; none is remembered")
    add_calls(corpus, corpus.seed(), range(60, 0, -1))
    reader: Any = call_reader(database)
    kept = [len(reader._recent) for _ in reader.pieces()]
    assert len(kept) == 9
    assert max(kept) == OVERLAP.total_seconds() + 1


def test_what_is_new_is_found_through_an_index(database: Database, corpus: CorpusMaker) -> None:
    seed, reader = corpus.seed(), call_reader(database)
    add_calls(corpus, seed, range(30))
    assert given(reader)
    asked: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, values: Any, *_: object) -> None:
        asked.append((statement, values))

    event.listen(database.engine, "before_cursor_execute", note)
    assert not given(reader)
    event.remove(database.engine, "before_cursor_execute", note)
    (statement, values) = asked[-1]
    explain = "EXPLAIN QUERY PLAN" if database.is_sqlite else "EXPLAIN"
    with database.read() as connection:
        if not database.is_sqlite:
            # Of thirty rows, reading all would cost less.
            connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
        plan = connection.exec_driver_sql(f"{explain} {statement}", values).all()
    wanted = "USING INTEGER PRIMARY KEY (rowid>?)" if database.is_sqlite else "Index Cond: (created"
    assert wanted in str(plan)


def _break_connections(database: Database) -> None:
    """Ends every connection of the database but the one that asks for it."""
    engine = create_engine(database.url)
    with engine.connect() as connection:
        connection.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        )
    engine.dispose()
