"""Student × teacher pairs: the whole Qwen2.5 family plans cleanly, and strangers are told apart."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from trainer import tiny_model

from training.errors import ModelRefused
from training.plan.gpus import GPUS
from training.plan.plan import make_plan
from training.plan.sources import find_model
from training.plan.tokens import TokenOptions
from training.plan.vocabularies import check_vocabulary
from training.recipe import ModelSettings, load_train_recipe

ROOT = Path(__file__).parents[3]
RECIPES = ROOT / "recipes/distilqwen2.5"
STUDENTS = ("0.5b", "1.5b", "3b", "7b")
TEACHERS = ("14b", "32b", "72b")
CORPUS = TokenOptions(samples=100_000, tokens_per_sample=1_000, response_share=0.7)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny checkpoint with a tokenizer of 938 tokens."""
    return tiny_model(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(autouse=True)
def _no_hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.mark.parametrize("student", STUDENTS)
@pytest.mark.parametrize("teacher", TEACHERS)
def test_every_pair_of_the_family_plans_cleanly(student: str, teacher: str, tmp_path: Path) -> None:
    text = (RECIPES / f"{student}.yaml").read_text(encoding="utf-8")
    lines = [
        f"      - teacher: {teacher}" if line.startswith("      - teacher:") else line
        for line in text.splitlines()
    ]
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("\n".join(lines), encoding="utf-8")
    plan = make_plan(load_train_recipe(recipe), CORPUS)
    check = next(each.vocabulary for each in plan.teachers if each.name == teacher)
    assert check.verdict == "same"
    assert check.shared_width == (152_064 if student == "7b" else 151_936)
    assert [work.name for work in plan.works] == [teacher, "sft", "kd"]
    assert all(fit.fits for fit in plan.fits)
    assert all(each.memory <= gpu.memory for each in plan.teachers for gpu in GPUS)


@pytest.mark.parametrize("student", STUDENTS)
def test_a_recipe_has_the_papers_settings(student: str) -> None:
    recipe = load_train_recipe(RECIPES / f"{student}.yaml")
    assert recipe.student.model == f"Qwen/Qwen2.5-{student.upper()}-Instruct"
    assert [stage.kind for stage in recipe.stages] == ["sft", "kd"]
    assert {stage.learning_rate for stage in recipe.stages} == {1e-5}
    assert {stage.epochs for stage in recipe.stages} == {3}
    assert recipe.capture.k == 10
    assert sorted(recipe.teachers) == sorted(TEACHERS)


def test_padded_ids_are_counted_and_each_sides_fate_is_said() -> None:
    student, teacher = (
        find_model(ModelSettings(model=f"Qwen/Qwen2.5-{size}-Instruct")) for size in ("3B", "14B")
    )
    text = check_vocabulary(student, teacher, "t").text
    assert "151,665 tokens, all of them shared" in text
    assert "the teacher's 399 padded ids are never taught" in text
    assert "the student's 271 stay in its softmax" in text


def test_padded_ids_that_are_not_there_are_not_spoken_of(tiny: Path, tmp_path: Path) -> None:
    exact = find_model(_folder(tiny, tmp_path / "s", width=938))
    wider = find_model(_folder(tiny, tmp_path / "t", width=1_024))
    assert "padded" not in check_vocabulary(exact, exact, "t").text
    alone = check_vocabulary(wider, exact, "t").text
    assert "the student's 86 padded ids stay in its softmax" in alone and "teacher" not in alone


def _folder(tiny: Path, path: Path, *, width: int, rename: str | None = None) -> ModelSettings:
    shutil.copytree(tiny, path)
    config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    (path / "config.json").write_text(json.dumps(config | {"vocab_size": width}), encoding="utf-8")
    if rename is not None:
        file = path / "tokenizer.json"
        document = json.loads(file.read_text(encoding="utf-8"))
        vocabulary = document["model"]["vocab"]
        vocabulary["<never-seen>"] = vocabulary.pop(rename)
        file.write_text(json.dumps(document), encoding="utf-8")
    return ModelSettings(model=str(path))


def _any_token(tiny: Path) -> str:
    document = json.loads((tiny / "tokenizer.json").read_text(encoding="utf-8"))
    return str(max(document["model"]["vocab"], key=len))


def test_folders_with_one_tokenizer_share_it_whatever_their_widths(
    tiny: Path, tmp_path: Path
) -> None:
    student = find_model(_folder(tiny, tmp_path / "s", width=938))
    teacher = find_model(_folder(tiny, tmp_path / "t", width=1_024))
    check = check_vocabulary(student, teacher, "t")
    assert (check.verdict, check.shared_width) == ("same", 938)


def test_folders_with_another_token_are_told_apart_at_equal_width(
    tiny: Path, tmp_path: Path
) -> None:
    student = find_model(_folder(tiny, tmp_path / "s", width=938))
    teacher = find_model(_folder(tiny, tmp_path / "t", width=938, rename=_any_token(tiny)))
    assert check_vocabulary(student, teacher, "t").verdict == "different"


def test_a_folder_without_a_tokenizer_leaves_the_answer_open(tiny: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    shutil.copy(tiny / "config.json", bare)
    check = check_vocabulary(
        find_model(_folder(tiny, tmp_path / "s", width=938)),
        find_model(ModelSettings(model=str(bare))),
        "t",
    )
    assert check.verdict == "unknown"
    assert str(bare) in check.text


def test_an_unknown_hub_name_says_how_to_get_its_configuration() -> None:
    with pytest.raises(ModelRefused, match="not at hand") as caught:
        find_model(ModelSettings(model="someone/some-model"))
    assert "Qwen/Qwen2.5-7B-Instruct" in caught.value.cause
    assert caught.value.command is not None and "someone/some-model" in caught.value.command


def test_a_model_in_the_hubs_cache_is_read_from_there(tiny: Path, tmp_path: Path) -> None:
    cached = tmp_path / "hub/models--someone--some-model"
    shutil.copytree(tiny, cached / "snapshots/abc")
    (cached / "refs").mkdir()
    (cached / "refs/main").write_text("abc", encoding="utf-8")
    found = find_model(ModelSettings(model="someone/some-model"))
    assert (found.found, found.shape.vocabulary) == ("config.json", 938)


def test_a_known_model_in_the_cache_shares_the_familys_tokenizer(
    tiny: Path, tmp_path: Path
) -> None:
    name = "Qwen/Qwen2.5-7B-Instruct"
    cached = tmp_path / "hub/models--Qwen--Qwen2.5-7B-Instruct/snapshots/main"
    shutil.copytree(tiny, cached)
    student = find_model(ModelSettings(model=name))
    teacher = find_model(ModelSettings(model="Qwen/Qwen2.5-72B-Instruct"))
    assert student.found == "config.json"
    assert check_vocabulary(student, teacher, "t").verdict == "same"


def test_a_context_beyond_a_models_positions_is_warned_of() -> None:
    recipe = load_train_recipe(RECIPES / "0.5b.yaml", ["data.context=40960"])
    assert "32,768" in make_plan(recipe).warnings[0]
    assert make_plan(load_train_recipe(RECIPES / "0.5b.yaml")).warnings == []


@pytest.mark.parametrize("key", ["rope_scaling", "rope_parameters"])
def test_positions_that_yarn_stretches_are_positions_of_a_plan_too(
    tiny: Path, tmp_path: Path, key: str
) -> None:
    settings = _folder(tiny, tmp_path / "s", width=938)
    file = tmp_path / "s" / "config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    config.pop("rope_parameters", None)
    yarn = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 1_024}
    file.write_text(json.dumps(config | {key: yarn}), encoding="utf-8")
    assert find_model(settings).shape.positions == 4_096


def test_a_folder_without_a_configuration_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelRefused, match=r"no config\.json"):
        find_model(ModelSettings(model=str(tmp_path)))


def test_a_broken_configuration_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{", encoding="utf-8")
    with pytest.raises(ModelRefused, match="cannot be read"):
        find_model(ModelSettings(model=str(tmp_path)))
