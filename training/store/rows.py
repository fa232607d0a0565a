"""One teacher's rows for one example, as numbers: what a capture makes and a trainer reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class TeacherRows:
    """What one teacher says at the N predicting positions of one example, in their order.

    - `id_NK`: int32, ordered by log-probability, highest first; -1 where fewer than K exist.
    - `log_p_NK`: float32, natural logarithm at T = 1; -inf where the id is -1.
    - `log_tail_N`: float32, log of the mass outside the K ids at T = 1; -inf where nothing is left.
    - `log_z`: for each other temperature T, float32 [N]: log of the sum over the whole vocabulary
      of p^(1/T).
    - `kind`: `top_k`, or `sampled` (ids are distinct draws, `log_p_NK` the log of their share of
      all draws, `log_tail_N` -inf).
    """

    id_NK: NDArray[np.int32]
    log_p_NK: NDArray[np.float32]
    log_tail_N: NDArray[np.float32]
    log_z: Mapping[float, NDArray[np.float32]] = field(default_factory=dict)
    kind: str = "top_k"

    def __len__(self) -> int:
        return len(self.id_NK)

    @property
    def k(self) -> int:
        """How many ids a row has room for."""
        return int(self.id_NK.shape[1])
