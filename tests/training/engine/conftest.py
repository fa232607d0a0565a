"""A small corpus, student and teacher, and recipes over them for a test to bend."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ranks import Ranks, five_steps
from trainer import exported_corpus, recipe_document, tiny_model, write_recipe

from training.engine.launch import LOG
from training.engine.spec import StageSpec
from training.engine.stages import stage_spec, tokenised_corpus, train
from training.errors import TrainingError
from training.recipe import TrainRecipe, load_train_recipe


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    tiny_model(folder / "student")
    tiny_model(folder / "teacher", 1)
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of 24 samples, a student with its own head, and a teacher."""
    folder = tmp_path_factory.mktemp("made")
    exported_corpus(folder / "data", 24)
    tiny_model(folder / "student", tie_word_embeddings=False)
    tiny_model(folder / "teacher", 1)
    return folder


@pytest.fixture
def spec(made: Path, tmp_path: Path) -> Callable[..., StageSpec]:
    """The stage of `five_steps` in a folder of its own, with sections laid over the recipe."""

    def make(restart: bool = False, **sections: Any) -> StageSpec:
        recipe = five_steps(made, tmp_path, **sections)
        corpus, tokens = tokenised_corpus(recipe)
        return stage_spec(recipe, recipe.stages[0], corpus, tokens, restart=restart)

    return make


@pytest.fixture(scope="module")
def ranks() -> Iterator[Ranks]:
    with Ranks.forked() as forked:
        yield forked


Recipes = Callable[..., TrainRecipe]


@pytest.fixture
def recipe(models: Path, tmp_path: Path) -> Recipes:
    """A recipe over a corpus of twelve samples; sections given are laid over it."""
    shutil.copytree(models / "teacher", tmp_path / "teacher")

    def make(stages: list[dict[str, Any]] | None = None, **sections: Any) -> TrainRecipe:
        manifest = tmp_path / "data" / "corpus.jsonl.manifest.json"
        if not manifest.exists():
            manifest = exported_corpus(tmp_path / "data", 12)
        document = recipe_document(manifest, models / "student")
        document |= {
            "teachers": {"big": {"model": str(tmp_path / "teacher"), "dtype": "float32"}},
            "capture": {"store": str(tmp_path / "rows"), "k": 4},
            "output": str(tmp_path / "trained"),
        }
        for name, section in sections.items():
            document[name] = {**document[name], **section}
        if stages is not None:
            document["stages"] = stages
        return load_train_recipe(write_recipe(tmp_path, document))

    return make


@pytest.fixture
def refused() -> Callable[[TrainRecipe, type[TrainingError], str], Any]:
    """Training a recipe is refused with this error, and no rank was started."""

    def check(recipe: TrainRecipe, kind: type[TrainingError], match: str) -> Any:
        with pytest.raises(kind, match=match) as caught:
            train(recipe, recipe.stages)
        assert type(caught.value) is kind
        assert not list(Path(recipe.output).rglob(LOG))
        return caught.value

    return check
