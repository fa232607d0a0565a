"""What the corpus's database adds to a training: proof and scores, and no other identity."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from trainer import exported_corpus, recipe_document, tiny_model, write_recipe

from training.data.corpus import read_corpus
from training.engine.spec import StageSpec
from training.engine.stages import stage_spec, tokenised_corpus
from training.engine.teaching import weights_of
from training.errors import CorpusRefused
from training.recipe import TrainRecipe, load_train_recipe

KD: dict[str, Any] = {
    "name": "kd",
    "kind": "kd",
    "teachers": [
        {"teacher": "big", "where": {"difficulty": [7, 8, 9]}},
        {"teacher": "small", "where": {"difficulty": [0, 1, 2, 3, 4, 5, 6]}},
    ],
}


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """A folder with a corpus of twelve samples, its database and a student."""
    exported_corpus(tmp_path / "data", 12)
    tiny_model(tmp_path / "student")
    return tmp_path


def recipe_of(world: Path, *, db: bool, kd: bool = False) -> TrainRecipe:
    document = recipe_document(
        world / "data" / "corpus.jsonl.manifest.json", world / "student", output=str(world / "out")
    )
    if db:
        document["corpus"]["db"] = str(world / "data" / "corpus.db")
    if kd:
        document["teachers"] = {name: {"model": str(world / name)} for name in ("big", "small")}
        document["stages"] = [*document["stages"], KD]
    return load_train_recipe(write_recipe(world, document))


def first_stage(recipe: TrainRecipe) -> StageSpec:
    corpus, tokens = tokenised_corpus(recipe)
    return stage_spec(recipe, recipe.stages[0], corpus, tokens)


def change(world: Path, statement: str) -> int:
    with closing(sqlite3.connect(world / "data" / "corpus.db")) as database:
        changed = database.execute(statement).rowcount
        database.commit()
    return changed


def test_a_training_goes_on_without_the_database_when_the_corpus_has_moved_on(
    world: Path,
) -> None:
    begun = first_stage(recipe_of(world, db=True))
    begun.write()
    assert change(world, "UPDATE sample SET response = 'Something else.'") == 12
    with pytest.raises(CorpusRefused) as stale:
        first_stage(recipe_of(world, db=True))
    assert "leave `corpus.db` out" in stale.value.solution
    assert first_stage(recipe_of(world, db=False)).identity == begun.identity


def test_scores_say_which_teacher_speaks_and_leave_other_stages_as_they_were(world: Path) -> None:
    recipe = recipe_of(world, db=True, kd=True)
    begun = first_stage(recipe)
    begun.write()
    for hard in ([3], [3, 7]):
        _, tokens = tokenised_corpus(recipe)
        sample = tokens.sample_ids[hard[-1]]
        scored = "UPDATE score SET informativeness = 9 WHERE sample_id = "
        assert change(world, f"{scored}'{sample}'") == 1
        _, tokens = tokenised_corpus(recipe)
        of_big_E = weights_of(recipe.stages[1], tokens.columns, len(tokens))[0]
        assert of_big_E.nonzero()[0].tolist() == hard
        assert first_stage(recipe).identity == begun.identity
    assert first_stage(recipe_of(world, db=False)).identity == begun.identity


def test_whoever_asks_hears_how_far_the_tokenising_is(world: Path) -> None:
    heard: list[tuple[int, int]] = []
    recipe = recipe_of(world, db=False)
    tokenised_corpus(recipe, lambda *said: heard.append(said))
    assert heard == [(12, len(read_corpus(recipe.corpus)))]
