"""The attributes of each kind of span, in the words of the OpenInference semantic conventions.

In: a part of a `Story`, and whether texts may leave. Out: a flat mapping, as OpenTelemetry has
them. Without `content` there is no word of a seed, a teacher, a judge or a person in it: what is
left are identifiers, names, counts, labels and times.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import orjson
from openinference.semconv.trace import (
    AnnotationAttributes,
    EvaluationAttributes,
    MessageAttributes,
    MessageContentAttributes,
    OpenInferenceAnnotatorKindValues,
    OpenInferenceLLMProviderValues,
    OpenInferenceMimeTypeValues,
    OpenInferenceSpanKindValues,
    SpanAttributes,
)

from storage.stories import CallStory, SampleStory, ScoreStory, Story, VerdictStory

Attributes = dict[str, str | bool | int | float | Sequence[str]]

_TEXT = OpenInferenceMimeTypeValues.TEXT.value
_JSON = OpenInferenceMimeTypeValues.JSON.value
_HUMAN = OpenInferenceAnnotatorKindValues.HUMAN.value
_LLM = OpenInferenceAnnotatorKindValues.LLM.value
_CODE = OpenInferenceAnnotatorKindValues.CODE.value
_JUDGES = {"judge": _LLM, "human": _HUMAN}
SCORES = ("informativeness", "helpfulness", "generalisation")

_Provider = OpenInferenceLLMProviderValues
_PROVIDERS = {
    "api.openai.com": _Provider.OPENAI,
    "openai.azure.com": _Provider.AZURE,
    "api.anthropic.com": _Provider.ANTHROPIC,
    "api.cohere.com": _Provider.COHERE,
    "api.mistral.ai": _Provider.MISTRALAI,
    "googleapis.com": _Provider.GOOGLE,
    "amazonaws.com": _Provider.AWS,
    "api.x.ai": _Provider.XAI,
    "api.deepseek.com": _Provider.DEEPSEEK,
    "api.groq.com": _Provider.GROQ,
    "api.fireworks.ai": _Provider.FIREWORKS,
    "api.moonshot.ai": _Provider.MOONSHOT,
    "api.moonshot.cn": _Provider.MOONSHOT,
    "api.cerebras.ai": _Provider.CEREBRAS,
    "api.perplexity.ai": _Provider.PERPLEXITY,
    "api.together.xyz": _Provider.TOGETHER,
}


def seed_attributes(story: Story, content: bool) -> Attributes:
    """The root: the seed and what became of it."""
    seed = story.seed
    ends = Counter(sample.status for sample in story.samples)
    simulated = any(sample.simulated for sample in story.samples)
    metadata = {
        "seed": seed.id, "recipe": seed.recipe, "runs": runs_of(story), "source": seed.source,
        "row": seed.row, "source_shape": seed.source_shape, "licence": seed.licence,
        "family": seed.family_id, "category": seed.category, "language": seed.language,
        "status": seed.status, "reason": seed.reason, "simulated": simulated, "samples": ends,
        "calls_made": story.spending.calls_made, "calls_cached": story.spending.calls_cached,
        "attempts_failed": story.spending.attempts_failed, "cost_usd": story.spending.cost_usd,
    }  # fmt: skip
    tags = [seed.recipe, *(word for word in (seed.category, seed.language) if word), *sorted(ends)]
    attributes = {
        **_kind(OpenInferenceSpanKindValues.CHAIN),
        **_json(SpanAttributes.METADATA, metadata),
        SpanAttributes.TAG_TAGS: [*tags, *(["simulated"] if simulated else [])],
    }
    if content:
        words = f"{seed.instruction}\n\n{seed.input}" if seed.input else seed.instruction
        attributes |= _value("input", words)
    members = [
        {"sample": s.id, "variant": s.variant, "round": s.round, "status": s.status,
         "reason": s.reason} for s in story.samples
    ]  # fmt: skip
    return attributes | _value("output", {"status": seed.status, "samples": members})


def sample_attributes(sample: SampleStory, content: bool) -> Attributes:
    """One round of one candidate, with what was said of it as evaluations and annotations."""
    metadata = {
        "sample": sample.id, "parent": sample.parent_id, "run": sample.run_id,
        "origin": sample.origin, "variant": sample.variant, "round": sample.round,
        "category": sample.category, "language": sample.language, "status": sample.status,
        "reason": sample.reason, "simulated": sample.simulated,
        "allows_training": sample.allows_training,
        "teachers": sorted({str(terms.get("teacher")) for terms in sample.terms}),
    }  # fmt: skip
    if content:
        metadata |= {"detail": sample.detail, "original_instruction": sample.original_instruction}
    attributes = {
        **_kind(OpenInferenceSpanKindValues.CHAIN),
        **_json(SpanAttributes.METADATA, metadata),
        **_evaluations(sample, content),
        **_annotations(sample, content),
    }
    if content:
        words = f"{sample.instruction}\n\n{sample.input}" if sample.input else sample.instruction
        attributes |= _value("input", words)
        if sample.response is not None:
            attributes |= _value("output", sample.response)
    return attributes


def agent_attributes(agent: str) -> Attributes:
    """One agent's part in one round."""
    return {**_kind(OpenInferenceSpanKindValues.AGENT), SpanAttributes.AGENT_NAME: agent}


def call_attributes(call: CallStory, attempts: int, content: bool) -> Attributes:
    """One question to a teacher; `call` is the last of its attempts."""
    metadata = {
        "call": call.id, "run": call.run_id, "agent": call.agent, "round": call.round,
        "teacher": call.teacher, "revision": call.revision, "prompt": call.prompt,
        "prompt_hash": call.prompt_hash, "request_key": call.request_key, "schema": call.schema,
        "attempts": attempts, "cached": call.cached, "latency_s": call.latency_s,
        "simulated": call.answer.simulated if call.answer is not None else None,
    }  # fmt: skip
    attributes: Attributes = {
        **_kind(OpenInferenceSpanKindValues.LLM),
        SpanAttributes.LLM_MODEL_NAME: _text(call.model),
        **_json(SpanAttributes.LLM_INVOCATION_PARAMETERS, call.parameters),
        SpanAttributes.PROMPT_VENDOR: "stillhouse",
        SpanAttributes.PROMPT_ID: _text(call.prompt_name),
        SpanAttributes.LLM_PROMPT_TEMPLATE_VERSION: _text(call.prompt_version),
        **_json(SpanAttributes.METADATA, metadata),
        **_figures(call),
    }
    provider = provider_of(call.endpoint)
    if provider is not None:
        attributes[SpanAttributes.LLM_PROVIDER] = provider
    return attributes | _messages(call) if content else attributes


def verdict_attributes(verdict: VerdictStory, content: bool) -> Attributes:
    """One decision with its evidence: a gate's as a guardrail, any other as an evaluator."""
    kinds = OpenInferenceSpanKindValues
    said: dict[str, Any] = {"label": verdict.label}
    return {
        **_kind(kinds.GUARDRAIL if verdict.kind == "gate" else kinds.EVALUATOR),
        **_json(SpanAttributes.METADATA, {"name": verdict.name, "kind": verdict.kind, **said}),
        **_value("output", {**said, "evidence": verdict.evidence} if content else said),
    }


def score_attributes(score: ScoreStory, content: bool) -> Attributes:
    """What selection said."""
    said: dict[str, Any] = {"label": score.label, **_scores(score)}
    return {
        **_kind(OpenInferenceSpanKindValues.EVALUATOR),
        **_json(SpanAttributes.METADATA, {"name": "selection", "kind": "judge", **said}),
        **_value("output", {**said, "rationale": score.rationale} if content else said),
    }


def provider_of(endpoint: str) -> str | None:
    """Who hosts the model, where the endpoint's host says it; never a guess."""
    host = urlsplit(endpoint).hostname or ""
    for known, provider in _PROVIDERS.items():
        if host == known or host.endswith(f".{known}"):
            return str(provider.value)
    return None


def runs_of(story: Story) -> list[str]:
    """Every run that had a part in the story, the first one first."""
    calls = [*story.seed.calls, *(call for sample in story.samples for call in sample.calls)]
    calls.sort(key=lambda call: call.created_at)
    runs = [call.run_id for call in calls] + [sample.run_id for sample in story.samples]
    return list(dict.fromkeys(runs))


def _kind(kind: OpenInferenceSpanKindValues) -> Attributes:
    return {SpanAttributes.OPENINFERENCE_SPAN_KIND: str(kind.value)}


def _text(words: str) -> str:
    """Protobuf takes no half characters."""
    return words.encode(errors="replace").decode()


def _json(key: str, value: Mapping[str, Any]) -> Attributes:
    known = {name: item for name, item in value.items() if item is not None}
    return {key: orjson.dumps(known, option=orjson.OPT_NON_STR_KEYS, default=str).decode()}


def _value(side: str, value: str | Mapping[str, Any], mime: str = _TEXT) -> Attributes:
    if isinstance(value, str):
        return {f"{side}.value": _text(value), f"{side}.mime_type": mime}
    return {**_json(f"{side}.value", value), f"{side}.mime_type": _JSON}


def _figures(call: CallStory) -> Attributes:
    """Tokens, dollars and the reason of the end; what is unknown is not there."""
    asked, answered = call.prompt_tokens, call.completion_tokens
    figures = {
        SpanAttributes.LLM_TOKEN_COUNT_PROMPT: asked,
        SpanAttributes.LLM_TOKEN_COUNT_COMPLETION: answered,
        SpanAttributes.LLM_TOKEN_COUNT_TOTAL: None
        if asked is None or answered is None
        else asked + answered,
        SpanAttributes.LLM_TOKEN_COUNT_COMPLETION_DETAILS_REASONING: call.reasoning_tokens,
        SpanAttributes.LLM_COST_TOTAL: call.cost_usd,
        SpanAttributes.LLM_FINISH_REASON: call.finish_reason,
    }
    return {name: figure for name, figure in figures.items() if figure is not None}


def _messages(call: CallStory) -> Attributes:
    attributes: Attributes = {}
    for place, message in enumerate(call.question or ()):
        before = f"{SpanAttributes.LLM_INPUT_MESSAGES}.{place}"
        attributes[f"{before}.{MessageAttributes.MESSAGE_ROLE}"] = _text(message.role)
        attributes[f"{before}.{MessageAttributes.MESSAGE_CONTENT}"] = _text(message.content)
    if call.question:
        turns = [{"role": turn.role, "content": turn.content} for turn in call.question]
        attributes |= _value("input", {"messages": turns})
    answer = call.answer
    if answer is None:
        return attributes
    words = answer.content or answer.refusal or ""
    before = f"{SpanAttributes.LLM_OUTPUT_MESSAGES}.0"
    attributes[f"{before}.{MessageAttributes.MESSAGE_ROLE}"] = "assistant"
    attributes[f"{before}.{MessageAttributes.MESSAGE_CONTENT}"] = _text(words)
    if answer.reasoning:
        part = f"{before}.{MessageAttributes.MESSAGE_CONTENTS}"
        for place, (kind, text) in enumerate((("reasoning", answer.reasoning), ("text", words))):
            part_of = f"{part}.{place}"
            attributes[f"{part_of}.{MessageContentAttributes.MESSAGE_CONTENT_TYPE}"] = kind
            attributes[f"{part_of}.{MessageContentAttributes.MESSAGE_CONTENT_TEXT}"] = _text(text)
    return attributes | _value("output", words, _JSON if call.schema else _TEXT)


def _scores(score: ScoreStory) -> dict[str, int]:
    numbers = ((name, getattr(score, name)) for name in SCORES)
    return {name: number for name, number in numbers if number is not None}


def _evaluations(sample: SampleStory, content: bool) -> Attributes:
    said: list[Attributes] = []
    names = EvaluationAttributes
    for verdict in sample.verdicts:
        said.append({
            names.EVALUATION_NAME: _text(verdict.name),
            names.EVALUATION_LABEL: verdict.label,
            names.EVALUATION_ANNOTATOR_KIND: _JUDGES.get(verdict.kind, _CODE),
            **(_json(names.EVALUATION_EXPLANATION, verdict.evidence)
               if content and verdict.evidence else {}),
        })  # fmt: skip
    score = sample.score
    for name, number in (_scores(score) if score is not None else {}).items():
        rationale = score.rationale if score is not None and content else None
        said.append({
            names.EVALUATION_NAME: name,
            names.EVALUATION_SCORE: number,
            names.EVALUATION_ANNOTATOR_KIND: _LLM,
            **({names.EVALUATION_EXPLANATION: _text(rationale)} if rationale else {}),
        })  # fmt: skip
    return _numbered(f"{SpanAttributes.EVALUATIONS}.{{}}", said)


def _annotations(sample: SampleStory, content: bool) -> Attributes:
    names = AnnotationAttributes
    said: list[Attributes] = [
        {
            names.ANNOTATION_NAME: "review",
            names.ANNOTATION_LABEL: review.decision,
            names.ANNOTATION_ANNOTATOR_KIND: _HUMAN,
            names.ANNOTATION_IDENTIFIER: review.id,
            **(_json(names.ANNOTATION_METADATA, {"reviewer": review.reviewer}) if content else {}),
            **({names.ANNOTATION_EXPLANATION: _text(review.note)}
               if content and review.note else {}),
        }
        for review in sample.reviews
    ]  # fmt: skip
    return _numbered(f"{SpanAttributes.ANNOTATIONS}.{{}}", said)


def _numbered(before: str, items: Sequence[Attributes]) -> Attributes:
    return {
        f"{before.format(place)}.{name}": value
        for place, item in enumerate(items)
        for name, value in item.items()
    }
