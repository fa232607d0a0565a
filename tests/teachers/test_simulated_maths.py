"""The simulated teacher's maths: what it can read in three languages, computed exactly."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from teachers.simulated.arithmetic import NotArithmetic, evaluate, final_number, format_value
from teachers.simulated.problems import find_problem


@pytest.mark.parametrize(
    ("instruction", "value"),
    [
        ("17 * 23 + 5", "396"),
        ("What is 15% of 240?", "36"),
        ("Calculate (3 + 4) × 5 − 6 ÷ 2.", "32"),
        ("What is 1,250 + 3,750?", "5000"),
        ("What is 10/4?", "5/2"),
        ("What is 10 / 3?", "10/3"),
        ("what is 3.5 * 2.25", "63/8"),
        ("Subtract 5 from 12.", "7"),
        ("What is the difference between 5 and 12?", "7"),
        ("Divide 144 by 12.", "12"),
        ("What is seven times eight?", "56"),
        ("What is the sum of twenty-five and seventeen?", "42"),
        ("What is five hundred and six minus one hundred?", "406"),
        ("What is 2^10?", "1024"),
        ("What is 3 - -4?", "7"),
        ("12 + 30 はいくつ", "42"),
        ("25と17の和", "42"),
        ("25と17の差を求めてください。", "8"),
        ("48を6で割ると？", "8"),
        ("100から37を引いた数", "63"),
        ("5に8を掛けてください", "40"),
        ("120の25%はいくつですか？", "30"),
        ("240の3割はいくらですか", "72"),
        ("次の計算をしてください：８×（１２−５）", "56"),
        ("计算 45 除以 9", "5"),
        ("12 加上 30 再减去 5 是多少？", "37"),
        ("三百二十一加四十五等于多少？", "366"),
        ("计算80的百分之十五", "12"),
        ("200的15%是多少", "30"),
        ("45和9的商是多少", "5"),
        ("请问 36 乘 4 得多少?", "144"),
    ],
)
def test_a_computation_is_found_and_computed_exactly(instruction: str, value: str) -> None:
    problem = find_problem(instruction)
    assert problem is not None
    assert problem.value == Fraction(value)


@pytest.mark.parametrize(
    "text",
    [
        "What happened on 2023-10-15?",
        "Solve x^2 - 5 = 4",
        "What is the derivative of x^2+3x?",
        "Tom has 3 apples and 1/2 of 24 pears. How many has he?",
        "Compute 3 + 4 and 5 * 6",
        "我买了2-3个苹果，好吃",
        "Is 24/7 support worth the price?",
        "Round 12.5 * 3 to 2 places.",
        "7 ÷ 0は？",
        "3と4を足して、5を掛ける",
        "One of my friends is a teacher.",
        "Write a haiku about the sea.",
    ],
)
def test_what_only_looks_like_a_computation_is_left_alone(text: str) -> None:
    assert find_problem(text) is None


@pytest.mark.parametrize(
    "expression",
    ["__import__('os')", "2 ** 999999", "9" * 200, "(" * 150, "1 if 2 else 3", "[1][0]", "5 // 2"],
)
def test_nothing_but_bounded_arithmetic_is_evaluated(expression: str) -> None:
    with pytest.raises(NotArithmetic):
        evaluate(expression)


@given(st.fractions(min_value=-(10**9), max_value=10**9, max_denominator=10**4))
def test_a_printed_value_reads_back_as_itself(value: Fraction) -> None:
    assert final_number(f"Final answer: {format_value(value)}") == value


@given(st.integers(2, 9999), st.integers(2, 9999), st.integers(0, 9999))
def test_the_steps_of_a_computation_end_in_its_value(a: int, b: int, c: int) -> None:
    value, steps = evaluate(f"{a} * {b} - {c}")
    assert value == a * b - c
    assert steps[-1].value == value
    assert [step.symbol for step in steps] == ["×", "−"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("so 3 + 4 = 7.\n\nFinal answer: 8", "8"),
        ("最終的な答え：１２", "12"),
        ("最终答案：-3.5", "-7/2"),
        ("The final answer is 1,024.", "1024"),
        ("It comes to 52/7", "52/7"),
        ("答えは42です", "42"),
    ],
)
def test_the_final_number_is_read_from_its_mark_or_from_the_end(text: str, value: str) -> None:
    assert final_number(text) == Fraction(value)


def test_a_text_without_numbers_has_no_final_number() -> None:
    assert final_number("I do not know.") is None
