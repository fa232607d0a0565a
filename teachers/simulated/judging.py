"""Scores and verifies a response, from features that can be named.

In: an `Ask` of kind selection or verification. Out: the answer's object, whose rationale or
evidence names what was seen: length, shared key words, variety, and for
a computation the recomputed value.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from teachers.simulated.arithmetic import final_number, format_value, plain, read_value
from teachers.simulated.asks import Ask
from teachers.simulated.classification import guess_category
from teachers.simulated.draws import Draws
from teachers.simulated.language import detect_language, key_words, word_count
from teachers.simulated.problems import Problem, find_problem
from teachers.simulated.settings import SimulatedSettings

_REFUSAL = re.compile(
    r"\bI(?:'m| am) (?:sorry,? but|unable)|\bI (?:can't|cannot) (?:help|assist)|"
    r"申し訳(?:ありません|ございません)|お答えできません|お手伝いできません|"
    r"(?:抱歉|对不起)，我(?:无法|不能)",
    re.IGNORECASE,
)
_EQUALS = re.compile(r"=\s*([-−]?\d+(?:\.\d+)?(?:/\d+)?)")
_PIECE = re.compile(r"[A-Za-z]+|\d+|[\u3040-\u30ff\u4e00-\u9fff]{2}")
# Where the answer's own language is not that of the instruction, or is not prose.
_ANY_LANGUAGE = ("translation", "code", "sql", "math", "classification", "extraction")
_STATED = {"en": "English", "ja": "Japanese", "zh": "Chinese"}


@dataclass(frozen=True, slots=True)
class Features:
    """What can be counted in a response. `overlap` and `variety` lie between 0 and 1."""

    words: int
    overlap: float
    variety: float
    refusal: bool
    language: str


def features_of(ask: Ask, text: str) -> Features:
    """Counts the features of `text`, which answers `ask.instruction`."""
    keys = key_words(f"{ask.instruction}\n{ask.input}", ask.language)
    keys += re.findall(r"\d+", plain(ask.instruction))[:6]
    lowered = plain(text).lower()
    pieces = _PIECE.findall(lowered)
    return Features(
        words=word_count(text),
        overlap=sum(key.lower() in lowered for key in keys) / len(keys) if keys else 0.5,
        variety=len(set(pieces)) / len(pieces) if pieces else 0.0,
        refusal=bool(_REFUSAL.search(ask.response[:200])),
        language=detect_language(ask.response),
    )


def select(ask: Ask, settings: SimulatedSettings) -> dict[str, object]:
    """Integer scores from 0 to 9 with the features they come from."""
    seen = features_of(ask, f"{ask.reasoning}\n{ask.response}")
    draws = Draws(settings.seed, "selection", ask.key)
    if not ask.response:
        scores, told = (0, 0, 0), "the response is empty"
    elif seen.refusal:
        scores, told = (1, 0, 1), "the response is a refusal"
    else:
        length = sum(seen.words >= bound for bound in (3, 8, 15, 25, 40, 60))
        scores = (
            length + (seen.variety > 0.5) + draws.between(0, 1),
            2 + length // 3 + round(4 * seen.overlap) + draws.between(0, 1),
            3 + length // 2 + min(word_count(ask.instruction) // 12, 2) + draws.between(0, 1),
        )
        told = "features of the response"
    bounded = [min(max(score, 0), 9) for score in scores]
    return {
        "rationale": f"Simulated scores from {told}: about {seen.words} words, "
        f"{seen.overlap:.0%} of the instruction's key words taken up, "
        f"{seen.variety:.0%} of its pieces distinct.",
        "informativeness": bounded[0],
        "helpfulness": bounded[1],
        "generalisation": bounded[2],
    }


def verify(ask: Ask) -> dict[str, object]:
    """Correct and consistent or not, with the decisive observation."""
    correct, consistent, evidence = _verdict(ask)
    return {"evidence": evidence, "correct": correct, "consistent": consistent}


def _verdict(ask: Ask) -> tuple[bool, bool, str]:
    seen = features_of(ask, ask.response)
    if not ask.response:
        return False, False, "The response is empty."
    if seen.refusal:
        return False, False, f"The response refuses: '{ask.response[:60]}'."
    category = ask.category or guess_category(ask.instruction, ask.input)
    if category == "math":
        return _maths_verdict(ask)
    if category not in _ANY_LANGUAGE and seen.words >= 8 and seen.language != ask.language:
        stated = f"{_STATED[ask.language]} was asked for, the response is {_STATED[seen.language]}"
        return False, False, f"Wrong language: {stated}."
    if seen.overlap == 0 and category not in ("translation", "chat"):
        return False, False, "The response takes up none of the instruction's key words."
    return (
        True,
        True,
        f"The response has about {seen.words} words, is in the language asked for and takes up "
        f"{seen.overlap:.0%} of the instruction's key words.",
    )


def _maths_verdict(ask: Ask) -> tuple[bool, bool, str]:
    given = final_number(ask.response)
    consistent, contradiction = _agrees_with_itself(ask)
    problem = find_problem(ask.instruction)
    if problem is None and ask.input:
        problem = find_problem(f"{ask.instruction} {ask.input}")
    if given is None:
        return False, False, "The response names no number as its result."
    expected, source = _expected(ask, problem)
    if expected is None:
        evidence = f"The problem cannot be recomputed here; the result {format_value(given)} "
        return consistent, consistent, evidence + (contradiction or "follows from its own steps.")
    correct = given == expected
    relation = "as the response says" if correct else f"the response says {format_value(given)}"
    return (
        correct,
        consistent,
        f"{source} {format_value(expected)}; {relation}. {contradiction}".rstrip(),
    )


def _expected(ask: Ask, problem: Problem | None) -> tuple[Fraction | None, str]:
    if problem is not None:
        return problem.value, f"Recomputed: {problem.shown()} ="
    if ask.reference:
        return final_number(ask.reference), "The reference ends with"
    return None, ""


def _agrees_with_itself(ask: Ask) -> tuple[bool, str]:
    """Whether the last computed step and the final result are the same number."""
    final = final_number(ask.response)
    results = _EQUALS.findall(plain(f"{ask.reasoning}\n{ask.response}"))
    last = read_value(results[-1]) if results else None
    if last is None or final is None or last == final:
        return True, ""
    return False, f"contradicts its last step, which gives {format_value(last)}."
