"""The OpenAI chat-completions protocol as bytes: completions, chunks, models, errors, log-probs.

In: an answer and the request it belongs to. Out: JSON bodies. Every body says `"simulated": true`
on its top level. Tokens are pieces of text that join to the content exactly; the counts of a prompt
are estimates at four bytes per token.
"""

from __future__ import annotations

import hashlib
import math
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson

_TOKEN = re.compile(r" ?[A-Za-z]{1,12}|\d{1,3}|\n+| +|.", re.DOTALL)
_BYTES_PER_TOKEN = 4
_TOKENS_PER_MESSAGE = 4
_TOKENS_PER_CHUNK = 8
_ALTERNATIVES = (
    " the", " a", " of", " and", " to", " in", " is", " that", " it", " for", " on", " with", " as",
    " at", " by", "\n", ".", ",", ":", " we", " one", " so", "1", "2", "の", "は", "的", "是",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Reply:
    """One completion, ready to be written: content as tokens, and the numbers around it.

    `identity` stands for what was said, `body` for the whole request; a completion's id holds the
    latter, so that whoever kept the id can find the request in the journal.
    """

    identity: str
    body: str
    model: str
    fingerprint: str
    tokens: list[str] | None
    refusal: str | None
    finish_reason: str
    prompt_tokens: int

    @property
    def completion_tokens(self) -> int:
        """Tokens of the content or of the refusal."""
        if self.tokens is not None:
            return len(self.tokens)
        return len(split_tokens(self.refusal or ""))


def split_tokens(text: str) -> list[str]:
    """Pieces of `text` that join to it exactly."""
    return _TOKEN.findall(text)


def count_prompt(texts: list[str]) -> int:
    """An estimate of a prompt's tokens, chat template included."""
    size = sum(len(text.encode("utf-8", "replace")) for text in texts)
    return size // _BYTES_PER_TOKEN + _TOKENS_PER_MESSAGE * len(texts)


def completion(reply: Reply, top_logprobs: int | None) -> bytes:
    """The body of a `chat.completion`; `top_logprobs` None leaves log-probabilities out."""
    content = None if reply.tokens is None else "".join(reply.tokens)
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": content, "refusal": reply.refusal},
        "logprobs": _logprobs(reply, top_logprobs),
        "finish_reason": reply.finish_reason,
    }
    return orjson.dumps(_envelope(reply, "chat.completion", [choice]) | {"usage": _usage(reply)})


def chunks(reply: Reply, top_logprobs: int | None, usage: bool) -> Iterator[bytes]:
    """The server-sent events of a streamed completion, `[DONE]` last."""
    tokens = reply.tokens or []
    logprobs = _logprobs(reply, top_logprobs)
    first: dict[str, Any] = {"role": "assistant", "content": ""}
    if reply.refusal is not None:
        first = {"role": "assistant", "refusal": reply.refusal}
    yield _event(reply, [_delta(first)])
    for start in range(0, len(tokens), _TOKENS_PER_CHUNK):
        end = start + _TOKENS_PER_CHUNK
        choice = _delta({"content": "".join(tokens[start:end])})
        if logprobs is not None:
            choice["logprobs"] = {"content": logprobs["content"][start:end], "refusal": None}
        yield _event(reply, [choice])
    yield _event(reply, [_delta({}, reply.finish_reason)])
    if usage:
        yield _event(reply, [], {"usage": _usage(reply)})
    yield b"data: [DONE]\n\n"


def models(model: str, context_length: int) -> bytes:
    """The body of `GET /v1/models`, with vLLM's `max_model_len`."""
    entry = {
        "id": model,
        "object": "model",
        "created": int(time.time()),
        "owned_by": "stillhouse-simulated",
        "max_model_len": context_length,
    }
    return orjson.dumps({"object": "list", "data": [entry], "simulated": True})


def error(message: str, kind: str, code: str | None, param: str | None = None) -> bytes:
    """The body of an error, as the protocol has it."""
    detail = {"message": message, "type": kind, "param": param, "code": code}
    return orjson.dumps({"error": detail, "simulated": True})


def _envelope(reply: Reply, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-simulated-{reply.body}",
        "object": kind,
        "created": int(time.time()),
        "model": reply.model,
        "system_fingerprint": reply.fingerprint,
        "simulated": True,
        "choices": choices,
    }


def _event(
    reply: Reply, choices: list[dict[str, Any]], extra: dict[str, Any] | None = None
) -> bytes:
    body = _envelope(reply, "chat.completion.chunk", choices) | (extra or {})
    return b"data: " + orjson.dumps(body) + b"\n\n"


def _delta(delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}


def _usage(reply: Reply) -> dict[str, int]:
    spoken = reply.completion_tokens
    return {
        "prompt_tokens": reply.prompt_tokens,
        "completion_tokens": spoken,
        "total_tokens": reply.prompt_tokens + spoken,
    }


def _logprobs(reply: Reply, top_logprobs: int | None) -> dict[str, Any] | None:
    if top_logprobs is None:
        return None
    entries = [
        _logprob_entry(token, top_logprobs, f"{reply.identity}:{place}")
        for place, token in enumerate(reply.tokens or [])
    ]
    return {"content": entries, "refusal": None}


def _logprob_entry(token: str, top: int, key: str) -> dict[str, Any]:
    """The token first, with probability 0.5 to 1; each alternative gets half of what is left."""
    raw = hashlib.blake2b(key.encode(), digest_size=4).digest()
    probability = 0.5 + int.from_bytes(raw[:2], "big") / 2**17
    offset = raw[2] % len(_ALTERNATIVES)
    others = [
        other for other in (*_ALTERNATIVES[offset:], *_ALTERNATIVES[:offset]) if other != token
    ]
    ranked = [_scored(token, probability)]
    rest = 1 - probability
    for other in others[: max(top - 1, 0)]:
        rest /= 2
        ranked.append(_scored(other, rest))
    return ranked[0] | {"top_logprobs": ranked[:top]}


def _scored(token: str, probability: float) -> dict[str, Any]:
    return {
        "token": token,
        "logprob": math.log(probability),
        "bytes": list(token.encode("utf-8", "replace")),
    }
