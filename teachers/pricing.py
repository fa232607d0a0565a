"""What a call costs, and what it can cost at most.

In: a teacher's prices from the recipe, token counts from the server. Out: dollars, or
None where a price or a count is unknown: nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from common.hashing import canonical_json
from teachers.types import Message, Usage

# Role, separators and turn markers: five to eight tokens in today's chat templates.
TOKENS_PER_MESSAGE = 16
# What a template adds once: the answer's opening, and a default system prompt or a date.
TOKENS_PER_CONVERSATION = 128


class Prices(BaseModel):
    """A teacher's list prices in US dollars; left out means unknown, 0 means free.

    Discounts for cached prompts are not modelled: where a provider gives them, the bill is lower.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    usd_per_million_prompt_tokens: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    usd_per_million_completion_tokens: float | None = Field(default=None, ge=0, allow_inf_nan=False)

    @property
    def known(self) -> bool:
        """Whether a call's cost can be computed."""
        return (
            self.usd_per_million_prompt_tokens is not None
            and self.usd_per_million_completion_tokens is not None
        )


def cost(prices: Prices | None, usage: Usage) -> float | None:
    """US dollars for `usage`; None when a price or a count is unknown. What is free costs nothing,
    however many tokens it takes.

    Reasoning tokens are part of `completion_tokens` in the OpenAI protocol and not charged again.
    """
    return _dollars(prices, usage.prompt_tokens, usage.completion_tokens)


def upper_bound_tokens(
    messages: Iterable[Message], max_tokens: int, schema: dict[str, Any] | None = None
) -> tuple[int, int]:
    """The most tokens a call can take in prompt and completion, without a tokenizer.

    A token of a byte-level BPE covers at least one byte, so a text has at most as many tokens as
    UTF-8 bytes. A schema counts as if the server wrote it into the prompt, which some do. The
    completion's bound holds only if the server is told the same `max_tokens`.
    """
    prompt = TOKENS_PER_CONVERSATION
    for message in messages:
        content = message.content
        # A lone surrogate is sent as one replacement character, three bytes either way.
        size = len(content) if content.isascii() else len(content.encode("utf-8", "surrogatepass"))
        prompt += TOKENS_PER_MESSAGE + size
    if schema is not None:
        prompt += len(canonical_json(schema))
    return prompt, max_tokens


def upper_bound_cost(
    prices: Prices | None, prompt_tokens: int, completion_tokens: int
) -> float | None:
    """The most US dollars a call within these bounds can cost; None when a price is unknown."""
    return _dollars(prices, prompt_tokens, completion_tokens)


def _dollars(
    prices: Prices | None, prompt_tokens: int | None, completion_tokens: int | None
) -> float | None:
    if prices is None:
        return None
    prompt_price = prices.usd_per_million_prompt_tokens
    completion_price = prices.usd_per_million_completion_tokens
    if prompt_price == 0 and completion_price == 0:
        return 0.0
    if prompt_price is None or completion_price is None:
        return None
    if prompt_tokens is None or completion_tokens is None:
        return None
    return (prompt_tokens * prompt_price + completion_tokens * completion_price) / 1e6
