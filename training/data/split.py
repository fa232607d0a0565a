"""Which samples are held out: a seed family as a whole, decided by its identifier alone.

In: a `family_id`. Out: `train` or `validation`. All variants and rounds of one seed share a family,
so none of them can straddle the split, and a family stays where it is when the corpus grows.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from common.hashing import fraction

Part = Literal["train", "validation"]


def split_of(family_id: str, validation_share: float, seed: int = 0) -> Part:
    """The part that a family belongs to; `validation_share` in [0, 1) is an expectation."""
    held_out = fraction("split", seed, family_id) < validation_share
    return "validation" if held_out else "train"


@dataclass(frozen=True, slots=True)
class Split:
    """How a corpus is split: the share of seed families that is held out, and a seed."""

    validation: float
    seed: int = 0

    def of(self, family_id: str) -> Part:
        """The part that a family belongs to."""
        return split_of(family_id, self.validation, self.seed)

    def definition(self) -> dict[str, Any]:
        """What has to be the same for two splits to be the same."""
        return {"by": "family_id", **asdict(self)}
