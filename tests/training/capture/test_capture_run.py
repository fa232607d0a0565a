"""A whole capture: every example once, found again by key, and going on after a kill."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sqlalchemy import text
from tiny_teachers import log_p_of, reference
from transformers import AutoModelForCausalLM, AutoTokenizer

from storage.export import ExportOptions, export_samples
from training.capture.capture import CaptureProgress, capture
from training.capture.identity import find_teacher, teacher_identity
from training.capture.sources import rows_source
from training.data.chat import ChatRenderer
from training.data.corpus import read_corpus
from training.data.prepare import prepare
from training.data.split import Split
from training.data.tokenised import TokenisedCorpus
from training.errors import CaptureError, ModelRefused, RowsRefused, TokenizerRefused
from training.recipe import CorpusSettings, TeacherModelSettings, TrainRecipe
from training.store.key import RowsSource
from training.store.store import RowStore

Recipes = Callable[..., TrainRecipe]
Corpora = Callable[..., TokenisedCorpus]


def test_every_example_training_or_held_out_has_its_own_rows(
    tiny: Path, rendered: Corpora, recipe_for: Recipes
) -> None:
    corpus, recipe = rendered(), recipe_for(k=5)
    assert len(corpus.validation) and len(corpus.train)
    report = capture(recipe, corpus, "big")
    assert (report.examples, report.known, report.captured) == (12, 0, 12)
    store, source, model = (
        RowStore.open(recipe.capture.store),
        source_of(recipe, corpus),
        reference(tiny),
    )
    for example in corpus.examples():
        rows = store.read(example, source)
        top, ids = log_p_of(model, example, 938).topk(5)
        assert rows.id_NK.tolist() == ids.tolist()
        np.testing.assert_allclose(rows.log_p_NK, top, atol=0.05)


def source_of(recipe: TrainRecipe, corpus: TokenisedCorpus) -> RowsSource:
    return rows_source(recipe, "big", corpus)


def test_the_report_counts_rows_tokens_and_bytes(rendered: Corpora, recipe_for: Recipes) -> None:
    corpus = rendered()
    report = capture(recipe_for(), corpus, "big")
    trained = sum(len(example.row_N) for example in corpus.examples())
    assert (report.rows, report.tokens) == (trained, int(corpus.lengths.sum()))
    assert report.store.total.rows == trained
    assert report.store.total.codec_error["1.0"].mean < 1e-4
    assert json.dumps(report.as_dict())


def test_progress_ends_at_the_total(rendered: Corpora, recipe_for: Recipes) -> None:
    told: list[CaptureProgress] = []
    capture(recipe_for(), rendered(), "big", on_progress=told.append)
    assert [each.examples for each in told] == list(range(1, 13))
    assert told[-1].tokens == told[-1].tokens_total


def test_a_second_capture_scores_nothing_and_writes_nothing(
    rendered: Corpora, recipe_for: Recipes
) -> None:
    corpus, recipe = rendered(), recipe_for()
    capture(recipe, corpus, "big")
    before = files_of(recipe)
    again = capture(recipe, corpus, "big")
    assert (again.known, again.captured) == (12, 0)
    assert files_of(recipe) == before


def files_of(recipe: TrainRecipe) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(recipe.capture.store).glob("*.rows*")}


def test_a_grown_corpus_has_only_its_new_examples_scored(
    rendered: Corpora, recipe_for: Recipes
) -> None:
    recipe = recipe_for()
    capture(recipe, rendered(12), "big")
    grown = capture(recipe, rendered(30), "big")
    assert (grown.known, grown.captured) == (12, 18)


@pytest.mark.parametrize(
    "change", [{"k": 4}, {"temperatures": [1.0, 2.0]}, {"sampled": 8}, {"sampled": 8, "seed": 1}]
)
def test_what_shapes_rows_is_captured_anew(
    rendered: Corpora, recipe_for: Recipes, change: dict[str, Any]
) -> None:
    corpus = rendered()
    capture(recipe_for(), corpus, "big")
    assert capture(recipe_for(**change), corpus, "big").captured == 12


def test_another_chat_template_is_another_key(
    tiny: Path, rendered: Corpora, recipe_for: Recipes, tmp_path: Path
) -> None:
    recipe, corpus = recipe_for(), rendered()
    capture(recipe, corpus, "big")
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    tokenizer.chat_template = "<|im_start|>system\nBe brief.<|im_end|>\n" + tokenizer.chat_template
    tokenizer.save_pretrained(tmp_path / "other")
    stale = rendered(12, tmp_path / "other")
    with pytest.raises(RowsRefused, match="stale") as caught:
        RowStore.open(recipe.capture.store).read(stale.example(0), source_of(recipe, stale))
    assert "chat template" in caught.value.cause
    assert capture(recipe, stale, "big").captured == 12


def test_another_teachers_weights_are_another_identity(tiny: Path, tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny)
    for folder in ("same", "other"):
        shutil.copytree(tiny, tmp_path / folder)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.01)
    model.save_pretrained(tmp_path / "other")
    said = [
        teacher_identity(TeacherModelSettings(model=str(folder))).revision
        for folder in (tmp_path / "same", tmp_path / "same", tmp_path / "other")
    ]
    assert said[0] == said[1] != said[2]


def _swap_two_ids(document: dict[str, Any]) -> None:
    vocab = document["model"]["vocab"]
    vocab["a"], vocab["b"] = vocab["b"], vocab["a"]


def _add_a_token(document: dict[str, Any]) -> None:
    """One more id, which was padding before."""
    document["added_tokens"].append({**document["added_tokens"][-1], "id": 938, "content": "<x>"})


@pytest.mark.parametrize("change", [_swap_two_ids, _add_a_token])
def test_rows_of_a_teacher_whose_tokenizer_was_edited_are_stale(
    tiny: Path, rendered: Corpora, recipe_for: Recipes, tmp_path: Path, change: Any
) -> None:
    shutil.copytree(tiny, tmp_path / "teacher")
    corpus, recipe = rendered(), recipe_for(tmp_path / "teacher")
    capture(recipe, corpus, "big")
    RowStore.open(recipe.capture.store).read(corpus.example(0), source_of(recipe, corpus))
    file = tmp_path / "teacher" / "tokenizer.json"
    document = json.loads(file.read_text())
    change(document)
    file.write_text(json.dumps(document))
    with pytest.raises(RowsRefused, match="stale") as caught:
        RowStore.open(recipe.capture.store).read(corpus.example(0), source_of(recipe, corpus))
    assert "teacher revision" in caught.value.cause


def test_a_teacher_without_a_tokenizer_is_refused(tiny: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny, tmp_path / "mute")
    (tmp_path / "mute" / "tokenizer.json").unlink()
    with pytest.raises(TokenizerRefused, match=r"no readable tokenizer\.json"):
        teacher_identity(TeacherModelSettings(model=str(tmp_path / "mute")))


def test_a_teachers_identity_holds_no_path(tiny: Path) -> None:
    found = find_teacher(TeacherModelSettings(model=str(tiny), dtype="float32"))
    assert (found.identity.model, found.identity.engine) == ("tiny-qwen2", "torch")
    assert (found.identity.dtype, found.folder) == ("float32", tiny)


@pytest.mark.parametrize("file", ["config.json", "model.safetensors"])
def test_a_folder_that_lacks_a_part_of_a_checkpoint_is_refused(tmp_path: Path, file: str) -> None:
    (tmp_path / file).write_text("{}")
    with pytest.raises(ModelRefused, match="is no checkpoint"):
        teacher_identity(TeacherModelSettings(model=str(tmp_path)))


def test_an_unknown_teacher_is_refused_with_those_that_are_known(
    rendered: Corpora, recipe_for: Recipes
) -> None:
    with pytest.raises(CaptureError, match="no teacher 'huge'") as caught:
        capture(recipe_for(), rendered(), "huge")
    assert "big" in caught.value.cause


def test_index_rows_lead_to_every_captured_sample(
    corpus: Any, tiny: Path, tmp_path: Path, recipe_for: Recipes
) -> None:
    ids = {corpus.sample(corpus.seed(), response=f"It is {n}.") for n in range(3)}
    made = export_samples(corpus.database, ExportOptions(str(tmp_path / "out.jsonl")))
    renderer = ChatRenderer(AutoTokenizer.from_pretrained(tiny), context=512)
    read = read_corpus(CorpusSettings(manifest=str(made.manifest_path)))
    tokens = prepare(read, renderer, Split(0.0), tmp_path / "tokens")
    recipe = recipe_for()
    # Before and after: what a killed capture left unindexed is made up for by the next.
    capture(recipe, tokens, "big")
    capture(recipe, tokens, "big", database=corpus.database)
    with corpus.database.read() as connection:
        rows = connection.execute(text("SELECT sample_id, key FROM teacher_logprobs")).all()
    source = source_of(recipe, tokens)
    assert {sample for sample, _ in rows} == ids
    assert {key for _, key in rows} == {source.key(each) for each in tokens.examples()}


CAPTURE = """
import sys, time
from training.capture.capture import capture
from training.data.tokenised import TokenisedCorpus
from training.recipe import TrainRecipe

recipe = TrainRecipe.model_validate_json(sys.argv[1])

def told(progress):
    print(progress.examples, flush=True)
    if progress.examples == 40:
        time.sleep(600)

capture(recipe, TokenisedCorpus.open(sys.argv[2]), "big", on_progress=told)
"""


def test_a_killed_capture_loses_at_most_the_open_shard(
    rendered: Corpora, recipe_for: Recipes
) -> None:
    corpus, recipe = rendered(60), recipe_for(rows_per_shard=60, tokens_per_batch=64)
    command = [sys.executable, "-c", CAPTURE, recipe.model_dump_json(), str(corpus.folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.strip() == "40":
                break
        os.kill(process.pid, signal.SIGKILL)
    kept = RowStore.open(recipe.capture.store)
    # A shard ends with the sample that brings it to 60 rows, and samples have at most 40.
    longest = max(len(each.row_N) for each in corpus.examples())
    lost = 40 - len(kept)
    assert lost >= 0 and len(kept) > 0
    assert lost * min(len(each.row_N) for each in corpus.examples()) < 60 + longest
    report = capture(recipe, corpus, "big")
    assert (report.known, report.captured) == (len(kept), 60 - len(kept))
    source, store = source_of(recipe, corpus), RowStore.open(recipe.capture.store)
    assert len(store) == 60
    assert not store.missing([source.key(each) for each in corpus.examples()])
    assert not list(Path(recipe.capture.store).glob("*.tmp"))


def other_teacher(scripts: dict[str, Any], folder: Path, drop: int) -> Path:
    """A teacher whose tokenizer has the same tokens under other ids, without the last `drop`."""
    tokenizer = scripts["make_tokenizer"]()
    document = json.loads(tokenizer.backend_tokenizer.to_str())
    vocab = document["model"]["vocab"]
    ordered = sorted(vocab, key=lambda token: vocab[token])
    kept = ordered[: len(ordered) - drop]
    special = [entry["content"] for entry in document["added_tokens"]]
    rest = [token for token in reversed(kept) if token not in special]
    document["model"]["vocab"] = {token: n for n, token in enumerate(special + rest)}
    document["model"]["merges"] = [
        merge for merge in document["model"]["merges"] if "".join(merge) in set(kept)
    ]
    model = scripts["make_model"](tokenizer, 1)
    model.resize_token_embeddings(len(kept))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "tokenizer.json").write_text(json.dumps(document))
    return folder


def test_a_teacher_with_other_ids_is_captured_in_the_students(
    scripts: dict[str, Any], tiny: Path, rendered: Corpora, recipe_for: Recipes, tmp_path: Path
) -> None:
    teacher = other_teacher(scripts, tmp_path / "other", drop=0)
    corpus, recipe = rendered(4), recipe_for(teacher, k=5)
    report = capture(recipe, corpus, "big")
    assert (report.captured, report.coverage.sequences) == (4, 1.0)
    mine = AutoTokenizer.from_pretrained(tiny).get_vocab()
    theirs = json.loads((teacher / "tokenizer.json").read_text())["model"]["vocab"]
    table = np.zeros(938, np.int32)
    for token, number in mine.items():
        table[number] = theirs[token]
    store, source, model = (
        RowStore.open(recipe.capture.store),
        source_of(recipe, corpus),
        reference(teacher),
    )
    for example in corpus.examples():
        in_theirs = replace(example, token_id_T=table[example.token_id_T])
        ids = log_p_of(model, in_theirs, 938).topk(5).indices
        rows = store.read(example, source)
        assert table[rows.id_NK].tolist() == ids.tolist()


def test_a_teacher_that_lacks_the_corpus_tokens_is_refused(
    scripts: dict[str, Any], rendered: Corpora, recipe_for: Recipes, tmp_path: Path
) -> None:
    teacher = other_teacher(scripts, tmp_path / "other", drop=600)
    with pytest.raises(TokenizerRefused, match="too little of the corpus"):
        capture(recipe_for(teacher), rendered(4), "big")


def test_draws_of_a_teacher_with_other_ids_are_refused(
    scripts: dict[str, Any], rendered: Corpora, recipe_for: Recipes, tmp_path: Path
) -> None:
    teacher = other_teacher(scripts, tmp_path / "other", drop=0)
    with pytest.raises(TokenizerRefused, match="Draws"):
        capture(recipe_for(teacher, sampled=8), rendered(4), "big")
