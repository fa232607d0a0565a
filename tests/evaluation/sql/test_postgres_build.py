"""What is made on a PostgreSQL server for an evaluation, by whom, and that it goes again."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import psycopg
import pytest

from evaluation.sql.databases import postgres_boxes
from evaluation.sql.errors import SqlDatabaseError
from evaluation.sql.outcome import Failure, Limits
from evaluation.sql.postgres_reader import _named
from evaluation.sql.read_schema import read_schema

NOW = datetime(2024, 5, 31, 7, 8, 9)
SCHEMA = read_schema("t", "CREATE TABLE t (a int); INSERT INTO t VALUES (1), (2);", NOW)
LEFT = """
SELECT datname FROM pg_database WHERE datname LIKE 'stillhouse_sql_%'
UNION SELECT rolname FROM pg_roles WHERE rolname LIKE 'stillhouse_reader_%'
"""


def _on(url: str, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


@pytest.fixture
def ordinary_url(postgres_server: str) -> Iterator[str]:
    """The server as a role that may create databases and roles, and is no superuser."""
    _on(postgres_server, "CREATE ROLE ordinary LOGIN CREATEDB CREATEROLE")
    yield postgres_server.replace("stillhouse@", "ordinary@")
    _on(postgres_server, "DROP ROLE ordinary")


def test_databases_and_role_are_dropped_also_after_an_error(postgres_server: str) -> None:
    with (
        pytest.raises(RuntimeError, match="stop"),
        postgres_boxes([SCHEMA], postgres_server) as boxes,
    ):
        assert boxes["t"].run("SELECT sum(a) FROM t").rows == ((3,),)
        assert len(_on(postgres_server, LEFT)) == 2
        raise RuntimeError("stop")
    assert _on(postgres_server, LEFT) == []


def test_rows_that_break_a_key_are_an_error_and_leave_nothing(postgres_server: str) -> None:
    ddl = "CREATE TABLE t (a int PRIMARY KEY); INSERT INTO t VALUES (1), (1);"
    broken = read_schema("t", ddl, NOW)
    with (
        pytest.raises(SqlDatabaseError, match="could not be built") as caught,
        postgres_boxes([broken], postgres_server),
    ):
        pass
    assert "duplicate key" in caught.value.cause
    assert _on(postgres_server, LEFT) == []


def test_a_server_that_does_not_answer_is_an_error_with_its_cause() -> None:
    with (
        pytest.raises(SqlDatabaseError, match="does not answer") as caught,
        postgres_boxes([SCHEMA], "postgresql://nobody@127.0.0.1:9/none"),
    ):
        pass
    assert caught.value.solution


def test_a_role_that_may_not_create_roles_is_told_so(postgres_server: str) -> None:
    _on(postgres_server, "CREATE ROLE small LOGIN")
    try:
        with (
            pytest.raises(SqlDatabaseError, match="role") as caught,
            postgres_boxes([SCHEMA], postgres_server.replace("stillhouse@", "small@")),
        ):
            pass
        assert "may create databases and roles" in caught.value.solution
    finally:
        _on(postgres_server, "DROP ROLE small")


@pytest.mark.parametrize(
    ("query", "failure"),
    [
        ("DELETE FROM t", Failure.ERROR),
        ("SELECT * INTO u FROM t", Failure.ERROR),
        ("SELECT pg_read_file('/etc/hostname')", Failure.REFUSED),
        ("SELECT pg_sleep(60)", Failure.TIMEOUT),
        (
            "SELECT set_config('statement_timeout', '0', false) || (WITH RECURSIVE r(n) AS "
            "(SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT count(*) FROM r)",
            Failure.TIMEOUT,
        ),
    ],
)
def test_without_a_superuser_nothing_is_harmed_either(
    ordinary_url: str, query: str, failure: Failure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("evaluation.sql.boxes.why_refused", lambda _: None)
    with postgres_boxes([SCHEMA], ordinary_url, Limits(seconds=0.5)) as boxes:
        box = boxes["t"]
        assert box.run(query).failure is failure
        assert box.run("SELECT sum(a) FROM t").rows == ((3,),)
    assert _on(ordinary_url, LEFT) == []


@pytest.mark.parametrize(
    "error", [psycopg.errors.ConfigurationLimitExceeded, psycopg.errors.OutOfMemory]
)
def test_a_bound_of_the_server_that_is_reached_is_too_large(error: type[psycopg.Error]) -> None:
    assert _named(error("that is too much"))[0] is Failure.TOO_LARGE
