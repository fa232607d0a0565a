"""Which devices the ranks get: `$DS_ACCELERATOR` is obeyed, on a machine with GPUs as well."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from training.engine.device import VARIABLE, on_gpus
from training.engine.launch import _devices, _environment
from training.engine.spec import StageSpec
from training.recipe import TrainRecipe


@pytest.fixture(params=[False, True], ids=["no GPU", "a GPU"])
def gpu(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """A machine with or without a GPU, as far as torch is asked: one of them cannot be had here."""
    there: bool = request.param
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    return there


def _spec(folder: Path) -> StageSpec:
    recipe = TrainRecipe.model_validate(
        {
            "name": "r",
            "corpus": {"manifest": "m.json"},
            "student": {"model": "m"},
            "stages": [{"name": "s", "kind": "sft"}],
            "engine": {"ranks": 2},
        }
    )
    return StageSpec(
        recipe=recipe, name="s", folder=folder, start="m", corpus=folder / "corpus",
        teaching=None, identity="i", lineage={},
    )  # fmt: skip


def test_without_the_variable_a_gpu_is_used_where_there_is_one(gpu: bool, tmp_path: Path) -> None:
    assert on_gpus() is gpu
    assert (VARIABLE in _environment(_spec(tmp_path))) is not gpu
    assert ("--include" in _devices(2)) is gpu


def test_cpu_is_obeyed_on_every_machine(
    gpu: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(VARIABLE, "cpu")
    assert not on_gpus()
    environment = _environment(_spec(tmp_path))
    assert environment[VARIABLE] == "cpu"
    assert int(environment["OMP_NUM_THREADS"]) >= 1
    assert _devices(2) == ["--num_accelerators", "2"]
