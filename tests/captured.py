"""A corpus whose teacher rows were captured for real, by the torch engine from a tiny random model.

Two captures of the same teacher: few of the likeliest tokens, and many at two temperatures.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from trainer import exported_corpus, recipe_document, tiny_model

from storage.database import Database
from training.capture.capture import capture
from training.engine.stages import tokenised_corpus
from training.recipe import TrainRecipe

FEW, MANY = 10, 60


@dataclass(frozen=True, slots=True)
class Captured:
    """Where everything lies; `recipe` is the capture of many."""

    db: Path
    recipe: TrainRecipe
    teacher: Path


def captured_corpus(folder: Path, *, samples: int = 5, response: str | None = None) -> Captured:
    """A corpus, its export, a student, a teacher and its rows, all in `folder`."""
    manifest = exported_corpus(folder / "data", samples, response=response)
    student, teacher = (
        tiny_model(folder / "student", 0),
        tiny_model(folder / "teacher", 1, initializer_range=0.3),
    )
    db = folder / "data" / "corpus.db"
    document = recipe_document(
        manifest,
        student,
        corpus={"manifest": str(manifest), "validation": 0.2, "db": str(db)},
        teachers={"big": {"model": str(teacher), "dtype": "float32"}},
        stages=[{"name": "kd", "kind": "kd", "teachers": [{"teacher": "big"}]}],
        output=str(folder / "out"),
    )
    store = str(folder / "rows")
    for settings in ({"k": FEW}, {"k": MANY, "temperatures": [1.0, 2.0]}):
        recipe = TrainRecipe.model_validate({**document, "capture": {"store": store, **settings}})
        _, tokens = tokenised_corpus(recipe)
        database = Database.open(str(db))
        capture(recipe, tokens, "big", database=database)
        database.close()
    return Captured(db, recipe, teacher)
