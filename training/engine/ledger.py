"""The books of training: one `training_run` row per stage trained, where the recipe has a database.

In: a stage's spec and its corpus. Out: a row that leads from the export to the model, with how it
ended. Without `corpus.db` nothing is written; the same facts lie beside the model.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement

from common.errors import StillhouseError
from storage.database import Database
from storage.tables import Export, TrainingRun, utcnow
from training.data.corpus import Corpus
from training.engine.spec import StageSpec
from training.report.reading import read_metrics

_run_t = TrainingRun.__table__  # type: ignore[attr-defined]
_export_t = Export.__table__  # type: ignore[attr-defined]


class Ledger:
    """One training run's entry."""

    def __init__(self, database: Database | None, spec: StageSpec) -> None:
        self._database = database
        self._spec = spec
        self._id = uuid.uuid4().hex

    @classmethod
    @contextmanager
    def entry(cls, spec: StageSpec, corpus: Corpus) -> Iterator[Ledger]:
        """Opens the run's row, and closes it as finished, failed or interrupted."""
        url = spec.recipe.corpus.db
        database = None if url is None else Database.open(url)
        entry = cls(database, spec)
        try:
            entry._begin(corpus)
            yield entry
        except StillhouseError as error:
            entry._end(f"failed: {error.code}")
            raise
        except KeyboardInterrupt:
            entry._end("interrupted")
            raise
        except BaseException:
            entry._end("failed")
            raise
        finally:
            if database is not None:
                database.close()

    @classmethod
    def settle(cls, spec: StageSpec, model: Path) -> None:
        """Closes a row that a kill left open after the model was whole."""
        url = spec.recipe.corpus.db
        if url is None:
            return
        database = Database.open(url)
        entry = cls(database, spec)
        values = {"status": "finished", "output": str(model.resolve()),
                  "metrics": entry._last_metrics(), "ended_at": utcnow()}  # fmt: skip
        try:
            with database.write() as connection:
                connection.execute(_run_t.update().where(entry._open), values)
        finally:
            database.close()

    @property
    def _open(self) -> ColumnElement[bool]:
        """This stage's rows that nobody closed. Whoever holds its folder is alone there."""
        name = f"{self._spec.recipe.name}/{self._spec.name}"
        same: ColumnElement[bool] = (_run_t.c.stage == name) & (_run_t.c.status == "running")
        return same

    def finished(self, model: Path) -> None:
        """The run came to its end and left `model`."""
        self._end("finished", output=str(model.resolve()), metrics=self._last_metrics())

    def _begin(self, corpus: Corpus) -> None:
        if self._database is None:
            return
        recipe = self._spec.recipe
        with self._database.write() as connection:
            known = _export_t.select().where(_export_t.c.id == corpus.export_id)
            row = {
                "id": self._id,
                "export_id": corpus.export_id if connection.execute(known).first() else None,
                "stage": f"{recipe.name}/{self._spec.name}",
                "recipe_text": recipe.text(),
                "recipe_hash": recipe.hash(),
                "status": "running",
                "started_at": utcnow(),
            }
            connection.execute(_run_t.update().where(self._open), {"status": "interrupted"})
            connection.execute(_run_t.insert(), row)

    def _end(self, status: str, **values: Any) -> None:
        if self._database is None:
            return
        with self._database.write() as connection:
            update = _run_t.update().where(_run_t.c.id == self._id)
            connection.execute(update, {"status": status, "ended_at": utcnow(), **values})

    def _last_metrics(self) -> dict[str, Any]:
        """The last step and the last validation, as the metrics have them."""
        last: dict[str, Any] = {}
        for record in read_metrics(self._spec.folder / "metrics.jsonl"):
            if record["kind"] in ("step", "validation"):
                last[record["kind"]] = record
        return last
