"""A place in an ordered list of samples, and how to read on from there (keyset pagination).

In: a column to order by, and the place after which to go on. Out: the next identifiers, read
through that column's index; and a place as text for an address. Samples without a value come last.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import ColumnElement, Connection, and_, literal, select, tuple_

from storage.corpus import sample_t
from storage.errors import StorageError

_c = sample_t.c


class BadCursor(StorageError):
    """A page's address names no place in this order."""

    code = "bad_cursor"


@dataclass(frozen=True, slots=True)
class Place:
    """After which sample to go on; `value` is None among those that have none."""

    value: Any
    id: str


@dataclass(frozen=True)
class Order:
    """One order of all samples: by `key`, then by identifier; those without a key last."""

    key: Any
    has_nulls: bool
    descending: bool

    def windows(
        self,
        connection: Connection,
        place: Place | None,
        size: int,
        conditions: Sequence[ColumnElement[bool]] = (),
    ) -> Iterator[list[Place]]:
        """The next samples after `place`: those with a key, then those without; at most `size` of
        each kind."""
        if place is None or place.value is not None:
            found = self._read(connection, place, size, conditions, nulls=False)
            yield found
            if len(found) == size or not self.has_nulls:
                return
            place = None
        yield self._read(connection, place, size, conditions, nulls=True)

    def _read(
        self,
        connection: Connection,
        place: Place | None,
        size: int,
        conditions: Sequence[ColumnElement[bool]],
        nulls: bool,
    ) -> list[Place]:
        key, identifier = self.key, _c.id
        query = select(identifier) if nulls else select(identifier, key.label("key"))
        wanted = list(conditions)
        if self.has_nulls:
            wanted.append(key.is_(None) if nulls else key.is_not(None))
        keys = (identifier,) if nulls else (key, identifier)
        if place is not None:
            left, right = (identifier, place.id) if nulls else (
                tuple_(*keys), tuple_(literal(place.value, key.type), place.id))  # fmt: skip
            wanted.append(left < right if self.descending else left > right)
        query = query.where(and_(True, *wanted)).order_by(
            *(part.desc() if self.descending else part.asc() for part in keys)
        )
        rows = connection.execute(query.limit(size))
        return [Place(None if nulls else row[1], row[0]) for row in rows]


def written(place: Place) -> str:
    """The place as text for an address."""
    text = orjson.dumps([place.value, place.id], option=orjson.OPT_NAIVE_UTC)
    return base64.urlsafe_b64encode(text).decode().rstrip("=")


def _is_beyond(value: Any) -> bool:
    """Whether it is a number that no database column holds."""
    return isinstance(value, int) and not -(2**63) <= value < 2**63


def read_place(text: str, kind: type) -> Place:
    """The place that `written` made into text; its value is of this kind, or None.

    Raises:
        BadCursor: the text says no such thing.
    """
    try:
        value, id = orjson.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        if value is not None and kind is datetime:
            value = datetime.fromisoformat(value)
        is_known = value is None or (type(value) is kind and not _is_beyond(value))
        if isinstance(id, str) and "\0" not in id and is_known:
            return Place(value, id)
    except (ValueError, TypeError, binascii.Error, orjson.JSONDecodeError):
        pass
    raise BadCursor(
        "This address names no place in the list.",
        cause="Its part 'after' is not one that a page of this order gave.",
        solution="Begin at the first page.",
    )
