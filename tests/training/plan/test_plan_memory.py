"""Memory by ZeRO stage, against the arithmetic of its paper and against tensors really kept."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from training.engine.attention import ATTENTION
from training.plan.knobs import knobs_for
from training.plan.known import KNOWN
from training.plan.memory import (
    GIB,
    RUNTIME,
    MemoryCase,
    activation_bytes,
    layer_activation_bytes,
    teacher_memory,
    training_memory,
)
from training.plan.models import Shape
from training.recipe import DataSettings, EngineSettings, LoraSettings, StudentSettings

SEVEN = KNOWN["Qwen/Qwen2.5-7B-Instruct"].shape
CASE = MemoryCase(
    shape=SEVEN, ranks=8, zero=2, tokens=8192, bytes_per_weight=2, head_workspace=320 * 2**20
)


@pytest.mark.parametrize("zero", [0, 1, 2, 3])
def test_model_states_are_those_of_the_zero_paper(zero: int) -> None:
    # arXiv 1910.02054, figure 1: 2 + 2 + K bytes per parameter with K = 12, cut up stage by stage;
    # but gradients take 4 where ZeRO sums them over micro-batches, as ours are.
    memory = training_memory(CASE.with_zero(zero))
    size, ranks = SEVEN.parameters, 8
    expected = (
        2 * size / (ranks if zero == 3 else 1)
        + (4 if zero >= 1 else 2) * size / (ranks if zero >= 2 else 1)
        + 12 * size / (ranks if zero >= 1 else 1)
    )
    states = memory.weights + memory.gradients + memory.optimizer
    assert states == pytest.approx(expected, abs=64)


def test_a_head_summed_in_its_own_type_saves_four_bytes_per_weight_of_it() -> None:
    in_float32, in_bfloat16 = (
        training_memory(replace(CASE, head_in_float32=which)) for which in (True, False)
    )
    assert in_float32.head - in_bfloat16.head == 4 * SEVEN.embedding


def test_states_are_what_the_tensors_of_a_real_adamw_take() -> None:
    model, shape = _tiny(torch.bfloat16)
    master = [each.detach().float().requires_grad_() for each in model.parameters()]
    for each in master:
        each.grad = torch.zeros_like(each)
    optimizer = torch.optim.AdamW(master)
    optimizer.step()
    moments = [
        state[name] for state in optimizer.state.values() for name in ("exp_avg", "exp_avg_sq")
    ]
    memory = training_memory(replace(CASE, shape=shape, ranks=1, zero=0))
    assert memory.weights == sum(each.nbytes for each in model.parameters())
    assert memory.optimizer == sum(each.nbytes for each in (*master, *moments))
    assert memory.update == sum(each.grad.nbytes for each in master if each.grad is not None)


def _tiny(dtype: torch.dtype, layers: int = 3) -> tuple[Any, Shape]:
    config = {
        "model_type": "qwen2",
        "hidden_size": 64,
        "intermediate_size": 192,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 300,
        "max_position_embeddings": 512,
    }
    given = {key: value for key, value in config.items() if key != "model_type"}
    model = AutoModelForCausalLM.from_config(
        AutoConfig.for_model("qwen2", **given), dtype=dtype, attn_implementation=ATTENTION
    )
    return model, Shape.of(config, "tiny")


def _kept_bytes(model: Any, tokens: int) -> int:
    """Bytes of the distinct tensors that autograd keeps of the body's forward, weights aside."""
    kept: dict[int, int] = {}
    weights = {each.untyped_storage().data_ptr() for each in model.parameters()}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        held.append(tensor)
        return tensor

    held: list[torch.Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model.base_model(
            torch.zeros(1, tokens, dtype=torch.long),
            position_ids=torch.arange(tokens)[None],
            use_cache=False,
            cu_length_D1=torch.tensor([0, tokens], dtype=torch.int32),
            longest=tokens,
        )
    return sum(kept.values())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_a_layers_activations_are_the_tensors_that_autograd_keeps(dtype: torch.dtype) -> None:
    tokens = 256
    few, shape = _tiny(dtype, layers=2)
    more, _ = _tiny(dtype, layers=6)
    per_layer = (_kept_bytes(more, tokens) - _kept_bytes(few, tokens)) / 4 / tokens
    assert layer_activation_bytes(shape, dtype.itemsize) == pytest.approx(per_layer, rel=0.05)


def test_checkpointing_keeps_one_layer_and_the_inputs_of_the_others() -> None:
    checked = replace(CASE, checkpointing=True)
    saved = activation_bytes(CASE) - activation_bytes(checked)
    layer = layer_activation_bytes(SEVEN, 2)
    assert saved == 8192 * ((SEVEN.layers - 1) * layer - SEVEN.layers * 2 * SEVEN.hidden)


def test_offload_moves_states_to_the_host_and_loses_none() -> None:
    on_gpu = training_memory(CASE)
    moved = training_memory(replace(CASE, offload_optimizer=True))
    assert moved.optimizer == moved.gradients == 0
    assert moved.host >= on_gpu.optimizer + on_gpu.gradients
    whole = training_memory(replace(CASE.with_zero(3), offload_parameters=True))
    assert whole.weights == 0 and whole.host == -(-SEVEN.parameters // 8) * 2


def test_offload_that_a_zero_stage_does_not_know_is_left_off() -> None:
    case = replace(CASE.with_zero(3), offload_optimizer=True, offload_parameters=True)
    assert training_memory(case).host > 0
    assert training_memory(case.with_zero(0)).host == 0


def test_adapters_train_without_gradients_of_the_frozen_weights() -> None:
    student = StudentSettings(model="x", lora=LoraSettings(rank=16))
    case = MemoryCase.of(SEVEN, student, EngineSettings(zero=0), DataSettings(), ranks=1)
    memory = training_memory(case)
    adapters = SEVEN.adapter_parameters(16, "all-linear")
    assert memory.gradients == 2 * adapters
    assert memory.weights == 2 * (SEVEN.parameters + adapters)


def test_a_sample_longer_than_a_micro_batch_sets_the_activations() -> None:
    engine = EngineSettings(tokens_per_micro_batch=1024)
    case = MemoryCase.of(SEVEN, StudentSettings(model="x"), engine, DataSettings(context=4096), 1)
    assert case.tokens == 4096


def test_what_fits_has_no_knob_to_turn() -> None:
    assert knobs_for(CASE, 10**12, context=4096) == []


def test_the_knobs_that_are_named_make_it_fit() -> None:
    for gpus, memory in ((8, 80 * 10**9), (8, 30 * 10**9), (1, 80 * 10**9), (2, 40 * 10**9)):
        case = replace(CASE, ranks=gpus, zero=0)
        knobs = knobs_for(case, memory, context=4096)
        assert knobs
        turned = case
        for knob in knobs:
            turned = _turn(turned, knob)
        assert training_memory(turned).peak <= memory < training_memory(case).peak


def _turn(case: MemoryCase, knob: str) -> MemoryCase:
    name, _, value = knob.partition("=")
    turns = {
        "engine.zero": lambda: case.with_zero(int(value)),
        "engine.tokens_per_micro_batch": lambda: replace(case, tokens=int(value)),
        "student.gradient_checkpointing": lambda: replace(case, checkpointing=True),
        "engine.offload_optimizer": lambda: replace(case, offload_optimizer=True),
        "engine.offload_parameters": lambda: replace(case, offload_parameters=True),
        "engine.head_accumulation": lambda: replace(case, head_in_float32=False),
    }
    return turns[name]()


def test_where_no_knob_helps_none_is_named() -> None:
    assert knobs_for(CASE, 4 * GIB, context=4096) is None


def test_a_teacher_is_cut_up_over_its_gpus() -> None:
    shape = KNOWN["Qwen/Qwen2.5-72B-Instruct"].shape
    alone, four = (
        teacher_memory(
            shape, bytes_per_weight=2, tokens=1, head_workspace=0, parallel=n, cached=False
        )
        for n in (1, 4)
    )
    assert alone - RUNTIME == pytest.approx(2 * shape.parameters, rel=1e-4)
    assert four - RUNTIME == pytest.approx(shape.parameters / 2, rel=1e-4)
