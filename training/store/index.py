"""The corpus's table of teacher rows: which shard holds which sample's, written after the shard.

In: an open database and shards. Out: rows of `teacher_logprobs`, one per key. The shards say all of
it themselves, so the table may be behind (a capture killed between rename and row) and is brought
up to date by `index_shards`; training reads the shards alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select

from storage.database import Database
from storage.tables import Sample, TeacherLogprobs, table_of, utcnow
from training.store.shard import Shard

_logprobs_t = table_of(TeacherLogprobs)
_sample_t = table_of(Sample)

# SQLite binds 32,766 values at most, older builds 999.
_VALUES_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class IndexResult:
    """What happened to the entries of the shards.

    - `added`: rows that are new.
    - `moved`: rows that named another shard and now name one that was indexed.
    - `known`: entries whose rows said so already.
    - `unknown_samples`: sample ids that this database does not hold; they have no rows here.
    """

    added: int = 0
    moved: int = 0
    known: int = 0
    unknown_samples: tuple[str, ...] = ()


def index_shards(database: Database, shards: Iterable[Shard]) -> IndexResult:
    """Makes the table say where every entry of the shards lies; each shard in one transaction.

    Safe to repeat. A key that two of the shards hold keeps the row it has.

    Raises:
        StorageError: the database cannot be written.
    """
    shards = list(shards)
    names = {shard.name for shard in shards}
    results = [_index(database, shard, names) for shard in shards]
    return IndexResult(
        added=sum(result.added for result in results),
        moved=sum(result.moved for result in results),
        known=sum(result.known for result in results),
        unknown_samples=tuple(
            sorted({sample for result in results for sample in result.unknown_samples})
        ),
    )


def _index(database: Database, shard: Shard, names: set[str]) -> IndexResult:
    rows = {row["key"]: row for row in _rows(shard)}
    with database.write() as connection:
        there = _among(connection, _logprobs_t.c.key, rows, _logprobs_t.c.shard)
        wanted = {row["sample_id"] for row in rows.values()}
        held = _among(connection, _sample_t.c.id, wanted, _sample_t.c.id).keys()
        new = [row for key, row in rows.items() if key not in there and row["sample_id"] in held]
        moved = [rows[key] for key, found in there.items() if found not in names]
        if new:
            connection.execute(_logprobs_t.insert(), new)
        for row in moved:
            connection.execute(
                _logprobs_t.update().where(_logprobs_t.c.key == row["key"]).values(row)
            )
    return IndexResult(len(new), len(moved), len(there) - len(moved), tuple(sorted(wanted - held)))


def _rows(shard: Shard) -> Iterator[dict[str, Any]]:
    """One row per entry; `offset` and `length` are in teacher rows, not in bytes."""
    teacher = shard.source.teacher
    common = {
        "shard": shard.name,
        "top_k": shard.source.form.k,
        "teacher": teacher.model,
        "teacher_revision": teacher.revision,
        "engine": teacher.engine,
        "dtype": teacher.dtype,
        "tokenizer_fingerprint": shard.source.tokenizer_fingerprint,
        "template_fingerprint": shard.source.template_fingerprint,
        "created_at": utcnow(),
    }
    names = ("key", "sample_id", "token_ids_hash", "offset", "length")
    columns = (
        shard.keys(),
        shard.sample_ids(),
        shard.token_ids_hashes(),
        shard.start_M.tolist(),
        shard.length_M.tolist(),
    )
    for values in zip(*columns, strict=True):
        yield common | dict(zip(names, values, strict=True))


def _among(
    connection: Connection, column: Any, values: Iterable[str], other: Any
) -> dict[str, str]:
    """`column` → `other` for all rows whose `column` is among `values`, some values at a time."""
    listed = list(values)
    found: dict[str, str] = {}
    for start in range(0, len(listed), _VALUES_AT_ONCE):
        some = column.in_(listed[start : start + _VALUES_AT_ONCE])
        found.update((a, b) for a, b in connection.execute(select(column, other).where(some)))
    return found
