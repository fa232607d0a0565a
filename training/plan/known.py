"""The Qwen2.5-Instruct family as data, so that a plan needs no download.

Sizes are those of each model's `config.json` at huggingface.co/Qwen/Qwen2.5-…-Instruct, licences
those of the model cards (read November 2026). All seven share one tokenizer of 151,665 tokens
(Qwen2.5 technical report, arXiv 2412.15115, section 2: 151,643 regular and 22 control tokens); the
embeddings are padded beyond it, the larger models' by 128 rows more. Context lengths are
`max_position_embeddings`; the larger ones reach 131,072 by YaRN, which their files leave off.
"""

from __future__ import annotations

from dataclasses import dataclass

from training.plan.models import Shape

TOKENIZER = "Qwen2.5"
TOKENS = 151_665


@dataclass(frozen=True, slots=True)
class KnownModel:
    """A hub name, its shape and its licence."""

    name: str
    shape: Shape
    licence: str


def _qwen(
    size: str,
    hidden: int,
    layers: int,
    heads: int,
    kv_heads: int,
    intermediate: int,
    *,
    licence: str = "Apache-2.0",
) -> KnownModel:
    small = size in ("0.5B", "1.5B", "3B")
    shape = Shape(
        kind="qwen2",
        hidden=hidden,
        layers=layers,
        heads=heads,
        kv_heads=kv_heads,
        head_size=hidden // heads,
        intermediate=intermediate,
        vocabulary=151_936 if small else 152_064,
        positions=32_768,
        tied=small,
        qkv_bias=True,
    )
    return KnownModel(f"Qwen/Qwen2.5-{size}-Instruct", shape, licence)


_FAMILY = (
    _qwen("0.5B", 896, 24, 14, 2, 4_864),
    _qwen("1.5B", 1_536, 28, 12, 2, 8_960),
    _qwen("3B", 2_048, 36, 16, 2, 11_008, licence="Qwen Research (no commercial use)"),
    _qwen("7B", 3_584, 28, 28, 4, 18_944),
    _qwen("14B", 5_120, 48, 40, 8, 13_824),
    _qwen("32B", 5_120, 64, 40, 8, 27_648),
    _qwen("72B", 8_192, 80, 64, 8, 29_568, licence="Qwen"),
)
KNOWN = {model.name: model for model in _FAMILY}
