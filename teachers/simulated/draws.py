"""Deterministic choices: what looks drawn at random depends only on a key.

In: the parts that name a decision (a seed, a request's identity). Out: numbers and choices that are
the same in every process and on every machine, because they come from a hash and not from a
generator's state.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, TypeVar

from common.hashing import canonical_json

T = TypeVar("T")


class Draws:
    """A sequence of draws; equal parts give equal sequences."""

    __slots__ = ("_count", "_key")

    def __init__(self, *parts: Any) -> None:
        self._key = hashlib.blake2b(canonical_json(list(parts)), digest_size=16).digest()
        self._count = 0

    def _next(self) -> int:
        self._count += 1
        raw = hashlib.blake2b(self._key + self._count.to_bytes(4, "big"), digest_size=8).digest()
        return int.from_bytes(raw, "big")

    def fraction(self) -> float:
        """A number in [0, 1)."""
        return self._next() / 2**64

    def between(self, low: int, high: int) -> int:
        """A whole number from `low` to `high`, both included."""
        return low + self._next() % (high - low + 1)

    def choice(self, options: Sequence[T]) -> T:
        """One of `options`."""
        return options[self._next() % len(options)]

    def sample(self, options: Sequence[T], count: int) -> list[T]:
        """`count` different ones of `options`, or all of them where there are fewer."""
        pool = list(options)
        return [pool.pop(self._next() % len(pool)) for _ in range(min(count, len(pool)))]
