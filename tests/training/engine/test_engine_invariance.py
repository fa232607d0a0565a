"""However the work is cut (ranks, ZeRO stage, micro-batches, packing, offload), training is the
same: the same losses and gradient norms, step by step, and the same weights in the end, in float32,
to 1e-5."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from trainer import exported_corpus, recipe_document, tiny_model, train_many, write_recipe

from training.capture.capture import capture
from training.engine.stages import MODEL, stage_folder, tokenised_corpus
from training.recipe import TrainRecipe, load_train_recipe

FIGURES = ("loss", "ce", "kd", "gradient_norm", "teacher_mass", "student_mass", "nll")
TOLERANCE = 1e-5

# Sixteen samples a step: one at a time on two ranks are eight accumulated micro-batches each.
WAYS: dict[int, dict[str, dict[str, Any]]] = {
    1: {
        "plain": {"zero": 0},
        "one by one": {"zero": 0, "samples_per_micro_batch": 1, "packing": False},
        "small packs": {"zero": 0, "tokens_per_micro_batch": 100},
        "checkpointed": {"zero": 0, "gradient_checkpointing": True},
    },
    2: {
        "zero 0": {"zero": 0},
        "zero 1": {"zero": 1},
        "zero 2": {"zero": 2},
        "zero 3": {"zero": 3},
        "zero 0, eight accumulated": {"zero": 0, "samples_per_micro_batch": 1, "packing": False},
        "zero 1, eight accumulated": {"zero": 1, "samples_per_micro_batch": 1, "packing": False},
        "zero 2, eight accumulated": {"zero": 2, "samples_per_micro_batch": 1, "packing": False},
        "zero 3, eight accumulated": {"zero": 3, "samples_per_micro_batch": 1, "packing": False},
        "zero 2, offloaded": {"zero": 2, "offload_optimizer": True, "tokens_per_micro_batch": 100},
        "zero 3, offloaded": {
            "zero": 3, "offload_optimizer": True, "offload_parameters": True,
            "tokens_per_micro_batch": 100,
        },
        "zero 2, checkpointed": {"zero": 2, "gradient_checkpointing": True},
        "zero 3, checkpointed": {"zero": 3, "gradient_checkpointing": True},
    },
}  # fmt: skip


# One teacher for some rows, two fused for the others.
RULES = [
    {"teacher": "big", "weight": 2.0},
    {"teacher": "other", "where": {"language": ["en", "zh"]}},
]


def _recipe(folder: Path, base: dict[str, Any], ranks: int, way: dict[str, Any]) -> TrainRecipe:
    """The base recipe cut another way, in a folder of its own."""
    folder.mkdir(parents=True)
    way = dict(way)
    document = dict(base)
    document["data"] = {**base["data"], "packing": way.pop("packing", True)}
    checkpointing = way.pop("gradient_checkpointing", False)
    document["student"] = {**base["student"], "gradient_checkpointing": checkpointing}
    document["engine"] = {**base["engine"], "ranks": ranks, **way}
    return load_train_recipe(write_recipe(folder, document))


@dataclass(frozen=True, slots=True)
class Run:
    """What one way of cutting led to: the lines of steps and validations, and the weights."""

    curve: list[dict[str, Any]]
    weights: dict[str, Tensor]


def _runs(base: dict[str, Any], folder: Path) -> dict[str, Run]:
    runs = {}
    for ranks, ways in WAYS.items():
        recipes = [
            _recipe(folder / f"{ranks} {name}", base, ranks, way) for name, way in ways.items()
        ]
        metrics = train_many(recipes, ranks, folder)
        for name, recipe, records in zip(ways, recipes, metrics, strict=True):
            model = stage_folder(recipe, recipe.stages[-1]) / MODEL
            weights = load_file(model / "model.safetensors")
            curve = [record for record in records if record["kind"] != "event"]
            runs[f"{ranks} ranks, {name}"] = Run(curve, weights)
    return runs


def _stage(kind: str, **settings: Any) -> dict[str, Any]:
    return {"name": kind, "kind": kind, "epochs": 2, "samples_per_step": 16, "max_steps": 3,
            "learning_rate": 1e-3, "warmup": 0.0, **settings}  # fmt: skip


@pytest.fixture(scope="module")
def sft_runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    folder = tmp_path_factory.mktemp("sft")
    manifest = exported_corpus(folder / "data", 40)
    base = recipe_document(manifest, tiny_model(folder / "student"), stages=[_stage("sft")])
    return _runs(base, folder)


@pytest.fixture(scope="module")
def kd_runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    folder = tmp_path_factory.mktemp("kd")
    teachers = {
        name: {"model": str(tiny_model(folder / name, seed)), "dtype": "float32"}
        for name, seed in (("big", 5), ("other", 6))
    }
    base = recipe_document(
        exported_corpus(folder / "data", 40),
        tiny_model(folder / "student"),
        teachers=teachers,
        capture={"store": str(folder / "captures"), "temperatures": [2.0]},
        stages=[_stage("kd", alpha=0.7, temperature=2.0, teachers=RULES)],
    )
    (folder / "capture").mkdir()
    recipe = load_train_recipe(write_recipe(folder / "capture", base))
    _, tokens = tokenised_corpus(recipe)
    for name in teachers:
        capture(recipe, tokens, name)
    return _runs(base, folder)


PLAIN = "1 ranks, plain"
EVERY_OTHER_WAY = pytest.mark.parametrize(
    "way",
    [
        way
        for ranks, ways in WAYS.items()
        for name in ways
        if (way := f"{ranks} ranks, {name}") != PLAIN
    ],
)


@pytest.mark.slow
@EVERY_OTHER_WAY
def test_sft_is_the_same_however_it_is_cut(sft_runs: dict[str, Run], way: str) -> None:
    _same(sft_runs[PLAIN], sft_runs[way])


@pytest.mark.slow
@EVERY_OTHER_WAY
def test_kd_is_the_same_however_it_is_cut(kd_runs: dict[str, Run], way: str) -> None:
    _same(kd_runs[PLAIN], kd_runs[way])


def _same(expected: Run, found: Run) -> None:
    assert len(expected.curve) == 4  # three steps, one validation
    assert [r["step"] for r in found.curve] == [r["step"] for r in expected.curve]
    for one, other in zip(expected.curve, found.curve, strict=True):
        figures = [name for name in FIGURES if one.get(name) is not None]
        assert figures
        for name in figures:
            assert other[name] == pytest.approx(one[name], rel=TOLERANCE), (name, one["step"])
    assert found.weights.keys() == expected.weights.keys()
    for name, weight in expected.weights.items():
        if not name.endswith("k_proj.bias"):  # softmax does not see it: AdamW magnifies noise
            torch.testing.assert_close(found.weights[name], weight, rtol=1e-5, atol=1e-5)
