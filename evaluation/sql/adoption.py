"""How much typing a model's suggestions save, by replaying a gold query.

The replay. The user means to write the gold query (as `settled` writes it) and types it character
by character, one keystroke each. At every cut the editor shows the model's suggestion. Compared
token by token with what is left to type (case counts inside quotes only, blanks do not count), the
suggestion is right for its first m tokens. Accepting them is one keystroke and puts the user behind
the m-th token; the user does so where that saves anything. A suggestion that is wrong from its
first token is looked at and costs nothing. A cut that was jumped over shows nothing.

    adoption rate = Σ (characters that accepting put in − 1) / Σ characters behind the first cut

summed over all gold queries, so it lies in [0, 1). The strict rate lets the user accept only
suggestions that are right to their last token, as an editor that knows no partial acceptance does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from evaluation.sql.tokens import tokens

ACCEPTING = 1
"""Keystrokes."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A suggestion as the editor shows it, `at` so many characters into the gold; None: nothing."""

    at: int
    suggestion: str | None


@dataclass(frozen=True, slots=True)
class Replay:
    """One gold query typed: keystrokes left behind the first cut, saved of them, how many cuts
    were seen and at how many of them the suggestion was accepted."""

    remaining: int
    saved: int
    seen: int
    accepted: int


def right_characters(gold: str, at: int, suggestion: str | None, *, strict: bool = False) -> int:
    """How many characters of `gold` behind `at` accepting the suggestion puts in.

    Args:
        gold: the settled gold query.
        at: where the user stands, in characters.
        suggestion: what the model would put there.
        strict: whether it has to be right to its last token.
    """
    left = tokens(gold[at:])
    given = tokens(suggestion or "")
    right = 0
    for wanted, offered in zip(left, given, strict=False):
        if wanted.same_as != offered.same_as:
            break
        right += 1
    if right == 0 or (strict and right < len(given)):
        return 0
    return left[right - 1].end


def replay(gold: str, shown: Sequence[Shown], *, strict: bool = False) -> Replay:
    """Types `gold`, settled, past the suggestions in `shown`."""
    points = sorted(shown, key=lambda each: each.at)
    if not points:
        return Replay(0, 0, 0, 0)
    place, saved, seen, accepted = 0, 0, 0, 0
    for point in points:
        if point.at < place:
            continue
        seen += 1
        gained = right_characters(gold, point.at, point.suggestion, strict=strict)
        place = point.at
        if gained > ACCEPTING:
            saved += gained - ACCEPTING
            accepted += 1
            place += gained
    return Replay(len(gold) - points[0].at, saved, seen, accepted)
