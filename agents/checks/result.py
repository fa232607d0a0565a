"""What an executable check answers: passed or failed, whether that settles it, and the evidence."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Scalar = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One check's answer about one response.

    `decisive` means that no judge is needed any more. `evidence` holds JSON scalars only, so that
    it can be stored, shown in a trace and handed to the rewriting agent as it stands.
    """

    name: str
    label: Literal["pass", "fail"]
    decisive: bool
    evidence: dict[str, Scalar] = field(default_factory=dict)
