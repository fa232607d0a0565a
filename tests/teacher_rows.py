"""What tests of teacher rows share: rows of known distributions, and examples that go with them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from common.hashing import digest
from training.data.example import Example
from training.store.key import CaptureForm, RowsSource, TeacherIdentity
from training.store.rows import TeacherRows

QWEN_WIDTH = 151_936
SOURCE = RowsSource(
    teacher=TeacherIdentity("big-model", "a" * 40, "torch", "float32"),
    tokenizer_fingerprint="b" * 32,
    template_fingerprint="c" * 32,
    form=CaptureForm.top_k(10),
)


def log_sum(value: NDArray[np.float64]) -> NDArray[np.float64]:
    """Log-sum-exp over the last axis."""
    highest = value.max(axis=-1, keepdims=True)
    summed: NDArray[np.float64] = np.log(np.exp(value - highest).sum(axis=-1)) + highest[..., 0]
    return summed


def dense_rows(
    logit_NV: NDArray[np.float64], k: int, temperatures: Sequence[float] = ()
) -> TeacherRows:
    """The rows of full distributions, computed in float64 over the whole vocabulary."""
    log_p_NV = logit_NV - log_sum(logit_NV)[:, None]
    rest = log_p_NV.shape[1] > k
    # All ids, those of the k most probable first.
    id_NV = np.argpartition(-log_p_NV, k if rest else 0, axis=1)
    tail_N = np.full(len(log_p_NV), -np.inf)
    if rest:
        tail_N = log_sum(np.take_along_axis(log_p_NV, id_NV[:, k:], axis=1))
    id_NK = np.sort(id_NV[:, :k], axis=1)
    log_p_NK = np.take_along_axis(log_p_NV, id_NK, axis=1)
    order_NK = np.argsort(-log_p_NK, axis=1, kind="stable")
    return TeacherRows(
        id_NK=np.take_along_axis(id_NK, order_NK, axis=1).astype(np.int32),
        log_p_NK=np.take_along_axis(log_p_NK, order_NK, axis=1).astype(np.float32),
        log_tail_N=tail_N.astype(np.float32),
        log_z={t: log_sum(log_p_NV / t).astype(np.float32) for t in temperatures},
    )


def example(number: int, rows: int = 20, prompt: int = 8) -> Example:
    """An example with so many trained tokens after its prompt; equal numbers, equal examples."""
    maker = np.random.default_rng(number)
    sample = digest(["sample", number])
    return Example(
        id=sample,
        sample_id=sample,
        family_id=digest(["family", number]),
        token_id_T=maker.integers(0, QWEN_WIDTH, prompt + rows).astype(np.int32),
        trained_T=np.arange(prompt + rows) >= prompt,
    )


def example_rows(number: int, rows: int = 20, k: int = 10) -> TeacherRows:
    """Rows for `example`: random ids, falling probabilities, some tail; equal for equal numbers."""
    maker = np.random.default_rng(number)
    log_w_NS = -np.sort(maker.exponential(3, (rows, k + 1)), axis=1)
    log_w_NS[:, k] += maker.normal(0, 2, rows)
    log_p_NS = log_w_NS - log_sum(log_w_NS)[:, None]
    ids = [maker.choice(QWEN_WIDTH, k, replace=False) for _ in range(rows)]
    return TeacherRows(
        id_NK=np.array(ids, np.int32).reshape(rows, k),
        log_p_NK=log_p_NS[:, :k].astype(np.float32),
        log_tail_N=log_p_NS[:, k].astype(np.float32),
    )
