"""The inspector's parts by themselves: slow counts, differences of texts, tokens that were sent."""

from __future__ import annotations

import threading
import time
from collections.abc import Hashable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import orjson
import pytest
from conftest import CorpusMaker
from sqlalchemy import text

from inspector.counting import Counter
from inspector.differences import line_diff, word_diff
from inspector.prompt_files import prompt_file
from inspector.rendering import language, query, seconds
from storage.answer_tokens import answer_tokens
from storage.database import Database


@pytest.fixture
def not_waited_for(counted_at_once: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inspector.counting._FIRST_WAIT_S", 0.15)


@pytest.mark.usefixtures("not_waited_for")
def test_a_slow_count_keeps_nobody_waiting_and_is_there_in_the_end() -> None:
    late = threading.Event()

    def count(key: Hashable) -> str:
        late.wait(20)
        return f"counted {key}"

    counter = Counter(count)
    assert counter.get("a") is None
    late.set()
    while (found := counter.get("a")) is None:
        time.sleep(0.01)
    assert found.value == "counted a"
    assert found.took_s > 0
    counter.close()


def test_a_count_is_not_repeated_before_it_is_due(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inspector.counting._SHORTEST_REST_S", 3600)
    counts: list[Hashable] = []
    counter = Counter(lambda key: counts.append(key))
    for _ in range(5):
        counter.get("a")
    assert counts == ["a"]
    counter.close()


def test_the_first_count_that_fails_says_why() -> None:
    def count(key: Hashable) -> str:
        raise ValueError(str(key))

    counter = Counter(count)
    with pytest.raises(ValueError, match="a"):
        counter.get("a")
    counter.close()


@pytest.mark.usefixtures("not_waited_for")
def test_a_count_that_ended_long_ago_is_nobodys_answer() -> None:
    results = iter(["old", "new"])
    late = threading.Event()

    def count(key: Hashable) -> str:
        late.wait(20)
        return next(results)

    counter = Counter(count)
    assert counter.get("a") is None
    late.set()
    while (found := counter.get("a")) is None:
        time.sleep(0.01)
    assert found.value == "old"
    # As if an hour had passed: what is kept is due, and so is what a visitor would be given.
    hour = timedelta(hours=1)
    counter._kept["a"] = replace(found, at=found.at - hour)
    found = counter.get("a")
    while found is None or found.value == "old":
        found = counter.get("a")
    assert found.value == "new"
    counter.close()


@pytest.mark.usefixtures("not_waited_for")
def test_a_failure_while_nobody_waited_is_told_and_then_tried_again() -> None:
    late, failing = threading.Event(), [True]

    def count(key: Hashable) -> str:
        late.wait(20)
        if failing:
            raise ValueError("at first")
        return "counted"

    counter = Counter(count)
    assert counter.get("a") is None
    late.set()
    with pytest.raises(ValueError, match="at first"):
        while counter.get("a") is None:
            time.sleep(0.01)
    failing.clear()
    failed = counter._failed["a"]
    counter._failed["a"] = replace(failed, at=failed.at - timedelta(hours=1))
    while (found := counter.get("a")) is None:
        time.sleep(0.01)
    assert found.value == "counted"
    counter.close()


def test_changed_words_are_found_in_japanese_as_in_english() -> None:
    parts = [(part.kind, part.text) for part in word_diff("秋の公園を歩く", "秋の庭園を走る")]
    assert ("removed", "公") in parts
    assert ("added", "庭") in parts
    assert "".join(text for kind, text in parts if kind != "added") == "秋の公園を歩く"
    assert "".join(text for kind, text in parts if kind != "removed") == "秋の庭園を走る"


def test_changed_lines_keep_their_own_first_characters() -> None:
    lines = line_diff("a\n--- b\nc\n", "a\n+++ b\nc\n")
    assert [(line.kind, line.text) for line in lines if line.kind in ("added", "removed")] == [
        ("removed", "--- b"),
        ("added", "+++ b"),
    ]
    assert line_diff("same", "same") == []


@pytest.mark.parametrize("name", ["../secret", "a/../../b", "/etc/passwd", "a", "a/b\x00", ""])
def test_a_prompts_name_leads_to_no_other_file(tmp_path: Path, name: str) -> None:
    (tmp_path / "prompts").mkdir()
    (tmp_path / "secret.md").write_text("version: 1\n")
    (tmp_path / "prompts" / "a.md").write_text("version: 1\n")
    assert prompt_file(tmp_path / "prompts", name) is None


def test_small_words() -> None:
    assert seconds(3725) == "1 h 02 min"
    assert language("ja") == "ja"
    assert language('x" onload=') == ""
    assert query({"a": "&=", "b": None, "c": ""}) == "?a=%26%3D"


@pytest.mark.parametrize("logprobs", [
    None, {}, {"content": None}, {"content": [{"token": 1, "logprob": 0}]},
    {"content": [{"token": "a"}]}, {"content": [{"token": "a", "logprob": True}]},
    {"content": ["a"]},
])  # fmt: skip
def test_log_probabilities_that_cannot_be_read_are_left_out(
    database: Database, corpus: CorpusMaker, logprobs: object
) -> None:
    seed = corpus.seed()
    key = corpus.call(seed, corpus.sample(seed), "response", "word")
    corpus.change("UPDATE completion SET logprobs = :l WHERE key = :k",
                  l=orjson.dumps(logprobs).decode(), k=key)  # fmt: skip
    with database.read() as connection:
        assert answer_tokens(connection, [key]) == {}
        assert connection.execute(text("SELECT count(*) FROM completion")).scalar_one() > 0
