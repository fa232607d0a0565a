"""Packed micro-batches: boundaries, positions, rows and labels."""

from __future__ import annotations

import numpy as np
import torch

from training.data.batch import make_batch
from training.data.example import Example


def example(id: str, *tokens: int, trained: list[int]) -> Example:
    trained_T = np.zeros(len(tokens), dtype=np.bool_)
    trained_T[trained] = True
    return Example(id, id, id, np.array(tokens, dtype=np.int32), trained_T)


def test_documents_lie_end_to_end_with_positions_of_their_own() -> None:
    a = example("a", 10, 11, 12, trained=[2])
    b = example("b", 20, 21, 22, 23, trained=[1, 3])
    batch = make_batch([a, b])
    assert batch.token_id_T.tolist() == [10, 11, 12, 20, 21, 22, 23]
    assert batch.position_id_T.tolist() == [0, 1, 2, 0, 1, 2, 3]
    assert batch.cu_length_D1.tolist() == [0, 3, 7]
    assert batch.row_N.tolist() == [1, 3, 5]
    assert batch.label_N.tolist() == [12, 21, 23]
    assert batch.example_N.tolist() == [0, 1, 1]
    assert (len(batch), batch.rows, batch.longest) == (7, 3, 4)


def test_types_are_what_the_model_and_varlen_attention_take() -> None:
    batch = make_batch([example("a", 10, 11, trained=[1])])
    assert batch.cu_length_D1.dtype == torch.int32
    others = (batch.token_id_T, batch.position_id_T, batch.row_N, batch.label_N, batch.example_N)
    assert {tensor.dtype for tensor in others} == {torch.int64}


def test_a_batch_of_nothing_is_one_token_and_no_rows() -> None:
    batch = make_batch([])
    assert (len(batch), batch.rows) == (1, 0)
    assert batch.cu_length_D1.tolist() == [0, 1]
    assert batch.label_N.shape == batch.example_N.shape == (0,)


def test_a_batch_moves_as_a_whole() -> None:
    moved = make_batch([example("a", 10, 11, 12, trained=[2])]).to("meta")
    tensors = (moved.token_id_T, moved.position_id_T, moved.cu_length_D1, moved.row_N)
    assert {tensor.device.type for tensor in (*tensors, moved.label_N, moved.example_N)} == {"meta"}
    assert moved.longest == 3
