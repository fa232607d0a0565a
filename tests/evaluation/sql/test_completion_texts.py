"""Cutting a query, reading an answer, counting keystrokes: texts only, no database."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.sql.adoption import Shown, replay, right_characters
from evaluation.sql.cutting import cut_at, cuts
from evaluation.sql.extract import Completed, completed
from evaluation.sql.golds import gold_queries
from evaluation.sql.tokens import settled, statements, tokens

GOLD = "SELECT 名前, COUNT(*) FROM 顧客 WHERE 都市 = '東京 都' GROUP BY 名前"


def test_a_cut_lies_at_the_end_of_a_token_within_the_fraction() -> None:
    found = cuts(GOLD, (0.25, 0.5))
    assert [cut.typed for cut in found] == [
        "SELECT 名前,",
        "SELECT 名前, COUNT(*) FROM 顧客",
    ]
    assert all(cut.at <= cut.fraction * len(GOLD) for cut in found)


def test_fraction_0_is_an_empty_editor_and_the_first_token_is_the_least_otherwise() -> None:
    assert [cut.typed for cut in cuts(GOLD, (0, 0.01, 0.02))] == ["", "SELECT"]


def test_the_last_token_is_always_left_to_write() -> None:
    assert cuts("SELECT 1", (0.99,))[0].typed == "SELECT"


def test_a_given_prefix_is_found_whatever_its_blanks_and_case() -> None:
    cut = cut_at(GOLD, "select  名前 ,count(*)\nfrom")
    assert cut is not None
    assert cut.typed == "SELECT 名前, COUNT(*) FROM"
    assert cut_at(GOLD, "SELECT 都市") is None


@given(st.text(max_size=80))
def test_any_text_is_cut_into_tokens_that_hold_all_but_blanks(text: str) -> None:
    found = tokens(text, comments=True)
    assert "".join("".join(token.text.split()) for token in found) == "".join(text.split())
    assert all(text[token.start : token.end] == token.text for token in found)


@given(st.text(max_size=80))
def test_settling_a_query_twice_is_settling_it_once(text: str) -> None:
    assert settled(settled(text)) == settled(text)


def test_semicolons_in_strings_comments_and_dollar_quotes_end_nothing() -> None:
    assert statements("SELECT ';' /* ; */ -- ;\n;; SELECT $$;$$;") == ["SELECT ';'", "SELECT $$;$$"]


@pytest.mark.parametrize(
    ("typed", "answer", "query", "suggestion"),
    [
        ("SELECT a", " FROM t", "SELECT a FROM t", "FROM t"),
        ("SELECT a", "FROM t;", "SELECT a FROM t", "FROM t"),
        ("SELECT a", ", b FROM t", "SELECT a, b FROM t", ", b FROM t"),
        ("SELECT a", "```sql\nFROM t\n```\nThat is all.", "SELECT a FROM t", "FROM t"),
        ("SELECT a", "```\nSELECT a\nFROM t;\n```", "SELECT a\nFROM t", "\nFROM t"),
        ("SELECT a", "select A FROM t", "SELECT a FROM t", " FROM t"),
        ("SELECT a FROM t WHERE", "FROM t WHERE b = 1", "SELECT a FROM t WHERE b = 1", " b = 1"),
        ("SELECT a", "<think>\nFROM u?\n</think>\nFROM t", "SELECT a FROM t", "FROM t"),
        ("SELECT a", "FROM t\n\nThis reads all rows.", "SELECT a FROM t", "FROM t"),
        ("SELECT a", "SELECT b FROM t", "SELECT b FROM t", None),
        ("SELECT a FROM t UNION", "SELECT b FROM u", "SELECT a FROM t UNION SELECT b FROM u",
         "SELECT b FROM u"),
        ("SELECT a FROM t WHERE b IN (", "SELECT b FROM u)",
         "SELECT a FROM t WHERE b IN (SELECT b FROM u)", "SELECT b FROM u)"),
        ("SELECT f(g(a, 0)", ", 0) FROM t", "SELECT f(g(a, 0), 0) FROM t", ", 0) FROM t"),
        ("SELECT a FROM t AS", "SELECT b FROM u", "SELECT b FROM u", None),
        ("WITH u AS (SELECT 1)", "SELECT * FROM u", "WITH u AS (SELECT 1) SELECT * FROM u",
         "SELECT * FROM u"),
        ("SELECT a", "FROM t; DROP TABLE t;", "SELECT a FROM t; DROP TABLE t",
         "FROM t; DROP TABLE t"),
        ("", "Here it is:\nSELECT a FROM t;", "SELECT a FROM t", "SELECT a FROM t"),
        ("SELECT 名", "FROM 表 -- 全部", "SELECT 名 FROM 表", "FROM 表"),
    ],
)  # fmt: skip
def test_an_answer_becomes_the_query_it_means(
    typed: str, answer: str, query: str, suggestion: str | None
) -> None:
    assert completed(typed, answer) == Completed(query, suggestion)


@pytest.mark.parametrize("answer", ["", "   ", "```sql\n```", ";", "-- nothing", "SELECT a"])
def test_an_answer_that_adds_nothing_is_no_completion(answer: str) -> None:
    assert completed("SELECT a", answer) is None


def test_a_suggestion_is_right_up_to_its_first_wrong_token() -> None:
    gold = "SELECT a FROM t WHERE b = 1"
    at = len("SELECT a")
    assert right_characters(gold, at, "from  t where c = 1") == len(" FROM t WHERE")
    assert right_characters(gold, at, "from t where c = 1", strict=True) == 0
    assert right_characters(gold, at, "FROM t WHERE", strict=True) == len(" FROM t WHERE")
    assert right_characters(gold, at, "WHERE") == 0
    assert right_characters(gold, at, None) == 0


def test_case_counts_in_strings() -> None:
    assert right_characters("SELECT 'A'", 0, "select 'a'") == len("SELECT")


def test_accepting_costs_one_keystroke_and_jumps_over_the_cuts_within() -> None:
    gold = "SELECT a FROM t WHERE b = 1"
    shown = [Shown(8, "FROM t WHERE c = 2"), Shown(15, "GROUP BY a"), Shown(23, "= 1")]
    result = replay(gold, shown)
    # Behind "SELECT a" 19 characters are left; " FROM t WHERE" puts 13 of them in, " = 1" four.
    assert (result.remaining, result.seen, result.accepted) == (19, 2, 2)
    assert result.saved == (13 - 1) + (4 - 1)


def test_a_perfect_model_saves_all_but_the_keystroke_of_accepting() -> None:
    gold = "SELECT a FROM t"
    assert replay(gold, [Shown(8, "FROM t")]).saved == len(" FROM t") - 1


def test_wrong_and_missing_suggestions_save_nothing_and_cost_nothing() -> None:
    result = replay("SELECT a FROM t", [Shown(6, "b"), Shown(8, None)])
    assert (result.remaining, result.saved, result.seen, result.accepted) == (9, 0, 2, 0)


def test_a_suggestion_that_saves_nothing_is_not_accepted() -> None:
    result = replay("SELECT a,b FROM t", [Shown(8, ",")])
    assert (result.saved, result.accepted) == (0, 0)


@given(st.lists(st.tuples(st.integers(0, len(GOLD)), st.text(max_size=20)), max_size=5))
def test_what_is_saved_lies_between_nothing_and_what_remains(shown: list[tuple[int, str]]) -> None:
    result = replay(GOLD, [Shown(*each) for each in shown])
    assert 0 <= result.saved <= max(0, result.remaining)


def test_a_cell_with_semicolons_holds_several_golds() -> None:
    assert gold_queries("SELECT 1; SELECT ';';SELECT 1;") == ("SELECT 1", "SELECT ';'")


def test_columns_in_braces_are_chosen_alone_and_together() -> None:
    found = gold_queries("SELECT {id, max(a, b) AS m}, n FROM t GROUP BY {}")
    assert found == (
        "SELECT id, n FROM t GROUP BY id",
        "SELECT max(a, b) AS m, n FROM t GROUP BY max(a, b)",
        "SELECT id, max(a, b) AS m, n FROM t GROUP BY id, max(a, b)",
    )
