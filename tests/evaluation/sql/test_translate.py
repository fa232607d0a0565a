"""A SQLite query and its translation return the same rows on the same data."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from evaluation.sql.boxes import Box
from evaluation.sql.compare import same_results
from evaluation.sql.databases import postgres_boxes, sqlite_boxes
from evaluation.sql.errors import Untranslatable
from evaluation.sql.read_schema import read_schema
from evaluation.sql.ties import is_ordered
from evaluation.sql.translate import to_postgres

# Both engines have the real clock, so rows near today have to be made with it.
NOW = datetime.now(UTC).replace(tzinfo=None, microsecond=0)
SCHEMA = read_schema(
    "shop",
    """
    CREATE TABLE Sales (
        Id serial PRIMARY KEY, Kind text, Price numeric(10, 2), Amount int, Paid boolean,
        SoldOn date, SoldAt timestamp, Epoch bigint, Code varchar(8)
    );
    CREATE TABLE 店 ("order" int PRIMARY KEY, 名 text);
    INSERT INTO Sales VALUES
    (1, 'Tea', 15000.00, 7, true, '2023-01-31', '2023-01-31 09:30:00', 1577836800, '12'),
    (2, 'tea', 2.50, 2, false, '2023-03-01', '2023-03-01 23:59:59', 1577844000, '9'),
    (3, 'Rice', NULL, 3, true, CURRENT_DATE - INTERVAL '2 days', NOW(), 1577936800, NULL),
    (4, 'Rice', 4, NULL, NULL, NULL, NULL, NULL, '100');
    INSERT INTO 店 VALUES (1, '茶'), (2, 'Émile');
    """,
    NOW,
)
QUERIES = [
    "SELECT Kind, SUM(Amount) / 2, AVG(Amount), SUM(Price) / 3 FROM Sales GROUP BY Kind",
    "SELECT SUM(Amount) / COUNT(*), 7 / 2, 7 / 2.0, 1 / 0 FROM Sales",
    "SELECT CAST(Price / 7 AS INTEGER), CAST(-2.7 AS INTEGER), CAST(Amount AS REAL) / 2 FROM Sales",
    "SELECT Id FROM Sales WHERE Kind LIKE 'T%'",
    "SELECT Id FROM Sales WHERE Paid = 1 OR Paid = 0",
    "SELECT Id FROM Sales WHERE Paid AND NOT Paid = FALSE",
    "SELECT SUM(Paid), AVG(Paid), COUNT(DISTINCT Paid) FROM Sales",
    "SELECT SUM(Amount > 2) FROM Sales",
    "SELECT Id FROM Sales ORDER BY Price",
    "SELECT Id FROM Sales ORDER BY Price DESC",
    "SELECT Kind FROM Sales ORDER BY Kind, Id",
    "SELECT Kind, COUNT(*) AS n FROM Sales GROUP BY Kind "
    "ORDER BY CASE WHEN n IS NULL THEN 1 ELSE 0 END, n DESC, Kind",
    "SELECT UPPER(Kind) AS k, COUNT(*) FROM Sales GROUP BY k HAVING COUNT(*) > 1 ORDER BY k",
    "SELECT Id, Kind FROM Sales GROUP BY Id",
    "SELECT strftime('%Y-%m', SoldOn), strftime('%H:%M', SoldAt), strftime('%j', SoldOn), "
    "strftime('%w', SoldOn), strftime('%s', SoldAt) FROM Sales WHERE Id < 3",
    "SELECT strftime('%Y', 'now') - strftime('%Y', SoldOn) FROM Sales",
    "SELECT Id FROM Sales WHERE Amount = strftime('%m', SoldOn) - 1",
    "SELECT date(SoldAt), date(SoldOn, '+10 days'), date(SoldOn, '-1 year') FROM Sales",
    "SELECT date(SoldOn, 'start of month'), datetime(SoldAt, '+1 hours') FROM Sales WHERE Id < 3",
    "SELECT date(SoldOn, 'start of month', '+1 month', '-1 day') FROM Sales",
    "SELECT julianday(SoldAt), julianday(SoldOn) - julianday('2023-01-01') FROM Sales WHERE Id < 3",
    "SELECT datetime(Epoch, 'unixepoch'), date(Epoch, 'unixepoch') FROM Sales",
    "SELECT Id FROM Sales WHERE SoldOn >= date('now', '-7 days')",
    "SELECT CAST(julianday('now') - julianday(SoldOn) AS INTEGER) FROM Sales",
    "SELECT date('now', '-' || (Amount % 3) || ' days') FROM Sales WHERE Amount IS NOT NULL",
    "SELECT Id FROM Sales WHERE Code > 50",
    "SELECT Id FROM Sales WHERE CAST(Code AS INTEGER) > 50",
    "SELECT SUM(Code), Id || '-' || Kind FROM Sales GROUP BY Id",
    "SELECT IFNULL(Price, 0), IIF(Amount > 2, 'many', 'few'), substr(Kind, 1, 2) FROM Sales",
    "SELECT max(Amount, 3), min(Amount, 3) FROM Sales WHERE Amount IS NOT NULL",
    "SELECT round(Price / 3, 2), instr(Kind, 'e') FROM Sales",
    "SELECT \"order\", 名 FROM 店 WHERE 名 LIKE '茶%' OR LOWER(名) = LOWER('Émile')",
    "SELECT Kind FROM Sales ORDER BY Id LIMIT 5 - 3 % 2 OFFSET (SELECT 1)",
    "SELECT Kind FROM Sales ORDER BY Id LIMIT 1, 2",
    "WITH t AS (SELECT Kind, ROW_NUMBER() OVER (PARTITION BY Kind ORDER BY Id) AS rn FROM Sales) "
    "SELECT Kind FROM t WHERE rn = 1",
    "SELECT a.Id, b.Id FROM Sales a LEFT JOIN Sales b ON a.Id = b.Id + 1 AND b.Paid = 1",
    "SELECT DISTINCT Kind FROM Sales UNION SELECT 'Salt' ORDER BY 1",
    "SELECT Id FROM Sales WHERE Kind IN (SELECT Kind FROM Sales GROUP BY Kind HAVING COUNT(*) > 1)",
    "SELECT Id FROM Sales WHERE SoldOn BETWEEN '2023-01-01' AND '2023-02-28'",
]


@pytest.fixture(scope="module")
def boxes(
    postgres_server: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Box, Box]]:
    """The shop in SQLite and in PostgreSQL."""
    with (
        sqlite_boxes([SCHEMA], tmp_path_factory.mktemp("sqlite")) as here,
        postgres_boxes([SCHEMA], postgres_server) as there,
    ):
        yield here["shop"], there["shop"]


@pytest.mark.parametrize("query", QUERIES)
def test_a_translation_returns_the_same_rows(boxes: tuple[Box, Box], query: str) -> None:
    translated = to_postgres(query, SCHEMA)
    wanted, found = (box.run(text) for box, text in zip(boxes, (query, translated), strict=True))
    assert wanted.failure is None, wanted.detail
    assert found.failure is None, f"{translated}\n{found.detail}"
    groups = [1] * len(wanted.rows) if is_ordered(query) else None
    same = same_results(wanted.rows, found.rows, groups=groups)
    assert same, f"{translated}\n{wanted.rows}\n{found.rows}"


@pytest.mark.parametrize(
    "query",
    [
        "SELECT date(SoldOn, 'weekday 1') FROM Sales",
        "SELECT Id FROM Sales WHERE Kind GLOB 'T*'",
        "SELECT FROM WHERE",
    ],
)
def test_what_has_no_translation_is_an_error_with_its_cause(query: str) -> None:
    with pytest.raises(Untranslatable) as caught:
        to_postgres(query, SCHEMA)
    assert caught.value.cause and caught.value.solution


def test_a_translation_looks_typed_by_hand() -> None:
    made = to_postgres("SELECT Kind, COUNT(*) FROM Sales WHERE Paid = 1 GROUP BY Kind", SCHEMA)
    assert made == (
        "SELECT sales.kind, COUNT(*) FROM sales WHERE sales.paid = TRUE GROUP BY sales.kind"
    )
