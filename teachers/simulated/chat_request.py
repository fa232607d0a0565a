"""Reads and checks a chat-completions request as a real server would.

In: the raw bytes of a POST. Out: a `ChatRequest`, or a `Rejected` with the status and the error
body that the protocol has for it: malformed JSON, an unknown model, a prompt that does not fit.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import orjson

from common.hashing import canonical_json
from teachers.simulated import protocol
from teachers.simulated.asks import message_text
from teachers.simulated.settings import SimulatedSettings

_ROLES = ("system", "developer", "user", "assistant", "tool")
_MOST_TOP_LOGPROBS = 20


class Rejected(Exception):
    """The request cannot be answered as it stands: an HTTP status and an error body."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(status)
        self.status = status
        self.body = body


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A request that can be answered. `digest` identifies the whole body, delivery included."""

    body: dict[str, Any]
    digest: bytes
    prompt_tokens: int
    max_tokens: int
    top_logprobs: int | None
    stream: bool
    stream_usage: bool

    @property
    def short_digest(self) -> int:
        """64 bits of the digest."""
        return int.from_bytes(self.digest[:8], "big")


def read_request(raw: bytes, settings: SimulatedSettings) -> ChatRequest:
    """Parses and checks `raw`.

    Raises:
        Rejected: with status 400 or 404.
    """
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise _bad(f"The request body is not valid JSON: {error}", None) from error
    if not isinstance(body, dict):
        raise _bad("The request body must be a JSON object.", None)
    _check_model(body, settings)
    texts = [message_text(m) for m in _checked_messages(body.get("messages"))]
    if body.get("n") not in (None, 1):
        raise _bad("The simulated teacher gives one choice per request: n must be 1.", "n")
    prompt_tokens = protocol.count_prompt(texts)
    stream_options = body.get("stream_options")
    return ChatRequest(
        body=body,
        digest=hashlib.blake2b(canonical_json(body), digest_size=16).digest(),
        prompt_tokens=prompt_tokens,
        max_tokens=_room(body, prompt_tokens, settings.context_length),
        top_logprobs=_top_logprobs(body),
        stream=body.get("stream") is True,
        stream_usage=isinstance(stream_options, dict)
        and stream_options.get("include_usage") is True,
    )


def _bad(message: str, param: str | None, code: str | None = None) -> Rejected:
    return Rejected(400, protocol.error(message, "invalid_request_error", code, param))


def _check_model(body: dict[str, Any], settings: SimulatedSettings) -> None:
    model = body.get("model")
    if not isinstance(model, str):
        raise _bad("The request names no model.", "model")
    if model != settings.model:
        message = f"The model `{model}` does not exist. This server has `{settings.model}`."
        error = protocol.error(message, "invalid_request_error", "model_not_found", "model")
        raise Rejected(404, error)


def _checked_messages(messages: Any) -> list[dict[str, Any]]:
    if not isinstance(messages, list) or not messages:
        raise _bad("`messages` must be a non-empty list.", "messages")
    for place, message in enumerate(messages):
        if not isinstance(message, dict) or message.get("role") not in _ROLES:
            raise _bad(f"`messages[{place}]` has no known role.", f"messages[{place}].role")
    return messages


def _room(body: dict[str, Any], prompt_tokens: int, context_length: int) -> int:
    """How many tokens the answer may have."""
    limit = body.get("max_completion_tokens")
    name = "max_tokens" if limit is None else "max_completion_tokens"
    limit = body.get("max_tokens") if limit is None else limit
    if limit is not None and (type(limit) is not int or limit < 1):
        raise _bad(f"`{name}` must be a whole number of at least 1.", name)
    left = context_length - prompt_tokens
    if left < (limit or 1):
        raise _bad(
            f"This model's maximum context length is {context_length} tokens. However, you "
            f"requested {prompt_tokens + (limit or 0)} tokens ({prompt_tokens} in the messages, "
            f"{limit or 0} in the completion). Please reduce the length of the messages or "
            "completion.",
            "messages",
            "context_length_exceeded",
        )
    return limit or left


def _top_logprobs(body: dict[str, Any]) -> int | None:
    top = body.get("top_logprobs")
    if body.get("logprobs") is not True:
        if top:
            raise _bad("`top_logprobs` needs `logprobs` to be true.", "top_logprobs")
        return None
    if top is None:
        return 0
    if type(top) is not int or not 0 <= top <= _MOST_TOP_LOGPROBS:
        raise _bad(f"`top_logprobs` must be 0 to {_MOST_TOP_LOGPROBS}.", "top_logprobs")
    return top
