"""Qwen2.5's vocabulary widths, in every mix: captured and trained end to end with no flag.

The embeddings of Qwen2.5 have 151,936 rows (0.5B to 3B, tied) or 152,064 (7B to 72B, untied); here
they belong to models of hidden size 32 and a tokenizer of 938 tokens. Ids beyond it are padding.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from trainer import exported_corpus, recipe_document, tiny_model, train_many, write_recipe
from transformers import AutoModelForCausalLM

from training.capture.capture import capture
from training.capture.sources import rows_source
from training.data.tokenised import TokenisedCorpus
from training.engine.stages import tokenised_corpus
from training.recipe import TrainRecipe, load_train_recipe
from training.store.store import RowStore

NARROW, WIDE = 151_936, 152_064
TOKENS = 938
K = 10

Case = tuple[int, int, bool]
CASES: list[Case] = [
    (student, teacher, tied)
    for student in (NARROW, WIDE)
    for teacher in (NARROW, WIDE)
    for tied in (True, False)
]


def named(case: Case) -> str:
    student, teacher, tied = case
    return f"{student} learns from {teacher}, {'tied' if tied else 'untied'}"


def model_of(folder: Path, width: int, *, tied: bool, seed: int) -> Path:
    shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1}
    return tiny_model(folder, seed, width=width, tie_word_embeddings=tied, **shape)


def shout_padding(folder: Path) -> None:
    """Gives every padded id of an untied checkpoint a logit beyond any token's, of either sign."""
    model = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        model.lm_head.weight[TOKENS:] *= 1000.0
    model.save_pretrained(folder)


class Runs:
    """All combinations, captured and trained in one launch: recipes and metrics by case."""

    def __init__(self, folder: Path) -> None:
        self.manifest = exported_corpus(folder / "data", 16)
        self.teachers = {
            width: model_of(folder / f"teacher-{width}", width, tied=width == NARROW, seed=1)
            for width in (NARROW, WIDE)
        }
        shout_padding(self.teachers[WIDE])
        self.recipes = {case: self._recipe(folder, case) for case in CASES}
        self.corpora: dict[Case, TokenisedCorpus] = {}
        for case, recipe in self.recipes.items():
            _, self.corpora[case] = tokenised_corpus(recipe)
            capture(recipe, self.corpora[case], "big")
        records = train_many(list(self.recipes.values()), 1, folder)
        self.steps = {
            case: [record for record in each if record["kind"] == "step"]
            for case, each in zip(CASES, records, strict=True)
        }

    def _recipe(self, folder: Path, case: Case) -> TrainRecipe:
        width, teacher, tied = case
        student = folder / f"student-{width}-{tied}"
        if not student.exists():
            model_of(student, width, tied=tied, seed=0)
        stage = {
            "name": "kd", "kind": "kd", "max_steps": 2, "samples_per_step": 8, "warmup": 0.0,
            "learning_rate": 1e-3, "teachers": [{"teacher": "big"}],
        }  # fmt: skip
        document = recipe_document(
            self.manifest,
            student,
            corpus={"manifest": str(self.manifest), "validation": 0.0},
            teachers={"big": {"model": str(self.teachers[teacher]), "dtype": "float32"}},
            capture={"k": K, "store": str(folder / "rows")},
            stages=[stage],
        )
        home = folder / named(case).replace(" ", "-")
        home.mkdir()
        return load_train_recipe(write_recipe(home, document))

    def model(self, case: Case) -> Path:
        recipe = self.recipes[case]
        return Path(recipe.output) / recipe.name / "kd" / "model"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    folder = tmp_path_factory.mktemp("widths")
    yield Runs(folder)
    # A gigabyte of checkpoints, which pytest would keep for three sessions.
    shutil.rmtree(folder)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=named)
def test_every_mix_of_widths_trains_two_steps_end_to_end(runs: Runs, case: Case) -> None:
    steps = runs.steps[case]
    assert [step["step"] for step in steps] == [1, 2]
    for step in steps:
        figures = [step[name] for name in ("loss", "ce", "kd", "gradient_norm", "student_mass")]
        assert np.isfinite(figures).all()
        assert step["kd"] > 0
    # From all ids alike a student of any width moves to the teacher's: its mass on K grows.
    assert steps[1]["student_mass"] > steps[0]["student_mass"]


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=named)
def test_what_is_saved_has_the_students_own_width(runs: Runs, case: Case) -> None:
    width, _, tied = case
    model = AutoModelForCausalLM.from_pretrained(runs.model(case))
    assert model.config.vocab_size == width
    assert model.lm_head.weight.shape == model.get_input_embeddings().weight.shape == (width, 32)
    assert (model.lm_head.weight is model.get_input_embeddings().weight) == tied


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=named)
def test_a_students_own_padded_ids_lose_mass_by_training(runs: Runs, case: Case) -> None:
    """They are in its softmax, as in the one that serving samples from."""
    masses = []
    for folder in (Path(runs.recipes[case].student.model), runs.model(case)):
        model: Any = AutoModelForCausalLM.from_pretrained(folder)
        example = runs.corpora[case].example(0)
        ids_1T = torch.from_numpy(example.token_id_T.astype(np.int64))[None]
        with torch.no_grad():
            q_NV = model(input_ids=ids_1T).logits[0, example.row_N].softmax(dim=1)
        masses.append(float(q_NV[:, TOKENS:].sum(dim=1).mean()))
    before, after = masses
    assert after < before - 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("width", [NARROW, WIDE])
def test_padded_ids_of_a_teacher_have_probability_zero(runs: Runs, width: int) -> None:
    """Even where their logits are the highest: the rest is a distribution by itself."""
    case = (NARROW, width, True)
    recipe, corpus = runs.recipes[case], runs.corpora[case]
    store, source = RowStore.open(recipe.capture.store), rows_source(recipe, "big", corpus)
    teacher: Any = AutoModelForCausalLM.from_pretrained(runs.teachers[width]).double()
    for example in list(corpus.examples())[:4]:
        rows = store.read(example, source)
        ids_1T = torch.from_numpy(example.token_id_T.astype(np.int64))[None]
        with torch.no_grad():
            logits_NV = teacher(input_ids=ids_1T).logits[0, example.row_N]
        if width == WIDE:
            assert (logits_NV.argmax(dim=1) >= TOKENS).all()
        log_p_NV = logits_NV[:, :TOKENS].log_softmax(dim=1).numpy()
        assert rows.id_NK.max() < TOKENS
        kept_NK = np.take_along_axis(log_p_NV, rows.id_NK.astype(np.int64), axis=1)
        np.testing.assert_allclose(rows.log_p_NK, kept_NK, atol=0.05)
        whole_N = np.exp(rows.log_p_NK).sum(axis=1) + np.exp(rows.log_tail_N)
        np.testing.assert_allclose(whole_N, 1.0, atol=1e-3)
