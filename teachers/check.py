"""What a teacher can do, found out by asking it: four small questions, in seconds.

In: a teacher's settings. Out: a `CheckReport`: whether it answers, how fast, its context length,
and whether it gives reasoning, log-probabilities, token ids, structured answers and usage. A
managed server is started for it and stopped afterwards. What could not be tried is unknown.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel

from teachers.budget import Budget, BudgetSettings, Spend
from teachers.config import RecordedTeacher, RetrySettings, TeacherSettings
from teachers.errors import BadRequest, TeacherError, TransportFault
from teachers.gateway import Answer, Gateway, NoCache
from teachers.identity import recorded_backend
from teachers.opening import Fleet
from teachers.structured import MalformedAnswer, parse_structured, schema_of
from teachers.types import Completion, Message, Request, Sampling

State = Literal["yes", "no", "unknown"]
ANSWER_WITHIN_S = 30.0
TOP_LOGPROBS = 5
_RETRY = RetrySettings(attempts=2, first_wait_s=0.2, longest_wait_s=1.0, unreachable_patience_s=0.0)
# vLLM's and llama.cpp's, OpenRouter's, Groq's, Mistral's word for it.
_CONTEXT_KEYS = ("max_model_len", "context_length", "context_window", "max_context_length")

_THINK = (
    "Three friends share 47 sweets so that each gets a different prime number of them. "
    "How many ways are there? Think it through, then answer in one line."
)
_SHORT = "Name the four seasons of the year, in one line."
_CAPITAL = "What is the capital of Japan?"
_CAPITAL_AS_JSON = f'{_CAPITAL} Answer with one JSON object: {{"capital": "..."}}'


class Capital(BaseModel):
    """The structure that a small question asks for."""

    capital: str


class AnyObject(BaseModel):
    """Any JSON object."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One capability: whether the teacher has it, what was seen, and what was asked for it."""

    name: str
    state: State
    seen: str
    asked: str


@dataclass(frozen=True)
class CheckReport:
    """What a check found. `error` is why the teacher does not answer; None where it does."""

    teacher: str
    kind: str
    model: str
    endpoint: str | None = None
    served: str | None = None
    revision: str | None = None
    simulated: bool = False
    latency_s: float | None = None
    context_length: int | None = None
    findings: list[Finding] = field(default_factory=list)
    error: TeacherError | None = None

    @property
    def answers(self) -> bool:
        """Whether the teacher can be worked with at all."""
        return self.error is None


async def check_teacher(name: str, settings: TeacherSettings, log_folder: Path) -> CheckReport:
    """Asks one teacher what it can do.

    Args:
        name: what the recipe calls it.
        settings: as the recipe has them; only waiting is cut short.
        log_folder: where a managed server's log goes.
    """
    kind: str = getattr(settings, "kind", "")
    about = list(_from_settings(settings))
    try:
        if isinstance(settings, RecordedTeacher):
            return await _check_recording(name, settings, about)
        hurried = settings.model_copy(
            update={"retry": _RETRY, "timeout_s": min(settings.timeout_s, ANSWER_WITHIN_S)}
        )
        fleet = Fleet({name: hurried}, Budget(BudgetSettings(), Spend()), NoCache(), log_folder)
        try:
            await fleet.open([name])
            return await _ask_all(name, kind, fleet, about)
        finally:
            await fleet.close()
    except TeacherError as error:
        return CheckReport(name, kind, settings.model_name, findings=about, error=error)


async def _check_recording(
    name: str, settings: RecordedTeacher, about: list[Finding]
) -> CheckReport:
    backend = recorded_backend(name, settings)
    rows = len(backend)
    await backend.close()
    held = Finding(
        "recorded answers", "yes" if rows else "no", f"{rows:,} prompts", f"read {settings.path}"
    )
    return CheckReport(name, "recorded", settings.model, findings=[held, *about])


async def _ask_all(name: str, kind: str, fleet: Fleet, about: list[Finding]) -> CheckReport:
    gateway = fleet.gateways[name]
    first = await _ask(gateway, _THINK, max_tokens=512)
    completion = first.completion
    further = await asyncio.gather(
        _finding("log-probabilities", _logprobs_seen, gateway, _SHORT, top_logprobs=TOP_LOGPROBS),
        _finding("json_schema", _capital_seen, gateway, _CAPITAL, mode="json_schema"),
        _finding("json_object", _object_seen, gateway, _CAPITAL_AS_JSON, mode="json_object"),
    )
    listed, context = _listed(fleet.models.get(name), gateway.model)
    return CheckReport(
        teacher=name,
        kind=kind,
        model=gateway.model,
        endpoint=gateway.endpoint,
        served=completion.model,
        revision=completion.revision,
        simulated=completion.simulated,
        latency_s=first.attempt.latency_s,
        context_length=context,
        findings=[listed, *_from_answer(completion), *further, *about],
    )


async def _ask(
    gateway: Gateway,
    question: str,
    *,
    max_tokens: int,
    top_logprobs: int | None = None,
    mode: str | None = None,
) -> Answer:
    request = Request(
        endpoint=gateway.endpoint,
        model=gateway.model,
        revision=gateway.revision,
        messages=(Message("user", question),),
        sampling=Sampling(max_tokens=max_tokens, top_logprobs=top_logprobs),
        schema_name="capital" if mode else None,
        schema=schema_of(Capital) if mode else None,
        structured_mode=mode,
    )
    try:
        # Also for a limiter that is told to wait longer than anybody watches.
        async with asyncio.timeout(ANSWER_WITHIN_S):
            return await gateway.answer(request, lambda answer: None, lambda attempt: None)
    except TimeoutError as error:
        raise TransportFault(
            f"Teacher '{gateway.name}' did not answer within {ANSWER_WITHIN_S:g} s.",
            cause="It let us wait, or asked for fewer requests again and again.",
            solution="Try again later, or look at the server's log.",
        ) from error


async def _finding(
    name: str,
    seen: Callable[[Completion], tuple[State, str]],
    gateway: Gateway,
    question: str,
    *,
    top_logprobs: int | None = None,
    mode: str | None = None,
) -> Finding:
    """Asks for one capability; a server that refuses the request does not have it."""
    asked = f"top_logprobs={top_logprobs}" if mode is None else f"response_format {mode}"
    try:
        answer = await _ask(gateway, question, max_tokens=512, top_logprobs=top_logprobs, mode=mode)
    except BadRequest as error:
        return Finding(name, "no", error.cause, asked)
    except TeacherError as error:
        return Finding(name, "unknown", f"{error.code}: {error.cause}", asked)
    return Finding(name, *seen(answer.completion), asked)


def _from_answer(completion: Completion) -> Iterator[Finding]:
    thinking = "a question to think on"
    reasoning = completion.reasoning
    yield Finding(
        "reasoning",
        "yes" if reasoning else "no",
        f"{len(reasoning):,} characters of it" if reasoning else "an answer without any",
        thinking,
    )
    ids = completion.token_ids
    yield Finding(
        "token ids", "yes" if ids else "no", f"{len(ids):,} ids" if ids else "none", thinking
    )
    usage = completion.usage
    told = usage.prompt_tokens is not None and usage.completion_tokens is not None
    counts = f"{usage.prompt_tokens} tokens asked, {usage.completion_tokens} answered"
    if usage.reasoning_tokens is not None:
        counts += f", {usage.reasoning_tokens} of them thinking"
    yield Finding("usage", "yes" if told else "no", counts if told else "no counts", thinking)


def _logprobs_seen(completion: Completion) -> tuple[State, str]:
    rows = (completion.logprobs or {}).get("content")
    if not isinstance(rows, list) or not rows:
        return "no", "accepted, but the answer has none"
    alternatives = len(rows[0].get("top_logprobs") or ())
    return (
        "yes" if alternatives >= TOP_LOGPROBS else "no",
        f"{len(rows)} tokens, {alternatives} alternatives each",
    )


def _capital_seen(completion: Completion) -> tuple[State, str]:
    try:
        parse_structured(completion.content, Capital)
    except MalformedAnswer as error:
        return "no", f"accepted, but the answer does not fit: {error.complaint}"
    return "yes", "an answer that fits"


def _object_seen(completion: Completion) -> tuple[State, str]:
    state, seen = _capital_seen(completion)
    if state == "no":
        # Without a schema only the form is promised.
        try:
            parse_structured(completion.content, AnyObject)
        except MalformedAnswer:
            return state, seen
        return "yes", "a JSON object, though not with the key asked for"
    return state, seen


def _listed(models: list[dict[str, Any]] | None, model: str) -> tuple[Finding, int | None]:
    asked = "GET /models"
    if models is None:
        return Finding("model listed", "unknown", "the server lists no models", asked), None
    entry = next((entry for entry in models if entry.get("id") == model), None)
    if entry is None:
        names = ", ".join(str(entry.get("id")) for entry in models[:4]) or "none"
        return Finding("model listed", "no", f"it lists {len(models)}: {names}", asked), None
    lengths = (entry.get(key) for key in _CONTEXT_KEYS)
    context = next((n for n in lengths if isinstance(n, int) and n > 0), None)
    return Finding("model listed", "yes", f"one of {len(models)}", asked), context


def _from_settings(
    settings: TeacherSettings, environment: Mapping[str, str] = os.environ
) -> Iterator[Finding]:
    prices, terms = settings.prices, settings.terms
    if prices.known:
        seen = (
            f"${prices.usd_per_million_prompt_tokens:g} and "
            f"${prices.usd_per_million_completion_tokens:g} per million tokens asked and answered"
        )
        yield Finding("price known", "yes", seen, "the recipe")
    else:
        yield Finding("price known", "no", "costs will be unknown", "the recipe")
    allowed: dict[str, tuple[State, str]] = {
        "true": ("yes", "its answers may train models"),
        "false": ("no", "its answers must not train models"),
        "unknown": ("unknown", "nothing said about training models"),
    }
    state, words = allowed[terms.allows_training]
    parts = [words, *(part for part in (terms.licence, terms.note) if part)]
    yield Finding("terms", state, "; ".join(parts), "the recipe")
    variable = getattr(settings, "api_key_env", None)
    if variable:
        is_set = bool(environment.get(variable, "").strip())
        yield Finding(
            "key",
            "yes" if is_set else "no",
            variable + (" is set" if is_set else " is not set"),
            "the environment",
        )
