"""Samples that a teacher's vocabulary cannot say: listed at capture and not tried again, taken over
by another teacher or left out of KD, and told from samples that were never captured."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import CorpusMaker
from trainer import exported_corpus, recipe_document, tiny_model, write_recipe

from cli.train import _Display
from storage.database import Database
from storage.export import ExportOptions, export_samples
from training.capture.capture import capture
from training.capture.sources import rows_source
from training.data.tokenised import TokenisedCorpus
from training.engine.schedules import training_schedule
from training.engine.spec import StageSpec
from training.engine.stages import stage_spec, tokenised_corpus
from training.engine.teaching import Teaching
from training.errors import RowsRefused
from training.recipe import TrainRecipe, load_train_recipe
from training.store.shard import SUFFIX
from training.store.unsayable import add_unsayable


def _without_japanese(teacher: Path) -> Path:
    """Gives the teacher's token for 'で' another name, so that no Japanese answer can be said."""
    file = teacher / "tokenizer.json"
    document = json.loads(file.read_text())
    vocabulary = document["model"]["vocab"]
    for token in [t for t in vocabulary if t in ("ãģ§", "ãģ§ãģĻ", "ãģĻ", "ãģĻãĢĤ")]:
        vocabulary[f"<lost {token}>"] = vocabulary.pop(token)
        document["model"]["merges"] = [
            merge for merge in document["model"]["merges"] if token not in ("".join(merge), *merge)
        ]
    file.write_text(json.dumps(document))
    return teacher


@pytest.fixture
def base(tmp_path: Path) -> dict[str, Any]:
    narrow = _without_japanese(tiny_model(tmp_path / "narrow", 3))
    teachers = {
        "narrow": {"model": str(narrow), "dtype": "float32"},
        "wide": {"model": str(tiny_model(tmp_path / "wide", 4)), "dtype": "float32"},
    }
    return recipe_document(
        exported_corpus(tmp_path / "data", 20),
        tiny_model(tmp_path / "student"),
        teachers=teachers,
        capture={"store": str(tmp_path / "captures"), "vocabulary_coverage": 0.2},
        output=str(tmp_path / "trained"),
    )


def _stage(folder: Path, base: dict[str, Any], *teachers: str) -> tuple[TrainRecipe, Any]:
    rules = [{"teacher": name} for name in teachers]
    stages = [{"name": "kd", "kind": "kd", "samples_per_step": 4, "teachers": rules}]
    recipe = load_train_recipe(write_recipe(folder, {**base, "stages": stages}))
    return recipe, tokenised_corpus(recipe)


def _taught(
    recipe: TrainRecipe, tokens: Any
) -> tuple[StageSpec, Teaching, TokenisedCorpus, list[bool]]:
    corpus, tokenised = tokens
    spec = stage_spec(recipe, recipe.stages[0], corpus, tokenised, restart=True)
    assert spec.teaching is not None
    japanese = [tokenised.columns(n)["language"] == "ja" for n in range(len(tokenised))]
    return spec, Teaching.open(spec.teaching), tokenised, japanese


def test_what_cannot_be_said_is_listed_and_not_tried_again(
    tmp_path: Path, base: dict[str, Any]
) -> None:
    recipe, (_, tokens) = _stage(tmp_path, base, "narrow")
    first, second = capture(recipe, tokens, "narrow"), capture(recipe, tokens, "narrow")
    assert len(first.unmapped) == 4
    assert set(second.unmapped) == set(first.unmapped)
    assert (first.captured, second.captured, second.known) == (16, 0, 16)


def _twins(folder: Path) -> Path:
    """Three English samples, and two whose Japanese words are the same."""
    folder.mkdir()
    database = Database.open(str(folder / "corpus.db"), create=True)
    maker = CorpusMaker(database)
    for number in range(5):
        words = (
            ("Say hello.", f"Hello {number}.") if number < 3 else ("二と三は。", "答えは五です。")
        )
        instruction, response = words
        maker.sample(maker.seed(f"Seed {number}"), instruction=instruction, response=response)
    made = export_samples(database, ExportOptions(str(folder / "corpus.jsonl")))
    database.close()
    return made.manifest_path


def test_each_corpus_in_a_store_has_its_own_unsayable_samples_counted_one_by_one(
    tmp_path: Path, base: dict[str, Any]
) -> None:
    recipe, (_, large) = _stage(tmp_path, base, "narrow")
    first = capture(recipe, large, "narrow")
    (tmp_path / "twins").mkdir()
    manifest = _twins(tmp_path / "twins" / "data")
    other = {**base, "corpus": {"manifest": str(manifest)}, "output": "trained"}
    recipe, (_, small) = _stage(tmp_path / "twins", other, "narrow")
    japanese = sorted(example.sample_id for example in list(small.examples())[3:])
    assert len(set(japanese)) == 2
    for known, captured in ((0, 3), (3, 0)):
        report = capture(recipe, small, "narrow")
        assert (report.known, report.captured) == (known, captured)
        assert sorted(report.unmapped) == japanese
    assert set(capture(recipe, large, "narrow").unmapped) == set(first.unmapped)


def test_what_no_teacher_can_say_is_left_out_and_counted(
    tmp_path: Path, base: dict[str, Any]
) -> None:
    recipe, tokens = _stage(tmp_path, base, "narrow")
    capture(recipe, tokens[1], "narrow")
    spec, teaching, tokenised, japanese = _taught(recipe, tokens)
    assert teaching.taught_E.tolist() == [not each for each in japanese]
    assert spec.lineage["untaught"] == 4
    schedule = training_schedule(tokenised, recipe, spec.stage, 1, teaching.taught_E)
    trained = np.concatenate([schedule.samples(s) for s in range(schedule.steps_per_epoch)])
    assert sorted(trained) == [n for n in tokenised.train if not japanese[n]]


def test_what_is_left_out_is_said_and_not_counted_as_trained_on(
    tmp_path: Path, base: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    recipe, tokens = _stage(tmp_path, base, "narrow")
    capture(recipe, tokens[1], "narrow")
    spec, teaching, tokenised, _ = _taught(recipe, tokens)
    with ExitStack() as stack:
        display = _Display(recipe.name, stack)
        display.begin(spec, 1)
    taught = int(teaching.taught_E[tokenised.train].sum())
    assert taught < len(tokenised.train)
    said = capsys.readouterr().out
    assert f"corpus: {taught} examples to train on" in said
    assert "4 left out, because no teacher can say them" in said
    assert (display.corpus["train"], display.corpus["untaught"]) == (taught, 4)


def test_a_stage_of_which_no_teacher_can_say_anything_is_refused(
    tmp_path: Path, base: dict[str, Any]
) -> None:
    recipe, tokens = _stage(tmp_path, base, "narrow")
    capture(recipe, tokens[1], "narrow")
    # The capture refuses a teacher that covers too little of a corpus, held-out samples included;
    # what is left to train on may yet be nothing.
    source = rows_source(recipe, "narrow", tokens[1])
    train = [tokens[1].example(int(number)) for number in tokens[1].train]
    found = {source.key(each): each.sample_id for each in train}
    add_unsayable(recipe.capture.store, source, found)
    with pytest.raises(RowsRefused, match="Nothing is left to train on in stage 'kd'") as caught:
        _taught(recipe, tokens)
    assert "vocabulary" in caught.value.cause


def test_another_teacher_takes_the_part_of_one_that_cannot_say_it(
    tmp_path: Path, base: dict[str, Any]
) -> None:
    recipe, tokens = _stage(tmp_path, base, "narrow", "wide")
    for name in ("narrow", "wide"):
        capture(recipe, tokens[1], name)
    _, teaching, _, japanese = _taught(recipe, tokens)
    assert teaching.taught_E.all()
    assert teaching.weight_TE[0].tolist() == [0.0 if each else 0.5 for each in japanese]
    assert teaching.weight_TE[1].tolist() == [1.0 if each else 0.5 for each in japanese]


def test_what_was_never_captured_is_refused_all_the_same(
    tmp_path: Path, base: dict[str, Any]
) -> None:
    recipe, tokens = _stage(tmp_path, base, "narrow")
    capture(recipe, tokens[1], "narrow")
    [shard] = Path(recipe.capture.store).glob(f"*{SUFFIX}")
    shard.unlink()
    with pytest.raises(RowsRefused, match="no rows for 16 of 16"):
        _taught(recipe, tokens)


def test_a_damaged_list_is_refused(tmp_path: Path, base: dict[str, Any]) -> None:
    recipe, tokens = _stage(tmp_path, base, "narrow")
    capture(recipe, tokens[1], "narrow")
    [listing] = Path(recipe.capture.store).glob("unsayable-*.json")
    listing.write_text("{")
    with pytest.raises(RowsRefused, match="cannot be read"):
        _taught(recipe, tokens)
