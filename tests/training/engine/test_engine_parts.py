"""The engine's small parts: rates, optimiser, configuration, tether, what an error becomes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from torch import nn

from training.engine.deepspeed_config import deepspeed_config, precision_warning
from training.engine.launch import LOG, _why
from training.engine.memory_errors import explained, is_out_of_memory
from training.engine.optimizer import learning_rate, make_optimizer
from training.engine.spec import SPEC, StageSpec
from training.engine.tether import LOCK, Tether
from training.errors import CheckpointRefused, LaunchFailed, NotFinite, OutOfMemory, RowsRefused
from training.recipe import EngineSettings, StageSettings, StudentSettings, TrainRecipe


def _stage(**settings: Any) -> StageSettings:
    return StageSettings.model_validate({"name": "s", "kind": "sft", **settings})


def _engine(**settings: Any) -> EngineSettings:
    return EngineSettings.model_validate(settings)


def _recipe(**sections: Any) -> TrainRecipe:
    document = {
        "name": "r",
        "corpus": {"manifest": "m.json"},
        "student": {"model": "m"},
        "stages": [{"name": "s", "kind": "sft"}],
    }
    return TrainRecipe.model_validate(document | sections)


# ---- Learning rate


def test_the_rate_warms_up_in_equal_parts_and_reaches_its_peak() -> None:
    stage = _stage(learning_rate=4.0, warmup=0.25, minimum=0.0)
    assert [learning_rate(stage, step, 16) for step in range(5)] == [1.0, 2.0, 3.0, 4.0, 4.0]


def test_the_rate_falls_along_a_cosine_to_just_above_its_floor() -> None:
    stage = _stage(learning_rate=1.0, warmup=0.0, minimum=0.1)
    rates = [learning_rate(stage, step, 100) for step in range(100)]
    assert rates[0] == 1.0
    assert rates[50] == pytest.approx(0.55)  # half-way between peak and floor
    assert rates[25] == pytest.approx(0.1 + 0.9 * (2 + 2**0.5) / 4)
    assert all(later < earlier for earlier, later in pairwise(rates))
    assert 0.1 < rates[-1] < 0.101


@pytest.mark.parametrize("steps", [1, 2, 3, 1000])
@pytest.mark.parametrize("warmup", [0.0, 0.03, 0.5, 0.99])
@pytest.mark.parametrize("minimum", [0.0, 0.1, 1.0])
def test_every_rate_is_above_nothing_and_at_most_the_peak(
    steps: int, warmup: float, minimum: float
) -> None:
    stage = _stage(learning_rate=2e-5, warmup=warmup, minimum=minimum)
    rates = [learning_rate(stage, step, steps) for step in range(steps)]
    assert all(0 < rate <= 2e-5 for rate in rates)


# ---- Optimiser


class _Module(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.matrix = nn.Linear(4, 3)
        self.norm = nn.LayerNorm(3)
        self.frozen = nn.Linear(2, 2).requires_grad_(False)


def test_matrices_decay_and_vectors_do_not_and_what_is_frozen_is_left_out() -> None:
    module = _Module()
    stage = _stage(weight_decay=0.1, learning_rate=0.5, betas=(0.8, 0.9))
    matrices, vectors = make_optimizer(module, stage, _engine(), cuda=False).param_groups
    assert (matrices["weight_decay"], vectors["weight_decay"]) == (0.1, 0.0)
    assert matrices["params"] == [module.matrix.weight]
    assert len(vectors["params"]) == 3  # the linear bias, the norm's weight and bias
    assert {id(p) for p in vectors["params"]} == {
        id(module.matrix.bias), id(module.norm.weight), id(module.norm.bias)
    }  # fmt: skip
    assert (matrices["lr"], tuple(matrices["betas"])) == (0.5, (0.8, 0.9))


def test_a_partitioned_matrix_still_decays() -> None:
    module = _Module()
    module.matrix.weight.data = torch.zeros(0)  # as ZeRO-3 leaves it
    module.matrix.weight.ds_shape = torch.Size([3, 4])  # type: ignore[attr-defined]
    groups = make_optimizer(module, _stage(weight_decay=0.1), _engine(), cuda=False).param_groups
    assert [p is module.matrix.weight for p in groups[0]["params"]] == [True]


# ---- DeepSpeed's configuration


@pytest.mark.parametrize("zero", [0, 1, 2, 3])
def test_the_recipes_words_reach_deepspeed(zero: int) -> None:
    student = StudentSettings(model="m", dtype="bfloat16")
    config = deepspeed_config(_engine(zero=zero), _stage(clip=0.7), student, cuda=False)
    assert config["zero_optimization"]["stage"] == zero
    assert (config["gradient_clipping"], config["bf16"]) == (0.7, {"enabled": True})
    assert "offload_optimizer" not in config["zero_optimization"]
    assert json.dumps(config)


def test_offload_and_float32_reach_deepspeed() -> None:
    student = StudentSettings(model="m", dtype="float32")
    engine = _engine(zero=3, offload_optimizer=True, offload_parameters=True)
    config = deepspeed_config(engine, _stage(), student, cuda=False)
    assert config["bf16"] == {"enabled": False}
    assert config["zero_optimization"]["offload_optimizer"]["device"] == "cpu"
    assert config["zero_optimization"]["offload_param"]["device"] == "cpu"


@pytest.mark.parametrize(
    ("zero", "dtype", "warned"),
    [(0, "bfloat16", True), (1, "bfloat16", False), (0, "float32", False)],
)
def test_gradients_that_add_up_in_bfloat16_are_warned_of(
    zero: int, dtype: str, warned: bool
) -> None:
    student = StudentSettings.model_validate({"model": "m", "dtype": dtype})
    warning = precision_warning(_engine(zero=zero), student)
    assert (warning is not None) is warned
    # What is warned of is what DeepSpeed is not told to do in float32.
    config = deepspeed_config(_engine(zero=zero), _stage(), student, cuda=False)
    in_float32 = config.get("data_types") == {"grad_accum_dtype": "fp32"}
    assert in_float32 is (dtype == "bfloat16" and not warned)


# ---- Out of memory


def _allocate_too_much() -> None:
    torch.empty(2**60, dtype=torch.uint8)


def test_what_the_real_allocator_says_is_out_of_memory() -> None:
    with pytest.raises(RuntimeError) as caught:
        _allocate_too_much()
    assert is_out_of_memory(caught.value)
    with pytest.raises(MemoryError) as python:
        bytearray(2**60)
    assert is_out_of_memory(python.value)


def test_another_error_is_no_lack_of_memory() -> None:
    for error in (RuntimeError("size mismatch"), ValueError("not enough memory")):
        assert not is_out_of_memory(error)


@pytest.mark.parametrize(
    ("sections", "said", "unsaid"),
    [
        (
            {"engine": {"ranks": 2, "zero": 1, "tokens_per_micro_batch": 4096}},
            ["engine.tokens_per_micro_batch (now 4096", "student.gradient_checkpointing: true",
             "engine.zero (now 1)", "engine.offload_optimizer: true", "student.lora"],
            ["offload_parameters"],
        ),
        (
            {
                "student": {"model": "m", "gradient_checkpointing": True, "lora": {"rank": 8}},
                "engine": {"zero": 3, "ranks": 2, "offload_optimizer": True,
                           "head_workspace_mib": 64},
            },
            ["engine.tokens_per_micro_batch (now 8192", "engine.offload_parameters: true"],
            ["gradient_checkpointing", "engine.zero", "offload_optimizer", "lora",
             "head_workspace_mib"],
        ),
    ],
)  # fmt: skip
def test_out_of_memory_names_the_knobs_that_are_left(
    sections: dict[str, Any], said: list[str], unsaid: list[str]
) -> None:
    with pytest.raises(RuntimeError) as caught:
        _allocate_too_much()
    found = explained(caught.value, _recipe(**sections))
    assert [each for each in said if each not in found.solution] == []
    assert [each for each in unsaid if each in found.solution] == []
    assert "allocate" in found.cause


def test_out_of_memory_tells_what_lets_the_run_go_on_from_what_begins_it_anew() -> None:
    recipe = _recipe(engine={"ranks": 2, "zero": 1})
    goes_on, said, anew = explained(MemoryError(), recipe).solution.partition("--restart")
    assert said
    for knob in ("tokens_per_micro_batch", "head_workspace_mib", "gradient_checkpointing"):
        assert knob in goes_on and knob not in anew
    for knob in ("engine.zero", "offload_optimizer", "student.lora"):
        assert knob in anew and knob not in goes_on


# ---- What a rank's error becomes


def _spec(folder: Path) -> StageSpec:
    folder.mkdir(exist_ok=True)
    return StageSpec(
        recipe=_recipe(), name="s", folder=folder, start="m", corpus=folder / "corpus",
        teaching=None, identity="i", lineage={"identity": "i"},
    )  # fmt: skip


@pytest.mark.parametrize("kind", [NotFinite, RowsRefused, OutOfMemory])
def test_a_ranks_typed_error_arrives_whole(tmp_path: Path, kind: type[NotFinite]) -> None:
    spec = _spec(tmp_path)
    said = {"code": kind.code, "what": "W", "cause": "C", "solution": "S", "command": "X"}
    (tmp_path / "error-1.json").write_text(json.dumps(said), encoding="utf-8")
    error = _why(spec, 1)
    assert type(error) is kind
    assert (error.what, error.cause, error.solution, error.command) == ("W", "C", "S", "X")


def test_an_untyped_death_says_the_last_telling_line_and_where_the_rest_is(tmp_path: Path) -> None:
    (tmp_path / LOG).write_text("hello\nValueError: it broke\nexits with return code = 1\n")
    error = _why(_spec(tmp_path), 1)
    assert isinstance(error, LaunchFailed)
    assert "exit code 1" in error.what and error.cause == "ValueError: it broke"
    assert LOG in error.solution


def test_what_an_earlier_run_said_explains_no_later_death(tmp_path: Path) -> None:
    log = tmp_path / LOG
    log.write_text("OSError: No space left on device\n")
    earlier = log.stat().st_size
    with log.open("a") as file:
        file.write("ValueError: it broke\n")
    error = _why(_spec(tmp_path), 1, earlier)
    assert isinstance(error, LaunchFailed)
    assert error.cause == "ValueError: it broke"
    assert isinstance(_why(_spec(tmp_path), 1), CheckpointRefused)


def test_a_spec_is_read_as_it_was_written(tmp_path: Path) -> None:
    spec = _spec(tmp_path / "stage")
    assert StageSpec.read(spec.write()) == spec


# ---- Tether


def test_a_second_hold_on_a_folder_is_refused_and_a_later_one_is_not(tmp_path: Path) -> None:
    with Tether.hold(tmp_path):
        with pytest.raises(LaunchFailed, match="Another process is training") as caught:
            Tether.hold(tmp_path).__enter__()
        assert LOCK in caught.value.cause
    with Tether.hold(tmp_path) as again:
        assert (tmp_path / LOCK).read_text() == again.word


_HOLD = """
import os, sys, time
from pathlib import Path
from training.engine.tether import Tether
import subprocess
folder = Path(sys.argv[1])
with Tether.hold(folder) as tether:
    if sys.argv[2]:
        (folder / "training.lock").write_text(f"word {sys.argv[2]}")
    watched = "import sys; from pathlib import Path;" \\
        "from training.engine.tether import end_with_others; end_with_others(Path(sys.argv[1]));" \\
        "import time; print('up', flush=True); time.sleep(600)"
    child = subprocess.Popen([sys.executable, "-c", watched, str(folder)])
    print(child.pid, flush=True)
    time.sleep(600)
"""


def _held_child(folder: Path, host: str = "") -> tuple[subprocess.Popen[str], int]:
    """A process that holds the folder, and the pid of the one that it started."""
    parent = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(folder), host],
        stdout=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert parent.stdout is not None
    said = {parent.stdout.readline().strip(), parent.stdout.readline().strip()}
    (pid,) = said - {"up"}
    return parent, int(pid)


def _ends(parent: subprocess.Popen[str]) -> bool:
    """Whether the child lets go of the pipe that it shares with its parent."""
    assert parent.stdout is not None
    os.set_blocking(parent.stdout.fileno(), True)
    try:
        parent.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        return False
    return True


def test_a_rank_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    parent, _ = _held_child(tmp_path)
    os.kill(parent.pid, signal.SIGKILL)
    assert _ends(parent)


def test_a_rank_ends_when_its_folder_was_taken_over_or_removed(tmp_path: Path) -> None:
    parent, child = _held_child(tmp_path)
    (tmp_path / LOCK).write_text("another word")
    status = _wait_gone(child)
    os.kill(parent.pid, signal.SIGKILL)
    parent.communicate(timeout=10)
    assert status


def test_a_rank_on_another_host_does_not_watch_a_lock_it_cannot_see(tmp_path: Path) -> None:
    parent, child = _held_child(tmp_path, "elsewhere")
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    assert not _wait_gone(child, 1.5)
    os.kill(child, signal.SIGKILL)


def test_a_rank_ends_when_another_has_left_an_error(tmp_path: Path) -> None:
    parent, child = _held_child(tmp_path, "elsewhere")
    (tmp_path / "error-3.json").write_text("{}")
    status = _wait_gone(child)
    os.kill(parent.pid, signal.SIGKILL)
    parent.communicate(timeout=10)
    assert status


def _wait_gone(pid: int, seconds: float = 60) -> bool:
    try:
        process = psutil.Process(pid)
        gone, _ = psutil.wait_procs([process], timeout=seconds)
    except psutil.NoSuchProcess:
        return True
    return bool(gone) or process.status() == psutil.STATUS_ZOMBIE


def test_the_spec_is_where_ranks_look_for_it(tmp_path: Path) -> None:
    assert _spec(tmp_path).write() == tmp_path / SPEC
