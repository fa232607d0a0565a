"""Parameters and FLOPs from a configuration are those of the real model of that configuration."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig, AutoModelForCausalLM

from training.errors import ModelRefused
from training.plan.hours import forward_flops, training_flops
from training.plan.known import KNOWN
from training.plan.models import Shape
from training.recipe import LoraSettings, StudentSettings

TINY: dict[str, dict[str, Any]] = {
    "qwen2": {"model_type": "qwen2"},
    "qwen2 tied": {"model_type": "qwen2", "tie_word_embeddings": True},
    "qwen3": {"model_type": "qwen3", "head_dim": 32},
    "qwen3 without head_dim": {"model_type": "qwen3"},
    "llama": {"model_type": "llama"},
    "llama with biases": {"model_type": "llama", "attention_bias": True, "mlp_bias": True},
    "mistral": {"model_type": "mistral", "head_dim": 24},
}
SIZES = {
    "hidden_size": 64,
    "intermediate_size": 160,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 331,
    "max_position_embeddings": 256,
}


def _model(config: dict[str, Any], attention: str = "eager") -> Any:
    given = {key: value for key, value in config.items() if key != "model_type"}
    return AutoModelForCausalLM.from_config(
        AutoConfig.for_model(config["model_type"], **given), attn_implementation=attention
    )


def _count(model: Any) -> int:
    return sum(each.numel() for each in model.parameters())


def _known_config(shape: Shape) -> dict[str, Any]:
    return {
        "model_type": "qwen2",
        "hidden_size": shape.hidden,
        "intermediate_size": shape.intermediate,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "vocab_size": shape.vocabulary,
        "max_position_embeddings": shape.positions,
        "tie_word_embeddings": shape.tied,
    }


@pytest.mark.parametrize("name", KNOWN)
def test_a_known_model_has_the_parameters_of_the_real_one(name: str) -> None:
    shape = KNOWN[name].shape
    with torch.device("meta"):
        model = _model(_known_config(shape))
    assert shape.parameters == _count(model)
    assert Shape.of(_known_config(shape), name) == shape


@pytest.mark.parametrize(
    ("size", "billions"),
    [
        ("0.5B", 0.49),
        ("1.5B", 1.54),
        ("3B", 3.09),
        ("7B", 7.61),
        ("14B", 14.7),
        ("32B", 32.5),
        ("72B", 72.7),
    ],
)
def test_a_known_model_has_the_parameters_that_its_card_states(size: str, billions: float) -> None:
    counted = KNOWN[f"Qwen/Qwen2.5-{size}-Instruct"].shape.parameters / 1e9
    assert counted == pytest.approx(billions, rel=0.015)


@pytest.mark.parametrize("kind", TINY)
def test_every_kind_is_counted_to_the_last_parameter(kind: str) -> None:
    config = SIZES | TINY[kind]
    with torch.device("meta"):
        model = _model(config)
    assert Shape.of(config, kind).parameters == _count(model)


@pytest.mark.parametrize("targets", ["all-linear", ["q_proj", "v_proj"]])
def test_adapters_are_counted_as_peft_makes_them(targets: list[str] | str) -> None:
    config = SIZES | TINY["qwen2"]
    model = get_peft_model(
        _model(config), LoraConfig(r=5, target_modules=targets, task_type="CAUSAL_LM")
    )
    trained = sum(each.numel() for each in model.parameters() if each.requires_grad)
    assert Shape.of(config, "tiny").adapter_parameters(5, targets) == trained


@pytest.mark.parametrize("kind", ["qwen2", "qwen3", "llama"])
def test_forward_flops_are_those_that_torch_counts(kind: str) -> None:
    config, tokens = SIZES | TINY[kind], 96
    model, shape = _model(config), Shape.of(config, kind)
    with FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, tokens, dtype=torch.long))
    # Eager attention computes the whole square, where ours counts what is looked at.
    planned = forward_flops(shape, tokens, tokens**2, tokens)
    assert planned == pytest.approx(counter.get_total_flops(), rel=0.01)


def _measured_step(model: Any, tokens: int) -> int:
    with FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, tokens, dtype=torch.long)).logits.sum().backward()
    return counter.get_total_flops()


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("rank", [None, 4])
def test_a_training_steps_flops_are_those_that_torch_counts(
    checkpointing: bool, rank: int | None
) -> None:
    config, tokens = SIZES | TINY["qwen2"] | {"num_hidden_layers": 12}, 64
    model = _model(config)
    student = StudentSettings(
        model="tiny",
        gradient_checkpointing=checkpointing,
        lora=None if rank is None else LoraSettings(rank=rank),
    )
    if rank is not None:
        lora = LoraConfig(r=rank, target_modules="all-linear", task_type="CAUSAL_LM")
        model = get_peft_model(model, lora)
    if checkpointing:
        model.config.use_cache = False
        model.gradient_checkpointing_enable({"use_reentrant": False})
    planned = training_flops(Shape.of(config, "tiny"), student, tokens, tokens**2, tokens)
    assert planned == pytest.approx(_measured_step(model, tokens), rel=0.01)


def test_a_configuration_of_another_kind_is_refused_by_name() -> None:
    with pytest.raises(ModelRefused, match="size of 'x'") as caught:
        Shape.of({"model_type": "mamba"}, "x")
    assert "qwen2" in caught.value.cause


def test_a_configuration_without_its_numbers_says_which_are_missing() -> None:
    with pytest.raises(ModelRefused) as caught:
        Shape.of(SIZES | {"model_type": "llama", "num_hidden_layers": None}, "x")
    assert "num_hidden_layers" in caught.value.cause
