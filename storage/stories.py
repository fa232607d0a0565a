"""The parts of a story: what the corpus knows of one seed and its candidates, as plain dataclasses.

`storage.trace` fills them in; the command line and the inspector show them. `Story.as_dict` is the
same as one JSON object. Nothing is abridged and nothing is escaped: text is the teachers' and the
seeds' own, so whoever shows it makes it safe for where it is shown.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal

Kind = Literal["seed", "sample"]


@dataclass(frozen=True, slots=True)
class MessageStory:
    """One message of a question: `system`, `user` or `assistant`."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class AnswerStory:
    """What a teacher answered; `logprobs` says whether log-probabilities are kept with it."""

    content: str
    reasoning: str | None
    refusal: str | None
    response_id: str | None
    simulated: bool
    logprobs: bool


@dataclass(frozen=True, slots=True)
class CallStory:
    """One attempt. `answer` is None where it failed (`error_type`, `error_detail`); `question` is
    None where no attempt at this request was ever answered, so that none was kept.

    `cached`: an answer that was in the corpus already, so nothing was sent and nothing spent.
    `cost_usd` is in US dollars, None where the price is unknown; `latency_s` in seconds.
    """

    id: str
    run_id: str
    agent: str
    round: int
    prompt_name: str
    prompt_version: str
    prompt_hash: str
    teacher: str
    model: str
    revision: str | None
    endpoint: str
    parameters: dict[str, Any]
    schema: str | None
    request_key: str
    attempt: int
    cached: bool
    question: tuple[MessageStory, ...] | None
    answer: AnswerStory | None
    finish_reason: str | None
    prompt_tokens: int | None
    completion_tokens: int | None
    reasoning_tokens: int | None
    cost_usd: float | None
    latency_s: float | None
    error_type: str | None
    error_detail: str | None
    created_at: datetime

    @property
    def prompt(self) -> str:
        """The prompt's label and identity: `name@version(hash)`, the hash in short."""
        return f"{self.prompt_name}@{self.prompt_version}({self.prompt_hash[:8]})"


@dataclass(frozen=True, slots=True)
class ScoreStory:
    """Selection's scores, 0 to 9; all None where `label` is `unscored`."""

    label: str
    informativeness: int | None
    helpfulness: int | None
    generalisation: int | None
    rationale: str | None
    request_key: str | None


@dataclass(frozen=True, slots=True)
class VerdictStory:
    """One decision with its evidence; `kind` is `gate`, `executable`, `judge` or `human`."""

    name: str
    kind: str
    label: str
    evidence: dict[str, Any]
    request_key: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class ReviewStory:
    """One person's decision; `applied_at` is None until a run has carried it out."""

    id: str
    decision: str
    reviewer: str
    note: str | None
    edited_instruction: str | None
    edited_response: str | None
    created_at: datetime
    applied_at: datetime | None


@dataclass(frozen=True, slots=True)
class SampleStory:
    """One candidate with everything that was done to it, calls in chronological order."""

    id: str
    parent_id: str | None
    run_id: str
    origin: str
    variant: int
    round: int
    category: str | None
    language: str | None
    system: str | None
    instruction: str
    original_instruction: str | None
    input: str
    reasoning: str | None
    response: str | None
    fingerprint: str | None
    status: str
    reason: str | None
    detail: str | None
    simulated: bool
    allows_training: str
    terms: list[dict[str, Any]]
    shaped_by: dict[str, str]
    calls: tuple[CallStory, ...]
    score: ScoreStory | None
    verdicts: tuple[VerdictStory, ...]
    reviews: tuple[ReviewStory, ...]
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class SeedStory:
    """The seed, where it came from, and the calls made before there was any candidate."""

    id: str
    recipe: str
    family_id: str
    ordinal: int
    source: str
    row: int
    source_shape: str
    system: str | None
    instruction: str
    input: str
    reference: str | None
    category: str | None
    language: str | None
    licence: str | None
    meta: dict[str, Any]
    shaped_by: dict[str, str]
    status: str
    reason: str | None
    calls: tuple[CallStory, ...]
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Spending:
    """What all calls of the story came to. `cost_usd` is None when one price was unknown."""

    calls_made: int
    calls_cached: int
    attempts_failed: int
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float | None


@dataclass(frozen=True, slots=True)
class Story:
    """The story that was asked for: `kind` and `id` name what was asked about, `seed` is where it
    began, `samples` are all candidates of that seed by variant and round."""

    kind: Kind
    id: str
    seed: SeedStory
    samples: tuple[SampleStory, ...]
    spending: Spending

    @property
    def sample(self) -> SampleStory | None:
        """The candidate that was asked about; None for a seed's story."""
        return next((s for s in self.samples if s.id == self.id), None)

    def lineage(self) -> tuple[SampleStory, ...]:
        """The asked-about candidate with the earlier rounds that led to it, first round first."""
        by_id = {sample.id: sample for sample in self.samples}
        line: list[SampleStory] = []
        at = self.sample
        while at is not None and at not in line:
            line.append(at)
            at = by_id.get(at.parent_id) if at.parent_id else None
        return tuple(reversed(line))

    def children_of(self, sample_id: str | None) -> tuple[SampleStory, ...]:
        """The rounds that followed a candidate; with None, the first round of every variant."""
        return tuple(sample for sample in self.samples if sample.parent_id == sample_id)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON; times stay aware datetimes, which orjson writes in ISO 8601."""
        return asdict(self)
