"""The request cache as teachers see it: completions of the corpus, read back into the engine."""

from __future__ import annotations

import asyncio
from typing import Any

from storage.completions import CompletionShelf
from storage.writer import Writer
from teachers.types import Completion, Usage


class CorpusCache:
    """Implements `teachers.gateway.CompletionCache` on the corpus database."""

    def __init__(self, shelf: CompletionShelf, writer: Writer) -> None:
        self._shelf = shelf
        self._writer = writer

    def may_hold(self, key: str) -> bool:
        """False only when the corpus surely has no completion under this key."""
        return self._shelf.may_hold(key)

    async def get(self, key: str) -> Completion | None:
        """Reads the completion; one that was only just submitted is waited for."""
        row = await asyncio.to_thread(self._shelf.read, key)
        if row is None:
            await self._writer.flush()
            row = await asyncio.to_thread(self._shelf.read, key)
        return _completion(row) if row is not None else None


def _completion(row: dict[str, Any]) -> Completion:
    return Completion(
        content=row["content"],
        reasoning=row["reasoning"],
        refusal=row["refusal"],
        finish_reason=row["finish_reason"],
        model=row["model"],
        revision=row["revision"],
        usage=Usage(row["prompt_tokens"], row["completion_tokens"], row["reasoning_tokens"]),
        logprobs=row["logprobs"],
        prompt_token_ids=tuple(row["prompt_token_ids"]) if row["prompt_token_ids"] else None,
        token_ids=tuple(row["token_ids"]) if row["token_ids"] else None,
        response_id=row["response_id"],
        simulated=row["simulated"],
    )
