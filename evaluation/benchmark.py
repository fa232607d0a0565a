"""What a benchmark is to the rest: items to pose, a way to judge one, a way to add them up.

How one plugs in: write a class with the members of `Benchmark` and hand it to
`evaluation.run.evaluate`. Nothing else is asked of it: opening teachers, the request cache,
resuming, limits, retries, the budget, contamination and the rows in the corpus are the runner's.

- `items` are all questions, in order. `Item.key` names one for ever (it is part of row identities);
  `data` is the benchmark's own. `prompt` (and `gold`) are what contamination is looked for in.
- `judge` is called once per item, many at a time, and again in every later invocation: whatever was
  answered before comes from the corpus, so it must do nothing but ask and compute. It asks through
  the `Asker` it is given; roles are `"model"` (the one under test) and `"judge"`. It lets
  `TeacherError` pass: the runner records the item as failed with the error's code.
- `Judged.verdict` is plain JSON and everything that `score` needs, because reports read it later.
- `score` gets one result per item, in the items' order; `judged` is None where the item failed. Say
  in `notes` what a reader has to know to read the figures rightly.
- `settings` is plain JSON: whatever shapes the result besides model, judge and sampling (data files
  by hash, thresholds, timeouts). It is part of the evaluation's identity.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from teachers.types import Completion, Message, Sampling

MODEL, JUDGE = "model", "judge"


@dataclass(frozen=True, slots=True)
class Item:
    """One question. `prompt` is the user's words, `gold` a known answer, where there is one."""

    key: str
    prompt: str
    category: str | None = None
    language: str | None = None
    gold: str | None = None
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer. `latency_s` is what the call took when it was made, in seconds, also where that
    was in an earlier invocation; None where nobody knows (the factory had asked, or the same
    question is under way for another item)."""

    completion: Completion
    request_key: str
    latency_s: float | None


class Asker(Protocol):
    """Asks for one item; every attempt is booked on it."""

    async def ask(
        self,
        role: str,
        messages: Sequence[Message],
        sampling: Sampling,
        *,
        n: int = 0,
        prompt: str | None = None,
    ) -> Reply:
        """Answers, from the corpus where it can.

        Args:
            role: `MODEL` or `JUDGE`.
            messages: the whole conversation.
            sampling: the benchmark's own; what the user sets for the model goes over it.
            n: numbers deliberate repetitions of the same question.
            prompt: the name of the published prompt that the messages were made from.

        Raises:
            TeacherError: see `teachers.errors`.
        """
        ...


@dataclass(frozen=True, slots=True)
class Judged:
    """What one item came to: the model's response, and the verdict in plain JSON."""

    response: str
    verdict: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ItemResult:
    """One item's end: judged, or failed with an error's code; `role` is who did not answer."""

    item: Item
    judged: Judged | None
    reason: str | None = None
    role: str | None = None


@dataclass(frozen=True, slots=True)
class Scores:
    """A benchmark's figures. `metrics` maps names to numbers (None: could not be computed);
    `details` is plain JSON for reports (per category, per instruction, …)."""

    metrics: Mapping[str, float | int | None]
    details: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


class Benchmark(Protocol):
    """See the module's text."""

    @property
    def name(self) -> str:
        """`ifeval`, `ifeval_ja`, `alpaca_eval`, `mt_bench`, `sql`, …: the row's `benchmark`."""
        ...

    @property
    def roles(self) -> tuple[str, ...]:
        """`(MODEL,)`, or `(MODEL, JUDGE)` where a judge is needed."""
        ...

    @property
    def items(self) -> Sequence[Item]:
        """Every question, in order; keys are unique."""
        ...

    def settings(self) -> dict[str, Any]:
        """What shapes the result besides model, judge and sampling."""
        ...

    async def judge(self, item: Item, asker: Asker) -> Judged:
        """Poses one item and judges the answer; raises `TeacherError`."""
        ...

    def score(self, results: Sequence[ItemResult]) -> Scores:
        """Adds the results up."""
        ...
