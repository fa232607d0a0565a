"""JSON in the words of a page: what settings, verdicts and findings hold, without its marks.

In: a JSON value. Out: one line of it. `templates/values.html.jinja` lays larger ones out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_DEEPEST = 8


def in_words(value: Any, depth: int = 0) -> str:
    """A value as a line: words as they are, yes and no, `name: value; name: value`, `a, b, c`."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if not isinstance(value, Mapping | Sequence):
        return "none" if value is None else str(value)
    if not value:
        return "none"
    if depth == _DEEPEST:
        return "…"
    if isinstance(value, Mapping):
        parts = [f"{key}: {_inner(held, depth)}" for key, held in value.items()]
        return "; ".join(parts)
    return ", ".join(_inner(held, depth) for held in value)


def _inner(value: Any, depth: int) -> str:
    """Inside another value, brackets tell where one with several parts begins and ends."""
    words = in_words(value, depth + 1)
    several = (
        isinstance(value, Mapping | Sequence) and not isinstance(value, str) and len(value) > 1
    )
    return f"({words})" if several else words
