"""A stage begins with what the stage before leaves, and with no model that was made otherwise."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from trainer import tiny_model

from training.engine.ancestry import LINEAGE
from training.engine.spec import StageSpec
from training.engine.stages import MODEL, stage_spec, tokenised_corpus
from training.errors import ModelRefused
from training.recipe import TrainRecipe

Recipes = Callable[..., TrainRecipe]
SFT: dict[str, Any] = {"name": "sft", "kind": "sft", "epochs": 1, "samples_per_step": 8}
MORE: list[dict[str, Any]] = [{**SFT, "name": "more"}, {**SFT, "name": "most"}]


def spec_of(recipe: TrainRecipe, place: int) -> StageSpec:
    return stage_spec(recipe, recipe.stages[place], *tokenised_corpus(recipe))


def trained(recipe: TrainRecipe, place: int) -> StageSpec:
    """The stage's folder with a model in it, as far as a later stage looks at one."""
    spec = spec_of(recipe, place)
    model = spec.folder / MODEL
    model.mkdir()
    (model / LINEAGE).write_text(json.dumps(spec.lineage), encoding="utf-8")
    return spec


@pytest.mark.parametrize(
    ("stage", "sections", "said"),
    [
        ({"learning_rate": 0.05}, {}, "stages.sft.learning_rate: 1e-05, now 0.05"),
        ({"max_steps": 1}, {}, "stages.sft.max_steps: null, now 1"),
        ({}, {"corpus": {"validation": 0.4}}, "corpus.split.validation: 0.2, now 0.4"),
        ({}, {"data": {"context": 128}}, "corpus.context: 256, now 128"),
        ({}, {"student": {"lora": {"rank": 2}}}, "student.lora: null, now"),
    ],
)
def test_a_model_that_was_trained_otherwise_is_refused(
    recipe: Recipes, stage: dict[str, Any], sections: dict[str, Any], said: str
) -> None:
    before = trained(recipe([SFT, *MORE]), 0)
    with pytest.raises(ModelRefused, match="is not what stage 'sft' of this recipe") as caught:
        spec_of(recipe([SFT | stage, *MORE], **sections), 1)
    assert said in caught.value.cause
    assert str(before.folder / MODEL) in caught.value.what
    assert caught.value.command == "stillhouse train sft RECIPE --restart"
    assert not before.folder.with_name("more").exists()


def test_a_model_of_another_student_is_refused(
    recipe: Recipes, models: Path, tmp_path: Path
) -> None:
    shutil.copytree(models / "student", tmp_path / "student")
    made = recipe([SFT, *MORE], student={"model": str(tmp_path / "student")})
    trained(made, 0)
    tiny_model(tmp_path / "student", 5)
    with pytest.raises(ModelRefused, match="is not what stage 'sft'") as caught:
        spec_of(made, 1)
    assert "student.start" in caught.value.cause


def test_a_change_of_the_first_stage_is_seen_by_the_third(recipe: Recipes) -> None:
    made = recipe([SFT, *MORE])
    trained(made, 0)
    trained(made, 1)
    assert spec_of(made, 2).start.endswith("more/model")
    with pytest.raises(ModelRefused, match="is not what stage 'more'") as caught:
        spec_of(recipe([SFT | {"seed": 3}, *MORE]), 2)
    assert "stages.sft.seed: 0, now 3" in caught.value.cause


def test_how_the_ranks_shared_the_work_may_differ(recipe: Recipes) -> None:
    before = trained(recipe([SFT, *MORE]), 0)
    other = recipe(
        [SFT, *MORE],
        engine={"ranks": 2, "zero": 3, "tokens_per_micro_batch": 64},
        data={"packing": False},
        student={"gradient_checkpointing": True},
    )
    spec = spec_of(other, 1)
    assert spec.start == str(before.folder / MODEL)
    assert spec.lineage["start"] == before.identity


def test_a_later_stage_may_change(recipe: Recipes) -> None:
    trained(recipe([SFT, *MORE]), 0)
    changed = recipe([SFT, {**MORE[0], "learning_rate": 0.5}])
    assert spec_of(changed, 1).stage.learning_rate == 0.5


def test_a_model_that_does_not_know_its_course_is_refused(recipe: Recipes) -> None:
    made = recipe([SFT, *MORE])
    file = trained(made, 0).folder / MODEL / LINEAGE
    said = json.loads(file.read_text(encoding="utf-8"))
    del said["course"]
    file.write_text(json.dumps(said), encoding="utf-8")
    with pytest.raises(ModelRefused, match="cannot be read"):
        spec_of(made, 1)
