"""Puts words back together in text whose characters or words were separated by spaces.

LCCD writes `我 用 S E E D . 2 4 小 时`. Chinese needs no spaces, so those go. A run of other tokens
(letters, digits, ASCII punctuation) that are all single characters was spelled out, so it is
joined: `SEED.24`. A run with a longer token in it has real words, so its spaces stay:
`play Counter Strike`. What spelling out has lost cannot come back: `I t s   o k` gives `Itsok`.
"""

from __future__ import annotations

import re
from itertools import groupby

# Han, kana, CJK and full-width punctuation: scripts that are written without spaces. Hangul is not
# among them.
_UNSPACED = re.compile(
    "[\u2e80-\u312f\u31a0-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\ufe30-\ufe4f\uff00-\uffef\U00020000-\U0003ffff]"
)
_CLOSES = re.compile(r"[,.!?;:%)\]}]")


def join_spaced(text: str) -> str:
    """`text` with the spaces that separated its characters or segmented words removed."""
    runs = groupby(text.split(), key=lambda token: _UNSPACED.search(token) is None)
    return "".join(_join_run(list(tokens)) if other else "".join(tokens) for other, tokens in runs)


def _join_run(tokens: list[str]) -> str:
    if all(len(token) == 1 for token in tokens):
        return "".join(tokens)
    joined = tokens[0]
    for token in tokens[1:]:
        joined += token if _CLOSES.match(token) else f" {token}"
    return joined
