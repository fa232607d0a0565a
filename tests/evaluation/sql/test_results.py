"""When two results are the same, and which rows of an ordered gold tie."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from pathlib import Path

import pytest

from evaluation.sql.boxes import Box
from evaluation.sql.compare import same_results
from evaluation.sql.databases import build_sqlite
from evaluation.sql.errors import SqlDatabaseError
from evaluation.sql.fill import fill_empty
from evaluation.sql.outcome import plain
from evaluation.sql.read_schema import read_schema
from evaluation.sql.scoring import Scorer
from evaluation.sql.ties import is_ordered, tied, with_keys

NOW = datetime(2024, 5, 31, 7, 8, 9)


def test_rows_are_a_multiset() -> None:
    assert same_results([(1, "a"), (2, "b"), (2, "b")], [(2, "b"), (1, "a"), (2, "b")])
    assert not same_results([(1, "a"), (2, "b"), (2, "b")], [(1, "a"), (1, "a"), (2, "b")])
    assert not same_results([(1,)], [(1,), (1,)])


def test_order_counts_where_the_gold_orders_and_not_within_a_tie() -> None:
    gold = [("a", 3), ("b", 2), ("c", 2)]
    assert same_results(gold, [("a", 3), ("c", 2), ("b", 2)], groups=[1, 2])
    assert not same_results(gold, [("b", 2), ("a", 3), ("c", 2)], groups=[1, 2])
    assert not same_results(gold, [("a", 3), ("c", 2), ("b", 2)], groups=[1, 1, 1])


def test_numbers_are_equal_within_the_tolerance_and_never_equal_to_text() -> None:
    assert same_results([(1, 0.1 + 0.2)], [(1.0, 0.3)])
    assert same_results([(1_000_000,)], [(1_000_000.4,)])
    assert not same_results([(1_000_000,)], [(1_000_010,)])
    assert not same_results([(1,)], [("1",)])
    assert not same_results([(None,)], [(0,)])
    assert not same_results([(None,)], [("",)])
    assert same_results([(None,)], [(None,)])


def test_nearly_equal_numbers_that_sort_apart_are_still_paired() -> None:
    gold = [(1.0, 5), (1.0 + 1e-9, 3)]
    assert same_results(gold, [(1.0 + 2e-9, 5), (1.0, 3)])


@pytest.mark.parametrize("number", ["1e400", "-1e5000", "Infinity", "NaN"])
def test_numbers_that_no_float_holds_are_text_and_compared_as_such(number: str) -> None:
    value = plain(Decimal(number))
    assert isinstance(value, str)
    assert not same_results([(1,)], [(value,)])
    assert same_results([(value,)], [(value,)])


def test_columns_may_stand_in_another_order_but_not_be_more_or_other() -> None:
    gold = [("東京", 3), ("大阪", 2)]
    assert same_results(gold, [(2, "大阪"), (3, "東京")])
    assert not same_results(gold, [("東京", 3, 1), ("大阪", 2, 1)])
    assert not same_results(gold, [("東京", 2), ("大阪", 3)])
    # The same values in each column, but paired otherwise in the rows.
    assert not same_results([(1, 2), (2, 1)], [(1, 1), (2, 2)])
    assert same_results([(1, 2), (1, 3)], [(2, 1), (3, 1)])


def test_empty_results_are_the_same() -> None:
    assert same_results([], [])
    assert not same_results([], [(1,)])


def test_many_equal_columns_do_not_take_for_ever() -> None:
    gold = [tuple(range(12)) for _ in range(3000)]
    assert not same_results(gold, [tuple([0] * 12) for _ in range(3000)])
    assert not same_results([(0,) * 12 + (1,)] * 300, [(0,) * 12 + (2,)] * 300)


@pytest.mark.parametrize(
    ("query", "ordered"),
    [
        ("SELECT a FROM t ORDER BY a", True),
        ("SELECT a FROM (SELECT a FROM t ORDER BY a LIMIT 3)", False),
        ("SELECT row_number() OVER (ORDER BY a) FROM t", False),
        ("SELECT 'ORDER BY' FROM t", False),
        ("WITH x AS (SELECT 1 ORDER BY 1) SELECT * FROM x order  by 1", True),
    ],
)
def test_only_the_outermost_order_by_orders(query: str, ordered: bool) -> None:
    assert is_ordered(query) is ordered


def test_the_terms_of_order_by_become_columns() -> None:
    made = with_keys("SELECT a, COUNT(*) AS n FROM t GROUP BY a ORDER BY n DESC, 1", "sqlite")
    assert made == (
        "SELECT a, COUNT(*) AS n, COUNT(*) AS tie_key_0, a AS tie_key_1 FROM t GROUP BY a "
        "ORDER BY n DESC, 1"
    )


def test_rows_with_equal_keys_tie() -> None:
    assert tied([("a",), ("b",), ("c",)], [("a", 2), ("b", 1), ("c", 1)]) == [1, 2]
    assert tied([("a",), ("b",)], [("b", 1), ("a", 1)]) == [1, 1]


@pytest.fixture(scope="module")
def scorer(tmp_path_factory: pytest.TempPathFactory) -> Scorer:
    """A scorer on one table of people in cities."""
    ddl = (
        "CREATE TABLE people (name text, city text, age int);"
        "INSERT INTO people VALUES ('山田', '東京', 30), ('李', '北京', 30), ('Ann', 'Ulm', 40);"
    )
    path = tmp_path_factory.mktemp("scorer") / "people.db"
    build_sqlite(fill_empty(read_schema("people", ddl, NOW), NOW), path)
    return Scorer(Box("sqlite", str(path)))


def test_an_answer_passes_with_any_gold(scorer: Scorer) -> None:
    golds = ["SELECT name FROM people WHERE age = 30", "SELECT city FROM people WHERE age = 30"]
    score = scorer.score(golds, "SELECT city FROM people WHERE age < 35")
    assert (score.passed, score.gold) == (True, 1)


def test_an_ordered_gold_lets_ties_stand_either_way(scorer: Scorer) -> None:
    gold = "SELECT name FROM people ORDER BY age"
    assert scorer.score([gold], "SELECT name FROM people ORDER BY age, name").passed
    assert scorer.score([gold], "SELECT name FROM people ORDER BY age, name DESC").passed
    assert not scorer.score([gold], "SELECT name FROM people ORDER BY age DESC").passed


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("SELECT name FROM people", "wrong_result"),
        ("SELECT nam FROM people", "error"),
        ("DROP TABLE people", "refused"),
        ("", "no_query"),
    ],
)
def test_what_does_not_pass_says_why(scorer: Scorer, answer: str, reason: str) -> None:
    score = scorer.score(["SELECT city FROM people"], answer)
    assert (score.passed, score.reason) == (False, reason)


def test_a_gold_that_does_not_run_is_named(scorer: Scorer) -> None:
    assert scorer.score(["SELECT oops FROM people"], "SELECT 1").reason == "gold_failed"


def test_databases_are_files_that_a_box_opens(tmp_path: Path) -> None:
    with pytest.raises(SqlDatabaseError, match="does not start"):
        Box("sqlite", str(tmp_path / "absent.db")).run("SELECT 1")
