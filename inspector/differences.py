"""Two texts as one list of lines, for reading what has changed between them.

In: an old and a new text. Out: `DiffLine`s, and words within a text. A very long pair is compared
line by line only as far as a page can show.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

_CONTEXT = 3
_MOST_LINES = 2000
_MOST_WORDS = 4000
_MOST_PAIRS = 3_000_000
# What is the same for no more characters than this, between longer changes, is chance.
_SMALL = 4
# Words of Latin letters stay whole; Japanese and Chinese are compared character by character.
_WORD = re.compile(r"[A-Za-z0-9_À-ɏ]+|\s+|.", re.DOTALL)

Kind = Literal["same", "added", "removed", "hunk"]


@dataclass(frozen=True, slots=True)
class DiffLine:
    """A line, or a stretch of words; `hunk` says where in the texts the next lines stand."""

    kind: Kind
    text: str


def line_diff(old: str, new: str) -> list[DiffLine]:
    """The changed lines with a little of what is around them; empty where nothing changed."""
    lines: list[DiffLine] = []
    was, now = (text.splitlines()[:_MOST_LINES] for text in (old, new))
    for line in difflib.unified_diff(was, now, lineterm="", n=_CONTEXT):
        if line.startswith(("---", "+++")) and not lines:
            continue
        kind: Kind = "same"
        if line.startswith("@@"):
            lines.append(DiffLine("hunk", line))
            continue
        if line[:1] in "+-":
            kind = "added" if line[0] == "+" else "removed"
        lines.append(DiffLine(kind, line[1:]))
    return lines


def word_diff(old: str, new: str) -> list[DiffLine]:
    """Both texts as one: what is the same, what was removed, what was added, in order. A word or
    two that happen to be the same amid longer changes are told with the change."""
    was, now = (_WORD.findall(text) for text in (old, new))
    if len(was) > _MOST_WORDS or len(now) > _MOST_WORDS:
        return [DiffLine("removed", old), DiffLine("added", new)]
    return list(_lines(_readable(_stretches(was, now))))


class _Stretch(NamedTuple):
    """Words that are the same (`old` == `new`), or that took each other's place."""

    same: bool
    old: str
    new: str

    @property
    def size(self) -> int:
        return max(len(self.old), len(self.new))


def _stretches(was: list[str], now: list[str]) -> list[_Stretch]:
    """What both begin and end with is set aside; what lies between is compared."""
    shorter = min(len(was), len(now))
    head = next((n for n in range(shorter) if was[n] != now[n]), shorter)
    tail = next((n for n in range(shorter - head) if was[-1 - n] != now[-1 - n]), shorter - head)
    middle_was, middle_now = was[head : len(was) - tail], now[head : len(now) - tail]
    middle = _compared(middle_was, middle_now)
    ends = ("".join(was[:head]), "".join(was[len(was) - tail :]))
    first, last = (_Stretch(True, text, text) for text in ends)
    return [stretch for stretch in (first, *middle, last) if stretch.old or stretch.new]


class _TooMuch(Exception):
    """Comparing would take too long."""


class _Matcher(difflib.SequenceMatcher[str]):
    """Looks for what is the same until it has looked at `_MOST_PAIRS` pairs of equal words; texts
    of few different words have millions. Spaces are the same only beside words that are."""

    def __init__(self, was: list[str], now: list[str]) -> None:
        super().__init__(lambda word: word.isspace() and "\n" not in word, was, now, False)
        self._was = was
        self._left = _MOST_PAIRS

    def find_longest_match(
        self, alo: int = 0, ahi: int | None = None, blo: int = 0, bhi: int | None = None
    ) -> difflib.Match:
        places: dict[str, list[int]] = self.b2j  # type: ignore[attr-defined]
        self._left -= sum(1 + len(places.get(word, ())) for word in self._was[alo:ahi])
        if self._left < 0:
            raise _TooMuch
        return super().find_longest_match(alo, ahi, blo, bhi)


def _compared(was: list[str], now: list[str]) -> list[_Stretch]:
    """Word by word; as a whole, where that would take too long."""
    try:
        found = _Matcher(was, now).get_opcodes()
    except _TooMuch:
        return [_Stretch(False, "".join(was), "".join(now))]
    return [
        _Stretch(kind == "equal", "".join(was[a:b]), "".join(now[c:d]))
        for kind, a, b, c, d in found
    ]


def _readable(stretches: list[_Stretch]) -> list[_Stretch]:
    """Without the small change of what is the same: `し` in two sentences that share nothing else.
    Line ends stay, since they show where one is."""
    merged: list[_Stretch] = []
    for place, stretch in enumerate(stretches):
        following = stretches[place + 1] if place + 1 < len(stretches) else None
        if merged and not merged[-1].same and _is_chance(stretch, merged[-1], following):
            merged[-1] = _joined(merged[-1], stretch)
        else:
            merged.append(stretch)
    return merged


def _is_chance(stretch: _Stretch, before: _Stretch, following: _Stretch | None) -> bool:
    """Whether a stretch belongs to the change before it."""
    if not stretch.same or following is None:
        return not stretch.same
    small = stretch.size <= min(_SMALL, before.size, following.size)
    return small and "\n" not in stretch.old


def _joined(one: _Stretch, other: _Stretch) -> _Stretch:
    return _Stretch(False, one.old + other.old, one.new + other.new)


def _lines(stretches: list[_Stretch]) -> Iterator[DiffLine]:
    for stretch in stretches:
        if stretch.same:
            yield DiffLine("same", stretch.old)
            continue
        if stretch.old:
            yield DiffLine("removed", stretch.old)
        if stretch.new:
            yield DiffLine("added", stretch.new)
