"""One row's columns and the values in them: what is text, what is not, what JSON can keep.

A dictionary as a file's format gave it goes in; checked text and plain JSON values come out. A
value of the wrong kind raises `RowUnusable`, which the reader turns into a `BadRow`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from graph.seeds.options import FieldName, Fields

_SURROGATE = re.compile("[\ud800-\udfff]")
_LARGEST_INTEGER = 1 << 63
_MAY_BE_NUMBERS = ("input", "reference")


class RowUnusable(Exception):
    """Why a row holds no seed, and what to do about it."""

    def __init__(self, problem: str, solution: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.solution = solution


class Columns:
    """A row's columns under the names a user mapped them to, and which of them were taken."""

    def __init__(self, values: Mapping[str, Any], names: Fields) -> None:
        self._values = values
        self._names = names
        self._taken: set[str] = set()

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def names(self) -> list[str]:
        """The columns' names, in the row's order."""
        return [str(name) for name in self._values]

    def column(self, name: str) -> Any:
        """The value of one column, which no longer counts among the `rest`."""
        self._taken.add(name)
        return self._values.get(name)

    def _find(self, field: FieldName, candidates: tuple[str, ...]) -> tuple[str, Any] | None:
        """Name and value of the column for `field` that has a value: the mapped one, else the
        first of the candidates."""
        if field in self._names:
            candidates = (self._names[field],)
        for name in candidates:
            value = self._values.get(name)
            if value is not None and value != "" and not _is_nan(value):
                return name, value
        return None

    def text(self, field: FieldName, candidates: tuple[str, ...]) -> str | None:
        """The text for `field`. Raises RowUnusable where the value is of another kind."""
        found = self._find(field, candidates)
        return as_text(self.column(found[0]), field) if found else None

    def word(self, field: FieldName, candidates: tuple[str, ...]) -> str | None:
        """Like `text` for a short label; a value of another kind is left among the `rest`."""
        found = self._find(field, candidates)
        if found is None or not isinstance(found[1], str):
            return None
        return as_text(self.column(found[0]), field)

    def rest(self) -> dict[str, Any]:
        """The columns that nothing took and that hold something, as plain JSON values."""
        kept = {str(k): as_plain(v) for k, v in self._values.items() if k not in self._taken}
        return {name: value for name, value in kept.items() if value not in (None, "")}


def as_text(value: object, field: str) -> str | None:
    """Text as it stands, None as None, and a number as text in an input or a reference.

    Raises:
        RowUnusable: another kind of value, or text that no database can store.
    """
    if value is None:
        return None
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if number and field in _MAY_BE_NUMBERS:
        return str(value)
    if not isinstance(value, str):
        raise RowUnusable(
            f"the {field} is {kind_of(value)}, not text",
            f"Write the {field} as a string, or map another column to it under `fields`.",
        )
    if _SURROGATE.search(value):
        raise RowUnusable(
            f"the {field} holds bytes that are not UTF-8, or half of a surrogate pair",
            "Save the file as UTF-8; where it is in another encoding, convert it with iconv.",
        )
    if "\0" in value:
        raise RowUnusable(
            f"the {field} holds a NUL character, which no database stores as text",
            "Take the character out.",
        )
    return value


def as_plain(value: object) -> Any:
    """`value` as JSON and every database can keep it; None for what has no plain form."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return value.replace("\0", "").encode(errors="replace").decode()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, int):
        return value if -_LARGEST_INTEGER <= value < _LARGEST_INTEGER else str(value)
    if isinstance(value, Mapping):
        return {str(as_plain(str(key))): as_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_plain(item) for item in value]
    return value.isoformat() if hasattr(value, "isoformat") else None


def kind_of(value: object) -> str:
    """What a JSON value is, in words: `a list`, `an object`, …"""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "text"
    if isinstance(value, Mapping):
        return "an object"
    return "a list" if isinstance(value, list | tuple) else f"a {type(value).__name__}"


def _is_nan(value: object) -> bool:
    return isinstance(value, float) and math.isnan(value)
