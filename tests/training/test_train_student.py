"""A student that no rank could train is refused by its configuration, before a rank is started."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from trainer import exported_corpus, recipe_document, tiny_model, write_recipe

from training.engine.launch import LOG
from training.engine.stages import stage_spec, tokenised_corpus, train
from training.errors import ModelRefused
from training.recipe import TrainRecipe, load_train_recipe

Make = Callable[..., TrainRecipe]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus, and a student with 1,024 positions and as wide as its tokenizer."""
    folder = tmp_path_factory.mktemp("world")
    exported_corpus(folder / "data", 12)
    tiny_model(folder / "student")
    return folder


@pytest.fixture
def recipe(world: Path, tmp_path: Path) -> Make:
    """A recipe whose student has another configuration, or is asked for otherwise."""

    def make(
        config: dict[str, Any] | None = None, *, context: int = 256, **student: Any
    ) -> TrainRecipe:
        folder = tmp_path / "student"
        if not folder.exists():
            shutil.copytree(world / "student", folder)
        file = folder / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | (config or {})))
        document = recipe_document(
            world / "data" / "corpus.jsonl.manifest.json",
            folder,
            data={"context": context},
            output=str(tmp_path / "trained"),
        )
        document["student"] |= student
        return load_train_recipe(write_recipe(tmp_path, document))

    return make


def refusal(recipe: TrainRecipe) -> ModelRefused:
    with pytest.raises(ModelRefused) as caught:
        train(recipe, recipe.stages)
    assert not list(Path(recipe.output).rglob(LOG))
    return caught.value


def is_taken(recipe: TrainRecipe) -> bool:
    corpus, tokens = tokenised_corpus(recipe)
    return stage_spec(recipe, recipe.stages[0], corpus, tokens).folder.is_dir()


def test_an_embedding_narrower_than_the_tokenizer_is_refused(recipe: Make) -> None:
    error = refusal(recipe({"vocab_size": 937}))
    assert "narrower than its tokenizer" in error.what
    assert "937 rows" in error.cause and "reach 937" in error.cause


def test_a_context_beyond_the_models_positions_is_refused_with_the_one_that_fits(
    recipe: Make,
) -> None:
    error = refusal(recipe(context=1025))
    assert "1,025 tokens" in error.what and "1,024" in error.cause
    assert error.command == "stillhouse train all RECIPE --set data.context=1024"
    assert is_taken(recipe(context=1024))


def test_positions_that_yarn_stretches_are_positions(recipe: Make) -> None:
    yarn = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 1024}
    stretched = {"rope_parameters": {"rope_theta": 10_000.0, **yarn}}
    assert is_taken(recipe(stretched, context=4096))
    assert "4,096" in refusal(recipe(stretched, context=4097)).cause


def test_attention_dropout_is_refused(recipe: Make) -> None:
    error = refusal(recipe({"attention_dropout": 0.1}))
    assert "attention dropout" in error.what
    assert "`attention_dropout` to 0" in error.solution


@pytest.mark.parametrize("targets", [["query"], ["q_proj", "lm_head"], ["embed_tokens"], ["proj"]])
def test_adapters_on_what_the_model_has_not_are_refused_with_what_it_has(
    recipe: Make, targets: list[str]
) -> None:
    error = refusal(recipe(lora={"targets": targets}))
    assert f"no projections called {targets[-1]}" in error.what
    assert "q_proj" in error.solution and "lm_head" not in error.solution


@pytest.mark.parametrize("targets", ["all-linear", ["q_proj", "v_proj"], ["mlp.up_proj"]])
def test_adapters_on_what_the_model_has_are_taken(recipe: Make, targets: Any) -> None:
    assert is_taken(recipe(lora={"targets": targets}))
