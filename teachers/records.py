"""A request and its completion as plain values, and back: what the corpus keeps of an answer.

In: a `Request` and the `Completion` that answered it. Out: one row of the request cache as a
dictionary, without a word about where it is kept; `completion_of` reads such a row.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from teachers.types import Completion, Request, Sampling, Usage


def sampling_dict(sampling: Sampling) -> dict[str, Any]:
    """Only the decoding parameters that were set."""
    named = {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "max_tokens": sampling.max_tokens,
        "seed": sampling.seed,
        "top_logprobs": sampling.top_logprobs,
    }
    return {k: v for k, v in named.items() if v is not None} | dict(sampling.extra)


def completion_record(request: Request, completion: Completion) -> dict[str, Any]:
    """Everything that is kept of an answer, under the request's key."""
    return {
        "key": request.key,
        "request": {
            "endpoint": request.endpoint,
            "model": request.model,
            "revision": request.revision,
            "messages": [{"role": m.role, "content": m.content} for m in request.messages],
            "sampling": sampling_dict(request.sampling),
            "schema": request.schema_name,
            "structured": request.structured_mode,
            "ask": request.ask,
        },
        "content": completion.content,
        "reasoning": completion.reasoning,
        "refusal": completion.refusal,
        "finish_reason": completion.finish_reason,
        "model": completion.model,
        "revision": completion.revision,
        "response_id": completion.response_id,
        "prompt_tokens": completion.usage.prompt_tokens,
        "completion_tokens": completion.usage.completion_tokens,
        "reasoning_tokens": completion.usage.reasoning_tokens,
        "logprobs": completion.logprobs,
        "prompt_token_ids": list(completion.prompt_token_ids)
        if completion.prompt_token_ids
        else None,
        "token_ids": list(completion.token_ids) if completion.token_ids else None,
        "simulated": completion.simulated,
    }


def completion_of(record: Mapping[str, Any]) -> Completion:
    """The completion that such a record holds."""
    return Completion(
        content=record["content"],
        reasoning=record["reasoning"],
        refusal=record["refusal"],
        finish_reason=record["finish_reason"],
        model=record["model"],
        revision=record["revision"],
        usage=Usage(
            record["prompt_tokens"], record["completion_tokens"], record["reasoning_tokens"]
        ),
        logprobs=record["logprobs"],
        prompt_token_ids=tuple(record["prompt_token_ids"]) if record["prompt_token_ids"] else None,
        token_ids=tuple(record["token_ids"]) if record["token_ids"] else None,
        response_id=record["response_id"],
        simulated=record["simulated"],
    )
