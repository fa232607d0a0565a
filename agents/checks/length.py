"""Checks of a response's extent: too short or long, cut off by the token limit, stuck in a loop.

A response goes in, with the recipe's bounds or the server's finish reason; a `CheckResult` comes
out. A loop is found by how well the text compresses, then proven by its repeated pieces.
"""

from __future__ import annotations

import re
import zlib
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from agents.checks.result import CheckResult

_LOOP_CHARS = 6000
_LOOP_MIN_CHARS = 240
_LOOP_COMPRESSION = 0.16
_PIECE_CHARS = 12
_DISTINCT_PIECES = 0.2
_SHOWN_CHARS = 80

_RULES = re.compile(r"([-=_*.~#+|/\\ ])\1{2,}|\|[-: |]+\|")
_LIST_NUMBER = re.compile(r"^\s*\d+[.)]\s+", re.MULTILINE)
_WANTS_REPETITION = re.compile(
    r"\brepeat\w*\b|\b(?:\d+|two|three|four|five|ten|twenty|fifty|hundred|thousand) times\b"
    r"|\blyrics\b|\bsong\b|\bchant\b|\bpattern\b|\bascii\b"
    r"|繰り返|くり返|反復|\d+回|何度も|歌詞|重复|重複|\d+[遍次]|歌词",
    re.IGNORECASE,
)


class LengthBounds(BaseModel):
    """How many characters a response may have, white space around it left out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    min_chars: int = Field(default=1, ge=0)
    max_chars: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.max_chars is not None and self.max_chars < self.min_chars:
            raise ValueError(
                f"max_chars ({self.max_chars}) is smaller than min_chars ({self.min_chars})"
            )
        return self


def check_length(response: str, bounds: LengthBounds) -> CheckResult:
    """Whether the response's characters are within the recipe's bounds."""
    chars = len(response.strip())
    if chars < bounds.min_chars:
        return CheckResult("length", "fail", True, {"chars": chars, "min_chars": bounds.min_chars})
    if bounds.max_chars is not None and chars > bounds.max_chars:
        return CheckResult("length", "fail", True, {"chars": chars, "max_chars": bounds.max_chars})
    return CheckResult("length", "pass", False, {"chars": chars})


def check_truncated(finish_reason: str | None) -> CheckResult | None:
    """Whether the server stopped for want of tokens; None where it did not say why it stopped."""
    if finish_reason is None:
        return None
    if finish_reason in ("length", "max_tokens"):
        return CheckResult("truncated", "fail", True, {"finish_reason": finish_reason})
    return CheckResult("truncated", "pass", False, {"finish_reason": finish_reason})


def check_repetition(response: str, instruction: str = "") -> CheckResult | None:
    """Whether most of the response is the same few words again and again.

    None for short responses, and where the instruction asks for repetition.
    """
    if len(response) < _LOOP_MIN_CHARS:
        return None
    raw = response[-_LOOP_CHARS:].encode("utf-8", "surrogatepass")
    ratio = len(zlib.compress(raw, 1)) / len(raw)
    # A loop compresses to a tenth and less; prose of these lengths to a third and more.
    if ratio > 2 * _LOOP_COMPRESSION:
        return CheckResult("repetition", "pass", False, {})
    plain = _LIST_NUMBER.sub("", response[-_LOOP_CHARS:])
    text = _RULES.sub(" ", " ".join(plain.split()))
    if len(text) < _LOOP_MIN_CHARS or _WANTS_REPETITION.search(instruction):
        return None
    raw = text.encode("utf-8", "surrogatepass")
    ratio = len(zlib.compress(raw, 6)) / len(raw)
    pieces = [text[i : i + _PIECE_CHARS] for i in range(len(text) - _PIECE_CHARS + 1)]
    distinct = len(set(pieces)) / len(pieces)
    if ratio > _LOOP_COMPRESSION or distinct > _DISTINCT_PIECES:
        return CheckResult("repetition", "pass", False, {})
    return CheckResult(
        "repetition",
        "fail",
        True,
        {"distinct_share": round(distinct, 3), "end": text[-_SHOWN_CHARS:]},
    )
