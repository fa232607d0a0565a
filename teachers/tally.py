"""What calls came to: answers made and found, failed attempts, tokens, money.

In: one `Answer` after another. Out: running sums that people watch; a run's figures and an
evaluation's add their own to them.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from teachers.gateway import Answer


@dataclass(kw_only=True)
class CallTally:
    """Sums over calls; `cost_usd` in dollars, None once any call's price was unknown."""

    calls_made: int = 0
    calls_cached: int = 0
    attempts_failed: Counter[str] = field(default_factory=Counter)
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float | None = 0.0

    def count(self, answer: Answer) -> None:
        """Adds one answered call; one answered from the corpus costs nothing."""
        if answer.cached:
            self.calls_cached += 1
            return
        self.calls_made += 1
        self.prompt_tokens += answer.completion.usage.prompt_tokens or 0
        self.completion_tokens += answer.completion.usage.completion_tokens or 0
        if answer.cost_usd is None or self.cost_usd is None:
            self.cost_usd = None
        else:
            self.cost_usd += answer.cost_usd
