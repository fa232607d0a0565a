"""Which training run made the model under test, and what it was trained on.

In: the teacher under test. Out: the newest `training_run` whose output is the model's folder, and
every export that it has seen: its stage's, and those of the stages that made what it began with, as
far as the corpus knows them. A model that no stage of this corpus left has no lineage here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import yaml
from sqlalchemy import Connection, RowMapping, select

from storage.tables import Export, TrainingRun, table_of
from teachers.config import TeacherSettings, VllmTeacher

_run_t = table_of(TrainingRun)
_export_t = table_of(Export)


@dataclass(frozen=True, slots=True)
class TrainedOn:
    """One export: its file with the SHA-256 that it had, and which samples were meant. `recipe`
    None means samples of every recipe."""

    export_id: str
    path: Path
    sha256: str
    recipe: str | None
    statuses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Lineage:
    """Where a model comes from: its last stage first. `unknown` are stages whose export this corpus
    does not hold."""

    training_run_id: str
    stage: str
    exports: tuple[TrainedOn, ...]
    unknown: tuple[str, ...] = ()


def model_folder(teacher: TeacherSettings) -> Path | None:
    """The folder that a managed server serves; None for a hub's model or another's server."""
    if isinstance(teacher, VllmTeacher) and teacher.server is not None:
        path = teacher.server.checkpoint
        return path.resolve() if path is not None else None
    return None


def lineage_of(connection: Connection, folder: Path | None) -> Lineage | None:
    """The training run that left this folder, if the corpus knows one that finished."""
    last: RowMapping | None = None
    exports: dict[str, TrainedOn] = {}
    unknown: list[str] = []
    seen: set[Path] = set()
    while folder is not None and folder not in seen:
        seen.add(folder)
        run = _run_that_left(connection, folder)
        if run is None:
            break
        last = last or run
        if run["export"] is not None:
            exports.setdefault(run["export"], _trained_on(run))
        else:
            unknown.append(run["stage"])
        folder = _began_with(run["recipe_text"])
    if last is None:
        return None
    return Lineage(last["id"], last["stage"], tuple(exports.values()), tuple(unknown))


def _run_that_left(connection: Connection, folder: Path) -> RowMapping | None:
    query = (
        select(
            _run_t.c.id, _run_t.c.stage, _run_t.c.recipe_text, _export_t.c.id.label("export"),
            _export_t.c.path, _export_t.c.content_hash, _export_t.c.recipe, _export_t.c.manifest,
        )
        .outerjoin(_export_t, _export_t.c.id == _run_t.c.export_id)
        .where(_run_t.c.output == str(folder), _run_t.c.status == "finished")
        .order_by(_run_t.c.started_at.desc())
        .limit(1)
    )  # fmt: skip
    return connection.execute(query).mappings().first()


def _trained_on(run: RowMapping) -> TrainedOn:
    statuses = ((run["manifest"] or {}).get("filters") or {}).get("status") or ["accepted"]
    return TrainedOn(
        run["export"], Path(run["path"]), run["content_hash"], run["recipe"], tuple(statuses)
    )


def _began_with(recipe_text: str) -> Path | None:
    """The folder of the weights that a training recipe begins with; None for a model of the hub."""
    try:
        folder = Path(yaml.safe_load(recipe_text)["student"]["model"]).expanduser()
    except (yaml.YAMLError, KeyError, TypeError):
        return None
    return folder.resolve() if folder.is_dir() else None
