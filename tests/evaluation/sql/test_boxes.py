"""Whatever a query does, on SQLite and on PostgreSQL, it ends as an outcome and harms nothing."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from evaluation.sql.boxes import Box
from evaluation.sql.databases import postgres_boxes, sqlite_boxes
from evaluation.sql.fill import fill_empty
from evaluation.sql.outcome import Failure, Limits
from evaluation.sql.read_schema import read_schema

NOW = datetime(2024, 5, 6, 7, 8, 9)
DDL = """
CREATE TABLE 顧客 (id serial PRIMARY KEY, 名前 varchar(20) NOT NULL, born date, vip boolean);
CREATE TABLE orders (id int PRIMARY KEY, customer int REFERENCES 顧客 (id), total numeric(10, 2));
INSERT INTO 顧客 VALUES (1, '山田', '1990-01-02', true), (2, '李雷', NULL, false);
INSERT INTO orders VALUES (1, 1, 10.00), (2, 1, 2.50), (3, 2, 7);
CREATE TABLE numbers (n int PRIMARY KEY);
"""
# Wide enough for a busy machine: what must end by itself takes milliseconds on an idle one.
LIMITS = Limits(seconds=2.0, grace_s=2.0, rows=1000)
ENDLESS = "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT count(*) FROM r"
SLOW = (
    "SELECT count(*) FROM numbers a, numbers b, numbers c, numbers d, numbers e, numbers f "
    "WHERE a.n + b.n + c.n + d.n + e.n + f.n < 0"
)

DESTRUCTIVE = [
    "DROP TABLE orders",
    "DELETE FROM orders",
    "UPDATE orders SET total = 0",
    "INSERT INTO orders VALUES (9, 1, 1)",
    "PRAGMA writable_schema = 1",
    "ATTACH DATABASE '/tmp/stillhouse-attached.db' AS other",
    "VACUUM",
    "COPY orders TO PROGRAM 'touch /tmp/stillhouse-copied'",
    "SET statement_timeout = 0",
    "RESET ROLE",
    "BEGIN",
    "COMMIT",
    "DO $$ BEGIN DELETE FROM orders; END $$",
    "EXPLAIN ANALYZE DELETE FROM orders",
    "CREATE TABLE other (id int)",
    "GRANT ALL ON orders TO PUBLIC",
    "SELECT 1; DROP TABLE orders",
    "SELECT 1; SELECT 2",
    "SELECT ';'; -- ;\nDELETE FROM orders",
    "/* SELECT */ DELETE FROM orders",
    "WITH gone AS (DELETE FROM orders RETURNING id) SELECT * FROM gone",
    "WITH kept AS (SELECT 1) DELETE FROM orders",
]
NO_QUERY = [
    "",
    "-- nothing",
    "SELECT '" + "x" * 30_000 + "'",
    "SELECT 'a\0b'",
]


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def box(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """A box on the small database above, on each backend."""
    schema = fill_empty(read_schema("shop", DDL, NOW), NOW)
    if request.param == "sqlite":
        with sqlite_boxes([schema], tmp_path_factory.mktemp("sql"), LIMITS) as boxes:
            yield boxes["shop"]
    else:
        url = request.getfixturevalue("postgres_server")
        with postgres_boxes([schema], url, LIMITS) as boxes:
            yield boxes["shop"]


def _is_whole(box: Box) -> bool:
    """Every row is still there and the box still answers."""
    counts = "SELECT (SELECT count(*) FROM 顧客), (SELECT count(*) FROM orders)"
    return box.run(counts).rows == ((2, 3),)


def test_a_query_returns_its_rows_as_plain_values(box: Box) -> None:
    tables = "顧客 JOIN orders ON customer = 顧客.id ORDER BY orders.id"
    outcome = box.run(f"SELECT 名前, born, vip, total FROM {tables};")
    assert outcome.failure is None, outcome.detail
    assert outcome.rows[0] == ("山田", "1990-01-02", 1, 10)
    assert outcome.rows[2] == ("李雷", None, 0, 7)
    assert outcome.columns == ("名前", "born", "vip", "total")


def test_a_wrong_query_is_an_error_with_the_database_s_words(box: Box) -> None:
    outcome = box.run("SELECT 電話 FROM 顧客")
    assert outcome.failure is Failure.ERROR
    assert "電話" in outcome.detail


@pytest.mark.parametrize("query", DESTRUCTIVE + NO_QUERY)
def test_what_does_not_only_read_is_refused_and_changes_nothing(box: Box, query: str) -> None:
    assert box.run(query).failure is Failure.REFUSED
    assert _is_whole(box)
    assert not Path("/tmp/stillhouse-attached.db").exists()
    assert not Path("/tmp/stillhouse-copied").exists()


@pytest.mark.parametrize("query", DESTRUCTIVE)
def test_the_databases_refuse_by_themselves_what_the_guard_would(
    box: Box, query: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("evaluation.sql.boxes.why_refused", lambda _: None)
    monkeypatch.setattr("evaluation.sql.boxes.one_statement", lambda text: text)
    outcome = box.run(query)
    assert outcome.failure is not None, outcome
    monkeypatch.undo()
    assert _is_whole(box)


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * INTO other FROM orders",
        "SELECT * FROM orders FOR UPDATE",
        "SELECT load_extension('other')",
        "SELECT * FROM pragma_table_info('orders')",
        "SELECT set_config('statement_timeout', '0', false)",
        "SELECT set_config('role', 'postgres', false)",
        "SELECT pg_terminate_backend(pg_backend_pid())",
        "SELECT pg_sleep(30)",
        "SELECT pg_read_file('/etc/hostname')",
        "SELECT pg_ls_dir('/')",
        "SELECT lo_import('/etc/hostname')",
        "SELECT pg_advisory_lock(1)",
        "SELECT pg_logical_emit_message(false, 'x', repeat('x', 1000))",
        "SELECT pg_export_snapshot()",
        "SELECT query_to_xml('DELETE FROM orders', true, true, '')",
        "SELECT readfile('/etc/hostname')",
        "SELECT 1 FROM dblink('host=localhost', 'SELECT 1') AS t(a int)",
    ],
)
def test_what_reads_only_in_form_gives_no_rows_either(box: Box, query: str) -> None:
    outcome = box.run(query)
    assert outcome.failure in (Failure.REFUSED, Failure.ERROR), outcome
    assert _is_whole(box)


@pytest.mark.parametrize("query", [ENDLESS, SLOW])
def test_slow_and_endless_queries_are_stopped_at_the_limit(box: Box, query: str) -> None:
    outcome = box.run(query)
    assert outcome.failure is Failure.TIMEOUT
    assert _is_whole(box)


def test_more_rows_than_the_limit_are_too_large(box: Box) -> None:
    outcome = box.run("SELECT a.n FROM numbers a, numbers b, numbers c")
    assert (outcome.failure, outcome.rows) == (Failure.TOO_LARGE, ())


def test_a_result_beyond_the_memory_is_too_large(box: Box) -> None:
    huge = {
        "sqlite": "WITH RECURSIVE r(s) AS (SELECT 'x' UNION ALL SELECT s || s FROM r) "
        "SELECT max(length(s)) FROM r",
        "postgresql": "SELECT repeat('x', 60000000)",
    }
    outcome = box.run(huge[box.backend])
    assert outcome.failure is Failure.TOO_LARGE, outcome
    assert _is_whole(box)


def test_a_worker_that_is_killed_is_replaced(box: Box) -> None:
    assert _is_whole(box)
    assert box._process is not None
    box._process.kill()
    box._process.wait()
    assert _is_whole(box)


def test_a_worker_that_does_not_answer_in_time_is_killed(tmp_path: Path) -> None:
    schema = read_schema("shop", DDL, NOW)
    limits = Limits(seconds=0.5, grace_s=0.5)
    # One step of SQLite, which it does not interrupt: many almost-matches in a long text.
    query = "SELECT instr(hex(zeroblob(1900000)), hex(zeroblob(900000)) || '1')"
    with sqlite_boxes([schema], tmp_path, limits) as boxes:
        outcome = boxes["shop"].run(query)
        assert outcome.failure is Failure.TIMEOUT
        assert "killed" in outcome.detail
        assert boxes["shop"].run("SELECT 1").rows == ((1,),)
