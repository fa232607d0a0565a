"""A decoder's sizes from its configuration alone: parameters and FLOPs, exactly.

In: the numbers of a `config.json` (Qwen2, Qwen3, Llama or Mistral: rotary positions, grouped
queries, a gated MLP, RMS norms). Out: a `Shape` that counts parameters, and floating-point
operations (2 per multiply-add, matrix products only, as arXiv 2204.02311 appendix B counts them).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from training.errors import ModelRefused

KINDS = ("qwen2", "qwen3", "llama", "mistral")
_NEEDED = (
    "hidden_size",
    "intermediate_size",
    "num_attention_heads",
    "num_hidden_layers",
    "vocab_size",
)


def positions_of(config: Mapping[str, Any]) -> int:
    """How far a model's positions reach, with the stretching (such as YaRN) that it is configured
    for; 0 where nothing is said of it."""
    configured = config.get("max_position_embeddings") or 0
    # transformers 5 writes the first, older files have the second.
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    original = rope.get("original_max_position_embeddings") or configured
    return int(max(configured, original * float(rope.get("factor") or 1.0)))


@dataclass(frozen=True, slots=True)
class Linear:
    """A projection of one layer: `inputs` features to `outputs`, with a bias or without."""

    name: str
    inputs: int
    outputs: int
    bias: bool = False

    @property
    def parameters(self) -> int:
        """Weights and biases."""
        return self.inputs * self.outputs + (self.outputs if self.bias else 0)


@dataclass(frozen=True, slots=True)
class Shape:
    """What decides a decoder's size. `vocabulary` is the embedding's width, not the tokenizer's."""

    kind: str
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_size: int
    intermediate: int
    vocabulary: int
    positions: int
    tied: bool
    qkv_bias: bool
    out_bias: bool = False
    mlp_bias: bool = False
    head_norms: bool = False

    @classmethod
    def of(cls, config: Mapping[str, Any], name: str) -> Shape:
        """The shape that a `config.json` describes.

        Raises:
            ModelRefused: it is of a kind that is not counted here, or a number is missing.
        """
        kind = config.get("model_type")
        if kind not in KINDS:
            raise ModelRefused(
                f"The size of '{name}' cannot be planned.",
                cause=f"Its model_type is {kind!r}; counted are {', '.join(KINDS)}.",
                solution="Take a dense model of one of these kinds.",
            )
        numbers = {key: config.get(key) for key in _NEEDED}
        missing = [key for key, n in numbers.items() if not isinstance(n, int) or n < 1]
        if missing:
            raise ModelRefused(
                f"The configuration of '{name}' is incomplete.",
                cause=f"It lacks {', '.join(missing)} as whole numbers above 0.",
                solution="Take the config.json that the model was saved with.",
            )
        hidden, heads = config["hidden_size"], config["num_attention_heads"]
        bias = kind == "qwen2" or (kind != "mistral" and bool(config.get("attention_bias", False)))
        return cls(
            kind=kind,
            hidden=hidden,
            layers=config["num_hidden_layers"],
            heads=heads,
            kv_heads=config.get("num_key_value_heads") or heads,
            # Left out of a file, transformers takes 128 for Qwen3 whatever the other sizes.
            head_size=config.get("head_dim") or (128 if kind == "qwen3" else hidden // heads),
            intermediate=config["intermediate_size"],
            vocabulary=config["vocab_size"],
            positions=positions_of(config),
            tied=bool(config.get("tie_word_embeddings", False)),
            qkv_bias=bias,
            out_bias=bias and kind != "qwen2",
            mlp_bias=kind == "llama" and bool(config.get("mlp_bias", False)),
            head_norms=kind == "qwen3",
        )

    @property
    def queries(self) -> int:
        """Width of all query heads together."""
        return self.heads * self.head_size

    @property
    def keys(self) -> int:
        """Width of all key heads together (and of all value heads)."""
        return self.kv_heads * self.head_size

    @property
    def linears(self) -> tuple[Linear, ...]:
        """The projections of one layer."""
        hidden, queries, keys, inner = self.hidden, self.queries, self.keys, self.intermediate
        return (
            Linear("q_proj", hidden, queries, self.qkv_bias),
            Linear("k_proj", hidden, keys, self.qkv_bias),
            Linear("v_proj", hidden, keys, self.qkv_bias),
            Linear("o_proj", queries, hidden, self.out_bias),
            Linear("gate_proj", hidden, inner, self.mlp_bias),
            Linear("up_proj", hidden, inner, self.mlp_bias),
            Linear("down_proj", inner, hidden, self.mlp_bias),
        )

    @property
    def layer_parameters(self) -> int:
        """Parameters of one layer: projections, two norms, and norms of heads where it has them."""
        norms = 2 * self.hidden + (2 * self.head_size if self.head_norms else 0)
        return sum(each.parameters for each in self.linears) + norms

    @property
    def embedding(self) -> int:
        """Parameters of the input embedding; of the output head as many."""
        return self.vocabulary * self.hidden

    @property
    def parameters(self) -> int:
        """All parameters; a tied head counts once."""
        return self.body_parameters + self.embedding * (1 if self.tied else 2)

    @property
    def body_parameters(self) -> int:
        """All parameters but the embedding and the head."""
        return self.layers * self.layer_parameters + self.hidden

    def adapter_parameters(self, rank: int, targets: list[str] | str) -> int:
        """Parameters of low-rank adapters (arXiv 2106.09685) on `targets` of every layer.

        `all-linear` means every projection but the head, as peft reads it.
        """
        chosen = [e for e in self.linears if targets == "all-linear" or e.name in targets]
        return self.layers * sum(rank * (each.inputs + each.outputs) for each in chosen)

    @property
    def flops_per_token(self) -> int:
        """Forward FLOPs of the layers' projections for one token."""
        return 2 * self.layers * sum(each.inputs * each.outputs for each in self.linears)

    @property
    def flops_per_pair(self) -> int:
        """Forward FLOPs of attention for one token that looks at one token (itself included)."""
        return 4 * self.layers * self.queries

    @property
    def flops_per_row(self) -> int:
        """Forward FLOPs of the output head for one row."""
        return 2 * self.embedding

    @property
    def kv_bytes_per_token(self) -> int:
        """Keys and values of one token in a 16-bit cache, in bytes."""
        return 2 * 2 * self.layers * self.keys
