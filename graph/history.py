"""What earlier invocations decided about a sample, so that it is replayed and not made again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class PriorDecision:
    """A gate's verdict as it was committed."""

    name: str
    label: str
    evidence: dict[str, Any]


@dataclass(frozen=True, slots=True)
class PriorReview:
    """A person's decision that waits to be carried out, or was. `text_hash` says which words it is
    about; None where that was not kept."""

    id: str
    decision: str
    reviewer: str
    note: str | None
    edited_instruction: str | None
    edited_response: str | None
    text_hash: str | None


@dataclass(frozen=True, slots=True)
class PriorSample:
    """One sample as an earlier invocation left it."""

    sample_id: str
    seed_id: str
    status: str
    decisions: tuple[PriorDecision, ...] = ()
    review: PriorReview | None = None
