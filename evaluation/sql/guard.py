"""Tells one query that only reads from everything else, before a database sees it.

The databases refuse by themselves whatever would write (see `sqlite_reader`, `postgres_reader`);
this names the reason in plain words, and never lets a second statement through.
"""

from __future__ import annotations

from evaluation.sql.tokens import statements, tokens

_BEGINNINGS = ("SELECT", "WITH", "VALUES")
_WRITES = frozenset({"INSERT", "UPDATE", "DELETE", "MERGE"})
_MOST_CHARACTERS = 20_000


def why_refused(query: str) -> str | None:
    """The reason why `query` is not run; None where it is one statement that reads."""
    if len(query) > _MOST_CHARACTERS:
        return f"It has more than {_MOST_CHARACTERS} characters."
    if "\0" in query:
        return "It holds a NUL character."
    parts = statements(query)
    if not parts:
        return "There is no statement."
    if len(parts) > 1:
        return f"There are {len(parts)} statements."
    found = [token for token in tokens(parts[0]) if token.text != "("]
    first = found[0].text.upper() if found else ""
    if first not in _BEGINNINGS:
        return f"A statement that begins with {first or '('} does not only read."
    return _writing(parts[0])


def _writing(query: str) -> str | None:
    """A data-modifying common table expression: the word stands first inside parentheses, or where
    the main statement of a WITH begins."""
    before = ""
    for token in tokens(query):
        word = token.text.upper() if token.kind == "word" else token.text
        if word in _WRITES and before in ("(", ")"):
            return f"It holds a {word}."
        before = word
    return None


def one_statement(query: str) -> str:
    """The single statement of a query that `why_refused` lets through, without its semicolon."""
    return statements(query)[0]
