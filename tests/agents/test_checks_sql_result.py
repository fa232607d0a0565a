"""A query is right where it returns what the reference returns, and can do no harm on the way."""

from __future__ import annotations

import pytest

from agents.checks import check_sql_result

ASKED = (
    "Names of customers in Osaka older than 30.\n"
    "CREATE TABLE customers (name TEXT, city TEXT, age INTEGER, spent REAL);\n"
    "CREATE TABLE orders (id INTEGER PRIMARY KEY, customer TEXT NOT NULL, total REAL);"
)
REFERENCE = "SELECT name FROM customers WHERE city = 'Osaka' AND age > 30;"


@pytest.mark.parametrize(
    "response",
    [
        REFERENCE,
        "select name from customers where age > 30 and city = 'Osaka'",
        "SELECT c.name FROM customers AS c WHERE c.city = 'Osaka' AND c.age >= 31",
        "So:\n```sql\nSELECT name FROM customers WHERE NOT (city <> 'Osaka' OR age <= 30)\n```",
        "WITH o AS (SELECT * FROM customers WHERE age > 30) SELECT name FROM o WHERE city='Osaka'",
        "<think>Which city?</think>SELECT name FROM customers WHERE city='Osaka' AND age>30",
    ],
)
def test_a_query_that_returns_the_same_rows_passes(response: str) -> None:
    result = check_sql_result(ASKED, response, REFERENCE)
    assert result is not None
    assert (result.label, result.decisive) == ("pass", True)


@pytest.mark.parametrize(
    "response",
    [
        "SELECT name FROM customers WHERE city = 'Osaka'",
        "SELECT name FROM customers WHERE city = 'Osaka' AND age >= 30",
        "SELECT name FROM customers WHERE city = 'Osaka' OR age > 30",
        "SELECT DISTINCT name FROM customers WHERE city = 'Osaka' AND age > 30",
        "SELECT name, age FROM customers WHERE city = 'Osaka' AND age > 30",
        "SELECT name FROM customers WHERE town = 'Osaka' AND age > 30",
        "SELECT name FROM clients WHERE city = 'Osaka' AND age > 30",
    ],
)
def test_a_query_that_returns_other_rows_fails(response: str) -> None:
    result = check_sql_result(ASKED, response, REFERENCE)
    assert result is not None
    assert (result.label, result.decisive) == ("fail", True)


@pytest.mark.parametrize(
    "response",
    [
        "WITH x AS (SELECT 1) DELETE FROM customers",
        "WITH x AS (SELECT 1) INSERT INTO customers SELECT * FROM customers",
        "SELECT load_extension('x') FROM customers",
        "SELECT randomblob(1000000000) FROM customers",
    ],
)
def test_a_query_that_would_write_or_reach_outside_fails(response: str) -> None:
    result = check_sql_result(ASKED, response, REFERENCE)
    assert result is not None
    assert (result.label, result.decisive) == ("fail", True)
    assert "authorized" in str(result.evidence["problem"])


@pytest.mark.parametrize(
    "response",
    [
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n",
        "SELECT count(*) FROM customers a, customers b, customers c, customers d, customers e",
    ],
)
def test_an_endless_query_is_stopped_and_proves_nothing(response: str) -> None:
    assert check_sql_result(ASKED, response, REFERENCE) is None


@pytest.mark.parametrize(
    "response",
    [
        "SELECT name FROM customers WHERE city = 'Osaka' AND age::int > 30",
        "SELECT name FROM customers WHERE city = 'Osaka'; DROP TABLE customers",
        "ATTACH DATABASE 'x' AS y",
        "I cannot say.",
        "",
        "```sql\nSELECT 1\n```\nor\n```sql\nSELECT 2\n```",
    ],
)
def test_what_is_not_one_query_of_this_dialect_proves_nothing(response: str) -> None:
    assert check_sql_result(ASKED, response, REFERENCE) is None


@pytest.mark.parametrize(
    ("asked", "reference"),
    [
        ("Names of customers in Osaka.", REFERENCE),
        (ASKED, "Ken, Mia"),
        (ASKED, None),
        (ASKED, "SELECT name FROM elsewhere"),
        ("CREATE TABLE customers (name, PRIMARY KEY (nowhere));", REFERENCE),
    ],
)
def test_without_tables_or_a_reference_query_it_says_nothing(
    asked: str, reference: str | None
) -> None:
    other = "SELECT name FROM customers WHERE age > 30 AND city = 'Osaka'"
    assert check_sql_result(asked, other, reference) is None


def test_order_counts_only_where_the_reference_orders() -> None:
    ordered = "SELECT spent FROM customers ORDER BY spent"
    plain = "SELECT spent FROM customers"
    assert check_sql_result(ASKED, plain, ordered) is None
    result = check_sql_result(ASKED, "SELECT spent FROM customers ORDER BY spent DESC", plain)
    assert result is not None and result.label == "pass"


def test_rows_that_a_limit_may_have_cut_either_way_prove_nothing() -> None:
    limited = "SELECT name FROM customers ORDER BY age LIMIT 3"
    assert check_sql_result(ASKED, "SELECT name FROM customers LIMIT 3", limited) is None


def test_a_reference_that_finds_no_rows_proves_nothing() -> None:
    nobody = "SELECT name FROM customers WHERE age > 30 AND age < 30"
    assert check_sql_result(ASKED, "SELECT name FROM customers WHERE 0", nobody) is None


def test_counts_of_rows_and_of_values_are_told_apart() -> None:
    wrong = check_sql_result(
        ASKED, "SELECT COUNT(city) FROM customers", "SELECT COUNT(*) FROM customers"
    )
    assert wrong is not None and wrong.label == "fail"


def test_joins_are_told_apart() -> None:
    reference = "SELECT c.name FROM customers c JOIN orders o ON o.customer = c.name"
    same = "SELECT name FROM customers, orders WHERE orders.customer = customers.name"
    other = "SELECT name FROM customers LEFT JOIN orders ON orders.customer = customers.name"
    right = check_sql_result(ASKED, same, reference)
    wrong = check_sql_result(ASKED, other, reference)
    assert right is not None and right.label == "pass"
    assert wrong is not None and wrong.label == "fail"


@pytest.mark.parametrize("what", ["MAX(age)", "SUM(spent)", "COUNT(*)"])
@pytest.mark.parametrize(
    "conditions",
    ["age < 40", "spent > 200", "age < 41 AND spent > 200", "age < 40 AND spent > 210"],
)
def test_an_aggregate_over_slightly_other_rows_fails(what: str, conditions: str) -> None:
    reference = f"SELECT {what} FROM customers WHERE age < 40 AND spent > 200;"
    response = f"SELECT {what} FROM customers WHERE {conditions};"
    result = check_sql_result(ASKED, response, reference)
    assert result is not None
    assert (result.label, result.decisive) == ("fail", True)


SALES = (
    "What was sold?\n"
    "CREATE TABLE orders (id INTEGER PRIMARY KEY, customer TEXT, price REAL, qty REAL);"
)


@pytest.mark.parametrize(
    ("reference", "response"),
    [
        ("SELECT SUM(price) * 3 FROM orders WHERE price > 0.1",
         "SELECT SUM(price * 3) FROM orders WHERE price > 0.1"),
        ("SELECT SUM(price * qty) FROM orders WHERE price > 9.95",
         "SELECT SUM(p) FROM (SELECT price * qty AS p FROM orders WHERE price > 9.95 ORDER BY p)"),
        ("SELECT AVG(price) * 1.1 FROM orders WHERE qty < 2.5",
         "SELECT AVG(price * 1.1) FROM orders WHERE qty < 2.5"),
    ],
)  # fmt: skip
def test_the_same_sum_in_another_order_passes(reference: str, response: str) -> None:
    result = check_sql_result(SALES, response, reference)
    assert result is not None
    assert (result.label, result.decisive) == ("pass", True)


def test_another_factor_fails_though_it_is_close() -> None:
    reference = "SELECT SUM(price) * 1.1 FROM orders WHERE price > 0.1"
    response = "SELECT SUM(price) * 1.1001 FROM orders WHERE price > 0.1"
    result = check_sql_result(SALES, response, reference)
    assert result is not None and result.label == "fail"
