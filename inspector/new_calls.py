"""The calls that were written since the last look, each given once.

In: a database whose calls are only ever added to. Out: rows in pieces. SQLite numbers rows in the
order in which they were written, and a table without deletions never gives a number twice.
PostgreSQL has no such number; there calls are read in the order of their times, with an overlap in
which they are known by their identifiers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, Protocol

from sqlalchemy import String, literal_column, select, type_coerce

from storage.corpus import call_t
from storage.database import Database

OVERLAP = timedelta(seconds=5)
_PIECE = 5000
_rowid: Any = literal_column("agent_call.rowid")
_c = call_t.c
# As the driver gives them: of millions of rows, every conversion is felt.
_COLUMNS = (
    _c.recipe, _c.agent, _c.teacher, _c.model, _c.prompt_name, _c.prompt_hash, _c.prompt_version,
    type_coerce(_c.cached, String).label("cached"), _c.error_type, _c.run_id, _c.sample_id,
    _c.prompt_tokens, _c.completion_tokens, _c.cost_usd, _c.latency_s,
    type_coerce(_c.created_at, String).label("created_at"), _c.id,
)  # fmt: skip


class Call(NamedTuple):
    """One row of `agent_call`, as far as figures need it; `cached` and `created_at` are as the
    driver gives them."""

    recipe: str
    agent: str
    teacher: str
    model: str
    prompt_name: str
    prompt_hash: str
    prompt_version: str
    cached: Any
    error_type: str | None
    run_id: str
    sample_id: str | None
    prompt_tokens: int | None
    completion_tokens: int | None
    cost_usd: float | None
    latency_s: float | None
    created_at: Any
    id: str


class CallReader(Protocol):
    """Gives what is new since the last time it was asked."""

    def is_whole(self) -> bool:
        """Whether what was given so far still stands where it stood; otherwise a reader that
        begins anew is needed."""
        ...

    def pieces(self) -> Iterator[Sequence[Sequence[Any]]]:
        """The new calls; each row is as `Call`."""
        ...


def call_reader(database: Database) -> CallReader:
    """A reader that begins with the first call."""
    return _ByNumber(database) if database.is_sqlite else _ByTime(database)


class _ByNumber:
    """SQLite. A piece is read in a transaction of its own, so that a run's log can be cleared."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._last: tuple[int, str] | None = None

    def is_whole(self) -> bool:
        """VACUUM may number the rows anew."""
        if self._last is None:
            return True
        number, id = self._last
        with self._database.read() as connection:
            return connection.execute(select(_c.id).where(_rowid == number)).scalar() == id

    def pieces(self) -> Iterator[Sequence[Sequence[Any]]]:
        while True:
            after = self._last[0] if self._last else -1
            query = select(*_COLUMNS, _rowid).where(_rowid > after).order_by(_rowid).limit(_PIECE)
            with self._database.read() as connection:
                rows = connection.execute(query).all()
            if rows:
                self._last = rows[-1][-1], rows[-1].id
                yield rows
            if len(rows) < _PIECE:
                return


class _ByTime:
    """PostgreSQL. Calls are committed in the order of their times, since one run at a time writes;
    the overlap covers a clock that is put back a little. The first look reads and sorts all of
    them, later ones find theirs through the index on times. Whatever breaks off between two pieces,
    the next look goes on from there."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._latest: datetime | None = None
        self._recent: dict[str, datetime] = {}

    def is_whole(self) -> bool:
        return True

    def pieces(self) -> Iterator[Sequence[Sequence[Any]]]:
        query = select(*_COLUMNS).order_by(_c.created_at, _c.id)
        if self._latest is not None:
            query = query.where(_c.created_at >= self._latest - OVERLAP)
        with self._database.read() as connection:
            found = connection.execution_options(yield_per=_PIECE).execute(query)
            for rows in found.partitions():
                new = [row for row in rows if row.id not in self._recent]
                self._remember(new)
                yield new

    def _remember(self, rows: Sequence[Any]) -> None:
        if not rows:
            return
        last = rows[-1].created_at
        self._latest = last if self._latest is None else max(last, self._latest)
        begin = self._latest - OVERLAP
        self._recent.update((row.id, row.created_at) for row in rows)
        self._recent = {id: at for id, at in self._recent.items() if at >= begin}


def moment_of(value: Any) -> datetime:
    """A time as the driver gives it (SQLite: text, in UTC), aware."""
    at = datetime.fromisoformat(value) if isinstance(value, str) else value
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at
