"""One chunk of logits in plain torch: loss, and the logits turned into their gradient in place.

In: logits [C, V] in any float dtype and the chunk's table. Out: the rows' results; the buffer
then holds dL/dz, or nothing of use where no gradient is wanted. The vocabulary is swept in blocks
of a few rows that fit a processor's cache, in float32 (float64 for float64 logits) whatever the
logits' dtype; what follows has a handful of ids per row, and is done in float64.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from training.losses.objective import BUCKETED, Objective
from training.losses.sparse import Rest, RowGradient, RowResult, evaluate
from training.losses.table import RowTable


def scratch_blocks(dtype: torch.dtype, objective: Objective) -> int:
    """Blocks that `sweep` holds besides the logits: one converted, one tempered, where needed."""
    return int(dtype not in (torch.float32, torch.float64)) + int(tempered_tail(objective))


def tempered_tail(objective: Objective) -> bool:
    """True where exp(z/T) is summed over the vocabulary besides exp(z)."""
    return objective.name in BUCKETED and objective.temperature != 1.0


def sweep(
    logits_CV: Tensor,
    table: RowTable,
    objective: Objective,
    *,
    want_gradient: bool,
    block_rows: int,
) -> RowResult:
    """Loss of C rows, and dL/dz in place of `logits_CV` where `want_gradient`."""
    work = torch.float64 if logits_CV.dtype == torch.float64 else torch.float32
    label_C1 = table.id_NE.gather(1, table.label_at_N[:, None])
    padding_CE = table.id_NE < 0
    # Padding points at the label too: whatever is written there is written once more, the same.
    id_CE = torch.where(padding_CE, label_C1, table.id_NE)
    z_CE = logits_CV.gather(1, id_CE).double().masked_fill_(padding_CE, -math.inf)
    # By index, not `scatter_`, which copies the whole of a bfloat16 matrix on a CPU.
    row_C1 = torch.arange(len(logits_CV), device=logits_CV.device)[:, None]
    logits_CV[row_C1, id_CE] = -math.inf
    max_C, sum_C, tempered_C = _sums(logits_CV, objective, work, block_rows)
    top_C = torch.maximum(max_C, z_CE.amax(dim=1))
    peak_C = max_C - top_C
    # exp(z) was taken relative to the rest's maximum, and to 0 where there is no rest.
    rest = Rest(
        max_N=peak_C,
        log_sum_N=sum_C.log() + peak_C,
        tempered_N=None
        if tempered_C is None
        else tempered_C.log() + peak_C / objective.temperature,
    )
    result, gradient = evaluate(objective, table, z_CE, top_C, rest)
    if want_gradient:
        _scale(logits_CV, max_C, gradient, objective, work, block_rows)
        at_label_CE = gradient.value_NE.gather(1, table.label_at_N[:, None]).expand_as(z_CE)
        value_CE = torch.where(padding_CE, at_label_CE, gradient.value_NE)
        logits_CV[row_C1, id_CE] = value_CE.to(logits_CV.dtype)
    return result


def _sums(
    logits_CV: Tensor, objective: Objective, work: torch.dtype, block_rows: int
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Maximum of each row, and its sums of exp(z - maximum) and of exp((z - maximum) / T).

    Where only the first is asked for, exp(z - maximum) is left in the logits. Otherwise these stay:
    one cannot be had as a power of the other. At T = 10 the first is nought where the second still
    counts, and the second's rounding, to 16 bits perhaps, would be multiplied by ten in the first.
    """
    max_C = logits_CV.new_empty(len(logits_CV), dtype=work)
    sum_C = torch.empty_like(max_C)
    tempered_C = torch.empty_like(max_C) if tempered_tail(objective) else None
    for rows in _blocks(len(logits_CV), block_rows):
        block = logits_CV[rows].to(work)
        highest = block.amax(dim=1)
        max_C[rows] = highest
        shift_C1 = _finite(highest)[:, None]
        if tempered_C is None:
            torch.sum(block.sub_(shift_C1).exp_(), dim=1, out=sum_C[rows])
            if block.dtype != logits_CV.dtype:
                logits_CV[rows] = block
        else:
            scratch = block - shift_C1
            torch.sum(scratch.exp_(), dim=1, out=sum_C[rows])
            torch.sub(block, shift_C1, out=scratch).div_(objective.temperature)
            torch.sum(scratch.exp_(), dim=1, out=tempered_C[rows])
    return max_C.double(), sum_C.double(), None if tempered_C is None else tempered_C.double()


def _scale(
    logits_CV: Tensor,
    max_C: Tensor,
    gradient: RowGradient,
    objective: Objective,
    work: torch.dtype,
    block_rows: int,
) -> None:
    """The rest's gradient, from what `_sums` left."""
    factor_C, shift_C = gradient.factor_N.to(work), _finite(max_C).to(work)
    for rows in _blocks(len(logits_CV), block_rows):
        block = logits_CV[rows].to(work)
        if gradient.tempered_factor_N is None:
            block.mul_(factor_C[rows, None])
        else:
            block.sub_(shift_C[rows, None])
            tempered = torch.div(block, objective.temperature).exp_()
            block.exp_().mul_(factor_C[rows, None])
            block.addcmul_(tempered, gradient.tempered_factor_N[rows, None].to(work))
        if block.dtype != logits_CV.dtype:
            logits_CV[rows] = block


def _finite(max_C: Tensor) -> Tensor:
    """Where the table holds the whole vocabulary there is no rest to be taken relative to."""
    return max_C.masked_fill(max_C == -math.inf, 0.0)


def _blocks(rows: int, size: int) -> list[slice]:
    return [slice(start, start + size) for start in range(0, rows, size)]
