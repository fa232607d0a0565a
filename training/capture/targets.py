"""Teacher rows of some examples as one `SparseTargets` for a packed micro-batch.

In: per example one teacher's rows, or None where that teacher has nothing to say, and its weight.
Out: tensors in the order of the packed batch's predicting rows. Ids beyond the student's width
(another family's padded or added ids) move their mass into the tail.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from training.errors import RowsRefused
from training.losses.targets import SparseTargets
from training.store.rows import TeacherRows
from training.vocabulary import drop_ids


@dataclass(frozen=True, slots=True)
class Taught:
    """One example's part: `rows` of one teacher (None: it says nothing here), how many predicting
    rows the example has, and what the teacher counts at each of them."""

    rows: TeacherRows | None
    count: int
    weight: float = 1.0


def rows_to_targets(
    parts: Sequence[Taught], *, width: int, temperature: float = 1.0, with_log_z: bool = True
) -> SparseTargets:
    """One teacher's targets at the N rows of a micro-batch, on the host.

    Where the teacher says nothing, the weight is 0 and the row holds all mass on id 0: a proper
    distribution, so that no objective makes NaN of it before the weight makes it nothing.

    Args:
        parts: the micro-batch's examples, in their packed order.
        width: of the student's head; ids from there on join the tail.
        temperature: the objective's.
        with_log_z: False for an objective that needs no normaliser at T ≠ 1 (`renorm`).

    Raises:
        RowsRefused: rows do not fit their example, or lack log Z at the temperature.
    """
    known = [part.rows for part in parts if part.rows is not None]
    k = max((rows.k for rows in known), default=1)
    total = sum(part.count for part in parts)
    wanted = with_log_z and temperature != 1.0
    id_NK = np.full((total, k), -1, np.int64)
    log_p_NK = np.full((total, k), -np.inf, np.float32)
    log_tail_N = np.full(total, -np.inf, np.float32)
    log_z_N, weight_N = np.zeros(total, np.float32), np.zeros(total, np.float32)
    id_NK[:, 0], log_p_NK[:, 0] = 0, 0.0
    begin = 0
    for part in parts:
        where = slice(begin, begin + part.count)
        begin = where.stop
        if part.rows is None or part.weight == 0 or part.count == 0:
            continue
        rows = _fitting(part.rows, part.count, width)
        id_NK[where, : rows.k], log_p_NK[where, : rows.k] = rows.id_NK, rows.log_p_NK
        log_tail_N[where], weight_N[where] = rows.log_tail_N, part.weight
        if wanted:
            log_z_N[where] = _log_z(rows, temperature)
    return SparseTargets(
        id_NK=torch.from_numpy(id_NK),
        log_p_NK=torch.from_numpy(log_p_NK),
        log_tail_N=torch.from_numpy(log_tail_N),
        weight_N=torch.from_numpy(weight_N),
        log_z_N=torch.from_numpy(log_z_N) if wanted else None,
    )


def _fitting(rows: TeacherRows, count: int, width: int) -> TeacherRows:
    if len(rows) != count:
        raise RowsRefused(
            f"{len(rows)} teacher rows do not fit an example of {count} trained tokens.",
            cause="They belong to another sequence.",
            solution="Capture again; rows are found by key, so this should not happen: report it.",
        )
    beyond_NK = rows.id_NK >= width
    return drop_ids(rows, beyond_NK) if beyond_NK.any() else rows


def _log_z(
    rows: TeacherRows, temperature: float
) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    if temperature not in rows.log_z:
        raise RowsRefused(
            f"The teacher rows have no normaliser at temperature {temperature}.",
            cause=f"They were captured for {sorted(rows.log_z) or 'temperature 1 alone'}.",
            solution="List it in `capture.temperatures` and capture again.",
            command="stillhouse capture RECIPE",
        )
    return np.asarray(rows.log_z[temperature])
