"""Plays the judges of MT-Bench and AlpacaEval, so that their evaluations can be rehearsed.

In: a plain-text ask whose words are those of a published judge prompt. Out: a grade as `[[7]]`, or
the name of one of two outputs; None for every other ask. The grade comes from what can be counted
in the answer that is graded.
"""

from __future__ import annotations

import re

from teachers.simulated.asks import Ask
from teachers.simulated.draws import Draws
from teachers.simulated.judging import features_of
from teachers.simulated.settings import SimulatedSettings

_ASKS_FOR_A_GRADE = '"[[rating]]"'
_ASKS_FOR_A_NAME = "## Best Model Identifier"
_ANSWER = re.compile(
    r"\[The Start of Assistant's Answer\]\n(.*)\n\[The End of Assistant's Answer\]"
    r"|.*### Assistant A:\n(.*?)\n\n<\|The End of Assistant A's",
    re.DOTALL,
)
_OUTPUT = re.compile(r'"output": """(.*?)"""', re.DOTALL)


def grade(ask: Ask, settings: SimulatedSettings) -> str | None:
    """The judge's words, or None where nobody asks for a judgement."""
    if _ASKS_FOR_A_GRADE in ask.system or _ASKS_FOR_A_GRADE in ask.instruction:
        return _rating(ask, settings)
    if _ASKS_FOR_A_NAME in ask.instruction:
        return _better(ask, settings)
    return None


def _rating(ask: Ask, settings: SimulatedSettings) -> str:
    found = _ANSWER.search(ask.instruction)
    answer = (found[1] or found[2] or "") if found else ""
    seen = features_of(ask, answer)
    drawn = Draws(settings.seed, "rating", ask.key).between(0, 2)
    length = sum(seen.words >= bound for bound in (3, 10, 25, 60))
    rating = min(max(1 + length + round(3 * seen.variety) + drawn, 1), 10)
    return (
        f"Simulated grade: the answer has about {seen.words} words, {seen.variety:.0%} of its "
        f"pieces are distinct.\n\nRating: [[{rating}]]"
    )


def _better(ask: Ask, settings: SimulatedSettings) -> str:
    outputs = _OUTPUT.findall(ask.instruction)
    draws = Draws(settings.seed, "preference", ask.key)
    if len(outputs) != 2 or len(outputs[0]) == len(outputs[1]):
        return draws.choice(("m", "M"))
    longer = "m" if len(outputs[0]) > len(outputs[1]) else "M"
    # Judges like the longer one, and not always.
    return longer if draws.between(0, 9) < 7 else {"m": "M", "M": "m"}[longer]
