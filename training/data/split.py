"""Which samples are held out: a seed family as a whole, decided by its identifier alone.

In: a `family_id`. Out: `train` or `validation`. All variants and rounds of one seed share a family,
so none of them can straddle the split, and a family stays where it is when the corpus grows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from common.hashing import fraction

Part = Literal["train", "validation"]


@dataclass(frozen=True, slots=True)
class Split:
    """How a corpus is split: `validation`, in [0, 1), is the share of seed families that can be
    expected to be held out."""

    validation: float

    def of(self, family_id: str) -> Part:
        """The part that a family belongs to."""
        # The 0 was a seed once; it stays, so that no family changes sides.
        held_out = fraction("split", 0, family_id) < self.validation
        return "validation" if held_out else "train"

    def definition(self) -> dict[str, Any]:
        """What has to be the same for two splits to be the same."""
        return {"by": "family_id", "validation": self.validation}
