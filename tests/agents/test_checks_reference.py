"""A response that says what the reference says passes for good; any other says nothing."""

from __future__ import annotations

import pytest

from agents.checks import check_reference


@pytest.mark.parametrize(
    ("response", "reference"),
    [
        ("April 6", "April 6"),
        ("april 6.", "April 6"),
        ("25 + 12 = 37. 37 - 31 = 6. Answer: April 6", "April 6"),
        ("The answer is April 6.", "April 6"),
        ("**Final answer:** Ken", "Ken"),
        ("計算します。答え: 4月6日", "4月6日"),
        ("答えは4月6日です。", "4月6日"),
        ("所以答案是：東京", "東京"),
        ("ＫＥＮ", "ken"),
        ("Answer: Tom. No, the answer is Ken.", "Ken"),
        ("7, 23,  41", "7, 23, 41"),
    ],
)
def test_equal_words_settle_it(response: str, reference: str) -> None:
    result = check_reference(response, reference)
    assert result is not None
    assert (result.label, result.decisive) == ("pass", True)


@pytest.mark.parametrize(
    ("response", "reference"),
    [
        ("April 7", "April 6"),
        ("It falls on April 6 or so.", "April 6"),
        ("The answer is Ken. No, the answer is Tom.", "Ken"),
        ("7, 41, 23", "7, 23, 41"),
        ("", "Ken"),
        ("Ken", ""),
        ("Ken", " . "),
        ("Ken", None),
    ],
)
def test_other_words_prove_nothing(response: str, reference: str | None) -> None:
    assert check_reference(response, reference) is None


@pytest.mark.parametrize(
    "response",
    [
        '{"age": 31, "name": "Ken"}',
        '```json\n{"name":"Ken","age":31}\n```',
        'Here it is: {"name": "Ken", "age": 31.0}',
    ],
)
def test_json_is_compared_as_json(response: str) -> None:
    result = check_reference(response, '{"name": "Ken", "age": 31}')
    assert result is not None
    assert (result.label, result.decisive) == ("pass", True)


@pytest.mark.parametrize(
    "response",
    [
        '{"name": "Ken"}',
        '{"name": "Ken", "age": 31, "city": "Osaka"}',
        '{"name": "Ken", "age": "31"}',
        '{"name": "ken", "age": 31}',
        '{"name": "Ken", "age": 31',
        "Ken is 31.",
    ],
)
def test_other_json_proves_nothing(response: str) -> None:
    assert check_reference(response, '{"name": "Ken", "age": 31}') is None


def test_true_is_not_one() -> None:
    assert check_reference("[1, 0]", "[true, false]") is None
    assert check_reference("[true, false]", "[1, 0]") is None


def test_a_reference_that_only_looks_like_json_proves_nothing() -> None:
    assert check_reference("[see below]", "[see below") is None
