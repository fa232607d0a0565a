"""The head and the loss in one: hidden states in, one number and two gradients out, no [N, V] kept.

In: hidden states of the rows that are trained on (masked rows are dropped before), the head's
weight, labels and sparse targets. Out: the summed loss and `RowStats`. Rows go through in chunks:
logits of a chunk, its loss, its dL/dz written over the logits, and from there its part of both
gradients. So all of it is done in the forward pass; the backward pass only scales, and ZeRO-3 may
release the gathered weight as soon as the forward pass is over.

Memory besides the returned gradients: one chunk of logits and the sweep's scratch, together at most
`workspace_bytes` however many rows there are (but never less than one row).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from training.losses import torch_chunk
from training.losses.objective import Objective
from training.losses.sparse import RowResult
from training.losses.table import RowTable, build_table
from training.losses.targets import SparseTargets

Backend = Literal["auto", "torch", "triton"]
Accumulate = Literal["float32", "weight"]

_BLOCK_BYTES = 8 * 2**20
"""Of the rows that are swept together: they stay in a processor's cache between two sweeps."""

_PRODUCT_BYTES = 16 * 2**20
"""Of one slice of the weight's gradient, where it is computed and summed in different dtypes."""

_ENTRY_BYTES = 192
"""About what one id of one row costs while its table is made or its loss is worked out."""


@dataclass(frozen=True, slots=True, eq=False)
class RowStats:
    """What the loss was made of, per row: detached float32 [N], in nats where it is a loss.

    - `ce`: the label's negative log-likelihood. `kd`: the weighted sum over teachers, without
      alpha and T^2; 0 for `ce`.
    - `teacher_mass`, `student_mass`: P and Q, both sides' mass on K at T = 1, averaged over
      teachers by their weights; 0 where none speaks.
    - `agree`: 1 where no id has a higher logit than the heaviest teacher's first id.
    - `kd_gradient`, `ce_gradient`: L1 norms over the vocabulary of the two parts of dL/dz, with
      their factors alpha T and 1 - alpha. Of several teachers it is the norm of their sum.
    """

    ce: Tensor
    kd: Tensor
    teacher_mass: Tensor
    student_mass: Tensor
    agree: Tensor
    kd_gradient: Tensor
    ce_gradient: Tensor


@dataclass(frozen=True, slots=True)
class Cut:
    """How a workspace is used.

    Rows of logits at a time; rows swept together; weight rows whose gradient is computed at a time
    where it is summed in another dtype; ids (rows times teachers' k) prepared at a time.
    """

    chunk_rows: int
    block_rows: int
    weight_rows: int
    table_entries: int


@dataclass(frozen=True, slots=True)
class _Settings:
    objective: Objective
    targets: Sequence[SparseTargets]
    cut: Cut
    accumulate: Accumulate
    triton: bool


@dataclass(slots=True, eq=False)
class _Gradients:
    """Where gradients are summed; None where none is wanted."""

    hidden_NH: Tensor | None
    weight_VH: Tensor | None
    bias_V: Tensor | None

    @property
    def wanted(self) -> bool:
        return any(x is not None for x in (self.hidden_NH, self.weight_VH, self.bias_V))


def fused_linear_loss(
    hidden_NH: Tensor,
    weight_VH: Tensor,
    label_N: Tensor,
    targets: Sequence[SparseTargets],
    objective: Objective,
    *,
    workspace_bytes: int,
    bias_V: Tensor | None = None,
    accumulate: Accumulate = "weight",
    backend: Backend = "auto",
) -> tuple[Tensor, RowStats]:
    """The objective's loss summed over N rows, differentiable in hidden states, weight and bias.

    Logits are computed in the weight's dtype; log-sum-exp, log q, losses and sums in float32
    (float64 where the weight is float64). Gradients come back in their tensors' own dtypes.

    Args:
        hidden_NH: final hidden states of the predicting rows; float, brought to the weight's dtype.
        weight_VH: the head (tied or not), bfloat16, float32 or float64.
        label_N: int64 in [0, V).
        targets: one `SparseTargets` per teacher; none for `ce`. Ids lie below V.
        workspace_bytes: bound on what is held besides the gradients; chunks are cut to fit.
        accumulate: how the weight's gradient is summed over chunks where the weight is of 16 bits.
            `weight`: in the 2 V H bytes that are returned, with one rounding per chunk. `float32`:
            in 4 V H bytes, which are rounded once, into those 2 V H, at the end (on a CPU each
            chunk's own product is of 16 bits before it is added). With a float32 weight both are
            the returned 4 V H.
        backend: `torch`, `triton`, or `auto`: triton on a CUDA device and torch elsewhere.

    Returns:
        A scalar (float32, or float64 for a float64 weight) and the rows' statistics.

    Raises:
        ValueError: shapes, labels, ids or settings that do not fit together.
    """
    _check(hidden_NH, weight_VH, label_N, targets, objective)
    if backend == "auto":
        backend = "triton" if hidden_NH.is_cuda and weight_VH.dtype != torch.float64 else "torch"
    spoken = () if objective.name == "ce" else tuple(targets)
    entries = 1 + sum(target.id_NK.shape[1] for target in spoken)
    cut = cut_workspace(weight_VH, objective, entries, workspace_bytes)
    settings = _Settings(objective, spoken, cut, accumulate, backend == "triton")
    with torch.autocast(hidden_NH.device.type, enabled=False):
        if torch.is_grad_enabled() and any(
            x is not None and x.requires_grad for x in (hidden_NH, weight_VH, bias_V)
        ):
            loss, *stats = _FusedLinearLoss.apply(  # type: ignore[no-untyped-call]
                hidden_NH, weight_VH, bias_V, label_N, settings
            )
        else:
            nothing = _Gradients(None, None, None)
            loss, *stats = _run(hidden_NH, weight_VH, bias_V, label_N, settings, nothing)
    return loss, RowStats(*stats)


class _FusedLinearLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden_NH: Tensor,
        weight_VH: Tensor,
        bias_V: Tensor | None,
        label_N: Tensor,
        settings: _Settings,
    ) -> tuple[Tensor, ...]:
        wide = weight_VH.dtype
        if settings.accumulate == "float32" and wide.itemsize < 4:
            wide = torch.float32
        into = _Gradients(
            torch.empty_like(hidden_NH) if ctx.needs_input_grad[0] else None,
            torch.zeros_like(weight_VH, dtype=wide) if ctx.needs_input_grad[1] else None,
            None,
        )
        if bias_V is not None and ctx.needs_input_grad[2]:
            into.bias_V = torch.zeros_like(bias_V, dtype=_work_dtype(weight_VH))
        loss, *stats = _run(hidden_NH, weight_VH, bias_V, label_N, settings, into)
        if into.weight_VH is not None:
            into.weight_VH = into.weight_VH.to(weight_VH.dtype)
        if into.bias_V is not None and bias_V is not None:
            into.bias_V = into.bias_V.to(bias_V.dtype)
        ctx.gradients = into
        ctx.mark_non_differentiable(*stats)
        return loss, *stats

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.gradients is None:
            raise RuntimeError("the fused loss was already differentiated; it keeps no second copy")
        into: _Gradients = ctx.gradients
        ctx.gradients = None
        for gradient in (into.hidden_NH, into.weight_VH, into.bias_V):
            if gradient is not None:
                gradient.mul_(upstream[0])
        return into.hidden_NH, into.weight_VH, into.bias_V, None, None


def _run(
    hidden_NH: Tensor,
    weight_VH: Tensor,
    bias_V: Tensor | None,
    label_N: Tensor,
    settings: _Settings,
    into: _Gradients,
) -> tuple[Tensor, ...]:
    """Loss and statistics of all rows; sums the gradients that are wanted into `into`."""
    work = _work_dtype(weight_VH)
    size = settings.cut.chunk_rows
    buffer_CV = weight_VH.new_empty(min(size, len(hidden_NH)), len(weight_VH))
    loss_N = hidden_NH.new_empty(len(hidden_NH), dtype=work)
    stats = RowStats(*(torch.empty_like(loss_N, dtype=torch.float32) for _ in fields(RowStats)))
    for rows, table in _chunks(label_N, settings, size):
        hidden_CH = hidden_NH[rows].to(weight_VH.dtype)
        logits_CV = buffer_CV[: len(hidden_CH)]
        torch.mm(hidden_CH, weight_VH.t(), out=logits_CV)
        if bias_V is not None:
            logits_CV += bias_V
        result = _sweep(logits_CV, table, settings, into.wanted)
        loss_N[rows] = result.loss_N
        _note(stats, rows, result, table)
        _accumulate(into, rows, logits_CV, hidden_CH, weight_VH, settings.cut.weight_rows)
    return loss_N.sum(), *(getattr(stats, field.name) for field in fields(RowStats))


def cut_workspace(
    weight_VH: Tensor, objective: Objective, entries: int, workspace_bytes: int
) -> Cut:
    """Cuts a workspace so that logits have most of it, in round numbers of rows for the products.

    Half of it at the least holds logits and what is worked out of them; one row of each kind there
    must be. `entries` are the ids of a row: all teachers' k, and the label.
    """
    vocabulary, width = weight_VH.shape
    work = _work_dtype(weight_VH).itemsize
    block_rows = max(1, min(_BLOCK_BYTES, workspace_bytes // 8) // (work * vocabulary))
    weight_rows = max(1, min(_PRODUCT_BYTES, workspace_bytes // 8) // (work * width))
    table_entries = max(1, workspace_bytes // 16 // _ENTRY_BYTES)
    held = block_rows * work * vocabulary
    held *= torch_chunk.scratch_blocks(weight_VH.dtype, objective)
    held += table_entries * _ENTRY_BYTES
    if weight_VH.itemsize < 4:
        held += weight_rows * work * width
    row_bytes = vocabulary * weight_VH.itemsize + entries * _ENTRY_BYTES
    rows = max(1, (workspace_bytes - held) // row_bytes)
    unit = next(unit for unit in (64, 8, 1) if rows >= unit)
    return Cut(rows // unit * unit, block_rows, weight_rows, table_entries)


def _chunks(label_N: Tensor, settings: _Settings, size: int) -> Iterator[tuple[slice, RowTable]]:
    """Chunks of `size` rows with their tables, which are made for many chunks at a time."""
    entries = 1 + sum(target.id_NK.shape[1] for target in settings.targets)
    together = size * max(1, settings.cut.table_entries // (size * entries))
    for first in range(0, len(label_N), together):
        part = slice(first, first + together)
        targets = [_rows(target, part) for target in settings.targets]
        dtype = torch.float32 if settings.triton else torch.float64
        table = build_table(label_N[part], targets, settings.objective, dtype)
        for start in range(0, len(table.id_NE), size):
            stop = min(start + size, len(table.id_NE))
            yield slice(first + start, first + stop), table.rows(start, stop)


def _rows(target: SparseTargets, part: slice) -> SparseTargets:
    return SparseTargets(
        id_NK=target.id_NK[part],
        log_p_NK=target.log_p_NK[part],
        log_tail_N=target.log_tail_N[part],
        weight_N=target.weight_N[part],
        log_z_N=None if target.log_z_N is None else target.log_z_N[part],
    )


def _sweep(logits_CV: Tensor, table: RowTable, settings: _Settings, want: bool) -> RowResult:
    if settings.triton:
        from training.losses import triton_kernels

        return triton_kernels.sweep(logits_CV, table, settings.objective, want_gradient=want)
    return torch_chunk.sweep(
        logits_CV,
        table,
        settings.objective,
        want_gradient=want,
        block_rows=settings.cut.block_rows,
    )


def _note(stats: RowStats, rows: slice, result: RowResult, table: RowTable) -> None:
    stats.ce[rows] = result.ce_N
    stats.kd[rows] = result.kd_N
    stats.teacher_mass[rows] = (table.share_MN * table.mass_MN).sum(dim=0)
    stats.student_mass[rows] = result.student_mass_N
    stats.agree[rows] = result.agree_N
    stats.kd_gradient[rows] = result.kd_gradient_N
    stats.ce_gradient[rows] = result.ce_gradient_N


def _accumulate(
    into: _Gradients,
    rows: slice,
    gradient_CV: Tensor,
    hidden_CH: Tensor,
    weight_VH: Tensor,
    step: int,
) -> None:
    if into.hidden_NH is not None:
        if into.hidden_NH.dtype == weight_VH.dtype:
            torch.mm(gradient_CV, weight_VH, out=into.hidden_NH[rows])
        else:
            into.hidden_NH[rows] = gradient_CV @ weight_VH
    if into.bias_V is not None:
        into.bias_V += gradient_CV.sum(dim=0, dtype=into.bias_V.dtype)
    if into.weight_VH is None:
        return
    if into.weight_VH.dtype == weight_VH.dtype:
        into.weight_VH.addmm_(gradient_CV.t(), hidden_CH)
        return
    for start in range(0, len(weight_VH), step):
        part = slice(start, start + step)
        if gradient_CV.is_cuda:
            product = torch.mm(gradient_CV[:, part].t(), hidden_CH, out_dtype=torch.float32)
        else:
            product = gradient_CV[:, part].t() @ hidden_CH
        into.weight_VH[part] += product


def _work_dtype(weight_VH: Tensor) -> torch.dtype:
    return torch.float64 if weight_VH.dtype == torch.float64 else torch.float32


def _check(
    hidden_NH: Tensor,
    weight_VH: Tensor,
    label_N: Tensor,
    targets: Sequence[SparseTargets],
    objective: Objective,
) -> None:
    rows, vocabulary = len(hidden_NH), len(weight_VH)
    if hidden_NH.shape[1:] != weight_VH.shape[1:] or label_N.shape != (rows,):
        raise ValueError(
            f"hidden states {tuple(hidden_NH.shape)}, weight {tuple(weight_VH.shape)} and labels "
            f"{tuple(label_N.shape)} do not fit together"
        )
    if objective.name != "ce" and not targets:
        raise ValueError(f"objective '{objective.name}' needs a teacher's targets")
    for target in targets:
        if target.id_NK.shape != target.log_p_NK.shape or len(target.id_NK) != rows:
            raise ValueError(
                f"targets {tuple(target.id_NK.shape)} do not fit {rows} rows of hidden states"
            )
    if rows == 0:
        return
    # One look at the ids for the whole call: an id beyond the head would write to another row.
    extremes = [label_N.min(), label_N.max()]
    extremes += [target.id_NK.max() for target in targets if target.id_NK.numel()]
    lowest, *highest = torch.stack(extremes).tolist()
    if lowest < 0 or max(highest) >= vocabulary:
        raise ValueError(
            f"labels and ids lie in [0, {vocabulary}); here from {lowest} to {max(highest)}: drop "
            "untrained rows, and a wider teacher's ids, before"
        )
