"""A run that was killed and resumed is the unbroken one bit for bit, on a CPU; settings that only
say how a step is cut may change on the way, and then it is the same to 1e-5."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from ranks import Ranks, begun_of, curve_of, five_steps, kept, weights_of

from training.engine.spec import StageSpec
from training.engine.stages import stage_spec, tokenised_corpus

pytestmark = pytest.mark.slow

STEPS = 8
STAGE = {"epochs": 4, "samples_per_step": 10, "max_steps": STEPS}
EVERY = {
    "checkpoint_every": 2, "validate_every": 2, "keep_checkpoints": STEPS,
    "head_accumulation": "float32",
}  # fmt: skip
TOLERANCE = 1e-5

Specs = Callable[..., StageSpec]


def _whole(ranks: Ranks, made: Path, folder: Path, **sections: Any) -> StageSpec:
    """A run that nothing disturbs, with all its checkpoints."""
    folder.mkdir(exist_ok=True)
    recipe = five_steps(made, folder, stage=STAGE, **sections)
    spec = stage_spec(recipe, recipe.stages[0], *tokenised_corpus(recipe))
    assert ranks.run(spec) == {}
    assert [line["kind"] for line in curve_of(spec)].count("validation") == STEPS // 2
    return spec


def _cut_off(whole: StageSpec, spec: StageSpec, step: int) -> StageSpec:
    """The folder as that run would have left it, if it had been cut off after `step` steps."""
    shutil.copytree(whole.folder, spec.folder, dirs_exist_ok=True)
    shutil.rmtree(spec.folder / "model")
    for later in range(step + 2, STEPS + 1, 2):
        shutil.rmtree(spec.folder / "checkpoints" / f"step-{later:08d}")
    assert kept(spec) == list(range(2, step + 1, 2))
    return spec


def _same_bits(whole: StageSpec, spec: StageSpec) -> None:
    assert curve_of(spec) == curve_of(whole)
    expected, found = weights_of(whole), weights_of(spec)
    assert found.keys() == expected.keys()
    assert [name for name in expected if not torch.equal(found[name], expected[name])] == []


@pytest.mark.parametrize("zero", [0, 1, 2, 3])
def test_killed_ranks_go_on_bit_for_bit(
    ranks: Ranks, spec: Specs, made: Path, tmp_path: Path, zero: int
) -> None:
    engine = {**EVERY, "ranks": 2, "zero": zero, "tokens_per_micro_batch": 128}
    whole = _whole(ranks, made, tmp_path / "whole", engine=engine)
    killed = spec(stage=STAGE, engine=engine)
    ranks.kill(killed, 5)
    assert not (killed.folder / "model").exists()
    assert ranks.run(killed) == {}
    first, second = (each["step"] for each in begun_of(killed))
    assert first == 0 < second < STEPS
    _same_bits(whole, killed)


LORA = {"rank": 4, "dropout": 0.2}


@pytest.mark.parametrize(
    ("engine", "student"),
    [
        ({"zero": 0}, {"dtype": "bfloat16"}),
        ({"zero": 2, "offload_optimizer": True}, {"dtype": "bfloat16"}),
        ({"zero": 3, "offload_optimizer": True, "offload_parameters": True}, {}),
        ({"zero": 1}, {"lora": LORA}),
        ({"zero": 3}, {"dtype": "bfloat16", "lora": LORA, "gradient_checkpointing": True}),
    ],
    ids=["bf16", "bf16 offloaded", "all offloaded", "dropout", "bf16 dropout recomputed"],
)
def test_rounding_offload_and_dropout_go_on_bit_for_bit(
    ranks: Ranks, spec: Specs, made: Path, tmp_path: Path, engine: Any, student: Any
) -> None:
    sections = {"engine": {**EVERY, **engine}, "student": student}
    whole = _whole(ranks, made, tmp_path / "whole", **sections)
    cut = _cut_off(whole, spec(stage=STAGE, **sections), 4)
    assert ranks.run(cut) == {}
    assert [each["step"] for each in begun_of(cut)] == [0, 4]
    _same_bits(whole, cut)


# ---- Settings that may change on the way


@pytest.fixture(scope="module")
def whole(ranks: Ranks, made: Path, tmp_path_factory: pytest.TempPathFactory) -> StageSpec:
    return _whole(ranks, made, tmp_path_factory.mktemp("whole"), engine=EVERY)


@pytest.mark.parametrize(
    ("sections", "changed", "recut"),
    [
        (
            {"engine": {"tokens_per_micro_batch": 100}},
            {"engine.tokens_per_micro_batch": [512, 100]},
            True,
        ),
        (
            {
                "engine": {"head_workspace_mib": 1, "head_accumulation": "weight"},
                "student": {"gradient_checkpointing": True},
            },
            {
                "engine.head_workspace_mib": [320, 1],
                "engine.head_accumulation": ["float32", "weight"],
                "student.gradient_checkpointing": [False, True],
            },
            False,
        ),
        (
            {"data": {"packing": False}, "engine": {"samples_per_micro_batch": 3}},
            {"data.packing": [True, False], "engine.samples_per_micro_batch": [8, 3]},
            True,
        ),
    ],
    ids=["micro-batch", "out of memory", "packing"],
)
def test_a_run_goes_on_with_other_cuts_and_says_what_changed(
    ranks: Ranks,
    spec: Specs,
    whole: StageSpec,
    sections: dict[str, Any],
    changed: dict[str, list[Any]],
    recut: bool,
) -> None:
    engine = {**EVERY, **sections.get("engine", {})}
    other = _cut_off(whole, spec(stage=STAGE, **{**sections, "engine": engine}), 4)
    assert other.identity == whole.identity
    assert ranks.run(other) == {}
    first, second = begun_of(other)
    assert (first["step"], second["step"]) == (0, 4)
    assert "changed" not in first
    assert second["changed"] == changed
    for one, two in zip(curve_of(whole), curve_of(other), strict=True):
        for name in ("loss", "ce", "nll", "gradient_norm", "tokens", "learning_rate"):
            if name in one:
                assert two[name] == pytest.approx(one[name], rel=TOLERANCE), (name, one["step"])
    passes = [
        [line["micro_batches"] for line in curve_of(each) if line["kind"] == "step"]
        for each in (whole, other)
    ]
    assert (passes[0] != passes[1]) is recut


def test_a_run_goes_on_unchanged_without_a_word(
    ranks: Ranks, spec: Specs, whole: StageSpec
) -> None:
    again = _cut_off(whole, spec(stage=STAGE, engine=EVERY), 6)
    assert ranks.run(again) == {}
    assert ["changed" in each for each in begun_of(again)] == [False, False]
    _same_bits(whole, again)
