"""Checks of mathematics: the final answer, the equations on the way, and plain sums.

A response (with its reference or instruction) goes in, a `CheckResult` comes out, or None where
nothing can be said for certain. All arithmetic is exact; nothing generated is ever executed.
"""

from __future__ import annotations

import re
from fractions import Fraction

from agents.checks.answers import final_answer
from agents.checks.equations import stated_equations
from agents.checks.expressions import Exact
from agents.checks.numbers import Number, compare, read_numbers, tidy
from agents.checks.result import CheckResult, Scalar
from agents.checks.sums import asked_sum

_YES_OR_NO = re.compile(
    r"\s*(?:yes|no|true|false)\b|\s*(?:はい|いいえ|是的|不是|对|正确|错误)", re.I
)
_FENCED = re.compile(r"```.*?(?:```|\Z)", re.DOTALL)
_OTHER_ARITHMETIC = re.compile(
    r"\b(?:binary|octal|hexadecimal|boolean|modul\w+|mod \d|base[- ]\d|base (?:two|eight|sixteen)|"
    r"clock)\b|進数|进制|進制",
    re.IGNORECASE,
)
_SHOWN_WRONG = 3


def check_final_answer(response: str, reference: str | None) -> CheckResult | None:
    """Whether `response` ends at the same number as `reference`.

    None where the reference's own number is not certain, where the response names none, or where
    the two may be the same amount (cut off, rounded to a whole number, in another unit).
    """
    if not reference or _YES_OR_NO.match(reference):
        return None
    wanted = final_answer(reference)
    if wanted is None or not wanted.certain:
        return None
    return _compared("final_answer", response, wanted.numbers[0])


def _compared(name: str, response: str, wanted: Number) -> CheckResult | None:
    given = final_answer(response)
    if given is None:
        return None
    evidence: dict[str, Scalar] = {"wanted": _shown(wanted.value), "read_from": given.source}
    if not given.certain:
        same = [n for n in given.numbers if compare(n, wanted) == "equal"]
        if not same:
            return None
        return CheckResult(name, "pass", False, {"given": _shown(same[0].value), **evidence})
    number = given.numbers[0]
    evidence = {"given": _shown(number.value), **evidence}
    likeness = compare(number, wanted)
    if likeness == "equal":
        return CheckResult(name, "pass", True, evidence)
    if likeness == "rounded":
        # One decimal is not enough to tell a rounding from another answer nearby.
        coarse = [n.decimals for n in (number, wanted) if n.decimals is not None]
        return CheckResult(name, "pass", min(coarse) >= 2, evidence | {"rounded": True})
    if likeness == "near" or (given.source == "last_sentence" and _names(response, wanted)):
        return None
    return CheckResult(name, "fail", True, evidence)


def _names(response: str, wanted: Number) -> bool:
    """Whether a line of the response holds the wanted number: its end may be an afterthought."""
    for line in tidy(response).splitlines():
        if any(wanted.value in number.readings for number in read_numbers(line) or ()):
            return True
    return False


def check_stated_equations(response: str, quoted: str = "") -> CheckResult | None:
    """Whether every `a op b = d` in `response` is true; one false one decides.

    `quoted` is the text the response answers: equations it already holds are not the response's
    own, and where those are false, or concern another arithmetic, nothing is checked.
    """
    text = response.rpartition("</think>")[2]
    if "=" not in text and "＝" not in text:
        return None
    asked = tidy(quoted)
    if _OTHER_ARITHMETIC.search(asked) or any(e.holds is False for e in stated_equations(asked)):
        return None
    text = tidy(_FENCED.sub("\n", text) if "```" in text else text)
    known = "".join(asked.split()) if "=" in asked else ""
    checked = 0
    wrong: list[tuple[str, Exact]] = []
    for equation in stated_equations(text):
        if equation.holds is None or (known and "".join(equation.written.split()) in known):
            continue
        checked += 1
        if not equation.holds:
            wrong.append((equation.written, equation.worth))
    if not checked:
        return None
    if not wrong:
        return CheckResult("stated_equations", "pass", False, {"checked": checked})
    shown = "; ".join(f"{said} (it is {_shown(worth)})" for said, worth in wrong[:_SHOWN_WRONG])
    evidence: dict[str, Scalar] = {"checked": checked, "wrong": len(wrong), "equations": shown}
    return CheckResult("stated_equations", "fail", True, evidence)


def check_arithmetic_instruction(instruction: str, response: str) -> CheckResult | None:
    """Computes an instruction that is nothing but one arithmetic expression, and compares.

    Read are `What is 17 * 23 + 5?`, `请计算 45 × 12 - 30。`, `384を12で割るといくつですか。`; a
    word problem, a date, a request for rounding give None.
    """
    value = asked_sum(instruction)
    if value is None:
        return None
    exact = Fraction(value)
    return _compared("arithmetic", response, Number(exact, _decimals(exact), False, None, 0, 0))


def _decimals(value: Fraction) -> int | None:
    """Decimals of a fraction that ends within twelve of them; None of one that doesn't."""
    return next((n for n in range(13) if (value * 10**n).denominator == 1), None)


def _shown(value: Exact) -> str:
    exact = Fraction(value)
    places = _decimals(exact)
    if places is not None:
        return f"{exact.numerator}" if places == 0 else f"{float(exact):.{places}f}"
    if exact.denominator < 100:
        return f"{exact.numerator}/{exact.denominator}"
    return f"about {float(exact):.6g}"
