"""How a saved student generates: as the model that it began with, to the end of a turn."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ranks import Ranks
from transformers import AutoTokenizer, GenerationConfig

from training.engine.saving import generation_config
from training.engine.spec import StageSpec
from training.engine.stages import stage_spec, tokenised_corpus
from training.errors import ModelRefused
from training.recipe import TrainRecipe

TURN_END = 5
# As many models came: transformers reads it and refuses to write it.
UNSAMPLED = {"temperature": 0.6, "top_p": 0.9, "eos_token_id": 2}


def _with(said: str, source: Path, folder: Path) -> str:
    shutil.copytree(source, folder)
    (folder / "generation_config.json").write_text(said, encoding="utf-8")
    return str(folder)


def _saved(said: dict[str, Any], models: Path, tmp_path: Path) -> GenerationConfig:
    """What is written for a student with that configuration, read back."""
    start = _with(json.dumps(said), models / "student", tmp_path / "start")
    tokenizer = AutoTokenizer.from_pretrained(start)
    generation_config(start, None, tokenizer, TURN_END).save_pretrained(tmp_path / "saved")
    return GenerationConfig.from_pretrained(tmp_path / "saved")


@pytest.mark.parametrize("more", [{}, {"do_sample": False}, {"do_sample": True}])
def test_a_temperature_is_kept_and_means_sampling(
    models: Path, tmp_path: Path, more: dict[str, Any]
) -> None:
    saved = _saved(UNSAMPLED | more, models, tmp_path)
    assert (saved.do_sample, saved.temperature, saved.top_p) == (True, 0.6, 0.9)
    assert saved.eos_token_id == [2, TURN_END]


def test_of_what_makes_no_sense_the_tokens_are_kept(models: Path, tmp_path: Path) -> None:
    said = {"early_stopping": "never", "length_penalty": 2.0, "num_beams": 1, "eos_token_id": [2],
            "pad_token_id": 3}  # fmt: skip
    saved = _saved(said, models, tmp_path)
    assert saved.length_penalty != 2.0
    assert (saved.eos_token_id, saved.pad_token_id) == ([2, TURN_END], 3)


def test_a_greedy_model_stays_greedy(models: Path, tmp_path: Path) -> None:
    assert _saved({"do_sample": False, "eos_token_id": 2}, models, tmp_path).do_sample is not True


def test_a_generation_configuration_that_cannot_be_read_is_refused_before_a_rank_starts(
    recipe: Callable[..., TrainRecipe], models: Path, tmp_path: Path
) -> None:
    broken = _with("{not json", models / "student", tmp_path / "broken")
    made = recipe(student={"model": broken})
    with pytest.raises(ModelRefused, match="generation configuration") as caught:
        stage_spec(made, made.stages[0], *tokenised_corpus(made))
    assert broken in caught.value.what


@pytest.mark.slow
def test_a_model_that_transformers_would_not_write_is_trained_and_saved(
    ranks: Ranks, spec: Callable[..., StageSpec], made: Path, tmp_path: Path
) -> None:
    start = _with(json.dumps(UNSAMPLED), made / "student", tmp_path / "start")
    stage = spec(student={"model": start}, stage={"max_steps": 1})
    assert ranks.run(stage) == {}
    saved = GenerationConfig.from_pretrained(stage.folder / "model")
    assert (saved.do_sample, saved.temperature, saved.top_p) == (True, 0.6, 0.9)
