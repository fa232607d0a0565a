"""The one writer: units of work go in from the event loop, batched transactions go to the database.

A unit is a list of row changes that are committed together. Units are committed in the order in
which they were submitted, so what is in the database is at every moment a prefix of what happened;
after `kill -9` nothing refers to something that was lost. A thread gathers units for a moment
(`linger_s`), groups their rows by table, and commits. Its first error stops it: everything later
is refused with that error, and the run stops with what was committed intact.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from sqlalchemy import Connection, Table, bindparam
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import SQLModel

from common.errors import StillhouseError
from storage.database import Database
from storage.errors import StorageError
from storage.tables import table_of

Operation = Literal["insert", "upsert", "patch", "clear"]


class Change(NamedTuple):
    """One row's change. `insert` leaves an existing row alone, `upsert` replaces it whole, `patch`
    sets only the columns given (the primary key must be among them). `clear` deletes the rows that
    have the values given; it is made before all else in its batch, so it is for what an earlier run
    has written."""

    operation: Operation
    table: type[SQLModel]
    row: dict[str, Any]


class _Marker(NamedTuple):
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[None]


class Writer:
    """Commits units of work in batches. Use as an async context manager around a run.

    Args:
        database: where to write.
        linger_s: how long a batch gathers; what a killed process may lose of finished work.
        high_water: how many waiting units make `room` wait.
    """

    def __init__(
        self, database: Database, *, linger_s: float = 0.05, high_water: int = 4000
    ) -> None:
        self._database = database
        self._linger_s = linger_s
        self._high_water = high_water
        self._queue: list[Sequence[Change] | _Marker] = []
        self._condition = threading.Condition()
        self._closing = False
        self._thread: threading.Thread | None = None
        self.error: StillhouseError | None = None
        self.failed = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._statements: dict[Any, Any] = {}

    async def __aenter__(self) -> Writer:
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._work, name="corpus-writer", daemon=True)
        self._thread.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        with self._condition:
            self._closing = True
            self._condition.notify()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)

    def submit(self, changes: Sequence[Change]) -> None:
        """Queues one unit; raises the writer's error if it has stopped."""
        if self.error is not None:
            raise self.error
        with self._condition:
            self._queue.append(changes)
            if len(self._queue) == 1:
                self._condition.notify()

    async def flush(self) -> None:
        """Returns when everything submitted so far is committed."""
        loop = asyncio.get_running_loop()
        marker = _Marker(loop, loop.create_future())
        with self._condition:
            if self.error is not None:
                raise self.error
            self._queue.append(marker)
            self._condition.notify()
        await marker.future

    async def room(self) -> None:
        """Waits while the database is far behind, so that memory stays bounded."""
        if len(self._queue) > self._high_water:
            await self.flush()

    def _work(self) -> None:
        try:
            self._work_until_closed()
        finally:
            # Even a fault of this class must not leave anyone waiting.
            with self._condition:
                left, self._queue = self._queue, []
            _settle_all(left, self.error)

    def _work_until_closed(self) -> None:
        while True:
            with self._condition:
                while not self._queue and not self._closing:
                    self._condition.wait()
                if not self._queue and self._closing:
                    return
                urgent = self._closing or isinstance(self._queue[-1], _Marker)
            if not urgent:
                time.sleep(self._linger_s)
            with self._condition:
                batch, self._queue = self._queue, []
            self._commit(batch)

    def _commit(self, batch: list[Sequence[Change] | _Marker]) -> None:
        changes = [change for unit in batch if not isinstance(unit, _Marker) for change in unit]
        try:
            if self.error is None and changes:
                error: StillhouseError | None = _faulty()
                try:
                    with self._database.write() as connection:
                        self._apply(connection, changes)
                    error = None
                except StillhouseError as refused:
                    error = refused
                finally:
                    if error is not None:
                        self._stop(error)
        finally:
            _settle_all(batch, self.error)

    def _stop(self, error: StillhouseError) -> None:
        with self._condition:
            self.error = error
        assert self._loop is not None, "the thread is started where there is a loop"
        self._loop.call_soon_threadsafe(self.failed.set)

    def _apply(self, connection: Connection, changes: list[Change]) -> None:
        """Makes all changes, grouped by table; a row that was patched is written over only after
        its patch."""
        part: list[Change] = []
        patched: set[tuple[type[SQLModel], Any]] = set()
        for change in changes:
            if change.operation == "clear":
                statement = self._clear_statement(change.table, tuple(change.row))
                connection.execute(statement, change.row)
        for change in changes:
            if change.operation == "clear":
                continue
            owner = (change.table, _key_of(change))
            if change.operation == "patch":
                patched.add(owner)
            elif owner in patched:
                self._apply_part(connection, part)
                part, patched = [], set()
            part.append(change)
        self._apply_part(connection, part)

    def _apply_part(self, connection: Connection, changes: list[Change]) -> None:
        rows: dict[tuple[type[SQLModel], Operation], dict[Any, dict[str, Any]]] = {}
        patches: list[Change] = []
        for change in changes:
            if change.operation == "patch":
                patches.append(change)
                continue
            group = rows.setdefault((change.table, change.operation), {})
            key = _key_of(change)
            if change.operation == "upsert" or key not in group:
                group[key] = _storable(change.row)
        order = {table.name: n for n, table in enumerate(SQLModel.metadata.sorted_tables)}
        for (table, operation), group in sorted(
            rows.items(), key=lambda item: order[_table(item[0][0]).name]
        ):
            connection.execute(self._statement(operation, table), list(group.values()))
        self._apply_patches(connection, patches)

    def _apply_patches(self, connection: Connection, patches: list[Change]) -> None:
        start = 0
        for end in range(1, len(patches) + 1):
            first = patches[start]
            if (
                end < len(patches)
                and patches[end].table is first.table
                and patches[end].row.keys() == first.row.keys()
            ):
                continue
            keys = _primary_key(first.table)
            statement = self._patch_statement(first.table, tuple(first.row))
            parameters = [
                {
                    f"pk_{name}" if name in keys else name: value
                    for name, value in _storable(p.row).items()
                }
                for p in patches[start:end]
            ]
            connection.execute(statement, parameters)
            start = end

    def _statement(self, operation: Operation, model: type[SQLModel]) -> Any:
        cached = self._statements.get((operation, model))
        if cached is not None:
            return cached
        table = _table(model)
        insert = sqlite.insert if self._database.is_sqlite else postgresql.insert
        statement: Any = insert(table)
        keys = _primary_key(model)
        if operation == "insert":
            statement = statement.on_conflict_do_nothing(index_elements=list(keys))
        else:
            statement = statement.on_conflict_do_update(
                index_elements=list(keys),
                set_={
                    column.name: statement.excluded[column.name]
                    for column in table.columns
                    if column.name not in (*keys, "created_at")
                },
            )
        self._statements[operation, model] = statement
        return statement

    def _clear_statement(self, model: type[SQLModel], names: tuple[str, ...]) -> Any:
        cached = self._statements.get(("clear", model, names))
        if cached is not None:
            return cached
        table = _table(model)
        statement = table.delete().where(*(table.c[name] == bindparam(name) for name in names))
        self._statements["clear", model, names] = statement
        return statement

    def _patch_statement(self, model: type[SQLModel], names: tuple[str, ...]) -> Any:
        cached = self._statements.get((model, names))
        if cached is not None:
            return cached
        table = _table(model)
        keys = _primary_key(model)
        statement = table.update().values(
            {name: bindparam(name) for name in names if name not in keys}
        )
        for name in keys:
            statement = statement.where(table.c[name] == bindparam(f"pk_{name}"))
        self._statements[model, names] = statement
        return statement


def _faulty() -> StorageError:
    return StorageError(
        "The corpus writer met a fault of its own.",
        cause="It could not make sense of a change; the traceback says which.",
        solution="Everything committed before is intact; please report the traceback.",
    )


def _settle_all(batch: Sequence[Sequence[Change] | _Marker], error: StillhouseError | None) -> None:
    for unit in batch:
        if isinstance(unit, _Marker):
            unit.loop.call_soon_threadsafe(_settle, unit.future, error)


def _settle(future: asyncio.Future[None], error: StillhouseError | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)


def _table(model: type[SQLModel]) -> Table:
    table = table_of(model)
    assert isinstance(table, Table)
    return table


_PRIMARY_KEYS: dict[type[SQLModel], tuple[str, ...]] = {}


def _primary_key(model: type[SQLModel]) -> tuple[str, ...]:
    keys = _PRIMARY_KEYS.get(model)
    if keys is None:
        keys = tuple(column.name for column in _table(model).primary_key.columns)
        _PRIMARY_KEYS[model] = keys
    return keys


def _key_of(change: Change) -> tuple[Any, ...]:
    return tuple(change.row[name] for name in _primary_key(change.table))


def _storable(row: dict[str, Any]) -> dict[str, Any]:
    """The row with NUL characters replaced: PostgreSQL's text has no place for them, and SQLite's
    functions stop at them."""
    if not any(type(value) is str and "\0" in value for value in row.values()):
        return row
    return {
        name: value.replace("\0", "\ufffd") if isinstance(value, str) else value
        for name, value in row.items()
    }


def row_of(model: SQLModel) -> dict[str, Any]:
    """Every column of a row, as the writer takes it."""
    return {column.name: getattr(model, column.name) for column in _table(type(model)).columns}
