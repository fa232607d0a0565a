"""From a chat model's answer to the query it means, and to the text it would put in the editor.

The typed text and an answer go in; out come the whole query, and the suggestion: what follows the
typed text. Models fence their SQL, think aloud, explain themselves, or repeat what was typed; all
of that is taken off. An answer that writes the query anew in other words is a query too, but no
suggestion.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from evaluation.sql.tokens import Token, tokens

_FENCE = re.compile(r"```[ \t]*[\w+-]*[ \t]*\n(.*?)(?:```|\Z)", re.DOTALL)
_INLINE = re.compile(r"\A\s*`([^`]+)`\s*\Z")
_BEGINS = re.compile(r"^[ \t]*(?:SELECT|WITH)\b", re.IGNORECASE | re.MULTILINE)
_PROSE_BELOW = re.compile(r"\n[ \t]*\n")
# After one of these a query may begin inside the query.
_OPENS = frozenset({"(", "UNION", "ALL", "EXCEPT", "INTERSECT"})
# Less than this in common is no repetition: `, 0)` behind `, 0)` goes on.
_LEAST_OVERLAP, _LEAST_WORDS = 3, 2


@dataclass(frozen=True, slots=True)
class Completed:
    """`query` is the whole query; `suggestion` what was put behind the typed text, None where the
    answer does not keep it."""

    query: str
    suggestion: str | None


def completed(typed: str, answer: str) -> Completed | None:
    """What `answer` makes of `typed`; None where there is no SQL in it."""
    text = _without_end(_sql_in(answer, bool(typed)))
    known, given = tokens(typed), tokens(text)
    if not given:
        return None
    if not known:
        return Completed(text, text)
    repeated = _repeated(known, given)
    if repeated == 0 and _begins_anew(known, given):
        return Completed(text, None)
    rest = text[given[repeated - 1].end :] if repeated else text
    if not rest.strip():
        return None
    return Completed(typed + _joint(typed, rest) + rest, rest)


def _without_end(text: str) -> str:
    """Without the comments and blanks around it and the semicolon at its end. A second statement
    stays: it is for the box to refuse, not for us to overlook."""
    found = tokens(text)
    while found and found[-1].text == ";":
        found.pop()
    return text[found[0].start : found[-1].end] if found else ""


def _sql_in(answer: str, continues: bool) -> str:
    text = answer.rpartition("</think>")[2]
    if fenced := _FENCE.search(text):
        return fenced[1].strip("\n")
    if inline := _INLINE.match(text):
        return inline[1]
    if not continues and (begins := _BEGINS.search(text)):
        text = text[begins.start() :]
    return _PROSE_BELOW.split(text.strip("\n"), maxsplit=1)[0]


def _repeated(known: list[Token], given: list[Token]) -> int:
    """How many tokens at the answer's beginning repeat what was typed: all of it, or its end."""
    if _same(known, given[: len(known)]):
        return len(known)
    for size in range(min(len(known), len(given)), _LEAST_OVERLAP - 1, -1):
        words = sum(token.kind in ("word", "quoted", "string") for token in given[:size])
        if words >= _LEAST_WORDS and _same(known[-size:], given[:size]):
            return size
    return 0


def _same(known: list[Token], given: list[Token]) -> bool:
    return [token.same_as for token in known] == [token.same_as for token in given]


def _begins_anew(known: list[Token], given: list[Token]) -> bool:
    if given[0].text.upper() not in ("SELECT", "WITH"):
        return False
    last = known[-1].text.upper()
    after_tables = last == ")" and known[0].text.upper() == "WITH"
    return last not in _OPENS and not after_tables


def _joint(typed: str, rest: str) -> str:
    """A blank where the two would grow together."""
    if typed[-1].isspace() or rest[0].isspace():
        return ""
    words = "_'\"`"
    before = typed[-1].isalnum() or typed[-1] in words or typed[-1] == ")"
    return " " if before and (rest[0].isalnum() or rest[0] in words) else ""
