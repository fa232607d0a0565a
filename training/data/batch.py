"""Some examples as one padding-free sequence for one forward pass.

In: examples. Out: a `Batch` of tensors: the examples one after another, position ids that begin
anew at each, the boundaries that attention must respect, and the rows whose logits matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.data.example import Example


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """One packed micro-batch of D documents, T tokens and N predicting rows. No padding.

    - `token_id_T`, `position_id_T`: int64 [T]; positions count from 0 in each document.
    - `cu_length_D1`: int32 [D + 1], where documents begin, and T at the end.
    - `row_N`: int64 [N], the predicting positions in the packed sequence, ascending.
    - `label_N`: int64 [N], the token that each of them has to say.
    - `example_N`: int64 [N], the example (0 … D − 1) that each of them belongs to.
    - `longest`: tokens of the longest document.

    A batch of no examples is one token of id 0 and no rows: a rank that has nothing left still
    takes part in collective operations.
    """

    token_id_T: Tensor
    position_id_T: Tensor
    cu_length_D1: Tensor
    row_N: Tensor
    label_N: Tensor
    example_N: Tensor
    longest: int

    def __len__(self) -> int:
        return int(self.token_id_T.shape[0])

    @property
    def rows(self) -> int:
        """N, the tokens that are trained on."""
        return int(self.row_N.shape[0])

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Batch:
        """The same batch on another device."""

        def moved(tensor: Tensor) -> Tensor:
            return tensor.to(device, non_blocking=non_blocking)

        return Batch(
            token_id_T=moved(self.token_id_T),
            position_id_T=moved(self.position_id_T),
            cu_length_D1=moved(self.cu_length_D1),
            row_N=moved(self.row_N),
            label_N=moved(self.label_N),
            example_N=moved(self.example_N),
            longest=self.longest,
        )


def make_batch(examples: Sequence[Example]) -> Batch:
    """Packs examples in their order; without any, the legal dummy that trains nothing."""
    if not examples:
        return _dummy()
    lengths = np.array([len(each) for each in examples], dtype=np.int64)
    cu_length = np.concatenate([[0], np.cumsum(lengths)])
    starts = cu_length[:-1]
    rows = [each.row_N for each in examples]
    row_N = np.concatenate([row + start for row, start in zip(rows, starts, strict=True)])
    token_id_T = np.concatenate([each.token_id_T for each in examples]).astype(np.int64)
    return Batch(
        token_id_T=torch.from_numpy(token_id_T),
        position_id_T=torch.from_numpy(np.arange(cu_length[-1]) - np.repeat(starts, lengths)),
        cu_length_D1=torch.from_numpy(cu_length.astype(np.int32)),
        row_N=torch.from_numpy(row_N),
        label_N=torch.from_numpy(token_id_T[row_N + 1]),
        example_N=torch.from_numpy(_owners(rows)),
        longest=int(lengths.max()),
    )


def _owners(rows: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    return np.repeat(np.arange(len(rows), dtype=np.int64), [len(each) for each in rows])


def _dummy() -> Batch:
    one, none = torch.zeros(1, dtype=torch.int64), torch.zeros(0, dtype=torch.int64)
    return Batch(
        token_id_T=one,
        position_id_T=one.clone(),
        cu_length_D1=torch.tensor([0, 1], dtype=torch.int32),
        row_N=none,
        label_N=none.clone(),
        example_N=none.clone(),
        longest=1,
    )
