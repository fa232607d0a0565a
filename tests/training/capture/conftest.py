"""Real teachers of 0.4 million weights, and small corpora rendered for their tokenizer."""

from __future__ import annotations

import runpy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_teachers import WORDS, make_examples, write_export
from transformers import AutoTokenizer

from training.data.chat import ChatRenderer
from training.data.corpus import read_corpus
from training.data.example import Example
from training.data.prepare import prepare
from training.data.split import Split
from training.data.tokenised import TokenisedCorpus
from training.recipe import CorpusSettings, TrainRecipe

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="session")
def scripts() -> dict[str, Any]:
    """What the checkpoint's script defines: `make_tokenizer`, `make_model`."""
    return runpy.run_path(str(ROOT / "recipes" / "vllm-cpu" / "make_checkpoint.py"))


@pytest.fixture(scope="session")
def tiny(scripts: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with enlarged weights: as the script makes it, all tokens are alike."""
    folder = tmp_path_factory.mktemp("teachers") / "tiny-qwen2"
    tokenizer = scripts["make_tokenizer"]()
    model = scripts["make_model"](tokenizer, 0)
    with torch.no_grad():
        model.get_input_embeddings().weight.mul_(4)
        for weight in model.model.layers.parameters():
            weight.mul_(3)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def examples() -> list[Example]:
    """Sequences of many lengths, trained on their last two thirds."""
    return make_examples([40, 3, 17, 120, 2, 61, 33], vocabulary=938)


Rendered = Callable[..., TokenisedCorpus]


@pytest.fixture
def rendered(tiny: Path, tmp_path: Path) -> Rendered:
    """Makes a corpus of `count` samples, rendered with a folder's tokenizer and template."""

    def make(count: int = 12, tokenizer: Path = tiny, words: Sequence[str] = WORDS) -> Any:
        folder = tmp_path / f"corpus-{count}"
        folder.mkdir(exist_ok=True)
        manifest = write_export(folder, count, words)
        corpus = read_corpus(CorpusSettings(manifest=str(manifest)))
        renderer = ChatRenderer(AutoTokenizer.from_pretrained(tokenizer), context=512)
        return prepare(corpus, renderer, Split(0.3), folder / "tokens")

    return make


@pytest.fixture
def recipe_for(tiny: Path, tmp_path: Path) -> Callable[..., TrainRecipe]:
    """A recipe with one teacher, `big`, in float32; keywords change its capture section."""

    def make(teacher: Path = tiny, student: Path = tiny, **capture: Any) -> TrainRecipe:
        return TrainRecipe.model_validate(
            {
                "name": "r",
                "corpus": {"manifest": "unused.json"},
                "student": {"model": str(student)},
                "teachers": {"big": {"model": str(teacher), "dtype": "float32", "device": "cpu"}},
                "capture": {"store": str(tmp_path / "rows"), **capture},
                "stages": [{"name": "sft", "kind": "sft"}],
            }
        )

    return make
