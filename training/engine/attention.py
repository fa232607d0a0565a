"""Attention over packed documents: none sees another, and no mask over the whole pack is built.

In: queries, keys and values of one packed sequence [1, heads, T, D] and its document boundaries.
Out: the attention output [1, T, heads, D], as transformers' `AttentionInterface` wants it. On CUDA
16-bit documents go through one variable-length flash kernel (`torch.nn.attention.varlen`), others
through one causal scaled-dot-product call each, so that the cost is the sum of their squares; there
a document that is longer than the model's window gets a mask of its own.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

ATTENTION = "stillhouse_packed"


def packed_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    cu_length_D1: Tensor,
    longest: int,
    **_: Any,
) -> tuple[Tensor, None]:
    """Causal attention within each document.

    Args:
        query: [1, H, T, D]; `key` and `value` may have fewer heads (grouped queries).
        attention_mask: None; the boundaries say everything.
        scaling: factor of the scores; None means 1/√D.
        dropout: unsupported by the flash kernel and of no use in distillation: must be 0.
        sliding_window: how many positions a token sees, itself included; None means all.
        cu_length_D1: int32, where each document begins, and T at the end.
        longest: tokens of the longest document.
    """
    if attention_mask is not None or dropout:
        raise ValueError("packed attention takes neither a mask nor dropout")
    if query.is_cuda and query.dtype in (torch.bfloat16, torch.float16):
        return _varlen(query, key, value, scaling, sliding_window, cu_length_D1, longest), None
    bounds = cu_length_D1.tolist()
    parts = [
        _one_document(query, key, value, start, end, scaling, sliding_window)
        for start, end in pairwise(bounds)
    ]
    joined = parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)
    return joined.transpose(1, 2), None


def _one_document(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    start: int,
    end: int,
    scaling: float | None,
    window: int | None,
) -> Tensor:
    mask = None
    if window is not None and end - start > window:
        position_L = torch.arange(end - start, device=query.device)
        distance_LL = position_L[:, None] - position_L
        mask = (distance_LL >= 0) & (distance_LL < window)
    return scaled_dot_product_attention(
        query[:, :, start:end],
        key[:, :, start:end],
        value[:, :, start:end],
        attn_mask=mask,
        is_causal=mask is None,
        scale=scaling,
        enable_gqa=query.shape[1] != key.shape[1],
    )


def _varlen(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    scaling: float | None,
    window: int | None,
    cu_length_D1: Tensor,
    longest: int,
) -> Tensor:
    from torch.nn.attention.varlen import varlen_attn

    out_THD = varlen_attn(
        query[0].transpose(0, 1),
        key[0].transpose(0, 1),
        value[0].transpose(0, 1),
        cu_length_D1,
        cu_length_D1,
        longest,
        longest,
        scale=scaling,
        window_size=(-1 if window is None else window - 1, 0),
        enable_gqa=query.shape[1] != key.shape[1],
    )
    assert isinstance(out_THD, Tensor)
    return out_THD[None]


AttentionInterface.register(ATTENTION, packed_attention)
