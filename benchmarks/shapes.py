"""Qwen2.5's shapes with random weights, what they have to compute, and how fast a GPU could be."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AutoModelForCausalLM, Qwen2Config

from training.data.example import Example

VOCABULARY = 151_665  # ids that Qwen2.5's tokenizer has; the rest of the width is padding


@dataclass(frozen=True)
class Shape:
    """A Qwen2 model: hidden size, layers, intermediate size, heads, key-value heads."""

    hidden: int
    layers: int
    intermediate: int
    heads: int
    kv_heads: int
    width: int = 151_936
    tied: bool = True

    def config(self) -> Qwen2Config:
        """As transformers takes it."""
        return Qwen2Config(
            vocab_size=self.width,
            hidden_size=self.hidden,
            intermediate_size=self.intermediate,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            num_key_value_heads=self.kv_heads,
            max_position_embeddings=8192,
            tie_word_embeddings=self.tied,
        )

    def flops(self, examples: Sequence[Example]) -> float:
        """What has to be computed: the body for every token, the head for predicting rows."""
        kv = self.hidden * self.kv_heads // self.heads
        weights = 2 * self.hidden * (self.hidden + kv) + 3 * self.hidden * self.intermediate
        tokens = sum(len(each) for each in examples)
        squares = sum(len(each) ** 2 for each in examples)
        rows = sum(len(each.row_N) for each in examples)
        # Causal attention: half of the two products of T × T × hidden.
        body = self.layers * (2 * weights * tokens + 2 * self.hidden * squares)
        return float(body + 2 * self.hidden * VOCABULARY * rows)


SHAPES = {
    "small": Shape(256, 4, 1024, 4, 2),
    "0.5b": Shape(896, 24, 4864, 14, 2),
    "1.5b": Shape(1536, 28, 8960, 12, 2),
    "7b": Shape(3584, 28, 18_944, 28, 4, width=152_064, tied=False),
}


def make_model(shape: Shape, device: str, dtype: torch.dtype) -> Any:
    """Random weights whose logits have a deviation of 8."""
    torch.manual_seed(0)
    auto: Any = AutoModelForCausalLM
    with torch.device(device):
        model = auto.from_config(shape.config(), dtype=dtype)
    with torch.no_grad():
        model.model.norm.weight.fill_(8 / (0.02 * shape.hidden**0.5))
    return model.eval()


def bf16_peak() -> float:
    """FLOP/s of a large bfloat16 product on this GPU, the best of ten."""
    a = torch.randn(8192, 8192, dtype=torch.bfloat16, device="cuda")
    best = float("inf")
    for _ in range(10):
        torch.cuda.synchronize()
        began = time.perf_counter()
        for _ in range(10):
            a @ a
        torch.cuda.synchronize()
        best = min(best, (time.perf_counter() - began) / 10)
    return 2 * 8192**3 / best
