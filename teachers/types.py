"""What flows between an agent and a teacher: messages, sampling, the request and its completion.

Frozen dataclasses, made once and passed on. `Request.key` is the identity of an answer: it hashes
everything that shapes one (messages, endpoint, model, revision, sampling, schema, the n-th ask), so
a changed system prompt or endpoint can never be answered from an older completion.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from common.hashing import digest

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class Message:
    """One chat message."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class Sampling:
    """Decoding parameters as the OpenAI protocol names them; None leaves the server's default."""

    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    seed: int | None = None
    top_logprobs: int | None = None
    extra: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True)
class Request:
    """One question to one teacher, complete: equal requests have equal keys.

    `endpoint` is the teacher's stable identity (a base URL, or a managed server's model and
    settings; never a port that changes between starts). `ask` numbers deliberate repetitions of the
    same question. `schema_name` and `schema` ask for a structured answer in JSON Schema.
    """

    endpoint: str
    model: str
    revision: str | None
    messages: tuple[Message, ...]
    sampling: Sampling = field(default_factory=Sampling)
    schema_name: str | None = None
    schema: dict[str, Any] | None = None
    structured_mode: str | None = None
    ask: int = 0

    @cached_property
    def key(self) -> str:
        """32 hexadecimal digits over everything above."""
        sampling = self.sampling
        return digest(
            [
                self.endpoint,
                self.model,
                self.revision,
                [[m.role, m.content] for m in self.messages],
                [
                    sampling.temperature,
                    sampling.top_p,
                    sampling.max_tokens,
                    sampling.seed,
                    sampling.top_logprobs,
                    sampling.extra,
                ],
                self.schema_name,
                self.schema,
                self.structured_mode,
                self.ask,
            ]
        )


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts as the server reported them; None where it did not say."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    reasoning_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Completion:
    """What a teacher answered, with everything the server told about it.

    `logprobs` is the protocol's `choices[0].logprobs` object, `token_ids` the generated ids where
    the server gives them. `finish_reason` is the server's word (`stop`, `length`,
    `content_filter`, …). `model` and `revision` are what the server said it ran.
    """

    content: str
    reasoning: str | None = None
    refusal: str | None = None
    finish_reason: str | None = None
    model: str | None = None
    revision: str | None = None
    usage: Usage = field(default_factory=Usage)
    logprobs: dict[str, Any] | None = None
    prompt_token_ids: tuple[int, ...] | None = None
    token_ids: tuple[int, ...] | None = None
    response_id: str | None = None
    simulated: bool = False
