"""Pricing: dollars from prices and counts, None wherever one is unknown, bounds that hold."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from teachers.pricing import Prices, cost, upper_bound_cost, upper_bound_tokens
from teachers.types import Message, Usage

PRICES = Prices(usd_per_million_prompt_tokens=0.15, usd_per_million_completion_tokens=0.6)


def test_cost_is_counts_times_prices_per_million() -> None:
    assert cost(PRICES, Usage(2_000_000, 500_000, 400_000)) == pytest.approx(0.3 + 0.3)


@pytest.mark.parametrize(
    ("prices", "usage"),
    [
        (None, Usage(10, 10)),
        (Prices(), Usage(10, 10)),
        (Prices(usd_per_million_prompt_tokens=1), Usage(10, 0)),
        (Prices(usd_per_million_completion_tokens=1), Usage(0, 10)),
        (PRICES, Usage(None, 10)),
        (PRICES, Usage(10, None)),
        (PRICES, Usage()),
    ],
)
def test_an_unknown_price_or_count_makes_the_cost_unknown(
    prices: Prices | None, usage: Usage
) -> None:
    assert cost(prices, usage) is None


def test_a_free_teacher_costs_nothing_rather_than_something_unknown() -> None:
    free = Prices(usd_per_million_prompt_tokens=0, usd_per_million_completion_tokens=0)
    assert free.known
    assert cost(free, Usage(10, 10)) == 0.0


@pytest.mark.parametrize(
    "written",
    [
        {"usd_per_million_prompt_tokens": -1},
        {"usd_per_million_completion_tokens": float("inf")},
        {"usd_per_million_prompt_tokens": float("nan")},
        {"usd_per_token": 1},
    ],
)
def test_impossible_prices_and_unknown_keys_are_refused(written: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        Prices.model_validate(written)


@given(st.lists(st.text(), min_size=1, max_size=5), st.integers(1, 8192))
def test_the_bound_covers_every_byte_of_every_message(texts: list[str], max_tokens: int) -> None:
    prompt, completion = upper_bound_tokens([Message("user", t) for t in texts], max_tokens)
    # One token per byte is what a byte-level BPE without a single merge would need.
    assert prompt > sum(len(t.encode()) for t in texts) + 8 * len(texts)
    assert completion == max_tokens


@pytest.mark.parametrize("text", ["plain", "日本語の指示", "请翻译下面的句子", "🥃" * 7])
def test_the_bound_grows_by_the_bytes_of_the_text(text: str) -> None:
    empty, _ = upper_bound_tokens([Message("user", "")], 1)
    full, _ = upper_bound_tokens([Message("user", text)], 1)
    assert full - empty == len(unicodedata.normalize("NFC", text).encode())


def test_a_lone_surrogate_out_of_broken_json_is_bounded_and_no_error() -> None:
    broken = json.loads('"\\ud83e tea"')
    prompt, _ = upper_bound_tokens([Message("user", broken)], 1)
    clean, _ = upper_bound_tokens([Message("user", broken.replace("\ud83e", "\ufffd"))], 1)
    assert prompt == clean


def test_a_schema_counts_as_part_of_the_prompt() -> None:
    schema = {"type": "object", "properties": {"correct": {"type": "boolean"}}}
    without, _ = upper_bound_tokens([Message("user", "x")], 1)
    with_it, _ = upper_bound_tokens([Message("user", "x")], 1, schema)
    assert with_it - without == len(json.dumps(schema, separators=(",", ":")))


@given(st.text(), st.integers(0, 4096), st.floats(0, 1), st.floats(0, 1))
def test_no_usage_within_the_bounds_costs_more_than_the_bound(
    text: str, max_tokens: int, prompt_share: float, completion_share: float
) -> None:
    prompt, completion = upper_bound_tokens([Message("user", text)], max_tokens)
    usage = Usage(int(prompt * prompt_share), int(completion * completion_share))
    actual, most = cost(PRICES, usage), upper_bound_cost(PRICES, prompt, completion)
    assert actual is not None
    assert most is not None
    assert actual <= most


def test_the_bound_of_an_unpriced_teacher_is_unknown() -> None:
    assert upper_bound_cost(Prices(), 100, 100) is None
    assert upper_bound_cost(None, 100, 100) is None
