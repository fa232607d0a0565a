"""The acceptable queries in one cell of a benchmark file.

A cell holds queries separated by semicolons; any of them is right. A query may name columns in
braces, as defog's sql-eval does: `SELECT {id, name} …` accepts any of them, alone or together, and
an empty `{}` further on (in GROUP BY) stands for what was chosen.
"""

from __future__ import annotations

import itertools

from evaluation.sql.tokens import statements, tokens

_MOST_QUERIES = 64


def gold_queries(cell: str) -> tuple[str, ...]:
    """The queries of `cell`, in its order, each once; empty where there is none.

    Of a query with more choices than 64, the first 64 are taken.
    """
    found = {query: None for part in statements(cell) for query in _chosen(part)}
    return tuple(found)


def _chosen(query: str) -> list[str]:
    places = [token for token in tokens(query) if token.text in ("{", "}")]
    groups = list(zip(places[::2], places[1::2], strict=False))
    if not groups or any((a.text, b.text) != ("{", "}") for a, b in groups):
        return [query]
    pieces, last = [], 0
    for opening, closing in groups:
        pieces.append(query[last : opening.start])
        last = closing.end
    rest = query[last:]
    choices = [_subsets(query[a.end : b.start]) for a, b in groups]
    made = []
    for choice in itertools.islice(itertools.product(*choices), _MOST_QUERIES):
        first = next((each for each in choice if each), "")
        text = "".join(
            piece + (each or _without_aliases(first))
            for piece, each in zip(pieces, choice, strict=True)
        )
        made.append(text + rest)
    return made


def _subsets(columns: str) -> list[str]:
    names = _split(columns)
    if not names:
        return [""]
    sizes = range(1, len(names) + 1)
    return [", ".join(each) for size in sizes for each in itertools.combinations(names, size)]


def _split(columns: str) -> list[str]:
    """Cuts at the commas that lie in no parentheses."""
    parts, depth, start = [], 0, 0
    for token in tokens(columns):
        depth += {"(": 1, ")": -1}.get(token.text, 0)
        if token.text == "," and depth == 0:
            parts.append(columns[start : token.start].strip())
            start = token.end
    return [*parts, columns[start:].strip()] if columns.strip() else []


def _without_aliases(columns: str) -> str:
    kept = []
    for column in _split(columns):
        alias = next((t for t in tokens(column) if t.text.upper() == "AS"), None)
        kept.append(column[: alias.start].strip() if alias else column)
    return ", ".join(kept)
