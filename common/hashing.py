"""Content hashes: one canonical JSON form and one digest, so that equal content is equal."""

from __future__ import annotations

import hashlib
from typing import Any

import orjson


def canonical_json(value: Any) -> bytes:
    """Sorted-key UTF-8 JSON of `value`; equal values give equal bytes on every machine."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)


def digest(value: Any) -> str:
    """128-bit BLAKE2b of the canonical JSON of `value`, as 32 hexadecimal digits."""
    return hashlib.blake2b(canonical_json(value), digest_size=16).hexdigest()


def digest_text(text: str) -> str:
    """128-bit BLAKE2b of UTF-8 `text`, as 32 hexadecimal digits."""
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def fraction(*parts: Any) -> float:
    """A number in [0, 1) that depends only on `parts`: deterministic stand-in for a random draw."""
    raw = hashlib.blake2b(canonical_json(list(parts)), digest_size=8).digest()
    return int.from_bytes(raw, "big") / 2**64
