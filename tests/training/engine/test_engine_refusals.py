"""What cannot be trained is refused before a rank is started, with a typed error that says why."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from trainer import exported_corpus, tiny_model

from common.hashing import digest
from common.recipes import RecipeError
from storage.export import ExportRefused
from training.engine.launch import LOG
from training.engine.spec import SPEC
from training.engine.stages import MODEL, stage_folder, stage_spec, tokenised_corpus, train
from training.engine.tether import Tether
from training.errors import (
    CheckpointRefused,
    CorpusRefused,
    LaunchFailed,
    ModelRefused,
    SampleTooLong,
    TrainingError,
)
from training.recipe import TrainRecipe

KD = {
    "name": "kd", "kind": "kd", "epochs": 1, "samples_per_step": 8, "learning_rate": 1e-3,
    "teachers": [{"teacher": "big"}],
}  # fmt: skip

Recipes = Callable[..., TrainRecipe]
Refused = Callable[[TrainRecipe, type[TrainingError], str], Any]


# ---- The corpus


def test_a_corpus_without_accepted_samples_cannot_even_be_exported(tmp_path: Path) -> None:
    with pytest.raises(ExportRefused, match="nothing to export with status accepted"):
        exported_corpus(tmp_path / "data", 0)


def test_an_export_without_samples_is_refused(
    recipe: Recipes, refused: Refused, tmp_path: Path
) -> None:
    manifest = exported_corpus(tmp_path / "data", 1)
    manifest.with_name("corpus.jsonl").write_bytes(b"")
    said = json.loads(manifest.read_bytes())
    said |= {"rows": 0, "sha256": hashlib.sha256(b"").hexdigest()}
    said["export"] = digest({name: value for name, value in said.items() if name != "export"})
    manifest.write_text(json.dumps(said))
    error = refused(recipe(), CorpusRefused, "holds no samples that can be trained on")
    assert "accepted" in error.solution


def test_an_export_that_changed_is_refused(
    recipe: Recipes, refused: Refused, tmp_path: Path
) -> None:
    file = exported_corpus(tmp_path / "data", 12).with_name("corpus.jsonl")
    raw = bytearray(file.read_bytes())
    raw[raw.index(b"sum")] ^= 1
    file.write_bytes(raw)
    refused(recipe(), CorpusRefused, "is no longer what its manifest says")


def test_a_sample_longer_than_the_context_is_dropped_and_counted(recipe: Recipes) -> None:
    _, whole = tokenised_corpus(recipe())
    longest = int(whole.lengths.max())
    _, tokens = tokenised_corpus(recipe(data={"context": longest - 1, "too_long": "drop"}))
    dropped = int((whole.lengths == longest).sum())
    assert tokens.lost == {"too_long": dropped}
    assert len(tokens) == len(whole) - dropped
    assert int(tokens.lengths.max()) < longest


def test_a_sample_longer_than_the_context_is_truncated_and_counted(recipe: Recipes) -> None:
    _, whole = tokenised_corpus(recipe())
    longest = int(whole.lengths.max())
    _, tokens = tokenised_corpus(recipe(data={"context": longest - 1, "too_long": "truncate"}))
    assert tokens.truncated == int((whole.lengths == longest).sum())
    assert (len(tokens), tokens.lost) == (len(whole), {})
    assert int(tokens.lengths.max()) == longest - 1


def test_a_sample_longer_than_the_context_is_refused_by_name(
    recipe: Recipes, refused: Refused
) -> None:
    _, whole = tokenised_corpus(recipe())
    context = int(whole.lengths.max()) - 1
    ids = {whole.example(n).sample_id for n in range(len(whole)) if whole.lengths[n] > context}
    strict = recipe(data={"context": context, "too_long": "refuse"})
    error = refused(strict, SampleTooLong, str(context))
    assert any(id in error.what + error.cause for id in ids)


def test_a_corpus_of_which_nothing_fits_is_refused(recipe: Recipes, refused: Refused) -> None:
    refused(recipe(data={"context": 8}), CorpusRefused, "nothing|Nothing|No ")


# ---- Models


def test_a_student_that_is_not_there_is_refused(
    recipe: Recipes, refused: Refused, tmp_path: Path
) -> None:
    missing = recipe(student={"model": str(tmp_path / "none")})
    refused(missing, ModelRefused, "There is no tokenizer for")


def test_a_teacher_that_is_not_there_is_refused(
    recipe: Recipes, refused: Refused, tmp_path: Path
) -> None:
    shutil.rmtree(tmp_path / "teacher")
    refused(recipe([KD]), ModelRefused, "There is no model")


def test_a_stage_before_the_one_it_begins_with_is_refused(recipe: Recipes) -> None:
    made = recipe([{"name": "sft", "kind": "sft"}, KD])
    with pytest.raises(ModelRefused, match="begins with what stage 'sft' leaves") as caught:
        train(made, made.stages[1:])
    assert caught.value.command == "stillhouse train sft RECIPE"
    assert not list(Path(made.output).rglob(LOG))


# ---- The recipe


@pytest.mark.parametrize(
    ("stage", "said"),
    [
        ({"objective": "kl"}, "objective"),
        ({"teachers": [{"teacher": "huge"}]}, "huge"),
        ({"teachers": []}, "names no teachers"),
        ({"temperature": 3.0}, "temperature 3.0"),
        ({"objective": "sampled"}, "sampled"),
        ({"learning_rate": float("nan")}, "learning_rate"),
    ],
)
def test_a_stage_that_means_nothing_is_refused(
    recipe: Recipes, stage: dict[str, Any], said: str
) -> None:
    with pytest.raises(RecipeError) as caught:
        recipe([KD | stage])
    assert said in caught.value.what + caught.value.cause


# ---- The stage's folder


def begun(recipe: TrainRecipe) -> Path:
    """The stage's folder as a run leaves it that was stopped before its first checkpoint."""
    corpus, tokens = tokenised_corpus(recipe)
    return stage_spec(recipe, recipe.stages[0], corpus, tokens).write().parent


@pytest.mark.parametrize(
    "change",
    [
        {"engine": {"ranks": 2}},
        {"engine": {"zero": 1}},
        {"engine": {"zero": 1, "offload_optimizer": True}},
        {"corpus": {"validation": 0.4}},
        {"student": {"dtype": "bfloat16"}},
        {"student": {"lora": {"rank": 2}}},
        {"stages": [{"name": "sft", "kind": "sft", "epochs": 7}]},
    ],
)
def test_a_folder_of_another_run_is_refused(
    recipe: Recipes, refused: Refused, change: dict[str, Any]
) -> None:
    folder = begun(recipe())
    error = refused(recipe(**change), CheckpointRefused, "holds another training run")
    assert "--restart" in error.solution
    assert (folder / SPEC).exists()


def test_restart_puts_the_old_run_aside(recipe: Recipes) -> None:
    folder = begun(recipe())
    old = (folder / SPEC).read_bytes()
    (folder / "checkpoints").mkdir()
    changed = recipe(engine={"ranks": 2})
    corpus, tokens = tokenised_corpus(changed)
    spec = stage_spec(changed, changed.stages[0], corpus, tokens, restart=True)
    spec.write()
    assert not (folder / "checkpoints").exists()
    assert (folder.with_name("sft.old-1") / SPEC).read_bytes() == old
    assert (folder.with_name("sft.old-1") / "checkpoints").is_dir()
    stage_spec(changed, changed.stages[0], corpus, tokens, restart=True)
    assert folder.with_name("sft.old-2").is_dir()


def test_what_does_not_shape_the_result_may_change(recipe: Recipes) -> None:
    begun(recipe())
    changed = recipe(
        engine={
            "checkpoint_every": 7, "keep_checkpoints": 5, "validate_every": 3,
            "tokens_per_micro_batch": 64, "samples_per_micro_batch": 2, "head_workspace_mib": 5,
        },
        data={"packing": False},
        student={"gradient_checkpointing": True},
    )  # fmt: skip
    corpus, tokens = tokenised_corpus(changed)
    assert stage_spec(changed, changed.stages[0], corpus, tokens).folder.name == "sft"


def test_a_student_that_was_trained_further_meanwhile_is_another_run(
    recipe: Recipes, refused: Refused, models: Path, tmp_path: Path
) -> None:
    shutil.copytree(models / "student", tmp_path / "student")
    made = recipe(student={"model": str(tmp_path / "student")})
    begun(made)
    tiny_model(tmp_path / "student", 5)
    refused(made, CheckpointRefused, "holds another training run")


def test_a_student_that_was_only_moved_is_the_same_run(
    recipe: Recipes, models: Path, tmp_path: Path
) -> None:
    identities = set()
    for parent in ("here", "there"):
        shutil.copytree(models / "student", tmp_path / parent / "student")
        made = recipe(student={"model": str(tmp_path / parent / "student")})
        corpus, tokens = tokenised_corpus(made)
        identities.add(stage_spec(made, made.stages[0], corpus, tokens).identity)
    assert len(identities) == 1


def test_a_broken_spec_in_the_folder_is_refused(recipe: Recipes, refused: Refused) -> None:
    folder = begun(recipe())
    (folder / SPEC).write_text("{not json")
    refused(recipe(), CheckpointRefused, "cannot be read")


def test_a_broken_lineage_beside_a_model_is_refused(recipe: Recipes, refused: Refused) -> None:
    made = recipe()
    model = stage_folder(made, made.stages[0]) / MODEL
    model.mkdir(parents=True)
    (model / "stillhouse.json").write_text("{not json")
    refused(made, ModelRefused, "cannot be read")


def test_a_second_trainer_in_the_same_folder_is_refused(recipe: Recipes, refused: Refused) -> None:
    made = recipe()
    with Tether.hold(begun(made)):
        error = refused(made, LaunchFailed, "Another process is training in")
    assert "Wait" in error.solution


def test_a_second_trainer_takes_nothing_from_the_first(recipe: Recipes, refused: Refused) -> None:
    made = recipe()
    folder = begun(made)
    (folder / "error-0.json").write_text("{}")
    with Tether.hold(folder):
        refused(made, LaunchFailed, "Another process is training in")
        with pytest.raises(LaunchFailed, match="Another process"):
            train(made, made.stages, restart=True)
    assert (folder / "error-0.json").exists()
    assert not list(folder.parent.glob("sft.old-*"))


# ---- Devices


@pytest.mark.parametrize(
    ("hosts", "said"),
    [
        (None, "cannot be read"),
        ("one slots=2\n# two slots=2\n", "has 2 devices, the recipe 4"),
        ("# nobody\n", "names no devices"),
    ],
)
def test_a_hostfile_without_the_recipes_devices_is_refused(
    recipe: Recipes, refused: Refused, tmp_path: Path, hosts: str | None, said: str
) -> None:
    file = tmp_path / "hosts"
    if hosts is not None:
        file.write_text(hosts)
    error = refused(recipe(engine={"hostfile": str(file), "ranks": 4}), LaunchFailed, said)
    assert str(file) in error.what
    assert "engine.ranks" in error.solution


def test_a_hostfile_with_the_recipes_devices_is_taken(recipe: Recipes, tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text("one slots=3\ntwo slots=1\n")
    made = recipe(engine={"hostfile": str(tmp_path / "hosts"), "ranks": 4})
    assert stage_spec(made, made.stages[0], *tokenised_corpus(made)).recipe.engine.ranks == 4


@pytest.mark.parametrize(
    ("accelerator", "said"),
    [("tpu", "does not know the accelerator 'tpu'"), ("cuda", "There is no GPU")],
)
def test_an_accelerator_that_is_not_there_is_refused(
    recipe: Recipes,
    refused: Refused,
    monkeypatch: pytest.MonkeyPatch,
    accelerator: str,
    said: str,
) -> None:
    if accelerator == "cuda" and torch.cuda.is_available():
        pytest.skip("there is one here")
    monkeypatch.setenv("DS_ACCELERATOR", accelerator)
    error = refused(recipe(), LaunchFailed, said)
    assert "DS_ACCELERATOR" in error.cause


def test_without_deepspeed_training_is_refused(
    recipe: Recipes, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "deepspeed", None)
    error = refused(recipe(), LaunchFailed, "needs DeepSpeed")
    assert error.command == "make train"
