"""Where a query is cut into what the user has typed and what is left.

A gold query goes in, cuts come out, always the same ones: at the end of the last token that lies
wholly within a fraction of the query's characters, but behind its first token and before its last.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from evaluation.sql.tokens import settled, tokens

FRACTIONS = (0.25, 0.5, 0.75)


@dataclass(frozen=True, slots=True)
class Cut:
    """One cut: `typed` is the query's first `at` characters. `fraction` is the one asked for."""

    fraction: float
    at: int
    typed: str


def cuts(query: str, fractions: Sequence[float] = FRACTIONS) -> list[Cut]:
    """The cuts of `query` (as `settled` writes it) at each fraction, those at one place once.

    Fraction 0 is an empty editor: everything is left to write.
    """
    text = settled(query)
    ends = [token.end for token in tokens(text)][:-1]
    found: dict[int, Cut] = {}
    for fraction in sorted(fractions):
        within = [end for end in ends if end <= fraction * len(text)]
        at = 0 if fraction == 0 or not ends else (within or ends[:1])[-1]
        found.setdefault(at, Cut(fraction, at, text[:at]))
    return list(found.values())


def cut_at(query: str, prefix: str) -> Cut | None:
    """The cut behind `prefix`; None where `query` does not begin with it, token by token."""
    text, typed = settled(query), settled(prefix)
    known, given = tokens(text), tokens(typed)
    same = len(given) < len(known) and all(
        one.same_as == other.same_as for one, other in zip(known, given, strict=False)
    )
    if not same:
        return None
    at = known[len(given) - 1].end if given else 0
    return Cut(round(at / len(text), 2), at, text[:at])
