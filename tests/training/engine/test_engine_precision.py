"""bfloat16, tied and untied heads and adapters, on two ranks, at every ZeRO stage."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from trainer import exported_corpus, recipe_document, tiny_model, train_many, write_recipe
from transformers import AutoModelForCausalLM

from training.engine.student import add_adapters
from training.recipe import LoraSettings, load_train_recipe

pytestmark = pytest.mark.slow

STEPS = 6
# Adapters on attention and on the MLP; a rate at which they have to move.
LORA = {"rank": 4, "alpha": 8}
# In float32, a tied head at every stage is test_engine_invariance's.
EXACT = {"tied": (0,), "untied": (0, 1, 2, 3)}
RUNS: dict[str, dict[str, Any]] = {
    **{f"{head} {dtype} {zero}": {"head": head, "dtype": dtype, "zero": zero}
       for head in ("tied", "untied")
       for dtype, zeros in (("float32", EXACT[head]), ("bfloat16", (0, 1, 2, 3)))
       for zero in zeros},
    **{f"lora {zero}": {"head": "tied", "dtype": "float32", "zero": zero, "lora": LORA}
       for zero in (0, 1, 2, 3)},
}  # fmt: skip


class _Trained:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        manifest = exported_corpus(folder / "data", 24)
        tiny_model(folder / "tied")
        tiny_model(folder / "untied", tie_word_embeddings=False)
        recipes = []
        for name, run in RUNS.items():
            (folder / name).mkdir()
            document = recipe_document(manifest, folder / run["head"])
            document["student"] |= {"dtype": run["dtype"], "lora": run.get("lora")}
            document["engine"] |= {"ranks": 2, "zero": run["zero"], "checkpoint_every": 1000}
            document["stages"][0] |= {
                "epochs": 4, "max_steps": STEPS, "learning_rate": 5e-3, "warmup": 0.0,
            }  # fmt: skip
            recipes.append(load_train_recipe(write_recipe(folder / name, document)))
        curves = train_many(recipes, 2, folder)
        self.losses = {
            name: [record["loss"] for record in records if record["kind"] == "step"]
            for name, records in zip(RUNS, curves, strict=True)
        }

    def model(self, name: str) -> Path:
        return self.folder / name / "trained" / "tiny" / "sft" / "model"

    def weights(self, name: str) -> dict[str, torch.Tensor]:
        return load_file(self.model(name) / "model.safetensors")

    def start(self, name: str) -> dict[str, torch.Tensor]:
        return load_file(self.folder / RUNS[name]["head"] / "model.safetensors")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> _Trained:
    return _Trained(tmp_path_factory.mktemp("precision"))


@pytest.mark.parametrize("name", [name for name, run in RUNS.items() if run["dtype"] == "bfloat16"])
def test_bfloat16_learns_nearly_as_float32_does(trained: _Trained, name: str) -> None:
    exact, rounded = trained.losses[f"{RUNS[name]['head']} float32 0"], trained.losses[name]
    assert len(rounded) == STEPS
    # bfloat16 keeps eight bits: 0.4 % a rounding.
    assert rounded == pytest.approx(exact, rel=0.005)
    assert rounded[-1] < 0.9 * rounded[0]


@pytest.mark.parametrize("name", [name for name, run in RUNS.items() if "lora" not in run])
def test_a_head_stays_tied_or_untied_and_every_weight_moves(trained: _Trained, name: str) -> None:
    before, after = trained.start(name), trained.weights(name)
    assert after.keys() == before.keys()
    assert ("lm_head.weight" in after) == (RUNS[name]["head"] == "untied")
    for key, weight in after.items():
        assert weight.dtype == getattr(torch, RUNS[name]["dtype"])
        assert weight.isfinite().all()
        if not key.endswith("k_proj.bias"):  # softmax does not see it: its gradient is nothing
            assert not torch.equal(weight.float(), before[key].float()), key


@pytest.mark.parametrize("name", [name for name, run in RUNS.items() if "lora" in run])
def test_merged_adapters_move_what_they_are_on_and_nothing_else(
    trained: _Trained, name: str
) -> None:
    before, after = trained.start(name), trained.weights(name)
    assert after.keys() == before.keys()
    for key, weight in after.items():
        on_adapter = key.endswith("_proj.weight")
        assert torch.equal(weight, before[key]) != on_adapter, key
        if on_adapter:
            change = weight - before[key]
            assert torch.linalg.matrix_rank(change, atol=1e-6) <= LORA["rank"]


@pytest.mark.parametrize("zero", [1, 2, 3])
@pytest.mark.parametrize("kind", ["lora", "untied float32"])
def test_adapters_and_an_untied_head_are_the_same_at_every_zero_stage(
    trained: _Trained, kind: str, zero: int
) -> None:
    assert trained.losses[f"{kind} {zero}"] == pytest.approx(trained.losses[f"{kind} 0"], rel=1e-5)
    one, other = trained.weights(f"{kind} 0"), trained.weights(f"{kind} {zero}")
    for key in one:
        if not key.endswith("k_proj.bias"):  # softmax does not see it: AdamW magnifies noise
            torch.testing.assert_close(other[key], one[key], rtol=1e-4, atol=1e-5)


def test_adapters_learn(trained: _Trained) -> None:
    losses = trained.losses["lora 0"]
    assert losses[-1] < losses[0]
    first = trained.losses["tied float32 0"][0]
    assert losses[0] == pytest.approx(first, rel=1e-6)  # they begin as nothing


def test_a_merged_model_says_what_its_adapters_say(tmp_path: Path) -> None:
    base = AutoModelForCausalLM.from_pretrained(tiny_model(tmp_path / "base"))
    adapted = add_adapters(base, LoraSettings(rank=4, alpha=8))
    torch.manual_seed(0)
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.2)
    tokens = torch.arange(20)[None]
    expected = adapted(tokens).logits
    merged = adapted.merge_and_unload()
    torch.testing.assert_close(merged(tokens).logits, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["tied bfloat16 3", "untied bfloat16 3", "lora 3"])
def test_the_folder_loads_as_it_is(trained: _Trained, name: str) -> None:
    model = AutoModelForCausalLM.from_pretrained(trained.model(name))
    assert model.config.use_cache
    assert not [file for file in trained.model(name).iterdir() if "adapter" in file.name]
    config = json.loads((trained.model(name) / "config.json").read_text())
    assert config["dtype"] == RUNS[name]["dtype"]
