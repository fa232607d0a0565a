"""Rows of some examples become one set of targets for a packed micro-batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from training.capture.targets import rows_to_targets
from training.errors import RowsRefused
from training.store.rows import TeacherRows


def rows(ids: list[list[int]], p: list[list[float]], z: float | None = None) -> TeacherRows:
    log_p = np.log(np.array(p, np.float64))
    tail = np.log1p(-np.minimum(np.exp(log_p).sum(1), 1 - 1e-9))
    log_z = {} if z is None else {2.0: np.full(len(ids), z, np.float32)}
    return TeacherRows(
        np.array(ids, np.int32), log_p.astype(np.float32), tail.astype(np.float32), log_z
    )


def test_rows_stand_in_packed_order_with_their_teachers_weight() -> None:
    first, second = rows([[3, 1]], [[0.6, 0.3]]), rows([[2, 9], [5, 6]], [[0.5, 0.2], [0.7, 0.1]])
    made = rows_to_targets([first, second], [1, 2], [1.0, 0.25], k=2, temperature=1.0, width=10)
    assert made.id_NK.tolist() == [[3, 1], [2, 9], [5, 6]]
    assert made.weight_N.tolist() == [1.0, 0.25, 0.25]
    np.testing.assert_allclose(made.log_tail_N.exp(), [0.1, 0.3, 0.2], rtol=1e-5)
    assert made.log_z_N is None
    assert (made.id_NK.dtype, made.log_p_NK.dtype) == (torch.int64, torch.float32)


def test_where_a_teacher_says_nothing_the_row_is_a_distribution_of_no_weight() -> None:
    made = rows_to_targets(
        [None, rows([[3, 1]], [[0.6, 0.3]], 0.4)],
        [2, 1],
        [0.0, 1.0],
        k=2,
        temperature=2.0,
        width=10,
    )
    assert made.weight_N.tolist() == [0.0, 0.0, 1.0]
    assert made.log_z_N is not None
    np.testing.assert_allclose(made.log_z_N, [0, 0, 0.4])
    mass = made.log_p_NK.exp().sum(1) + made.log_tail_N.exp()
    np.testing.assert_allclose(mass, 1, rtol=1e-6)


def test_ids_beyond_the_students_width_join_the_tail() -> None:
    made = rows_to_targets(
        [rows([[12, 4]], [[0.6, 0.3]])], [1], [1.0], k=2, temperature=1.0, width=10
    )
    assert made.id_NK.tolist() == [[4, -1]]
    np.testing.assert_allclose(made.log_p_NK[0].exp(), [0.3, 0.0], rtol=1e-6)
    np.testing.assert_allclose(made.log_tail_N.exp(), [0.7], rtol=1e-5)


def test_rows_of_fewer_ids_are_filled_up() -> None:
    made = rows_to_targets([rows([[4]], [[0.6]])], [1], [1.0], k=3, temperature=1.0, width=10)
    assert made.id_NK.tolist() == [[4, -1, -1]]
    assert torch.isneginf(made.log_p_NK[0, 1:]).all()


def test_rows_that_do_not_fit_their_example_are_refused() -> None:
    with pytest.raises(RowsRefused, match="do not fit an example of 2 trained"):
        rows_to_targets([rows([[4]], [[0.6]])], [2], [1.0], k=1, temperature=1.0, width=10)


def test_a_batch_of_no_examples_has_no_rows() -> None:
    made = rows_to_targets([], [], [], k=4, temperature=1.0, width=10)
    assert made.id_NK.shape == (0, 4)
