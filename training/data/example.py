"""One training sequence: token ids, and which of them the student is trained to say."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """One rendered sample (or one turn of it, where a template forbids more at once).

    `token_id_T` is int32. `trained_T` is true where the token is a label: the assistant's tokens
    with the one that ends the turn; never position 0. Row t of the model scores token t+1, so the
    rows that matter are the *predicting* positions, one before each trained token.
    """

    id: str
    sample_id: str
    family_id: str
    token_id_T: NDArray[np.int32]
    trained_T: NDArray[np.bool_]
    category: str | None = None
    language: str | None = None

    def __len__(self) -> int:
        return len(self.token_id_T)

    @property
    def row_N(self) -> NDArray[np.int64]:
        """The predicting positions, ascending: int64 [N]."""
        return np.flatnonzero(self.trained_T[1:])

    @property
    def label_N(self) -> NDArray[np.int32]:
        """The token that each predicting position has to say: int32 [N]."""
        return self.token_id_T[self.row_N + 1]
