"""Mathematical checks: what they decide, what they leave to a judge, and what they do not touch."""

from __future__ import annotations

import pytest

from agents.checks import (
    CheckResult,
    check_arithmetic_instruction,
    check_final_answer,
    check_stated_equations,
)


def outcome(result: CheckResult | None) -> tuple[str, bool] | None:
    return (result.label, result.decisive) if result else None


@pytest.mark.parametrize(
    ("response", "reference"),
    [
        ("Final answer: 42", "42"),
        ("Final answer: 42 apples", "She has 6 * 7 = 42 apples."),
        ("Final answer: 1,000", "1000"),
        ("Final answer: 9.0", "9"),
        ("Final answer: 0.75 cups", "3/4 cup"),
        ("Final answer: 1 1/2", "1.5"),
        ("Final answer: 67%", "0.67"),
        ("Final answer: 0.67", "67%"),
        ("Final answer: 50 cents", "$0.50"),
        ("Final answer: 0.67", "2/3"),
        ("Final answer: 3.3333", "10/3"),
        ("Final answer: 2/3", "0.67"),
        ("最終的な答え：３万５千円", "35000円"),
        ("最终答案：12个", "12"),
    ],
)
def test_an_equal_final_answer_decides(response: str, reference: str) -> None:
    assert outcome(check_final_answer(response, reference)) == ("pass", True)


@pytest.mark.parametrize(
    ("response", "reference"),
    [
        ("Final answer: 43", "42"),
        ("Final answer: -42", "42"),
        ("Final answer: 4.2", "42"),
        ("Final answer: 0.5", "2/3"),
        ("最終的な答え：13", "12個"),
        ("最终答案：13个", "12个"),
        ("So it is 5 + 8 = 13 in all.", "12"),
    ],
)
def test_another_final_answer_decides_too(response: str, reference: str) -> None:
    result = check_final_answer(response, reference)
    assert outcome(result) == ("fail", True)
    assert result is not None
    assert {"given", "wanted", "read_from"} <= set(result.evidence)


@pytest.mark.parametrize(
    ("response", "reference"),
    [
        ("Final answer: 42", None),
        ("Final answer: 42", ""),
        ("Final answer: 42", "He is happy."),
        ("Final answer: 42", "Yes, since 42 is even."),
        ("Final answer: 3", "x = 2 or x = 3"),
        ("Final answer: 3", "It takes 3 hours and 20 minutes."),
        ("Final answer: forty-two", "42"),
        ("", "42"),
        ("Final answer: 90 minutes", "1.5 hours"),
        ("Final answer: 0.66", "2/3"),
        ("Final answer: 3", "10/3"),
        ("Final answer: 3:45 PM", "4"),
        ("She has 42 apples.\n\nI hope this helps with all 3 questions!", "42"),
    ],
)
def test_what_may_be_right_is_left_to_a_judge(response: str, reference: str | None) -> None:
    assert check_final_answer(response, reference) is None


def test_one_decimal_is_not_enough_to_decide() -> None:
    assert outcome(check_final_answer("Final answer: 0.7", "2/3")) == ("pass", False)


def test_one_of_several_concluding_numbers_passes_without_deciding() -> None:
    assert outcome(check_final_answer("x = 2 or x = 3", "3")) == ("pass", False)


def test_one_false_equation_fails_and_is_named() -> None:
    result = check_stated_equations("3 * 5 = 15, then 15 + 7 = 23, so Final answer: 23")
    assert outcome(result) == ("fail", True)
    assert result is not None
    assert result.evidence == {"checked": 2, "wrong": 1, "equations": "15 + 7 = 23 (it is 22)"}


def test_true_equations_pass_without_deciding() -> None:
    result = check_stated_equations("3 * 5 = 15, then 15 + 7 = 22.")
    assert outcome(result) == ("pass", False)
    assert result is not None
    assert result.evidence == {"checked": 2}


@pytest.mark.parametrize(
    "response",
    ["No sums here.", "x = 5", "```\ntotal = 3 + 4 = 8\n```", "<think>3 + 4 = 8</think>It is 7."],
)
def test_without_stated_equations_nothing_is_said(response: str) -> None:
    assert check_stated_equations(response) is None


def test_an_equation_the_instruction_states_is_not_the_responses_own() -> None:
    asked = "Write an angry letter to someone who says that 1+1=3."
    assert check_stated_equations("How dare you say that 1 + 1 = 3!", asked) is None


def test_puzzles_that_redefine_the_operators_are_left_alone() -> None:
    asked = "If 2 + 3 = 10 and 8 + 4 = 96, what is 7 + 2?"
    assert check_stated_equations("By the pattern, 7 + 2 = 63.", asked) is None


def test_other_number_systems_are_left_alone() -> None:
    assert check_stated_equations("1 + 1 = 10", "Add 1 and 1 in binary.") is None


@pytest.mark.parametrize(
    ("instruction", "value"),
    [
        ("What is 17 * 23 + 5?", "396"),
        ("What's 17 times 23?", "391"),
        ("What does 3 * 4 equal?", "12"),
        ("15% of 240", "36"),
        ("What is 15% of 240?", "36"),
        ("Calculate (48 + 36) / 7.", "12"),
        ("Calculate the following expression:\n3 + 4 * 2", "11"),
        ("Evaluate: 2^10", "1024"),
        ("How much is 100 divided by 8?", "12.5"),
        ("17 + 5 = ?", "22"),
        ("384を12で割るといくつですか。", "32"),
        ("100から37を引くといくつになりますか。", "63"),
        ("45×12-30を計算してください。", "510"),
        ("12かける8は？", "96"),
        ("240の15%はいくつですか？", "36"),
        ("请计算 45 × 12 - 30。", "510"),
        ("45加30等于多少？", "75"),
        ("100除以8等于几？", "12.5"),
        ("240的15%是多少？", "36"),
        ("计算：３＋５×２", "13"),
    ],
)
def test_a_plain_sum_is_computed_and_decides(instruction: str, value: str) -> None:
    right = check_arithmetic_instruction(instruction, f"Final answer: {value}")
    wrong = check_arithmetic_instruction(instruction, f"Final answer: 9{value}")
    assert outcome(right) == ("pass", True)
    assert outcome(wrong) == ("fail", True)


@pytest.mark.parametrize(
    "instruction",
    [
        "Natalia sold 48 clips and then half as many. How many did she sell?",
        "What is 9/11?",
        "What is 24/7 support?",
        "What happened in 2020-2021?",
        "What is 2020-2021?",
        "Solve 3x + 2 = 5.",
        "What is 7/3 rounded to two decimals?",
        "What is 2 to the power of 10?",
        "What is 10 mod 3?",
        "12 ÷ 0 は？",
        "What is 5?",
        "Explain why 2 + 2 = 4.",
        "3と5のどちらが大きいですか。",
        "",
    ],
)
def test_anything_but_one_plain_sum_is_not_computed(instruction: str) -> None:
    assert check_arithmetic_instruction(instruction, "Final answer: 999999") is None


def test_a_recurring_quotient_may_be_rounded() -> None:
    assert outcome(check_arithmetic_instruction("What is 2 / 3?", "It is about 0.67.")) == (
        "pass",
        True,
    )


def test_an_answer_in_words_is_left_to_a_judge() -> None:
    assert check_arithmetic_instruction("What is 2 + 2?", "Four.") is None
