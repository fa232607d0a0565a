"""Every table of the corpus, in SQLModel. A row's docstring says what one row is.

Identifiers are 32 hexadecimal digits. Those of seeds, samples, completions and successful calls are
hashes of what they identify, so that a resumed run writes the same rows and never a second copy.
Status words are constrained in the database, because the accounting invariant is proved from them.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, CheckConstraint, Column, DateTime, Index, Table, Text
from sqlmodel import Field, SQLModel

SEED_STATUSES = ("pending", "done", "failed")
SAMPLE_STATUSES = ("pending", "accepted", "rejected", "held", "failed")
RUN_STATUSES = ("running", "finished", "interrupted", "budget_reached", "failed")
EVALUATION_STATUSES = ("running", "finished", "incomplete", "interrupted", "failed")
EVALUATION_ITEM_STATUSES = ("pending", "done", "failed")


def utcnow() -> datetime:
    """The current time, aware, in UTC."""
    return datetime.now(UTC)


def table_of(model: type[SQLModel]) -> Table:
    """The table behind one of the classes below, for statements that SQLModel has no words for."""
    table: Table = model.__table__  # type: ignore[attr-defined]  # SQLModel makes it unannounced
    return table


def _one_of(column: str, words: tuple[str, ...]) -> CheckConstraint:
    listed = ", ".join(f"'{word}'" for word in words)
    return CheckConstraint(f"{column} IN ({listed})", name=f"ck_{column}")


def _json(nullable: bool = True) -> Any:
    return Column(JSON(none_as_null=True), nullable=nullable)


def _text(nullable: bool = True) -> Any:
    return Column(Text, nullable=nullable)


def _time(nullable: bool = False) -> Any:
    return Column(DateTime(timezone=True), nullable=nullable)


class Run(SQLModel, table=True):
    """One invocation of `stillhouse run`: what was asked for, how it ended, what it spent."""

    __tablename__ = "run"
    __table_args__ = (_one_of("status", RUN_STATUSES), Index("ix_run_recipe", "recipe"))

    id: str = Field(primary_key=True)
    recipe: str
    recipe_hash: str
    recipe_text: str = Field(sa_column=_text(nullable=False))
    code_revision: str | None = None
    status: str = "running"
    reason: str | None = None
    calls_made: int = 0
    calls_cached: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float | None = None
    started_at: datetime = Field(default_factory=utcnow, sa_column=_time())
    ended_at: datetime | None = Field(default=None, sa_column=_time(nullable=True))


class Seed(SQLModel, table=True):
    """One input instruction of one recipe, with where it came from.

    `family_id` joins everything that descends from the same words, so that train and validation
    splits never share a family. `ordinal` is the order in which seeds were first read.
    """

    __tablename__ = "seed"
    __table_args__ = (
        _one_of("status", SEED_STATUSES),
        Index("ix_seed_recipe_status_ordinal", "recipe", "status", "ordinal"),
        Index("ix_seed_family", "family_id"),
    )

    id: str = Field(primary_key=True)
    recipe: str
    family_id: str
    ordinal: int
    source: str
    row: int
    source_shape: str
    system: str | None = Field(default=None, sa_column=_text())
    instruction: str = Field(sa_column=_text(nullable=False))
    input: str = Field(default="", sa_column=_text(nullable=False))
    reference: str | None = Field(default=None, sa_column=_text())
    category: str | None = None
    language: str | None = None
    licence: str | None = None
    meta: dict[str, Any] | None = Field(default=None, sa_column=_json())
    shaped_by: dict[str, Any] | None = Field(default=None, sa_column=_json())
    status: str = "pending"
    reason: str | None = None
    created_at: datetime = Field(default_factory=utcnow, sa_column=_time())
    updated_at: datetime = Field(default_factory=utcnow, sa_column=_time())


class Sample(SQLModel, table=True):
    """One candidate for the corpus: a seed's own instruction, a variant, or a later round of one.

    A round sent back by verification is a child (`parent_id`, `round` + 1) of the rejected one.
    `allows_training` is the strictest answer of every teacher that wrote part of the text;
    `terms` lists those teachers. `simulated` is true when any of them was a simulation.
    `shaped_by` maps each step that touched the sample to the prompt's hash and the teacher's and
    settings' digests, so that an edit can be traced to the samples it makes stale.
    `score_total` (the three scores' sum, 0 to 27), `responder` (the teacher that wrote the
    response) and `response_prompt` (`name#hash`, the hash in short) repeat what scores and calls
    say, for lists.
    """

    __tablename__ = "sample"
    __table_args__ = (
        _one_of("status", SAMPLE_STATUSES),
        Index("ix_sample_seed", "seed_id"),
        Index("ix_sample_recipe_status", "recipe", "status", "reason"),
        Index("ix_sample_recipe_fingerprint", "recipe", "fingerprint"),
        Index("ix_sample_parent", "parent_id"),
        # What the inspector's list can be sorted by; the identifier makes each order total.
        *(
            Index(f"ix_sample_{column}", column, "id")
            for column in (
                "updated_at", "status", "reason", "category", "language", "round", "score_total",
                "responder", "response_prompt",
            )
        ),
    )  # fmt: skip

    id: str = Field(primary_key=True)
    recipe: str
    seed_id: str = Field(foreign_key="seed.id")
    parent_id: str | None = Field(default=None, foreign_key="sample.id")
    family_id: str
    run_id: str = Field(foreign_key="run.id")
    origin: str
    variant: int = 0
    round: int = 0
    category: str | None = None
    language: str | None = None
    system: str | None = Field(default=None, sa_column=_text())
    instruction: str = Field(sa_column=_text(nullable=False))
    original_instruction: str | None = Field(default=None, sa_column=_text())
    input: str = Field(default="", sa_column=_text(nullable=False))
    reasoning: str | None = Field(default=None, sa_column=_text())
    response: str | None = Field(default=None, sa_column=_text())
    fingerprint: str | None = None
    status: str = "pending"
    reason: str | None = None
    detail: str | None = Field(default=None, sa_column=_text())
    simulated: bool = False
    allows_training: str = "unknown"
    terms: list[dict[str, Any]] | None = Field(default=None, sa_column=_json())
    shaped_by: dict[str, Any] | None = Field(default=None, sa_column=_json())
    created_at: datetime = Field(default_factory=utcnow, sa_column=_time())
    updated_at: datetime = Field(default_factory=utcnow, sa_column=_time())
    score_total: int | None = None
    responder: str | None = None
    response_prompt: str | None = None


class Completion(SQLModel, table=True):
    """The content-addressed answer to one request; `key` hashes everything that shaped it."""

    __tablename__ = "completion"

    key: str = Field(primary_key=True)
    request: dict[str, Any] = Field(sa_column=_json(nullable=False))
    content: str = Field(sa_column=_text(nullable=False))
    reasoning: str | None = Field(default=None, sa_column=_text())
    refusal: str | None = Field(default=None, sa_column=_text())
    finish_reason: str | None = None
    model: str | None = None
    revision: str | None = None
    response_id: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    reasoning_tokens: int | None = None
    logprobs: dict[str, Any] | None = Field(default=None, sa_column=_json())
    prompt_token_ids: list[int] | None = Field(default=None, sa_column=_json())
    token_ids: list[int] | None = Field(default=None, sa_column=_json())
    simulated: bool = False
    created_at: datetime = Field(default_factory=utcnow, sa_column=_time())


class AgentCall(SQLModel, table=True):
    """One attempt of one agent on one sample (or, before there is a sample, on its seed).

    `error_type` is null where the attempt brought an answer. `cached` marks an answer that another
    sample had already paid for. `cost_usd` is null where the teacher's price is unknown.
    `charged_tokens` and `charged_usd` are what the attempt took from the budget.
    """

    __tablename__ = "agent_call"
    __table_args__ = (
        Index("ix_agent_call_sample", "sample_id"),
        Index("ix_agent_call_seed", "seed_id"),
        Index("ix_agent_call_run", "run_id"),
        Index("ix_agent_call_request", "request_key"),
        Index("ix_agent_call_prompt", "prompt_name", "prompt_hash"),
        Index("ix_agent_call_prompt_hash", "prompt_hash", "sample_id"),
        # What is new; SQLite has row numbers for that.
        Index("ix_agent_call_created", "created_at").ddl_if(dialect="postgresql"),
    )

    id: str = Field(primary_key=True)
    run_id: str = Field(foreign_key="run.id")
    recipe: str
    seed_id: str = Field(foreign_key="seed.id")
    sample_id: str | None = Field(default=None, foreign_key="sample.id")
    agent: str
    round: int = 0
    prompt_name: str
    prompt_version: str
    prompt_hash: str
    teacher: str
    model: str
    revision: str | None = None
    endpoint: str
    parameters: dict[str, Any] | None = Field(default=None, sa_column=_json())
    request_key: str
    cached: bool = False
    attempt: int = 1
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    reasoning_tokens: int | None = None
    cost_usd: float | None = None
    charged_tokens: int = 0
    charged_usd: float | None = None
    latency_s: float | None = None
    finish_reason: str | None = None
    error_type: str | None = None
    error_detail: str | None = Field(default=None, sa_column=_text())
    created_at: datetime = Field(default_factory=utcnow, sa_column=_time())


class Score(SQLModel, table=True):
    """What selection said of one sample: integers 0 to 9, or null everywhere and `unscored`."""

    __tablename__ = "score"

    sample_id: str = Field(primary_key=True, foreign_key="sample.id")
    label: str
    informativeness: int | None = None
    helpfulness: int | None = None
    generalisation: int | None = None
    rationale: str | None = Field(default=None, sa_column=_text())
    request_key: str | None = None
    created_at: datetime = Field(default_factory=utcnow, sa_column=_time())


class Verdict(SQLModel, table=True):
    """One decision about one sample with its evidence: a gate's, an executable check's, a judge's.

    `kind` is `gate`, `executable`, `judge` or `human`; `label` is `pass`, `fail`, `unscored` or
    `hold`. Gate verdicts that depended on other samples are replayed on resume, never made again.
    """

    __tablename__ = "verdict"
    __table_args__ = (Index("ix_verdict_name_label", "name", "label"),)

    sample_id: str = Field(primary_key=True, foreign_key="sample.id")
    name: str = Field(primary_key=True)
    kind: str
    label: str
    evidence: dict[str, Any] | None = Field(default=None, sa_column=_json())
    request_key: str | None = None
    created_at: datetime = Field(default_factory=utcnow, sa_column=_time())


class Review(SQLModel, table=True):
    """One human decision about one sample: `accept`, `reject` or `edit`, by whom and why.

    `text_hash` says which words were decided on: a sample that is made anew from an edited prompt
    or by another teacher keeps its identifier, and nobody has seen its new words.
    """

    __tablename__ = "review"
    __table_args__ = (Index("ix_review_sample", "sample_id"),)

    id: str = Field(primary_key=True)
    sample_id: str = Field(foreign_key="sample.id")
    decision: str
    reviewer: str
    note: str | None = Field(default=None, sa_column=_text())
    edited_instruction: str | None = Field(default=None, sa_column=_text())
    edited_response: str | None = Field(default=None, sa_column=_text())
    text_hash: str | None = None
    created_at: datetime = Field(default_factory=utcnow, sa_column=_time())
    applied_at: datetime | None = Field(default=None, sa_column=_time(nullable=True))


class Prompt(SQLModel, table=True):
    """One prompt file's whole text as a run used it; calls lead here by their `prompt_hash`.

    `name` and `version` are those it was first used under, `hash` identifies the text alone.
    """

    __tablename__ = "prompt"
    __table_args__ = (Index("ix_prompt_name", "name"),)

    hash: str = Field(primary_key=True)
    name: str
    version: str
    text: str = Field(sa_column=_text(nullable=False))
    first_used_at: datetime = Field(default_factory=utcnow, sa_column=_time())


class TeacherLogprobs(SQLModel, table=True):
    """Where one sample's top-k teacher log-probability rows live, and what they belong to."""

    __tablename__ = "teacher_logprobs"
    __table_args__ = (Index("ix_teacher_logprobs_sample", "sample_id"),)

    key: str = Field(primary_key=True)
    sample_id: str = Field(foreign_key="sample.id")
    shard: str
    offset: int
    length: int
    top_k: int
    teacher: str
    teacher_revision: str | None = None
    engine: str
    dtype: str
    tokenizer_fingerprint: str
    template_fingerprint: str
    token_ids_hash: str
    created_at: datetime = Field(default_factory=utcnow, sa_column=_time())


class Export(SQLModel, table=True):
    """One exported file set: what was asked for, which rows it holds, and their hash."""

    __tablename__ = "export"

    id: str = Field(primary_key=True)
    recipe: str | None = None
    path: str
    format: str
    rows: int
    content_hash: str
    manifest: dict[str, Any] = Field(sa_column=_json(nullable=False))
    created_at: datetime = Field(default_factory=utcnow, sa_column=_time())


class TrainingRun(SQLModel, table=True):
    """One training run: the export it read, its recipe, and what came out."""

    __tablename__ = "training_run"

    id: str = Field(primary_key=True)
    export_id: str | None = Field(default=None, foreign_key="export.id")
    stage: str
    recipe_text: str = Field(sa_column=_text(nullable=False))
    recipe_hash: str
    status: str
    output: str | None = None
    metrics: dict[str, Any] | None = Field(default=None, sa_column=_json())
    started_at: datetime = Field(default_factory=utcnow, sa_column=_time())
    ended_at: datetime | None = Field(default=None, sa_column=_time(nullable=True))


class Evaluation(SQLModel, table=True):
    """One benchmark on one model: what was asked for, how it ended, what came of it.

    `id` hashes the benchmark, the model's identity and everything else that shapes the result, so
    that the same command resumes its row. `model` is what people call it; `endpoint`, `served` and
    `revision` are its identity as requests hash it. `training_run_id` leads to the stage that made
    the model, where its folder is one that a stage left. `metrics` are the figures, `details` what
    reports draw, `contamination` what was found of the benchmark in the training corpus.
    """

    __tablename__ = "evaluation"
    __table_args__ = (
        _one_of("status", EVALUATION_STATUSES),
        Index("ix_evaluation_benchmark_model", "benchmark", "model"),
    )

    id: str = Field(primary_key=True)
    training_run_id: str | None = Field(default=None, foreign_key="training_run.id")
    benchmark: str
    model: str
    endpoint: str
    served: str
    revision: str | None = None
    settings: dict[str, Any] = Field(sa_column=_json(nullable=False))
    status: str = "running"
    reason: str | None = None
    metrics: dict[str, Any] | None = Field(default=None, sa_column=_json())
    details: dict[str, Any] | None = Field(default=None, sa_column=_json())
    notes: list[str] | None = Field(default=None, sa_column=_json())
    contamination: dict[str, Any] | None = Field(default=None, sa_column=_json())
    simulated: bool = False
    code_revision: str | None = None
    created_at: datetime = Field(default_factory=utcnow, sa_column=_time())
    ended_at: datetime | None = Field(default=None, sa_column=_time(nullable=True))


class EvaluationItem(SQLModel, table=True):
    """One question of one evaluation, the model's response and the verdict on it.

    `verdict` is the benchmark's own JSON; `request_keys` lead to the completions, in the order in
    which they were asked for. `reason` is a failed item's error code.
    """

    __tablename__ = "evaluation_item"
    __table_args__ = (_one_of("status", EVALUATION_ITEM_STATUSES),)

    evaluation_id: str = Field(primary_key=True, foreign_key="evaluation.id")
    item: str = Field(primary_key=True)
    ordinal: int
    category: str | None = None
    language: str | None = None
    prompt: str = Field(sa_column=_text(nullable=False))
    response: str | None = Field(default=None, sa_column=_text())
    verdict: dict[str, Any] | None = Field(default=None, sa_column=_json())
    request_keys: list[str] | None = Field(default=None, sa_column=_json())
    status: str = "pending"
    reason: str | None = None
    created_at: datetime = Field(default_factory=utcnow, sa_column=_time())
    updated_at: datetime = Field(default_factory=utcnow, sa_column=_time())


class EvaluationCall(SQLModel, table=True):
    """One attempt to get one answer for one item: as `agent_call` is for a sample.

    `role` is `model` or `judge`; `prompt_name` the published prompt that the question was made
    from. `error_type` is null where the attempt brought an answer.
    """

    __tablename__ = "evaluation_call"
    __table_args__ = (
        Index("ix_evaluation_call_item", "evaluation_id", "item"),
        Index("ix_evaluation_call_request", "request_key"),
    )

    id: str = Field(primary_key=True)
    evaluation_id: str = Field(foreign_key="evaluation.id")
    item: str
    role: str
    prompt_name: str | None = None
    teacher: str
    model: str
    revision: str | None = None
    endpoint: str
    parameters: dict[str, Any] | None = Field(default=None, sa_column=_json())
    request_key: str
    cached: bool = False
    attempt: int = 1
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    reasoning_tokens: int | None = None
    cost_usd: float | None = None
    charged_tokens: int = 0
    charged_usd: float | None = None
    latency_s: float | None = None
    finish_reason: str | None = None
    error_type: str | None = None
    error_detail: str | None = Field(default=None, sa_column=_text())
    created_at: datetime = Field(default_factory=utcnow, sa_column=_time())
