"""Stated equations: false ones are found, and nothing that is not plainly false is called so."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.checks.equations import stated_equations
from agents.checks.expressions import NotArithmetic, evaluate
from agents.checks.numbers import tidy


def verdicts(text: str) -> list[bool | None]:
    return [equation.holds for equation in stated_equations(tidy(text))]


@pytest.mark.parametrize(
    "text",
    [
        "Natalia sold 48/2 = 24 clips in May.",
        "He pays $12 x 5 = $60.",
        "There are 15 gallons + 12 gallons = 27 gallons of fuel.",
        "45 trees * 65 kg/tree = 2925 kg",
        "100 pages / 4 pages/block = 25 blocks",
        "(3 + 4) * 2 = 14",
        "55(.20) = 11",
        "the discount is 80 – 36 = $44",
        "1,200 + 300 = 1,500",
        "20% of 50 = 10",
        "100 - 20% = 80",
        "100% - 20% = 80%",
        "5/10 = 50%",
        "10/3 = 3.33",
        "2/3 = 0.66",
        "100/7 = 14",
        "17 / 5 = 3 remainder 2",
        "5 + 3 = 8 * 2 = 16",
        "2 * (3 + 4)\n= 2 * 7\n= 14",
        "1/2 + 1/3 = 5/6",
        "3/4 * 2 = 1 1/2",
        "½ + ¼ = ¾",
        "2^10 = 1024",
        "2**10 = 1024",
        "3² + 4² = 25",
        "\\(3 \\times 4 = 12\\)",
        "\\frac{1}{2} + \\frac{1}{3} = \\frac{5}{6}",
        "5 * 3 = **15**",
        "(10 + 5 = 15)",
        "7 - 10 = -3",
        "３＋４＝７",
        "りんごは3個×5袋＝15個です。",
        "一共3×4=12个苹果。",
        "100円×3個＝300円",
    ],
)
def test_true_equations_hold(text: str) -> None:
    found = verdicts(text)
    assert found
    assert set(found) == {True}


@pytest.mark.parametrize(
    "text",
    [
        "3 + 4 = 8",
        "Step 1: 3 + 4 = 8",
        "1. 3 + 4 = 8",
        "- 3 + 4 = 8",
        "There were 3 + 4 = 8 of them.",
        "He pays $12 x 5 = $61.",
        "5x3=16",
        "(3 + 4) * 2 = 15",
        "(10 + 5 = 16)",
        "1,200 + 300 = 1,600",
        "20% of 50 = 12",
        "10 / 4 = 3.5",
        "**3 + 4 = 9**",
        "\\[ 3 \\times 4 = 13 \\]",
        "2**10 = 1000",
        "５＋３＝９",
        "りんごは3個×5袋＝16個です。",
        "一共3×4=13个苹果。",
        "5 apples + 3 oranges = 9 fruits",
        "He earns 165 * 10 = $1560 a month.",
    ],
)
def test_false_equations_do_not(text: str) -> None:
    assert verdicts(text) == [False]


@pytest.mark.parametrize(
    "text",
    [
        "x + 3 = 5",
        "2x + 6 = 10",
        "3K - 4 = 92",
        "f(3) = 10",
        "sqrt(16) + 1 = 5",
        "√16 + 1 = 6",
        "5! = 120",
        "W + W + 2W + 2W = 30 feet",
        "S + 30 + 46 = 90",
        "He works M + 4 + 2 = 8 hours.",
        "from the equation 79 - B - 26 = 8",
        "10-15 = 5 minutes",
        "3:2 = 1.5",
        "13:00-11:00 = 2 hours",
        "0900-0130 = 0730 hours",
        "6:00+18 hours = 00:00",
        "2024-01-15 = Monday",
        "3 * 20 minutes = 1 hour",
        "$1 / 2 = 50 cents",
        "10/3 ≈ 3.4",
        "1 + 1 is not = 3",
        "Saying 2 + 2 = 5 is wrong.",
        "9 + 5 = 2 (mod 12)",
        "5 plus 3 * 4 = 17",
        "half of 10 + 20 = 15",
        "1/4 cup + 1 and 1/4 cup = 1.5 cups",
        "60 - 20 * 2 = 80",
        "6 / 2(1+2) = 1",
        "33.33 * 3 = 100",
        "2 million + 3 million = 6",
        "8 - 16 + 12 - 24 = 0",
        "3 + 4 == 8",
        "3 + 4 != 8",
        "0x10 + 1 = 17",
        "1,5 + 2 = 4,5",
        "1/0 = 5",
    ],
)
def test_what_is_not_plainly_false_is_never_called_false(text: str) -> None:
    assert False not in verdicts(text)


_numbers = st.integers(1, 5000)
_operators = st.sampled_from(["+", "-", "*", "×", "x"])


@given(first=_numbers, rest=st.lists(st.tuples(_operators, _numbers), min_size=1, max_size=4))
def test_an_expression_and_its_value_always_hold(first: int, rest: list[tuple[str, int]]) -> None:
    written = f"{first} " + " ".join(f"{operator} {number}" for operator, number in rest)
    value = eval(written.replace("×", "*").replace("x", "*"))
    assert verdicts(f"So it is {written} = {value} in all.") == [True]


@given(left=_numbers, right=_numbers, off=st.integers(1, 99), sign=st.sampled_from(["+", "×"]))
def test_an_expression_and_another_value_never_hold(
    left: int, right: int, off: int, sign: str
) -> None:
    value = left + right if sign == "+" else left * right
    assert verdicts(f"{left} {sign} {right} = {value + off}") == [False]


@given(left=_numbers, right=_numbers, places=st.integers(0, 4))
def test_a_rounded_quotient_always_holds(left: int, right: int, places: int) -> None:
    assert verdicts(f"{left} / {right} = {left / right:.{places}f}") == [True]


@pytest.mark.parametrize(
    "text",
    [
        "9^99",
        "2^2^2^2^2^2",
        "1/0",
        "(" * 30 + "1" + ")" * 30,
        "1" * 40,
        "1 +",
        "1 1",
        "eval(1)",
        "",
    ],
)
def test_unbounded_or_malformed_expressions_are_refused(text: str) -> None:
    with pytest.raises(NotArithmetic):
        evaluate(text)


def test_values_are_exact() -> None:
    assert evaluate("0.1 + 0.2").exact == Fraction(3, 10)
    assert evaluate("1 / 3 * 3").exact == 1
    assert evaluate("-2^2").exact == -4


@pytest.mark.parametrize(
    "piece", ["1+", "1(", "(", "1/", "1 x ", "1 1/1 ", "1=1=", "1個", "1 a b c d "]
)
def test_hostile_texts_end_without_a_verdict(piece: str) -> None:
    assert False not in verdicts(piece * 10_000)
