"""What the trainer's tests share: a small corpus exported for real, tiny models, a recipe.

The corpus is a database with accepted samples, exported by the factory's own export, so that a
manifest, families and categories are what a run would leave.
"""

from __future__ import annotations

import os
import runpy
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
import yaml
from conftest import CorpusMaker
from transformers import Qwen2Config, Qwen2ForCausalLM

from storage.database import Database
from storage.export import ExportOptions, export_samples
from training.engine.stages import stage_spec, tokenised_corpus
from training.recipe import TrainRecipe
from training.report.reading import read_metrics

_MANY = Path(__file__).parent / "training" / "engine" / "many_stages.py"
_MAKER = Path(__file__).parents[1] / "recipes" / "vllm-cpu" / "make_checkpoint.py"

QUESTIONS = (
    ("en", "math", "Add {a} and {b}.", "The sum of {a} and {b} is {c}."),
    (
        "en",
        "math",
        "A farmer has {a} apples and buys {b}. How many now?",
        "{a} + {b} = {c}.",
    ),
    ("ja", "math", "{a}と{b}を足してください。", "答えは{c}です。"),
    ("zh", "math", "请把{a}和{b}相加。", "答案是{c}。"),
    (
        "en",
        "rewrite",
        "Say 'number {a}' in another way.",
        "It is number {a}; {b} is another.",
    ),
)


def exported_corpus(
    folder: Path, samples: int = 24, *, response: str | None = None, **options: Any
) -> Path:
    """A database `corpus.db` and an export of it in `folder`; returns the manifest.

    Every third sample is a variant of the one before: it shares its family.
    """
    folder.mkdir(parents=True, exist_ok=True)
    database = Database.open(str(folder / "corpus.db"), create=True)
    maker = CorpusMaker(database)
    seed, variant = "", 0
    for number in range(samples):
        language, category, question, answer = QUESTIONS[number % len(QUESTIONS)]
        values = {"a": number, "b": number * 7 % 31, "c": number + number * 7 % 31}
        instruction = question.format(**values)
        if number % 3 == 2:
            variant += 1
        else:
            seed, variant = maker.seed(instruction, language=language, category=category), 0
        maker.sample(
            seed,
            variant,
            response=response or answer.format(**values),
            instruction=instruction,
            language=language,
            category=category,
        )
    result = export_samples(database, ExportOptions(str(folder / "corpus.jsonl"), **options))
    database.close()
    return result.manifest_path


def tiny_model(folder: Path, seed: int = 0, *, width: int | None = None, **config: Any) -> Path:
    """A random Qwen2 checkpoint of about 0.1 million parameters, with a ChatML tokenizer.

    `width` is the vocabulary's width, where it is to be wider than the tokenizer.
    """
    made = runpy.run_path(str(_MAKER))
    tokenizer = made["make_tokenizer"]()
    shape: dict[str, Any] = {
        "hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 1024,
        "tie_word_embeddings": True,
    }  # fmt: skip
    torch.manual_seed(seed)
    model = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=width or len(tokenizer),
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            **(shape | config),
        )
    )
    model.to(torch.float32).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def recipe_document(manifest: Path, student: Path, **changes: Any) -> dict[str, Any]:
    """A training recipe as a document: one SFT stage in float32 on one rank, ZeRO 0."""
    document: dict[str, Any] = {
        "name": "tiny",
        "corpus": {"manifest": str(manifest), "validation": 0.2},
        "data": {"context": 256},
        "student": {"model": str(student), "dtype": "float32"},
        "stages": [
            {"name": "sft", "kind": "sft", "epochs": 2, "samples_per_step": 8,
             "learning_rate": 1e-3},
        ],
        "engine": {"ranks": 1, "zero": 0, "tokens_per_micro_batch": 512},
        "tracking": {"tensorboard": False},
        "output": "trained",
    }  # fmt: skip
    return document | changes


def write_recipe(folder: Path, document: dict[str, Any]) -> Path:
    """Writes `recipe.yaml`; returns the file."""
    file = folder / "recipe.yaml"
    file.write_text(yaml.safe_dump(document, allow_unicode=True), encoding="utf-8")
    return file


def train_many(recipes: list[TrainRecipe], ranks: int, folder: Path) -> list[list[dict[str, Any]]]:
    """Trains the last stage of each recipe on the same ranks; returns each one's metrics."""
    specs = []
    for recipe in recipes:
        corpus, tokens = tokenised_corpus(recipe)
        specs.append(stage_spec(recipe, recipe.stages[-1], corpus, tokens))
    listing = folder / f"stages-{ranks}.txt"
    listing.write_text("\n".join(str(spec.write()) for spec in specs), encoding="utf-8")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    command = [
        sys.executable, "-m", "deepspeed.launcher.runner", "--hostfile", os.devnull,
        "--num_accelerators", str(ranks), "--master_addr", "127.0.0.1", "--master_port", port,
        str(_MANY), str(listing),
    ]  # fmt: skip
    environment = {
        **os.environ, "DS_ACCELERATOR": "cpu", "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }  # fmt: skip
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=540, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return [read_metrics(spec.folder / "metrics.jsonl") for spec in specs]
