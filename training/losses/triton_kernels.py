"""The same sweep over a chunk of logits as `torch_chunk`, in one CUDA kernel: a program per row.

In: logits [C, V] in bfloat16 or float32 on a CUDA device (or anywhere, under Triton's
interpreter) and the chunk's table. Out: the rows' results; the buffer then holds dL/dz where a
gradient is wanted. A program takes the table's logits out of its row, sums the exponentials of the
rest, does all the objective's arithmetic in registers, and writes the gradient over the row: two
reads and one write of the logits, and one launch per chunk whatever the objective. All arithmetic
is float32. The formulas are those of `sparse`, which says why they stand as they do.
"""

# Kernels are written in Triton's language, which has Python's grammar and none of its types.
# mypy: disable-error-code="import-untyped,import-not-found,no-untyped-def,untyped-decorator"

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from training.losses.objective import BUCKETED, Objective
from training.losses.sparse import LOG_SMALLEST, RowResult
from training.losses.table import RowTable
from training.losses.torch_chunk import tempered_tail

RESULTS = 7
_LOG_SMALLEST = tl.constexpr(LOG_SMALLEST)
_NONE = tl.constexpr(float("-inf"))
_ABSENT = tl.constexpr(float("inf"))


def sweep(
    logits_CV: Tensor, table: RowTable, objective: Objective, *, want_gradient: bool
) -> RowResult:
    """Loss of C rows, and dL/dz in place of `logits_CV` where `want_gradient`.

    Raises:
        ValueError: float64 logits, which this path does not do, or columns that are not adjacent.
    """
    if logits_CV.dtype == torch.float64 or logits_CV.stride(1) != 1:
        raise ValueError("the triton path takes row-major logits of at most 32 bits")
    rows, vocabulary = logits_CV.shape
    entries, teachers = table.id_NE.shape[1], len(table.weight_MN)
    result_7C = logits_CV.new_empty(RESULTS, rows, dtype=torch.float32)
    block = min(8192, triton.next_power_of_2(vocabulary))
    _sweep_row[(rows,)](
        logits_CV,
        logits_CV.stride(0),
        vocabulary,
        table.id_NE.contiguous(),
        table.label_at_N.contiguous(),
        table.first_at_N.contiguous(),
        table.log_p_MNE.contiguous(),
        table.log_tail_MN.contiguous(),
        table.weight_MN.contiguous(),
        result_7C,
        rows,
        entries,
        objective.ce_factor,
        objective.kd_factor,
        objective.kd_gradient_factor,
        1 / objective.temperature,
        objective.beta,
        OBJECTIVE=objective.name,
        BUCKETS=objective.name in BUCKETED,
        TEMPERED=tempered_tail(objective),
        WANT_GRADIENT=want_gradient,
        M=teachers,
        BLOCK_E=triton.next_power_of_2(entries),
        BLOCK_V=block,
        num_warps=16 if block == 8192 else 4,
    )
    return RowResult(*result_7C)


@triton.jit
def _log_sum(x):
    highest = tl.max(x, axis=0)
    shift = tl.where(highest == _NONE, 0.0, highest)
    return tl.log(tl.sum(tl.exp(x - shift), axis=0)) + shift


@triton.jit
def _log_add(a, b):
    highest = tl.maximum(a, b)
    shift = tl.where(highest == _NONE, 0.0, highest)
    return tl.log(tl.exp(a - shift) + tl.exp(b - shift)) + shift


@triton.jit
def _expm1(x):
    """By Kahan's correction: the error of exp(x) is taken back by the log of what it gave."""
    u = tl.exp(x)
    apart = (u != 1.0) & (u > 0.0)
    return tl.where(u == 1.0, x, tl.where(apart, (u - 1) * x / tl.log(tl.where(apart, u, 2.0)), -1))


@triton.jit
def _share(part, whole):
    return tl.exp(tl.where(part == _NONE, _NONE, part - whole))


@triton.jit
def _gap(log_a, log_b):
    """log a - log b; nought where a is."""
    return tl.where(log_a == _NONE, 0.0, log_a - log_b)


@triton.jit
def _term(log_a, log_b):
    """One bin of a divergence: a d - a + b with d = log a - log b, never negative."""
    a = tl.exp(log_a)
    b = tl.exp(log_b)
    d = _gap(log_a, log_b)
    near = a * (d + _expm1(tl.minimum(tl.maximum(-d, -1.0), 1.0)))
    far = a * d + (b - a)
    return tl.maximum(tl.where(a > 0, tl.where(tl.abs(d) < 1, near, far), b), 0.0)


@triton.jit
def _renorm(log_p, z, inverse_t):
    highest = tl.max(z, axis=0)
    z = (z - tl.where(highest == _NONE, 0.0, highest)) * inverse_t
    log_sum = _log_sum(z)
    log_q = z - tl.where(log_sum == _NONE, 0.0, log_sum)
    return tl.sum(_term(log_p, log_q), axis=0), tl.exp(log_q) - tl.exp(log_p), 0.0


@triton.jit
def _weights(log_p, log_q_all, log_rest, outside):
    w = tl.exp(log_p)
    kd = tl.sum(w * tl.where(w > 0, log_p - log_q_all, 0.0), axis=0)
    kd -= tl.sum(tl.where(outside, log_q_all, 0.0), axis=0)
    gradient = tl.where(outside, _expm1(log_q_all), tl.exp(log_q_all) - w)
    return kd, gradient, tl.exp(log_rest)


@triton.jit
def _bucketed(log_p, log_q, log_tail, beside, log_rest, in_k, beta, OBJECTIVE: tl.constexpr):
    log_q_tail = _log_add(log_rest, _log_sum(beside))
    log_p_tail = tl.where(log_q_tail == _NONE, _NONE, log_tail)
    q = tl.exp(log_q)
    if OBJECTIVE == "tail_bucket":
        kd = tl.sum(_term(log_p, log_q), axis=0) + _term(log_p_tail, log_q_tail)
        on_k = q - tl.exp(log_p)
        pull = tl.exp(log_p_tail)
        outside = tl.exp(beside) - pull * _share(beside, log_q_tail)
        rest = tl.exp(log_rest) - pull * _share(log_rest, log_q_tail)
    else:
        if OBJECTIVE == "reverse_tail":
            log_p = tl.where(log_q == _NONE, _NONE, tl.maximum(log_p, _LOG_SMALLEST))
            log_p_tail = tl.maximum(log_p_tail, _LOG_SMALLEST)
            log_p_tail = tl.where(log_q_tail == _NONE, _NONE, log_p_tail)
            kd = tl.sum(_term(log_q, log_p), axis=0) + _term(log_q_tail, log_p_tail)
            slope = _gap(log_q, log_p) - kd
            slope_tail = _gap(log_q_tail, log_p_tail) - kd
        else:
            log_m = _log_add(log_p + tl.log(beta), log_q + tl.log(1 - beta))
            log_m_tail = _log_add(log_p_tail + tl.log(beta), log_q_tail + tl.log(1 - beta))
            from_p = tl.sum(_term(log_p, log_m), axis=0) + _term(log_p_tail, log_m_tail)
            from_q = tl.sum(_term(log_q, log_m), axis=0) + _term(log_q_tail, log_m_tail)
            kd = beta * from_p + (1 - beta) * from_q
            slope = (1 - beta) * (_gap(log_q, log_m) - from_q)
            slope_tail = (1 - beta) * (_gap(log_q_tail, log_m_tail) - from_q)
        on_k = q * slope
        outside = tl.exp(beside) * slope_tail
        rest = tl.exp(log_rest) * slope_tail
    return kd, tl.where(in_k, on_k, outside), rest


@triton.jit
def _rest_sums(row, vocabulary, inverse_t, TEMPERED: tl.constexpr, BLOCK_V: tl.constexpr):
    """Maximum of a row, and its sums of exp(z - maximum) at T = 1 and at T."""
    highest = tl.full((), _NONE, tl.float32)
    total = tl.full((), 0.0, tl.float32)
    tempered = tl.full((), 0.0, tl.float32)
    for start in range(0, vocabulary, BLOCK_V):
        column = start + tl.arange(0, BLOCK_V)
        z = tl.load(row + column, mask=column < vocabulary, other=_NONE).to(tl.float32)
        before = highest
        highest = tl.maximum(highest, tl.max(z, axis=0))
        shift = tl.where(highest == _NONE, 0.0, highest)
        total = total * tl.exp(before - shift) + tl.sum(tl.exp(z - shift), axis=0)
        if TEMPERED:
            tempered = tempered * tl.exp((before - shift) * inverse_t)
            tempered += tl.sum(tl.exp((z - shift) * inverse_t), axis=0)
    return highest, total, tempered


@triton.jit
def _write_rest(
    row, vocabulary, highest, factor, tempered_factor, inverse_t,
    TEMPERED: tl.constexpr, BLOCK_V: tl.constexpr,
):  # fmt: skip
    shift = tl.where(highest == _NONE, 0.0, highest)
    for start in range(0, vocabulary, BLOCK_V):
        column = start + tl.arange(0, BLOCK_V)
        z = tl.load(row + column, mask=column < vocabulary, other=_NONE).to(tl.float32) - shift
        gradient = factor * tl.exp(z)
        if TEMPERED:
            gradient += tempered_factor * tl.exp(z * inverse_t)
        tl.store(row + column, gradient.to(row.dtype.element_ty), mask=column < vocabulary)


@triton.jit
def _sweep_row(
    logits, stride, vocabulary, ids, label_at, first_at, log_ps, log_tails, weights, results,
    rows, entries, ce_factor, kd_factor, kd_gradient_factor, inverse_t, beta,
    OBJECTIVE: tl.constexpr, BUCKETS: tl.constexpr, TEMPERED: tl.constexpr,
    WANT_GRADIENT: tl.constexpr, M: tl.constexpr, BLOCK_E: tl.constexpr, BLOCK_V: tl.constexpr,
):  # fmt: skip
    n = tl.program_id(0).to(tl.int64)
    row = logits + n * stride
    e = tl.arange(0, BLOCK_E)
    id_ = tl.load(ids + n * entries + e, mask=e < entries, other=-1)
    valid = id_ >= 0
    z = tl.load(row + id_, mask=valid, other=_NONE).to(tl.float32)
    tl.debug_barrier()
    tl.store(row + id_, tl.full((BLOCK_E,), _NONE, row.dtype.element_ty), mask=valid)
    tl.debug_barrier()
    highest, total, total_t = _rest_sums(row, vocabulary, inverse_t, TEMPERED, BLOCK_V)

    top = tl.maximum(highest, tl.max(z, axis=0))
    logit = z
    z = z - top
    log_rest = tl.log(total) + (highest - top)
    log_sum = _log_add(log_rest, _log_sum(z))
    log_q_all = z - log_sum
    is_label = e == tl.load(label_at + n)
    ce = -tl.sum(tl.where(is_label, log_q_all, 0.0), axis=0)
    first = tl.load(first_at + n)
    agree = (first >= 0) & (tl.max(tl.where(e == first, z, _NONE), axis=0) >= 0)

    warm_q, warm_rest = log_q_all, log_rest - log_sum
    if TEMPERED:
        warm_rest = tl.log(total_t) + (highest - top) * inverse_t
        warm_sum = _log_add(warm_rest, _log_sum(z * inverse_t))
        warm_q = z * inverse_t - warm_sum
        warm_rest = warm_rest - warm_sum
    kd_sum = tl.full((), 0.0, tl.float32)
    rest_sum = tl.full((), 0.0, tl.float32)
    mass_sum = tl.full((), 0.0, tl.float32)
    weight_sum = tl.full((), 0.0, tl.float32)
    gradient_sum = tl.zeros((BLOCK_E,), tl.float32)
    for m in tl.static_range(M):
        weight = tl.load(weights + m * rows + n)
        log_p = tl.load(log_ps + (m * rows + n) * entries + e, mask=e < entries, other=_ABSENT)
        in_k = log_p != _ABSENT
        log_p = tl.where(in_k, log_p, _NONE)
        log_q = tl.where(in_k, warm_q, _NONE)
        if OBJECTIVE == "renorm":
            kd, gradient, rest = _renorm(log_p, tl.where(in_k, logit, _NONE), inverse_t)
        elif BUCKETS:
            log_tail = tl.load(log_tails + m * rows + n)
            beside = tl.where(in_k, _NONE, warm_q)
            kd, gradient, rest = _bucketed(
                log_p, log_q, log_tail, beside, warm_rest, in_k, beta, OBJECTIVE
            )
        else:
            outside = is_label & (in_k == 0) & (OBJECTIVE == "label_tail")
            kd, gradient, rest = _weights(log_p, warm_q, warm_rest, outside)
        speaks = weight > 0
        kd_sum += tl.where(speaks, weight * kd, 0.0)
        rest_sum += tl.where(speaks, weight * rest, 0.0)
        gradient_sum += tl.where(speaks, weight * gradient, 0.0)
        mass_sum += weight * tl.sum(tl.where(in_k, tl.exp(log_q_all), 0.0), axis=0)
        weight_sum += weight

    norm = tl.sum(tl.abs(gradient_sum), axis=0) + tl.abs(rest_sum)
    tl.store(results + n, ce_factor * ce + kd_factor * kd_sum)
    tl.store(results + rows + n, ce)
    tl.store(results + 2 * rows + n, kd_sum)
    tl.store(results + 3 * rows + n, mass_sum / tl.where(weight_sum > 0, weight_sum, 1.0))
    tl.store(results + 4 * rows + n, agree.to(tl.float32))
    tl.store(results + 5 * rows + n, kd_gradient_factor * norm)
    tl.store(results + 6 * rows + n, -2 * ce_factor * _expm1(-ce))
    if WANT_GRADIENT:
        value = ce_factor * tl.where(is_label, _expm1(log_q_all), tl.exp(log_q_all))
        value += kd_gradient_factor * gradient_sum
        rest = ce_factor * tl.exp(log_rest - log_sum)
        tempered_factor = kd_gradient_factor * rest_sum
        if TEMPERED:
            log_rest_t = tl.log(total_t) + (highest - top) * inverse_t
            tempered_factor *= _share((highest - top) * inverse_t, log_rest_t)
        else:
            rest += tempered_factor
        factor = rest * _share(highest - top, log_rest)
        _write_rest(row, vocabulary, highest, factor, tempered_factor, inverse_t, TEMPERED, BLOCK_V)
        tl.debug_barrier()
        tl.store(row + id_, value.to(row.dtype.element_ty), mask=valid)
