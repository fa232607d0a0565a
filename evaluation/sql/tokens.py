"""Cuts SQL text into tokens, well enough for queries that are unfinished or wrong.

Text goes in, tokens with their places come out; nothing is rejected: an unclosed string runs to the
end. Cutting a query, finding the prefix that an answer repeats, counting keystrokes and seeing that
there is one statement only all use these tokens. Names may be in any script.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_TOKEN = re.compile(
    r"""
    (?P<comment> --[^\n]* | /\*.*?(?:\*/|\Z) )
  | (?P<dollar> \$(?P<tag>[^\W\d]\w*)?\$ .*? (?:\$(?P=tag)?\$|\Z) )
  | (?P<string> [eE]?'(?:[^']|'')*(?:'|\Z) )
  | (?P<quoted> "(?:[^"]|"")*(?:"|\Z) | `[^`]*(?:`|\Z) | \[[^\[\]\n]*\] )
  | (?P<number> (?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)? )
  | (?P<word> [^\W\d][\w$]* )
  | (?P<operator> <=>|<>|<=|>=|!=|==|\|\||::|->>|->|<<|>> )
  | (?P<other> \S )
    """,
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Token:
    """One token: its kind (`word`, `string`, `quoted`, `number`, `operator`, `other`), its text and
    where it lies in the query, in characters."""

    kind: str
    text: str
    start: int
    end: int

    @property
    def same_as(self) -> str:
        """What two tokens share that a database takes for the same: case counts in quotes only."""
        return self.text if self.kind in ("string", "quoted", "dollar") else self.text.casefold()


def tokens(query: str, *, comments: bool = False) -> list[Token]:
    """The tokens of `query` in order; comments are left out unless asked for."""
    found = []
    for match in _TOKEN.finditer(query):
        kind = match.lastgroup or "other"
        if kind == "tag":
            kind = "dollar"
        if comments or kind != "comment":
            found.append(Token(kind, match[0], match.start(), match.end()))
    return found


def statements(query: str) -> list[str]:
    """`query` cut at its semicolons, those in strings and comments aside; empty parts are left out.

    Comments at the ends are dropped with the blanks.
    """
    parts: list[str] = []
    first: int | None = None
    last = 0
    for token in tokens(query):
        if token.text == ";":
            if first is not None:
                parts.append(query[first:last])
            first = None
            continue
        first, last = token.start if first is None else first, token.end
    if first is not None:
        parts.append(query[first:last])
    return parts


def settled(query: str) -> str:
    """`query` with every run of blanks outside quotes as one space, none at the ends, no comments
    and no final semicolon: the text whose characters count as keystrokes."""
    pieces: list[str] = []
    end: int | None = None
    for token in tokens(query.strip()):
        # A comment between two tokens separates them as a blank does.
        if end is not None and token.start > end:
            pieces.append(" ")
        pieces.append(token.text)
        end = token.end
    while pieces and pieces[-1] in (";", " "):
        pieces.pop()
    return "".join(pieces)
