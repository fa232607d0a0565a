"""What a student is taught at each row: one teacher's sparse distribution and its weight."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class SparseTargets:
    """One teacher's distribution at N rows of a micro-batch.

    - `id_NK`: int64, distinct in a row; -1 where fewer than K exist.
    - `log_p_NK`: float32, natural logarithm of the teacher's probability at T = 1; -inf at id -1.
    - `log_tail_N`: float32, log of the mass outside K at T = 1 (-inf: none).
    - `log_z_N`: float32, log of the sum over the whole vocabulary of p^(1/T) for the objective's
      temperature; None where T = 1 (it is zero there) or where the objective needs none (`renorm`).
    - `weight_N`: float32, what this teacher counts at each row; 0 where it has nothing to say.
    """

    id_NK: Tensor
    log_p_NK: Tensor
    log_tail_N: Tensor
    weight_N: Tensor
    log_z_N: Tensor | None = None

    def to(self, device: torch.device) -> SparseTargets:
        """The same targets on another device."""
        log_z_N = None if self.log_z_N is None else self.log_z_N.to(device)
        return SparseTargets(
            self.id_NK.to(device),
            self.log_p_NK.to(device),
            self.log_tail_N.to(device),
            self.weight_N.to(device),
            log_z_N,
        )
