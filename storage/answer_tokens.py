"""The tokens of an answer with their log-probabilities, where the teacher gave them with it.

In: the keys of completions. Out: for each that has them its `AnswerToken`s, in order. They are kept
as OpenAI-compatible servers send them; what cannot be read is left out, never guessed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select

from storage.tables import Completion, table_of

_completion_t = table_of(Completion)


@dataclass(frozen=True, slots=True)
class AnswerToken:
    """One token; log-probabilities are natural logarithms. `likeliest` are the teacher's first
    choices at this place, each with its log-probability."""

    text: str
    logprob: float
    likeliest: tuple[tuple[str, float], ...]


def answer_tokens(
    connection: Connection, keys: Sequence[str]
) -> dict[str, tuple[AnswerToken, ...]]:
    """The tokens by completion key; a completion without log-probabilities is not in it."""
    query = select(_completion_t.c.key, _completion_t.c.logprobs).where(
        _completion_t.c.key.in_(keys), _completion_t.c.logprobs.is_not(None)
    )
    found = {key: _tokens(logprobs) for key, logprobs in connection.execute(query)}
    return {key: tokens for key, tokens in found.items() if tokens}


def _tokens(logprobs: Any) -> tuple[AnswerToken, ...]:
    rows = logprobs.get("content") if isinstance(logprobs, dict) else None
    if not isinstance(rows, list):
        return ()
    tokens = []
    for row in rows:
        read = _token(row)
        if read is None:
            return ()
        others = row.get("top_logprobs")
        likeliest = [_token(other) for other in others] if isinstance(others, list) else []
        tokens.append(AnswerToken(*read, tuple(other for other in likeliest if other is not None)))
    return tuple(tokens)


def _token(row: Any) -> tuple[str, float] | None:
    if not isinstance(row, dict):
        return None
    text, logprob = row.get("token"), row.get("logprob")
    if (
        not isinstance(text, str)
        or isinstance(logprob, bool)
        or not isinstance(logprob, int | float)
    ):
        return None
    return text, float(logprob)
