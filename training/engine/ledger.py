"""The books of training: one `training_run` row per stage trained, where the recipe has a database.

In: a stage's spec and its corpus. Out: a row that leads from the export to the model, with how it
ended; its `output` is where the model lies, or was to lie. Without `corpus.db` nothing is written;
the same facts lie beside the model.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from common.errors import StillhouseError
from storage.database import Database
from storage.errors import StorageError
from storage.tables import Export, TrainingRun, table_of, utcnow
from training.data.corpus import Corpus
from training.engine.spec import StageSpec
from training.report.metrics import METRICS_FILE
from training.report.reading import read_metrics

_run_t = table_of(TrainingRun)
_export_t = table_of(Export)


class Ledger:
    """One training run's entry."""

    def __init__(self, database: Database, spec: StageSpec, model: Path) -> None:
        self._database = database
        self._spec = spec
        self._stage = f"{spec.recipe.name}/{spec.name}"
        self._model = str(model.resolve())
        self._id = uuid.uuid4().hex

    @classmethod
    @contextmanager
    def entry(cls, spec: StageSpec, corpus: Corpus, model: Path) -> Iterator[None]:
        """Opens the run's row, and closes it as finished, failed or interrupted; `model` is what it
        leaves."""
        with cls._open(spec, model) as entry:
            if entry is None:
                yield
                return
            entry._begin(corpus)
            try:
                yield
            except BaseException as error:
                # What happened is what the user has to hear, also where the books cannot say it:
                # their disk may be as full as the checkpoints'. The next run closes the row.
                with suppress(StorageError, SQLAlchemyError):
                    entry._end(_status(error))
                raise
            entry._end("finished", metrics=entry._last_metrics())

    @classmethod
    def settle(cls, spec: StageSpec, model: Path) -> None:
        """Closes a row that a kill left open after the model was whole."""
        with cls._open(spec, model) as entry:
            if entry is not None:
                entry._close_left_open("finished", metrics=entry._last_metrics(), ended_at=utcnow())

    @classmethod
    @contextmanager
    def _open(cls, spec: StageSpec, model: Path) -> Iterator[Ledger | None]:
        url = spec.recipe.corpus.db
        if url is None:
            yield None
            return
        database = Database.open(url)
        try:
            yield cls(database, spec, model)
        finally:
            database.close()

    def _close_left_open(self, status: str, **values: Any) -> None:
        """Closes the rows of this folder that nobody closed. Whoever holds it is alone there; the
        same stage may be training elsewhere."""
        left = (
            (_run_t.c.stage == self._stage)
            & (_run_t.c.output == self._model)
            & (_run_t.c.status == "running")
        )
        with self._database.write() as connection:
            connection.execute(_run_t.update().where(left), {"status": status, **values})

    def _begin(self, corpus: Corpus) -> None:
        recipe = self._spec.recipe
        self._close_left_open("interrupted")
        with self._database.write() as connection:
            known = _export_t.select().where(_export_t.c.id == corpus.export_id)
            row = {
                "id": self._id,
                "export_id": corpus.export_id if connection.execute(known).first() else None,
                "stage": self._stage,
                "recipe_text": recipe.text(),
                "recipe_hash": recipe.hash(),
                "status": "running",
                "output": self._model,
                "started_at": utcnow(),
            }
            connection.execute(_run_t.insert(), row)

    def _end(self, status: str, **values: Any) -> None:
        with self._database.write() as connection:
            update = _run_t.update().where(_run_t.c.id == self._id)
            connection.execute(update, {"status": status, "ended_at": utcnow(), **values})

    def _last_metrics(self) -> dict[str, Any]:
        """The last step and the last validation, as the metrics have them."""
        last: dict[str, Any] = {}
        file = self._spec.folder / METRICS_FILE
        for record in read_metrics(file) if file.exists() else ():
            if record["kind"] in ("step", "validation"):
                last[record["kind"]] = record
        return last


def _status(error: BaseException) -> str:
    if isinstance(error, StillhouseError):
        return f"failed: {error.code}"
    return "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
