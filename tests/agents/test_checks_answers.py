"""The final answer of a worked solution: found where the text concludes, and read exactly."""

from __future__ import annotations

from fractions import Fraction

import pytest

from agents.checks.answers import final_answer


def only(text: str) -> Fraction | None:
    found = final_answer(text)
    return found.numbers[0].value if found and found.certain else None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("Some steps with 3 and 5.\nFinal answer: 42", 42),
        ("**Final answer:** 42 apples", 42),
        ("### Final Answer\n\n\\[\n\\boxed{42}\n\\]", 42),
        ("The final answer is 42. The 5 friends share it.", 42),
        ("3 を足して\n最終的な答え：42", 42),
        ("先算 3 × 4。\n最终答案：42个", 42),
        ("Steps 1, 2 and 3.\n#### 42", 42),
        ("so \\boxed{42} it is, after 3 steps", 42),
        ("The answer is 42 because 6 friends have 7 each.", None),
        ("The answer is 42.", 42),
        ("答えは42です。", 42),
        ("答案是42。", 42),
        ("Natalia sold 48+24 = 72 clips altogether.", 72),
        ("So she walked 2 + 4 = 6 kilometres for 2 hours.", 6),
        ("Since 5 + 3 = 8, Janet has 2 left.", None),
        ("It takes 3 hours and 20 minutes.", None),
        ("x = 2 or x = 3", None),
        ("The width = 5 and the height = 3", None),
        ("<think>Final answer: 3</think>The answer is 4.", 4),
        ("He has twelve.", None),
        ("", None),
    ],
)
def test_the_conclusion_is_found(text: str, value: int | None) -> None:
    assert only(text) == value


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("1,234.50", Fraction("1234.5")),
        ("$1,234", Fraction(1234)),
        ("-$5", Fraction(-5)),
        ("$-5", Fraction(-5)),
        ("−7", Fraction(-7)),
        ("3/4", Fraction(3, 4)),
        ("1 1/2 cups", Fraction(3, 2)),
        ("5½", Fraction(11, 2)),
        ("\\frac{3}{4}", Fraction(3, 4)),
        ("\\boxed{1\\frac{1}{2}}", Fraction(3, 2)),
        ("１２３円", Fraction(123)),
        ("3万5000元", Fraction(35000)),
        ("3億5千万円", Fraction(350_000_000)),
        ("1.2 × 10^5", Fraction(120_000)),
        ("5e3", Fraction(5000)),
        ("$3 million", Fraction(3_000_000)),
        (".5", Fraction(1, 2)),
        ("x = -3", Fraction(-3)),
        ("10 m (1 m = 100 cm)", Fraction(10)),
        ("12.", Fraction(12)),
    ],
)
def test_a_number_is_read_exactly_as_written(written: str, value: Fraction) -> None:
    assert only(f"Final answer: {written}") == value


@pytest.mark.parametrize(
    "written",
    [
        "3:45 PM",
        "3:2",
        "10-15",
        "5x",
        "2^5",
        "5√2",
        "3π",
        "2024/01/15",
        "1,00,000",
        "5K",
        "v1.2",
        "±3",
    ],
)
def test_what_is_not_one_plain_number_is_not_read(written: str) -> None:
    assert only(f"Final answer: {written}") is None


def test_decimals_unit_and_place_are_kept() -> None:
    found = final_answer("Final answer: 12.50 dollars")
    assert found is not None
    assert (found.numbers[0].decimals, found.numbers[0].unit) == (2, "dollars")
    assert found.source == "final_answer_line"


def test_a_unit_is_read_without_a_space_in_japanese() -> None:
    found = final_answer("最終的な答え：1.5時間です")
    assert found is not None
    assert found.numbers[0].unit == "時間"


def test_a_hostile_text_is_read_in_linear_time() -> None:
    for piece in ("1 ", "1+", "answer is ", "final answer ", "\\boxed{", "1. "):
        final_answer(piece * 20_000)
    assert only("(" * 20_000 + "\nFinal answer: 7") == 7
