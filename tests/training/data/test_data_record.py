"""Lines of exports: every format gives the same conversation, and garbage says what is wrong."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from storage.export_formats import FORMATS, export_line
from training.data.record import BadLine, read_line

ROW = {
    "id": "a" * 32, "family_id": "f" * 32, "recipe": "tests", "status": "accepted",
    "category": "math", "language": "ja", "simulated": False, "allows_training": "true",
    "terms": [], "system": "Be brief.", "instruction": "足してください。", "input": "2と3",
    "reasoning": "", "response": "5です。",
}  # fmt: skip


def line_of(format: str = "messages", **changes: Any) -> dict[str, Any]:
    return export_line(ROW | changes, format, "inline")


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_gives_the_same_conversation(format: str) -> None:
    record = read_line(orjson.dumps(line_of(format)), format)
    assert record.messages == (
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "足してください。\n\n2と3"},
        {"role": "assistant", "content": "5です。"},
    )
    assert (record.id, record.family_id) == ("a" * 32, "f" * 32)
    assert (record.category, record.language, record.recipe) == ("math", "ja", "tests")


@pytest.mark.parametrize("format", FORMATS)
def test_a_sample_without_a_system_prompt_gets_none(format: str) -> None:
    record = read_line(orjson.dumps(line_of(format, system=None)), format)
    assert [message["role"] for message in record.messages] == ["user", "assistant"]


def broken(**changes: Any) -> dict[str, Any]:
    line = line_of()
    line["meta"] |= changes
    return line


def saying(*messages: Any) -> dict[str, Any]:
    return line_of() | {"messages": list(messages)}


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ([], "no `meta`"),
        ({"messages": []}, "no `meta`"),
        (broken(id=None), "no `id`"),
        (broken(family_id=""), "no `family_id`"),
        (broken(id=7), "`id` is no text"),
        (broken(category=7), "`category` is no text"),
        (line_of() | {"messages": "hello"}, "`messages` is no list"),
        (saying("hello"), "no `role` of"),
        (saying({"role": "robot", "content": "x"}), "no `role` of"),
        (saying({"role": ["user"], "content": "x"}), "no `role` of"),
        (saying({"role": "user", "content": 5}), "`content` is no text"),
        (saying({"role": "user", "content": "x"}), "no assistant's turn"),
    ],
)
def test_a_line_that_is_no_sample_says_why(line: Any, why: str) -> None:
    with pytest.raises(BadLine, match=why):
        read_line(orjson.dumps(line), "messages")


def test_a_line_that_is_no_json_says_so() -> None:
    with pytest.raises(BadLine, match="no JSON"):
        read_line(b"{not json", "messages")


def test_a_sharegpt_turn_of_an_unknown_speaker_is_refused() -> None:
    line = line_of("sharegpt")
    line["conversations"][0]["from"] = "tool"
    with pytest.raises(BadLine, match="no `from` of system, human, gpt"):
        read_line(orjson.dumps(line), "sharegpt")
