"""Makes text of seeds and models safe to read: what cannot be seen, or turns words round, is named.

A character that a browser would draw as nothing, or that changes the order in which others are
drawn, comes out as its code point between brackets, ⟦U+202E⟧. That holds in running text as in
attributes, and nothing is taken away silently. Escaping for HTML is the template engine's work.
"""

from __future__ import annotations

import re

_LINE_END = re.compile("\r\n")
# Controls but for line feed and tab; soft hyphen, joiners and marks of direction; separators that
# browsers break no line at; fillers without ink; tags; half characters; private use.
_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    "\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164\ue000-\uf8ff\ufeff\uffa0\ufff0-\uffff"
    "\U00013430-\U0001345f\U00016fe4\U0001bca0-\U0001bca3\U0001d159\U0001d173-\U0001d17a"
    "\U000e0000-\U000e00ff\U000e01f0-\U000e0fff\U000f0000-\U0010ffff\ud800-\udfff]"
    # One variation selector chooses a shape (emoji, a name's letter); a row of them is a message.
    "|(?<=[\ufe00-\ufe0f\U000e0100-\U000e01ef])[\ufe00-\ufe0f\U000e0100-\U000e01ef]"
)
# Where joiners belong to the writing: inside an emoji, and between letters of scripts that join.
_JOINING = re.compile(
    "(?<=[\u00a9-\u3299\ufe0f\U0001f000-\U0001faff])\u200d(?=[\u2190-\u2bff\U0001f000-\U0001faff])"
    "|(?<=[\u0600-\u08ff\u0900-\u0dff])[\u200c\u200d](?=[\u0600-\u08ff\u0900-\u0dff])"
)


class Exact(str):
    """Text that must reach the page unchanged (a form's field that is edited); still escaped."""


def visible(text: str) -> str:
    """`text` with everything that hides named; line ends become line feeds."""
    text = _LINE_END.sub("\n", text)
    if not _HIDDEN.search(text):
        return text
    kept = {match.start() for match in _JOINING.finditer(text)}
    return _HIDDEN.sub(
        lambda m: m[0] if m.start() in kept else f"⟦U+{ord(m[0]):04X}⟧",
        text,
    )


def encodable(text: str) -> str:
    """`text` with half characters, which no encoding has, as replacement characters."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
