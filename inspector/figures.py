"""What the pages say of agents and of prompts: the figures as they are shown.

In: nothing. Out: the shapes that `inspector.tally` fills.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class AgentFigures:
    """One agent with one teacher. Latencies are seconds of answered calls, without waiting in our
    own queue; None where nothing was asked. `usd` is None when one call's price was unknown.
    `samples` are those that it answered for, `accepted` how many of them were accepted."""

    agent: str
    teacher: str
    made: int
    cached: int
    failed: int
    prompt_tokens: int
    completion_tokens: int
    usd: float | None
    p50_s: float | None
    p95_s: float | None
    samples: int
    accepted: int


@dataclass(frozen=True, slots=True)
class PromptYield:
    """One text of one prompt. `samples` are those that an answer under it was made for, `accepted`
    how many of them were; `mean_score` is the mean of their scores' sums (0 to 27), None where
    none was scored. `usd` is None when the price of one call is unknown."""

    name: str
    version: str
    hash: str
    calls: int
    failed: int
    samples: int
    accepted: int
    mean_score: float | None
    tokens: int
    usd: float | None
    first_at: datetime
    last_at: datetime
