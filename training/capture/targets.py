"""Teacher rows of some examples as one `SparseTargets` for a packed micro-batch.

In: per example one teacher's rows, or None where that teacher has nothing to say, and its weight.
Out: tensors in the order of the packed batch's predicting rows. Ids beyond the student's width
(another family's padded or added ids) move their mass into the tail.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from training.errors import RowsRefused
from training.losses.targets import SparseTargets
from training.store.rows import TeacherRows
from training.vocabulary import drop_ids


def rows_to_targets(
    rows: Sequence[TeacherRows | None],
    counts: Sequence[int],
    weights: Sequence[float],
    *,
    k: int,
    temperature: float,
    width: int,
) -> SparseTargets:
    """One teacher's targets at the N rows of a micro-batch, on the host.

    Where the teacher says nothing, the weight is 0 and the row holds all mass on id 0: a proper
    distribution, so that no objective makes NaN of it before the weight makes it nothing.
    `log_z_N` is None at T = 1, and where the rows were captured without the temperature, which a
    recipe allows to `renorm` alone.

    Args:
        rows, counts, weights: per example, in packed order: its rows, how many predicting rows it
            has, and what the teacher counts at each of them.
        k: ids per row; rows may have fewer.
        temperature: the objective's.
        width: of the student's head; ids from there on join the tail.

    Raises:
        RowsRefused: rows do not fit their example.
    """
    total = sum(counts)
    spoken = [each for each in rows if each is not None]
    with_z = temperature != 1.0 and all(temperature in each.log_z for each in spoken)
    id_NK = np.full((total, k), -1, np.int64)
    log_p_NK = np.full((total, k), -np.inf, np.float32)
    log_tail_N = np.full(total, -np.inf, np.float32)
    log_z_N, weight_N = np.zeros(total, np.float32), np.zeros(total, np.float32)
    id_NK[:, 0], log_p_NK[:, 0] = 0, 0.0
    begin = 0
    for each, count, weight in zip(rows, counts, weights, strict=True):
        where = slice(begin, begin + count)
        begin = where.stop
        if each is None or weight == 0:
            continue
        fitting = _fitting(each, count, k, width)
        id_NK[where, : each.k], log_p_NK[where, : each.k] = fitting.id_NK, fitting.log_p_NK
        log_tail_N[where], weight_N[where] = fitting.log_tail_N, weight
        if with_z:
            log_z_N[where] = each.log_z[temperature]
    return SparseTargets(
        id_NK=torch.from_numpy(id_NK),
        log_p_NK=torch.from_numpy(log_p_NK),
        log_tail_N=torch.from_numpy(log_tail_N),
        weight_N=torch.from_numpy(weight_N),
        log_z_N=torch.from_numpy(log_z_N) if with_z else None,
    )


def _fitting(rows: TeacherRows, count: int, k: int, width: int) -> TeacherRows:
    if len(rows) != count or rows.k > k:
        raise RowsRefused(
            f"{len(rows)} teacher rows of {rows.k} ids do not fit an example of {count} trained "
            f"tokens and {k} ids each.",
            cause="They belong to another sequence or another capture.",
            solution="Rows are found by key, so this should not happen: please report it.",
        )
    beyond_NK = rows.id_NK >= width
    return drop_ids(rows, beyond_NK) if beyond_NK.any() else rows
