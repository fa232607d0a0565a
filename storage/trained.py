"""From a model's score back to the rows it was trained on: training runs, exports, exported rows.

In: an open connection, an identifier's first characters. Out: rows as plain values. An export's
rows are read from its file, since which samples it took is the file's to say; a file that is
another one by now has nothing to say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy import Connection, select

from storage.corpus import sample_t
from storage.errors import NotFound
from storage.exported_file import ExportChanged, opened
from storage.tables import Evaluation, Export, TrainingRun, table_of

export_t = table_of(Export)
training_t = table_of(TrainingRun)
_evaluation_t = table_of(Evaluation)


@dataclass(frozen=True, slots=True)
class ExportedRows:
    """Samples of an export, in its file's order. `next_at` is the byte at which the next page
    begins; None at the end. `missing` says why there are none; `unknown` counts rows of the file
    that are no sample of this corpus."""

    samples: tuple[dict[str, Any], ...]
    next_at: int | None
    unknown: int
    missing: str | None


def training_runs(connection: Connection) -> list[dict[str, Any]]:
    """Every training run, the latest first, as its row."""
    query = select(training_t).order_by(training_t.c.started_at.desc(), training_t.c.id)
    return [dict(row) for row in connection.execute(query).mappings()]


def find_training(connection: Connection, id_prefix: str) -> dict[str, Any]:
    """The training run whose identifier begins so.

    Raises:
        NotFound: there is none, or there are several.
    """
    return _find(connection, training_t, id_prefix, "training run")


def find_export(connection: Connection, id_prefix: str) -> dict[str, Any]:
    """The export whose identifier begins so.

    Raises:
        NotFound: there is none, or there are several.
    """
    return _find(connection, export_t, id_prefix, "export")


def _find(connection: Connection, table: Any, prefix: str, noun: str) -> dict[str, Any]:
    query = select(table).where(table.c.id.startswith(prefix, autoescape=True)).limit(2)
    found = [dict(row) for row in connection.execute(query).mappings()]
    if len(found) == 1 and prefix:
        return found[0]
    raise NotFound(
        f"'{prefix}' names {'several' if len(found) > 1 else 'no'} {noun}s."
        if len(found) > 1
        else f"'{prefix}' names no {noun}.",
        cause="Identifiers begin alike." if len(found) > 1 else "No identifier begins so.",
        solution="Take one from the list of evaluations.",
    )


def evaluations_of(connection: Connection, training_run_id: str) -> list[dict[str, Any]]:
    """The evaluations of the model that a training run left, oldest first, as their rows."""
    query = (
        select(_evaluation_t)
        .where(_evaluation_t.c.training_run_id == training_run_id)
        .order_by(_evaluation_t.c.created_at)
    )
    return [dict(row) for row in connection.execute(query).mappings()]


def exported_rows(
    connection: Connection, export: dict[str, Any], at: int = 0, size: int = 50
) -> ExportedRows:
    """A page of an export's samples.

    Args:
        connection: an open one.
        export: its row.
        at: the byte of the file at which the page begins.
        size: rows at most.
    """
    path = Path(export["path"])
    ids: list[str] = []
    unread = 0
    try:
        with opened(path, export["content_hash"]) as file:
            file.seek(at)
            for line in islice(file, size):
                identifier = _id_of(line)
                if identifier is None:
                    unread += 1
                else:
                    ids.append(identifier)
            place = file.tell()
            more = bool(file.read(1))
    except (OSError, ValueError) as error:
        return ExportedRows((), None, 0, f"{path} cannot be read: {_said(error)}")
    except ExportChanged as changed:
        return ExportedRows((), None, 0, str(changed))
    samples = _samples(connection, ids)
    return ExportedRows(
        tuple(samples[id] for id in ids if id in samples),
        place if more else None,
        unread + sum(id not in samples for id in ids),
        None,
    )


def _said(error: OSError | ValueError) -> str:
    """In the system's words; a path with a zero in it is none (`ValueError`)."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _id_of(line: bytes) -> str | None:
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    meta = row.get("meta") if isinstance(row, dict) else None
    identifier = meta.get("id") if isinstance(meta, dict) else None
    return identifier if isinstance(identifier, str) else None


def _samples(connection: Connection, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    c = sample_t.c
    columns = (c.id, c.status, c.reason, c.category, c.language, c.instruction, c.response)
    query = select(*columns).where(c.id.in_(ids))
    return {row["id"]: dict(row) for row in connection.execute(query).mappings()}
