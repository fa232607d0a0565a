"""Reading schemas, computing their constants at one moment, filling empty tables, reading rows."""

from __future__ import annotations

import json
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path

import pytest
import sqlglot

from evaluation.sql.benchmark_file import read_benchmark
from evaluation.sql.constants import NotConstant, constant, stored
from evaluation.sql.databases import build_sqlite
from evaluation.sql.ddl import create_table, shown_schema
from evaluation.sql.errors import SqlBenchmarkError, SqlDatabaseError
from evaluation.sql.fill import ROWS, fill_empty
from evaluation.sql.read_schema import read_schema
from evaluation.sql.schema import Kind, Schema, Table

NOW = datetime(2024, 5, 31, 7, 8, 9)
DDL = """
CREATE SCHEMA shop;
CREATE TABLE shop.orders (
    id serial PRIMARY KEY,
    customer int NOT NULL REFERENCES shop.customers (id), -- who ordered
    total numeric(10, 2) DEFAULT 1.5,
    paid boolean,
    at timestamp DEFAULT now(),
    note varchar(20) UNIQUE
);
CREATE TABLE shop.customers (id int, "order" text, born date, CONSTRAINT pk PRIMARY KEY (id));
CREATE TABLE pairs (a int, b int, PRIMARY KEY (a, b), FOREIGN KEY (a) REFERENCES shop.orders (id));
INSERT INTO shop.customers (born, id) VALUES (CURRENT_DATE - INTERVAL '3 months', 7), (NULL, -8);
"""


def _table(schema: Schema, name: str) -> Table:
    table = schema.table(name)
    assert table is not None
    return table


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("-1.50", Decimal("-1.50")),
        ("'it''s'", "it's"),
        ("NULL", None),
        ("CURRENT_DATE", date(2024, 5, 31)),
        ("CURRENT_DATE - INTERVAL '3 months'", datetime(2024, 2, 29)),
        ("NOW() + INTERVAL '15 min'", datetime(2024, 5, 31, 7, 23, 9)),
        ("DATE_TRUNC('week', CURRENT_DATE) - INTERVAL '1 week'", datetime(2024, 5, 20)),
        ("DATE_TRUNC('month', NOW()) - INTERVAL '1 year'", datetime(2023, 5, 1)),
        ("EXTRACT(YEAR FROM CURRENT_DATE) - 2", 2022),
        ("EXTRACT(EPOCH FROM CURRENT_TIMESTAMP) * 1000", 1717139289000),
        ("TO_CHAR(CURRENT_DATE, 'Month')", "May      "),
        ("'0'::bigint", "0"),
    ],
)
def test_a_constant_is_what_postgresql_gives_at_that_moment(text: str, value: object) -> None:
    parsed = sqlglot.parse_one(f"SELECT {text}", read="postgres").expressions[0]
    assert constant(parsed, NOW) == value


@pytest.mark.parametrize("text", ["random()", "a + 1", "CURRENT_DATE - INTERVAL '1 fortnight'"])
def test_what_is_no_constant_is_said_to_be_none(text: str) -> None:
    parsed = sqlglot.parse_one(f"SELECT {text}", read="postgres").expressions[0]
    with pytest.raises(NotConstant):
        constant(parsed, NOW)


@pytest.mark.parametrize(
    ("value", "kind", "held"),
    [
        ("12", Kind.INTEGER, 12),
        (3, Kind.DECIMAL, Decimal(3)),
        ("t", Kind.BOOLEAN, True),
        (datetime(2024, 1, 2, 3), Kind.DATE, date(2024, 1, 2)),
        ("08:30:00", Kind.TIME, time(8, 30)),
        (date(2024, 1, 2), Kind.TIMESTAMP, datetime(2024, 1, 2)),
        (None, Kind.DATE, None),
    ],
)
def test_a_column_holds_a_value_in_its_own_kind(value: object, kind: Kind, held: object) -> None:
    assert stored(value, kind) == held


def test_a_schema_is_read_with_keys_notes_defaults_and_rows() -> None:
    schema = read_schema("shop", DDL, NOW)
    assert [table.name for table in schema.tables] == ["customers", "orders", "pairs"]
    customers, orders = _table(schema, "customers"), _table(schema, "ORDERS")
    assert customers.rows == ((7, None, date(2024, 2, 29)), (-8, None, None))
    assert customers.primary_key == ("id",)
    column = orders.column("customer")
    assert column is not None
    assert (column.references, column.note) == (("customers", "id"), "who ordered")
    total = orders.column("total")
    assert total is not None and total.default == Decimal("1.5")
    first = _table(schema, "pairs").column("a")
    assert first is not None and first.references == ("orders", "id")


@pytest.mark.parametrize(
    ("ddl", "says"),
    [
        ("DROP TABLE t", "DROP"),
        ("CREATE TABLE t (a int); INSERT INTO u VALUES (1)", "u"),
        ("CREATE TABLE t (a int); INSERT INTO t VALUES (1, 2)", "2 values for 1 columns"),
        ("CREATE TABLE t (a int); INSERT INTO t VALUES ('x')", "'x' is no integer"),
        ("CREATE TABLE t (a int); INSERT INTO t SELECT 1", "query"),
        ("CREATE TABLE t (a int); CREATE TABLE T (a int)", "twice"),
        ("SELECT 1", "SELECT"),
        ("CREATE TABLE", ""),
        ("", "no table"),
    ],
)
def test_a_schema_that_cannot_be_read_says_why(ddl: str, says: str) -> None:
    with pytest.raises(SqlBenchmarkError) as caught:
        read_schema("shop", ddl, NOW)
    assert says in caught.value.cause


def test_empty_tables_are_filled_alike_every_time_and_others_left_alone() -> None:
    schema = read_schema("shop", DDL, NOW)
    first, second = fill_empty(schema, NOW), fill_empty(schema, NOW)
    assert first == second
    assert _table(first, "customers").rows == _table(schema, "customers").rows
    orders = _table(first, "orders").rows
    assert len(orders) == ROWS
    assert len({row[0] for row in orders}) == ROWS
    assert {row[1] for row in orders} == {7, -8}
    assert len({row[5] for row in orders}) == ROWS
    pairs = _table(first, "pairs").rows
    assert len(set(pairs)) == len(pairs) > ROWS / 2
    assert {row[0] for row in pairs} <= {row[0] for row in orders}


def test_conditions_of_the_queries_meet_some_rows_and_miss_others() -> None:
    ddl = "CREATE TABLE 顧客 (id int PRIMARY KEY, 都市 text, 年齢 int)"
    query = "SELECT id FROM 顧客 WHERE 都市 = '東京' AND 年齢 > 70"
    rows = _table(fill_empty(read_schema("k", ddl, NOW), NOW, [query]), "顧客").rows
    assert 0 < sum(row[1] == "東京" for row in rows) < len(rows)
    assert any(row[2] == 70 for row in rows)


def test_rows_that_break_a_key_are_an_error_with_its_cause(tmp_path: Path) -> None:
    ddl = "CREATE TABLE t (a int PRIMARY KEY); INSERT INTO t VALUES (1), (1);"
    with pytest.raises(SqlDatabaseError) as caught:
        build_sqlite(read_schema("t", ddl, NOW), tmp_path / "t.db")
    assert "UNIQUE" in caught.value.cause


def test_ddl_folds_and_quotes_names_as_the_backend_does() -> None:
    ddl = 'CREATE TABLE Things ("order" int, "With Blank" text, CamelCase int)'
    (table,) = read_schema("t", ddl, NOW).tables
    assert create_table(table, "postgresql") == (
        'CREATE TABLE things (\n  "order" bigint,\n  "With Blank" text,\n  camelcase bigint\n)'
    )
    assert "CamelCase INTEGER" in create_table(table, "sqlite")
    shown = shown_schema(read_schema("shop", DDL, NOW), "sqlite")
    assert "customer INTEGER NOT NULL REFERENCES customers (id), -- who ordered" in shown


def test_a_csv_reads_its_schemas_beside_it_and_reports_rows_without(tmp_path: Path) -> None:
    (tmp_path / "schema").mkdir()
    (tmp_path / "schema" / "shop.sql").write_text(DDL, encoding="utf-8")
    (tmp_path / "rows.csv").write_text(
        "db_name,query_category,query,question\n"
        'shop,join,"SELECT id FROM orders;SELECT id, total FROM orders;",注文は?\n'
        "absent,join,SELECT 1,What?\n"
        "../shop,join,SELECT 1,What?\n",
        encoding="utf-8",
    )
    file = read_benchmark(tmp_path, NOW)
    first = file.rows[0]
    assert first.golds == ("SELECT id FROM orders", "SELECT id, total FROM orders")
    assert (first.database, first.question, first.category) == ("shop", "注文は?", "join")
    assert [line.partition(":")[0] for line in file.broken] == [
        "rows.csv, row 3",
        "rows.csv, row 4",
    ]
    assert len(_table(file.schemas["shop"], "orders").rows) == ROWS


def test_a_jsonl_names_rows_and_takes_several_golds(tmp_path: Path) -> None:
    lines = [
        {"schema": DDL, "query": ["SELECT id FROM orders", "SELECT 1"], "id": "a", "comment": "注"},
        {"schema": DDL, "query": "SELECT id FROM orders", "id": "a"},
        {"schema": DDL, "query": "SELECT id FROM orders", "id": "a-2"},
        {"schema": DDL, "query": 7},
    ]
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines) + "{broken\n"
    (tmp_path / "rows.jsonl").write_text(text, encoding="utf-8")
    file = read_benchmark(tmp_path / "rows.jsonl", NOW)
    assert [row.id for row in file.rows] == ["a", "a-2", "a-2-2"]
    assert len(file.schemas) == 1
    assert file.rows[0].question == "注"
    assert [line.partition(":")[0] for line in file.broken] == [
        "rows.jsonl, line 4", "rows.jsonl, line 5",
    ]  # fmt: skip
