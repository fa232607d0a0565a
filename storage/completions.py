"""The request cache: which completions the corpus holds, and reading one.

The keys' first 64 bits of every held completion are kept in memory (8 bytes each), so that a
request the corpus surely does not know costs no query; only a likely hit reads the row.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from sqlalchemy import select

from common.compact_set import CompactSet
from storage.database import Database
from storage.tables import Completion, table_of
from storage.writer import Writer

T = TypeVar("T")


def _prefix(key: str) -> int:
    return int(key[:16], 16)


class CompletionShelf:
    """The completions held by one corpus; `added` tells it of new ones while a run goes on."""

    def __init__(self, database: Database) -> None:
        self._database = database
        with database.read() as connection:
            keys = connection.execution_options(yield_per=10_000).execute(select(_COLUMNS.key))
            self._held = CompactSet(_prefix(key) for (key,) in keys)

    def may_hold(self, key: str) -> bool:
        """False only when no completion is held under this key."""
        return _prefix(key) in self._held

    def added(self, key: str) -> None:
        """A completion was submitted to the writer under this key."""
        self._held.add(_prefix(key))

    def read(self, key: str) -> dict[str, Any] | None:
        """The row, or None (a prefix can coincide)."""
        with self._database.read() as connection:
            row = connection.execute(select(_TABLE).where(_COLUMNS.key == key)).mappings().first()
            return dict(row) if row is not None else None


class RequestCache(Generic[T]):
    """Implements `teachers.gateway.CompletionCache` on the corpus database.

    Args:
        shelf: the completions that are there.
        writer: what a completion may still be on its way through.
        completion_of: makes the engine's completion of a row.
    """

    def __init__(
        self,
        shelf: CompletionShelf,
        writer: Writer,
        completion_of: Callable[[Mapping[str, Any]], T],
    ) -> None:
        self._shelf = shelf
        self._writer = writer
        self._completion_of = completion_of

    def may_hold(self, key: str) -> bool:
        """False only when the corpus surely has no completion under this key."""
        return self._shelf.may_hold(key)

    def added(self, key: str) -> None:
        """A completion was submitted to the writer."""
        self._shelf.added(key)

    async def get(self, key: str) -> T | None:
        """Reads the completion; one that was only just submitted is waited for."""
        row = await asyncio.to_thread(self._shelf.read, key)
        if row is None:
            await self._writer.flush()
            row = await asyncio.to_thread(self._shelf.read, key)
        return self._completion_of(row) if row is not None else None


_TABLE = table_of(Completion)
_COLUMNS = _TABLE.c
