"""The final answer of a worked solution: where a text says what it comes to, and to which number.

A text goes in; the numbers its conclusion names come out, with the place they were read from. The
conclusion is the first of these that there is, and the last one of its kind: a `Final answer:` line
(最終的な答え, 最终答案), a `####` line, a `\\boxed{}`, a sentence such as "the answer is", the last
sentence that holds a number.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from agents.checks.numbers import MEASURES, Number, read_numbers, tidy

_READ_CHARS = 20_000
_END_CHARS = 1000
_SENTENCE_CHARS = 600
_DIGIT = re.compile(r"\d", re.ASCII)
_MARKER = re.compile(
    r"final answer|最終的な答え|最終回答|最终的?答案|最后答案|最終答案", re.IGNORECASE
)
_MARKED_CHARS = 400
_HASHES = re.compile(r"^####[ \t]*([^\n]*\d[^\n]*)\s*\Z", re.MULTILINE)
_BOXED = re.compile(r"\\boxed\s*\{((?:[^{}]|\{[^{}]*\})*)\}")
_SAYS = re.compile(
    r"(?:\banswer(?:\s+is|\s+would be|\s*:|\s*=)|答えは|答え\s*[:：]|正解は"
    r"|答案是|答案为|答案為|答案\s*[:：]|^答\s*[:：])([^\n。！？]*)",
    re.IGNORECASE | re.MULTILINE,
)
_SENTENCE_END = re.compile(r"(?<=[^\d\s][.!?])\s+|(?<=\d[.!?])\s+(?=\D|$)|[\n。！？]+")
_CLAUSE = re.compile(
    r"[,;:(=，、；：（]|\b(?:so|and|then|which|but|or|is|are|was|were|has|have|had|while|if|to|"
    r"out of|for a total|not)\b"
)
_ASIDE = re.compile(r"\s\([^()]*\)\s*[.。]?\s*$")
_NAMED = re.compile(r"(?:^|[\s,;、，（(])(?:[A-Za-z]{1,12}|[\u3040-\u30ff\u4e00-\u9fff]{1,6})\s?=")
_EQUALS = re.compile(r"[=≈]|\\approx")


@dataclass(frozen=True, slots=True)
class FinalAnswer:
    """The conclusion's numbers, and whether it is certain that there is only one: the first."""

    numbers: tuple[Number, ...]
    certain: bool
    source: str


def final_answer(text: str) -> FinalAnswer | None:
    """The final answer of `text`; None where it holds no number or one that can't be read."""
    text = text.rpartition("</think>")[2][-_READ_CHARS:]
    lowered = text.lower()
    if ("final" in lowered or "最" in text) and (marks := list(_MARKER.finditer(text))):
        marked = text[marks[-1].end() : marks[-1].end() + _MARKED_CHARS]
        return _from_conclusion(_first_with_digit(marked), "final_answer_line")
    if "####" in text and (found := _last(_HASHES, text)) is not None:
        return _from_conclusion(found, "hashes")
    if "\\boxed" in text and (found := _last(_BOXED, text)) is not None:
        return _from_conclusion(found, "boxed")
    if "answer" in lowered or "答" in text or "正解" in text:
        found = _last(_SAYS, text)
        if found is not None and _DIGIT.search(tidy(found)):
            sentence = _SENTENCE_END.split(found.strip(), maxsplit=1)[0]
            return _from_conclusion(sentence, "answer_sentence")
    return _from_last_sentence(text)


def _first_with_digit(text: str) -> str:
    sentences = _SENTENCE_END.split(text)
    return next((sentence for sentence in sentences if _DIGIT.search(tidy(sentence))), "")


def _last(pattern: re.Pattern[str], text: str) -> str | None:
    found = None
    for match in pattern.finditer(text):
        found = match[1]
    return found


def _from_conclusion(text: str, source: str) -> FinalAnswer | None:
    boxed = _last(_BOXED, text) if "\\boxed" in text else None
    text = tidy(boxed or text)
    main = _ASIDE.sub("", text)
    if _DIGIT.search(main):
        text = main
    numbers = read_numbers(_EQUALS.split(text)[-1])
    if not numbers:
        return None
    return FinalAnswer(numbers, _all_equal(numbers) and not _several(text), source)


def _from_last_sentence(text: str) -> FinalAnswer | None:
    for sentence in reversed(_SENTENCE_END.split(tidy(text[-_END_CHARS:]))):
        if sentence and _DIGIT.search(sentence):
            break
    else:
        return None
    sentence = sentence[-_SENTENCE_CHARS:]
    *before, after = _EQUALS.split(sentence)
    numbers = read_numbers(after)
    if not numbers:
        return None
    certain = _all_equal(numbers) or (bool(before) and _only_first_counts(after, numbers))
    return FinalAnswer(numbers, certain and not _several(sentence), "last_sentence")


def _all_equal(numbers: tuple[Number, ...]) -> bool:
    return len({number.value for number in numbers}) == 1


def _several(text: str) -> bool:
    """`x = 2 or x = 3`, `length = 5, width = 3`: more than one thing is concluded."""
    return len(_NAMED.findall(text)) > 1


def _only_first_counts(text: str, numbers: tuple[Number, ...]) -> bool:
    """True for `= 24 clips in 3 days`, whose first number is the result; `= 8, so 3` is not so."""
    first, second = numbers[:2]
    if first.unit in MEASURES and second.unit in MEASURES and second.start - first.end < 20:
        return False
    return not _CLAUSE.search(text, first.end)
