"""Tokens arranged for a page: each by the teacher's probability of it, and what else it thought of.

In: the log-probabilities that came with an answer, or a teacher's captured rows. Out: one
`TokensView` for both, whose figures are words already.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from common.teacher_tokens import Stretch, TeacherText, TokenRow
from storage.answer_tokens import AnswerToken

MOST = 2000
"""Tokens that a page shows of one text."""

# From a token that the teacher would hardly have chosen to one that it was sure of.
_STEPS = ((0.02, "p0"), (0.1, "p1"), (0.3, "p2"), (0.6, "p3"), (0.9, "p4"))
_SURE, _OUTSIDE = "p5", "out"


@dataclass(frozen=True, slots=True)
class RowView:
    """One token: how it is written, its probability at each temperature, the likeliest tokens in
    its place with theirs, and what all others have together."""

    token: str
    shares: tuple[str, ...]
    choices: tuple[str, ...]
    rest: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TokenView:
    """Words that one token, or a few together, make up. `step` is the class that marks them: `p0`
    (hardly ever chosen) to `p5` (sure), `out` where one was none of the teacher's likeliest."""

    text: str
    step: str
    rows: tuple[RowView, ...]
    gap: bool = False


@dataclass(frozen=True, slots=True)
class TokensView:
    """A text's tokens. `columns` name the temperatures that each row has figures for; `rest` says
    whether rows have one; `total` is how many tokens there are, shown or not."""

    tokens: tuple[TokenView, ...]
    columns: tuple[str, ...]
    rest: bool
    total: int

    @property
    def shown(self) -> int:
        """How many are shown."""
        return sum(len(token.rows) for token in self.tokens)


def answer_view(tokens: Sequence[AnswerToken]) -> TokensView | None:
    """The tokens of an answer; None where there are none."""
    if not tokens:
        return None
    views = tuple(
        TokenView(
            text=_running(token.text),
            step=_step(_chance(token.logprob)),
            rows=(
                RowView(
                    token=repr(token.text),
                    shares=(_share(_chance(token.logprob)),),
                    choices=tuple(
                        f"{_share(_chance(logprob))} {text!r}" for text, logprob in token.likeliest
                    ),
                    rest=(),
                ),
            ),
        )
        for token in tokens[:MOST]
    )
    return TokensView(views, ("probability",), False, len(tokens))


def captured_view(text: TeacherText) -> TokensView:
    """A teacher's rows. Words of several tokens are marked by the product of their chances at
    T = 1: what the teacher gives to these words, cut like this."""
    drawn = text.kind == "sampled"
    columns = ("share of the draws",) if drawn else tuple(f"T = {t:g}" for t in text.temperatures)
    views = tuple(
        TokenView(
            text=_running(stretch.words),
            step=_stretch_step(stretch),
            rows=tuple(_row_view(row, drawn) for row in stretch.rows),
            gap=stretch.gap,
        )
        for stretch in text.stretches
    )
    return TokensView(views, columns, not drawn, text.tokens)


def _stretch_step(stretch: Stretch) -> str:
    chance = 1.0
    for row in stretch.rows:
        if row.place is None:
            return _OUTSIDE
        chance *= row.choices[row.place].chances[0]
    return _step(chance)


def _row_view(row: TokenRow, drawn: bool) -> RowView:
    if row.place is not None:
        shares = tuple(map(_share, row.choices[row.place].chances))
    elif drawn:
        shares = ("not drawn",)
    else:
        # It is no likelier than the last of the likeliest, nor than all the others together.
        last = row.choices[-1].chances
        shares = tuple(f"≤ {_share(min(pair))}" for pair in zip(last, row.rest, strict=True))
    return RowView(
        token=repr(row.words),
        shares=shares,
        choices=tuple(
            f"{' · '.join(map(_share, choice.chances))} {choice.words!r}" for choice in row.choices
        ),
        rest=() if drawn else tuple(map(_share, row.rest)),
    )


def _running(words: str) -> str:
    """Line ends get a sign, else there would be nothing to point at."""
    return words.replace("\n", "↵\n")


def _step(chance: float) -> str:
    return next((step for bound, step in _STEPS if chance < bound), _SURE)


def _chance(logprob: float) -> float:
    return math.exp(min(logprob, 0.0))


def _share(chance: float) -> str:
    return "< 0.01 %" if 0 < chance < 0.00005 else f"{100 * chance:.2f} %"
