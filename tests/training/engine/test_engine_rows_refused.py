"""Teacher rows that are missing, stale or corrupt are refused by name before a rank is started."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from trainer import exported_corpus
from transformers import AutoModelForCausalLM, AutoTokenizer

from training.capture.capture import capture
from training.engine.stages import tokenised_corpus
from training.errors import (
    RowsRefused,
    TokenizerRefused,
    TrainingError,
)
from training.recipe import TrainRecipe
from training.store.shard import SUFFIX
from training.store.store import RowStore

KD = {
    "name": "kd", "kind": "kd", "epochs": 1, "samples_per_step": 8, "learning_rate": 1e-3,
    "teachers": [{"teacher": "big"}],
}  # fmt: skip

Recipes = Callable[..., TrainRecipe]
Refused = Callable[[TrainRecipe, type[TrainingError], str], Any]


def captured(recipe: TrainRecipe) -> None:
    report = capture(recipe, tokenised_corpus(recipe)[1], "big")
    assert report.captured > 0


def sample_ids(recipe: TrainRecipe) -> list[str]:
    return [example.sample_id for example in tokenised_corpus(recipe)[1].examples()]


def test_rows_that_were_never_captured_are_refused(recipe: Recipes, refused: Refused) -> None:
    made = recipe([KD])
    error = refused(made, RowsRefused, "has no rows for 12 of 12 examples")
    assert any(id in error.what for id in sample_ids(made))
    assert error.command == "stillhouse capture RECIPE"


def test_one_missing_row_is_enough_and_its_sample_is_named(
    recipe: Recipes, refused: Refused
) -> None:
    made = recipe([KD], capture={"rows_per_shard": 1})
    captured(made)
    shards = RowStore.open(made.capture.store).shards
    assert len(shards) == 12
    (gone,) = shards[5].sample_ids()
    shards[5].path.unlink()
    error = refused(made, RowsRefused, "has no rows for 1 of 12 examples")
    assert gone in error.what


def test_rows_of_a_teacher_that_changed_are_stale(
    recipe: Recipes, refused: Refused, tmp_path: Path
) -> None:
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
    recipe: Recipes, refused: Refused, models: Path, tmp_path: Path
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


def test_rows_of_a_text_that_changed_are_stale(
    recipe: Recipes, refused: Refused, tmp_path: Path
) -> None:
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
    recipe: Recipes, refused: Refused, models: Path, tmp_path: Path
) -> None:
    captured(recipe([KD]))
    other = _other_tokenizer(tmp_path / "other", models / "student")
    error = refused(recipe([KD], student={"model": str(other)}), RowsRefused, "are stale")
    assert "tokenizer" in error.cause


def test_a_shard_whose_table_changed_is_refused(recipe: Recipes, refused: Refused) -> None:
    made = recipe([KD])
    captured(made)
    (shard,) = Path(made.capture.store).glob(f"*{SUFFIX}")
    raw = bytearray(shard.read_bytes())
    raw[-80] ^= 1
    shard.write_bytes(raw)
    error = refused(made, RowsRefused, "is no readable shard")
    assert shard.name in error.what


@pytest.mark.parametrize(
    ("where", "wanted", "there"),
    [
        ({"category": ["maths"]}, "category: 'maths'", "category: 'math', 'rewrite'"),
        ({"language": ["fr", "de"]}, "language: 'fr', 'de'", "language: 'en', 'ja', 'zh'"),
        (
            {"category": ["rewrite"], "language": ["zh"]},
            "category: 'rewrite'; language: 'zh'",
            "category: 'math', 'rewrite'; language: 'en', 'ja', 'zh'",
        ),
    ],
)
def test_a_rule_that_is_meant_for_no_example_is_refused(
    recipe: Recipes, refused: Refused, where: dict[str, Any], wanted: str, there: str
) -> None:
    rules = [{"teacher": "big"}, {"teacher": "big", "where": where}]
    error = refused(
        recipe([KD | {"teachers": rules}]), RowsRefused, "Rule 2 .* is meant for no example"
    )
    assert error.cause == f"It asks for {wanted}. The corpus has {there}."


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
