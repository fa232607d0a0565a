"""Whether rows are what they claim: of the form asked for, in order, a distribution.

In: rows as an engine made them. Out: the same rows, brought to the codec's width. A row that fails
is a capture's mistake and is refused before it can be stored.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from training.errors import CaptureError
from training.store.rows import TeacherRows

_SUM_TOLERANCE = 0.01


def check_rows(
    rows: TeacherRows, k: int, vocab_size: int, kind: str, temperatures: Sequence[float]
) -> TeacherRows:
    """The rows, `k` wide.

    Raises:
        CaptureError: naming the first row that is no row of this form.
    """
    if rows.kind != kind or rows.k > k or not set(temperatures) <= set(rows.log_z):
        raise _refused(
            f"{rows.kind} rows of {rows.k} ids with log Z at {sorted(rows.log_z)} do not fit.",
            f"The store takes {kind} rows of {k} ids with log Z at {sorted(temperatures)}.",
        )
    if rows.k < k:
        room = ((0, 0), (0, k - rows.k))
        rows = TeacherRows(
            id_NK=np.pad(rows.id_NK, room, constant_values=-1),
            log_p_NK=np.pad(rows.log_p_NK, room, constant_values=-np.inf),
            log_tail_N=rows.log_tail_N,
            log_z=rows.log_z,
            kind=rows.kind,
        )
    _check_ids(rows.id_NK, vocab_size)
    _check_masses(rows, temperatures)
    return rows


def _check_ids(id_NK: NDArray[np.int32], vocab_size: int) -> None:
    absent_NK = id_NK < 0
    outside_N = ((id_NK < -1) | (id_NK >= vocab_size)).any(axis=1)
    _none(outside_N, f"has an id outside the vocabulary of {vocab_size}")
    _none(absent_NK[:, 0], "has no id at all")
    _none((absent_NK[:, :-1] & ~absent_NK[:, 1:]).any(axis=1), "has an id after a gap")
    sorted_NK = np.sort(id_NK, axis=1)
    same_NK = (sorted_NK[:, 1:] == sorted_NK[:, :-1]) & (sorted_NK[:, 1:] >= 0)
    _none(same_NK.any(axis=1), "has one id twice")


def _check_masses(rows: TeacherRows, temperatures: Sequence[float]) -> None:
    log_p_NK = rows.log_p_NK
    unknown_N = np.isnan(log_p_NK).any(axis=1) | np.isnan(rows.log_tail_N)
    for temperature in temperatures:
        unknown_N = unknown_N | ~np.isfinite(rows.log_z[temperature])
    _none(unknown_N, "has a log-probability that is no number")
    _none((log_p_NK[:, 1:] > log_p_NK[:, :-1]).any(axis=1), "is not in order of probability")
    _none((np.isfinite(log_p_NK) & (rows.id_NK < 0)).any(axis=1), "has a probability without an id")
    total_N = np.exp(log_p_NK.astype(np.float64)).sum(axis=1) + np.exp(rows.log_tail_N)
    _none(np.abs(total_N - 1) > _SUM_TOLERANCE, "has masses that do not sum to one")
    _none(np.isneginf(log_p_NK[:, 0]), "gives its first id no probability")


def _none(bad_N: NDArray[np.bool_] | np.bool_, what: str) -> None:
    if bad_N.any():
        raise _refused(f"Row {int(np.flatnonzero(bad_N)[0])} {what}.", "The engine's rows are off.")


def _refused(what: str, cause: str) -> CaptureError:
    return CaptureError(
        what, cause=cause, solution="Nothing of it was stored. Please report this, with the model."
    )
