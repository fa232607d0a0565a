"""Changed words: both texts come back whole, and what is the same by chance is no noise."""

from __future__ import annotations

import json

import pytest
from factory import CHECKOUT
from hypothesis import given
from hypothesis import strategies as st

from inspector.differences import word_diff

_TEXT = st.text(alphabet="ab 秋の、\n", max_size=30)


@given(_TEXT, _TEXT)
def test_either_text_can_be_read_from_the_other(old: str, new: str) -> None:
    parts = word_diff(old, new)
    assert "".join(part.text for part in parts if part.kind != "added") == old
    assert "".join(part.text for part in parts if part.kind != "removed") == new
    assert all(part.text for part in parts)
    assert (old == new) == all(part.kind == "same" for part in parts)


def test_two_sentences_that_share_a_few_characters_are_two_sentences() -> None:
    old, new = "皆さまへお話しします。", "その朝は静かに始まりました。"
    parts = [(part.kind, part.text) for part in word_diff(old, new)]
    assert parts == [("removed", old[:-1]), ("added", new[:-1]), ("same", "。")]


def test_one_changed_figure_is_one_change() -> None:
    parts = [(part.kind, part.text) for part in word_diff("It is 397 in all.", "It is 396 in all.")]
    assert parts == [
        ("same", "It is "),
        ("removed", "397"),
        ("added", "396"),
        ("same", " in all."),
    ]


@pytest.mark.parametrize(("old", "new"), [
    ("a " * 1000, "b " * 1000), ("a b " * 800, "b a " * 800), ("秋" * 4000, "秋" * 1900 + "春"),
    ("".join(f"a x{n} " for n in range(900)), "".join(f"a y{n} " for n in range(900))),
])  # fmt: skip
def test_texts_of_few_words_are_not_compared_without_end(old: str, new: str) -> None:
    # Without a bound each of these takes from ten seconds to minutes.
    parts = word_diff(old, new)
    assert "".join(part.text for part in parts if part.kind != "added") == old
    assert "".join(part.text for part in parts if part.kind != "removed") == new


@pytest.mark.parametrize(("language", "was", "now"), [
    ("en", " the ", " some "), ("ja", "ください", "下さい"), ("zh", "请", "烦请"),
])  # fmt: skip
def test_long_texts_are_still_compared_word_by_word(language: str, was: str, now: str) -> None:
    lines = (CHECKOUT / "recipes/quickstart/seeds.jsonl").read_text(encoding="utf-8").splitlines()
    seeds = [seed for seed in map(json.loads, lines) if seed["language"] == language]
    old = "\n".join(seed["instruction"] for seed in seeds)
    new = old.replace(was, now)
    assert old.count(was) > 3
    parts = word_diff(old, new)
    assert "".join(part.text for part in parts if part.kind != "added") == old
    assert sum(len(part.text) for part in parts if part.kind == "same") > 0.7 * len(old)
