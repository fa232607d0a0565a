"""Tells a computation step by step, and makes a worked attempt at a word problem.

In: a `Problem`, or a story with numbers. Out: the text of a maths answer that ends with the line of
its final result. A wrong answer has one slip, in its last step, so that its steps and its result
agree with each other and only recomputing shows the fault.
"""

from __future__ import annotations

import re
from fractions import Fraction

from teachers.simulated.arithmetic import Step, evaluate, format_value, numbers_in
from teachers.simulated.draws import Draws
from teachers.simulated.phrases import Phrases
from teachers.simulated.problems import Problem

_MULTIPLIES = re.compile(r"\b(?:each|every|per|times)\b|ずつ|毎|あたり|倍|每|各", re.IGNORECASE)
_REDUCES = re.compile(
    r"\b(?:left|remain|gave|lost|spent|sold|ate|fewer|less|away)\b|残|減|使っ|あげ|剩|少|花了|送给|吃了",
    re.IGNORECASE,
)
_QUANTITIES = 4
_HALVES = re.compile(r"\b(?:half|halves)\b|半分|一半", re.IGNORECASE)


def solve(problem: Problem, phrases: Phrases, thought: bool, slip: Draws | None) -> str:
    """The worked solution; with `slip`, its last step is off by a little."""
    value = problem.value
    if slip is not None:
        value += slip.choice((-10, -3, -2, -1, 1, 2, 3, 10))
    words = phrases.maths
    shown = problem.shown()
    lines = _told(problem.steps, phrases, value)
    result = words.result.format(expression=shown, value=format_value(value))
    intro = words.intro.format(expression=shown)
    check = words.check.format(value=format_value(value))
    return _assembled(phrases, thought, [intro, *lines, check], result, value)


def attempt(story: str, phrases: Phrases, thought: bool) -> str:
    """Combines the story's first few numbers as its words suggest; often wrong, always worked."""
    numbers = [n for n in numbers_in(story) if abs(n) < 10**9][:_QUANTITIES] or [Fraction(1)]
    symbol = "*" if _MULTIPLIES.search(story) else "-" if _REDUCES.search(story) else "+"
    if len(numbers) == 1:
        numbers.append(Fraction(2))
        symbol = "/" if _HALVES.search(story) else "*"
    expression = f"({format_value(numbers[0])})"
    for number in numbers[1:]:
        expression = f"({expression} {symbol} ({format_value(number)}))"
    value, steps = evaluate(expression)
    listed = ", ".join(format_value(number) for number in numbers)
    intro = phrases.maths.numbers.format(numbers=listed)
    shown = f" {symbol.replace('*', '×').replace('/', '÷')} ".join(
        format_value(number) for number in numbers
    )
    result = phrases.maths.result.format(expression=shown, value=format_value(value))
    check = phrases.maths.check.format(value=format_value(value))
    told = [intro, *_told(steps, phrases, value), check]
    return _assembled(phrases, thought, told, result, value)


def _told(steps: tuple[Step, ...], phrases: Phrases, value: Fraction) -> list[str]:
    last = len(steps)
    return [
        phrases.maths.step.format(n=n, step=step.shown(value if n == last else None))
        for n, step in enumerate(steps, start=1)
    ]


def _assembled(
    phrases: Phrases, thought: bool, lines: list[str], result: str, value: Fraction
) -> str:
    steps = "\n".join(lines)
    worked = f"<think>\n{steps}\n</think>\n\n{result}" if thought else f"{steps}\n{result}"
    return f"{worked}\n\n{phrases.maths.final.format(value=format_value(value))}"
