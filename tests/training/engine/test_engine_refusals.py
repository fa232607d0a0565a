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
from trainer import exported_corpus, recipe_document, tiny_model, write_recipe
from transformers import AutoModelForCausalLM, AutoTokenizer

from common.hashing import digest
from common.recipes import RecipeError
from storage.export import ExportRefused
from training.capture.capture import capture
from training.engine.launch import LOG
from training.engine.spec import SPEC
from training.engine.stages import MODEL, stage_folder, stage_spec, tokenised_corpus, train
from training.engine.tether import Tether
from training.errors import (
    CheckpointRefused,
    CorpusRefused,
    LaunchFailed,
    ModelRefused,
    RowsRefused,
    SampleTooLong,
    TokenizerRefused,
    TrainingError,
)
from training.recipe import TrainRecipe, load_train_recipe
from training.store.shard import SUFFIX
from training.store.store import RowStore

KD = {
    "name": "kd", "kind": "kd", "epochs": 1, "samples_per_step": 8, "learning_rate": 1e-3,
    "teachers": [{"teacher": "big"}],
}  # fmt: skip


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    tiny_model(folder / "student")
    tiny_model(folder / "teacher", 1)
    return folder


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


def refused(recipe: TrainRecipe, kind: type[TrainingError], match: str) -> Any:
    """Training it is refused like this, and no rank was started."""
    with pytest.raises(kind, match=match) as caught:
        train(recipe, recipe.stages)
    assert type(caught.value) is kind
    assert not list(Path(recipe.output).rglob(LOG))
    return caught.value


# ---- The corpus


def test_a_corpus_without_accepted_samples_cannot_even_be_exported(tmp_path: Path) -> None:
    with pytest.raises(ExportRefused, match="nothing to export with status accepted"):
        exported_corpus(tmp_path / "data", 0)


def test_an_export_without_samples_is_refused(recipe: Recipes, tmp_path: Path) -> None:
    manifest = exported_corpus(tmp_path / "data", 1)
    manifest.with_name("corpus.jsonl").write_bytes(b"")
    said = json.loads(manifest.read_bytes())
    said |= {"rows": 0, "sha256": hashlib.sha256(b"").hexdigest()}
    said["export"] = digest({name: value for name, value in said.items() if name != "export"})
    manifest.write_text(json.dumps(said))
    error = refused(recipe(), CorpusRefused, "holds no samples that can be trained on")
    assert "accepted" in error.solution


def test_an_export_that_changed_is_refused(recipe: Recipes, tmp_path: Path) -> None:
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


def test_a_sample_longer_than_the_context_is_refused_by_name(recipe: Recipes) -> None:
    _, whole = tokenised_corpus(recipe())
    context = int(whole.lengths.max()) - 1
    ids = {whole.example(n).sample_id for n in range(len(whole)) if whole.lengths[n] > context}
    strict = recipe(data={"context": context, "too_long": "refuse"})
    error = refused(strict, SampleTooLong, str(context))
    assert any(id in error.what + error.cause for id in ids)


def test_a_corpus_of_which_nothing_fits_is_refused(recipe: Recipes) -> None:
    refused(recipe(data={"context": 8}), CorpusRefused, "nothing|Nothing|No ")


# ---- Models


def test_a_student_that_is_not_there_is_refused(recipe: Recipes, tmp_path: Path) -> None:
    missing = recipe(student={"model": str(tmp_path / "none")})
    refused(missing, ModelRefused, "There is no tokenizer for")


def test_a_teacher_that_is_not_there_is_refused(recipe: Recipes, tmp_path: Path) -> None:
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


# ---- Teacher rows


def captured(recipe: TrainRecipe) -> None:
    report = capture(recipe, tokenised_corpus(recipe)[1], "big")
    assert report.captured > 0


def sample_ids(recipe: TrainRecipe) -> list[str]:
    return [example.sample_id for example in tokenised_corpus(recipe)[1].examples()]


def test_rows_that_were_never_captured_are_refused(recipe: Recipes) -> None:
    made = recipe([KD])
    error = refused(made, RowsRefused, "has no rows for 12 of 12 examples")
    assert any(id in error.what for id in sample_ids(made))
    assert error.command == "stillhouse capture RECIPE"


def test_one_missing_row_is_enough_and_its_sample_is_named(recipe: Recipes) -> None:
    made = recipe([KD], capture={"rows_per_shard": 1})
    captured(made)
    shards = RowStore.open(made.capture.store).shards
    assert len(shards) == 12
    (gone,) = shards[5].sample_ids()
    shards[5].path.unlink()
    error = refused(made, RowsRefused, "has no rows for 1 of 12 examples")
    assert gone in error.what


def test_rows_of_a_teacher_that_changed_are_stale(recipe: Recipes, tmp_path: Path) -> None:
    made = recipe([KD])
    captured(made)
    teacher = AutoModelForCausalLM.from_pretrained(tmp_path / "teacher")
    with torch.no_grad():
        for weight in teacher.parameters():
            weight.add_(0.01)
    teacher.save_pretrained(tmp_path / "teacher")
    error = refused(made, RowsRefused, "are stale")
    assert "teacher revision" in error.cause
    assert any(id in error.what for id in sample_ids(made))


def test_rows_of_a_template_that_changed_are_stale(
    recipe: Recipes, models: Path, tmp_path: Path
) -> None:
    captured(recipe([KD]))
    shutil.copytree(models / "student", tmp_path / "polite")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "polite")
    tokenizer.chat_template = "<|im_start|>system\nBe brief.<|im_end|>\n" + tokenizer.chat_template
    tokenizer.save_pretrained(tmp_path / "polite")
    error = refused(
        recipe([KD], student={"model": str(tmp_path / "polite")}), RowsRefused, "are stale"
    )
    assert "chat template" in error.cause


def test_rows_of_a_text_that_changed_are_stale(recipe: Recipes, tmp_path: Path) -> None:
    captured(recipe([KD]))
    shutil.rmtree(tmp_path / "data")
    exported_corpus(tmp_path / "data", 12, response="Another answer.")
    error = refused(recipe([KD]), RowsRefused, "are stale")
    assert "its text has changed" in error.cause


def _other_tokenizer(folder: Path, source: Path) -> Path:
    """The source's model with a tokenizer whose ordinary tokens have changed places."""
    shutil.copytree(source, folder)
    file = folder / "tokenizer.json"
    document = json.loads(file.read_text(encoding="utf-8"))
    vocab = document["model"]["vocab"]
    special = {entry["content"] for entry in document["added_tokens"]}
    plain = sorted((t for t in vocab if t not in special), key=lambda token: vocab[token])
    ids = [vocab[token] for token in plain]
    vocab.update(zip(plain, ids[1:] + ids[:1], strict=True))
    file.write_text(json.dumps(document), encoding="utf-8")
    return folder


def test_rows_of_another_tokenizer_are_refused(
    recipe: Recipes, models: Path, tmp_path: Path
) -> None:
    captured(recipe([KD]))
    other = _other_tokenizer(tmp_path / "other", models / "student")
    error = refused(recipe([KD], student={"model": str(other)}), RowsRefused, "are stale")
    assert "tokenizer" in error.cause


def test_a_shard_whose_table_changed_is_refused(recipe: Recipes) -> None:
    made = recipe([KD])
    captured(made)
    (shard,) = Path(made.capture.store).glob(f"*{SUFFIX}")
    raw = bytearray(shard.read_bytes())
    raw[-80] ^= 1
    shard.write_bytes(raw)
    error = refused(made, RowsRefused, "is no readable shard")
    assert shard.name in error.what


def test_a_teacher_whose_vocabulary_covers_too_little_is_refused(
    recipe: Recipes, tmp_path: Path
) -> None:
    file = tmp_path / "teacher" / "tokenizer.json"
    document = json.loads(file.read_text(encoding="utf-8"))
    vocab = document["model"]["vocab"]
    renamed = {(f"ø{t}" if len(t) == 1 and t.isalpha() else t): n for t, n in vocab.items()}
    document["model"] |= {"vocab": renamed, "merges": []}
    file.write_text(json.dumps(document), encoding="utf-8")
    made = recipe([KD])
    with pytest.raises(TokenizerRefused, match="big"):
        capture(made, tokenised_corpus(made)[1], "big")
    assert not list(Path(made.capture.store).glob(f"*{SUFFIX}"))


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
        {"data": {"packing": False}},
        {"corpus": {"validation": 0.4}},
        {"student": {"gradient_checkpointing": True}},
    ],
)
def test_a_folder_of_another_run_is_refused(recipe: Recipes, change: dict[str, Any]) -> None:
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
    changed = recipe(engine={"checkpoint_every": 7, "keep_checkpoints": 5, "validate_every": 3})
    corpus, tokens = tokenised_corpus(changed)
    assert stage_spec(changed, changed.stages[0], corpus, tokens).folder.name == "sft"


def test_a_student_that_was_trained_further_meanwhile_is_another_run(
    recipe: Recipes, models: Path, tmp_path: Path
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


def test_a_broken_spec_in_the_folder_is_refused(recipe: Recipes) -> None:
    folder = begun(recipe())
    (folder / SPEC).write_text("{not json")
    refused(recipe(), CheckpointRefused, "cannot be read")


def test_a_broken_lineage_beside_a_model_is_refused(recipe: Recipes) -> None:
    made = recipe()
    model = stage_folder(made, made.stages[0]) / MODEL
    model.mkdir(parents=True)
    (model / "stillhouse.json").write_text("{not json")
    refused(made, ModelRefused, "cannot be read")


def test_a_second_trainer_in_the_same_folder_is_refused(recipe: Recipes) -> None:
    made = recipe()
    with Tether.hold(begun(made)):
        error = refused(made, LaunchFailed, "Another process is training in")
    assert "Wait" in error.solution


def test_a_second_trainer_takes_nothing_from_the_first(recipe: Recipes) -> None:
    made = recipe()
    folder = begun(made)
    (folder / "error-0.json").write_text("{}")
    with Tether.hold(folder):
        refused(made, LaunchFailed, "Another process is training in")
        with pytest.raises(LaunchFailed, match="Another process"):
            train(made, made.stages, restart=True)
    assert (folder / "error-0.json").exists()
    assert not list(folder.parent.glob("sft.old-*"))


def test_without_deepspeed_training_is_refused(
    recipe: Recipes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "deepspeed", None)
    error = refused(recipe(), LaunchFailed, "needs DeepSpeed")
    assert error.command == "make train"
