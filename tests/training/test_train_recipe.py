"""What a training recipe may say, and how a wrong one is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from trainer import recipe_document, write_recipe

from common.recipes import RecipeError
from training.recipe import TrainRecipe, load_train_recipe

RECIPES = Path(__file__).parents[2] / "recipes"


def training_recipes() -> list[Path]:
    """The checkout's recipes that have a student."""
    return [file for file in sorted(RECIPES.rglob("*.yaml")) if "\nstudent:" in file.read_text()]


def test_every_training_recipe_of_the_checkout_can_be_loaded() -> None:
    assert len(training_recipes()) >= 5
    for file in training_recipes():
        recipe = load_train_recipe(file)
        assert [stage.kind for stage in recipe.stages] == ["sft", "kd"], file


def _refused(folder: Path, **changes: Any) -> RecipeError:
    document = recipe_document(folder / "m.json", folder / "student", **changes)
    with pytest.raises(RecipeError) as error:
        load_train_recipe(write_recipe(folder, document))
    return error.value


def _kd(**settings: Any) -> dict[str, Any]:
    return {"name": "kd", "kind": "kd", "teachers": [{"teacher": "big"}], **settings}


BIG = {"big": {"model": "teacher"}}


def test_an_unknown_key_names_the_nearest_known_one(tmp_path: Path) -> None:
    error = _refused(tmp_path, engine={"zeros": 2})
    assert "engine.zeros" in error.what
    assert "'zero'" in error.solution


def test_a_misspelt_key_in_a_stage_is_named_with_its_place(tmp_path: Path) -> None:
    error = _refused(tmp_path, stages=[_kd(tempeature=2.0)], teachers=BIG)
    assert "stages.0.tempeature" in error.what
    assert "'temperature'" in error.solution


def test_kd_without_a_teacher_is_refused(tmp_path: Path) -> None:
    error = _refused(tmp_path, stages=[{"name": "kd", "kind": "kd"}])
    assert "names no teachers" in error.cause


def test_a_teacher_that_the_recipe_lacks_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    error = _refused(tmp_path, stages=[_kd(teachers=[{"teacher": "other"}])], teachers=BIG)
    assert "'other'" in error.cause
    assert "big" in error.cause


def test_a_temperature_that_is_not_captured_is_refused(tmp_path: Path) -> None:
    error = _refused(tmp_path, stages=[_kd(temperature=2.0)], teachers=BIG)
    assert "capture.temperatures" in error.cause


def test_renorm_needs_no_captured_temperature(tmp_path: Path) -> None:
    stage = _kd(temperature=2.0, objective="renorm")
    document = recipe_document(tmp_path, tmp_path, stages=[stage], teachers=BIG)
    assert load_train_recipe(write_recipe(tmp_path, document)).stages[0].temperature == 2.0


@pytest.mark.parametrize("objective", ["label_tail", "sampled"])
def test_objectives_that_are_unbiased_at_one_are_refused_at_other_temperatures(
    tmp_path: Path, objective: str
) -> None:
    capture = {"temperatures": [2.0], "sampled": 8 if objective == "sampled" else 0}
    stage = _kd(temperature=2.0, objective=objective)
    error = _refused(tmp_path, stages=[stage], teachers=BIG, capture=capture)
    assert "temperature 1" in error.cause


def test_sampled_training_needs_a_sampled_capture_and_the_other_way_round(tmp_path: Path) -> None:
    assert "capture.sampled" in _refused(
        tmp_path, stages=[_kd(objective="sampled")], teachers=BIG
    ).cause  # fmt: skip
    assert "capture.sampled" in _refused(
        tmp_path, stages=[_kd()], teachers=BIG, capture={"sampled": 4}
    ).cause  # fmt: skip


def test_choosing_teachers_by_difficulty_needs_the_corpus(tmp_path: Path) -> None:
    rules = [{"teacher": "big", "where": {"difficulty": [7, 8, 9]}}, {"teacher": "big"}]
    error = _refused(tmp_path, stages=[_kd(teachers=rules)], teachers=BIG)
    assert "corpus.db" in error.cause


def test_two_stages_of_one_name_are_refused(tmp_path: Path) -> None:
    sft = {"name": "one", "kind": "sft"}
    assert "same name" in _refused(tmp_path, stages=[sft, sft]).cause


def test_relative_paths_are_meant_from_the_recipes_folder(tmp_path: Path) -> None:
    (tmp_path / "student").mkdir()
    document = recipe_document(Path("m.json"), Path("student"))
    recipe = load_train_recipe(write_recipe(tmp_path, document))
    assert recipe.student.model == str(tmp_path / "student")
    assert recipe.corpus.manifest == str(tmp_path / "m.json")
    assert recipe.output == str(tmp_path / "trained")


def test_a_hubs_name_stays_as_it_is(tmp_path: Path) -> None:
    document = recipe_document(Path("m.json"), Path("Qwen/Qwen2.5-0.5B-Instruct"))
    recipe = load_train_recipe(write_recipe(tmp_path, document))
    assert recipe.student.model == "Qwen/Qwen2.5-0.5B-Instruct"


def test_a_credential_in_a_recipe_is_refused(tmp_path: Path) -> None:
    error = _refused(tmp_path, description="sk-proj-abcdefghijklmnopqrstuvwxyz0123456789ABCDEF")
    assert "credential" in error.what


@pytest.mark.parametrize(
    ("engine", "needed"),
    [
        ({"zero": 0, "offload_optimizer": True}, "1, 2 or 3"),
        ({"zero": 2, "offload_parameters": True}, "to 3"),
    ],
)
def test_offload_that_zero_cannot_do_is_refused(
    tmp_path: Path, engine: dict[str, Any], needed: str
) -> None:
    assert needed in _refused(tmp_path, engine=engine).cause


def test_unsaid_folders_are_meant_from_the_recipes_folder_too(tmp_path: Path) -> None:
    document = recipe_document(tmp_path / "m.json", tmp_path)
    del document["output"]
    recipe = load_train_recipe(write_recipe(tmp_path, document))
    assert recipe.output == str(tmp_path / "trained")
    assert recipe.capture.store == str(tmp_path / "captures")


def test_an_infinite_learning_rate_is_refused(tmp_path: Path) -> None:
    stage = {"name": "sft", "kind": "sft", "learning_rate": float("inf")}
    assert "learning_rate" in _refused(tmp_path, stages=[stage]).what


@pytest.mark.parametrize("betas", [[1.0, 0.999], [0.9, 1.5], [-0.1, 0.999]])
def test_betas_that_adamw_cannot_take_are_refused(tmp_path: Path, betas: list[float]) -> None:
    error = _refused(tmp_path, stages=[{"name": "sft", "kind": "sft", "betas": betas}])
    assert "stages.0.betas" in error.what


def test_adapters_on_nothing_are_refused(tmp_path: Path) -> None:
    file = write_recipe(tmp_path, recipe_document(tmp_path, tmp_path))
    with pytest.raises(RecipeError) as error:
        load_train_recipe(file, ['student.lora={"targets": []}'])
    assert "student.lora.targets" in error.value.what
    assert "at least 1 item" in error.value.cause


@pytest.mark.parametrize(
    "setting", [{"objective": "tail_bucket"}, {"alpha": 0.9}, {"temperature": 2.0}, {"beta": 0.3}]
)
def test_what_an_sft_stage_would_ignore_is_refused(tmp_path: Path, setting: dict[str, Any]) -> None:
    error = _refused(tmp_path, stages=[{"name": "sft", "kind": "sft", **setting}])
    (name,) = setting
    assert f"stage 'sft' is SFT and would ignore `{name}`" in error.cause


def test_a_beta_for_an_objective_without_one_is_refused(tmp_path: Path) -> None:
    error = _refused(tmp_path, stages=[_kd(objective="renorm", beta=0.3)], teachers=BIG)
    assert "has objective 'renorm' and would ignore `beta`" in error.cause


def test_a_recipe_that_is_written_down_can_be_read_again(tmp_path: Path) -> None:
    stages = [
        {"name": "sft", "kind": "sft"},
        _kd(temperature=2.0),
        _kd(name="jsd", objective="jsd_tail", beta=0.3),
    ]
    capture = {"temperatures": [1.0, 2.0]}
    document = recipe_document(tmp_path, tmp_path, stages=stages, teachers=BIG, capture=capture)
    recipe = load_train_recipe(write_recipe(tmp_path, document))
    assert TrainRecipe.model_validate(recipe.model_dump(mode="json")) == recipe
    assert TrainRecipe.model_validate(yaml.safe_load(recipe.text())) == recipe
