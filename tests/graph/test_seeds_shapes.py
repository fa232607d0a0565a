"""Each dataset shape is recognised, and its instruction, input and answer are found."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import pytest

from graph.seeds import BadRow, SeedOptions, SeedRecord, read_seeds
from graph.seeds.columns import as_plain
from graph.seeds.spacing import join_spaced


def one(tmp_path: Path, row: object, **options: object) -> SeedRecord:
    [item] = items(tmp_path, row, **options)
    assert isinstance(item, SeedRecord), item
    return item


def items(tmp_path: Path, *rows: object, **options: object) -> list[SeedRecord | BadRow]:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return list(read_seeds(str(path), SeedOptions.model_validate(options)))


def chat(*turns: tuple[str, Any], keys: tuple[str, str] = ("role", "content")) -> list[Any]:
    return [dict(zip(keys, turn, strict=True)) for turn in turns]


SHARED = ("from", "value")


@pytest.mark.parametrize(
    ("row", "shape", "found"),
    [
        ({"instruction": "Q", "input": "I", "output": "A"}, "alpaca", ("Q", "I", "A")),
        ({"instruction": "Q", "output": ""}, "alpaca", ("Q", "", None)),
        ({"instruction": "Q", "input": "<noinput>", "output": "A"}, "alpaca", ("Q", "", "A")),
        (
            {"instruction": "Q", "instances": [{"input": "I", "output": "A"}]},
            "self_instruct",
            ("Q", "I", "A"),
        ),
        (
            {"conversations": chat(("human", "Q"), ("gpt", "A"), keys=SHARED)},
            "sharegpt",
            ("Q", "", "A"),
        ),
        ({"messages": chat(("user", "Q"), ("assistant", "A"))}, "messages", ("Q", "", "A")),
        (["你 好", "您 好"], "lccd", ("你好", "", "您好")),
        ({"dialog": ["你 好"]}, "lccd", ("你好", "", None)),
        ({"instruction": "Q"}, "plain", ("Q", "", None)),
        ({"prompt": "Q", "response": "A"}, "plain", ("Q", "", "A")),
        ({"question": "Q", "context": "I", "answer": 4}, "plain", ("Q", "I", "4")),
        ({"text": "Q", "response": None, "output": "A"}, "plain", ("Q", "", "A")),
        ("Q", "plain", ("Q", "", None)),
    ],
)
def test_a_shape_is_recognised_and_its_parts_are_found(
    tmp_path: Path, row: object, shape: str, found: tuple[str, str, str | None]
) -> None:
    seed = one(tmp_path, row)
    assert (seed.shape, (seed.instruction, seed.input, seed.reference)) == (shape, found)


def test_later_turns_and_instances_are_counted_as_unused(tmp_path: Path) -> None:
    turns = chat(("human", "Q"), ("gpt", "A"), ("human", "Q2"), ("gpt", "A2"), keys=SHARED)
    assert one(tmp_path, {"conversations": turns}).meta == {"unused_turns": 2}
    task = {"instruction": "Q", "instances": [{"input": "", "output": "A"}, {}, {}]}
    assert one(tmp_path, task).meta == {"unused_instances": 2}
    assert one(tmp_path, ["一", "二", "三"]).meta == {"unused_turns": 1}


def test_a_conversation_keeps_its_system_message(tmp_path: Path) -> None:
    for role in ("system", "developer"):
        turns = chat((role, "Be brief."), ("user", "Q"), ("assistant", "A"))
        seed = one(tmp_path, {"messages": turns})
        assert (seed.system, seed.instruction, seed.reference) == ("Be brief.", "Q", "A")
        assert seed.meta is None


def test_a_conversation_that_the_assistant_opens_begins_at_the_first_user(tmp_path: Path) -> None:
    turns = chat(("gpt", "Hello!"), ("human", "Q"), ("gpt", "A"), keys=SHARED)
    seed = one(tmp_path, {"conversations": turns})
    assert (seed.instruction, seed.reference, seed.meta) == ("Q", "A", {"unused_turns": 1})


def test_an_answer_to_a_second_question_is_no_reference_of_the_first(tmp_path: Path) -> None:
    turns = chat(("user", "Q1"), ("user", "Q2"), ("assistant", "A2"))
    seed = one(tmp_path, {"messages": turns})
    assert (seed.instruction, seed.reference, seed.meta) == ("Q1", None, {"unused_turns": 2})


def test_content_in_text_parts_is_joined(tmp_path: Path) -> None:
    parts = [{"type": "text", "text": "Look:"}, {"type": "text", "text": "what is it?"}]
    seed = one(tmp_path, {"messages": chat(("user", parts), ("assistant", None))})
    assert (seed.instruction, seed.reference) == ("Look:\nwhat is it?", None)


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"messages": chat(("assistant", "A"))}, "no user's turn"),
        ({"messages": ["Q"]}, "a turn of the conversation is text, not an object"),
        ({"messages": chat(("user", ""))}, "the first user's turn is empty"),
        ({"messages": chat(("user", {"x": 1}))}, "the turn is an object, not text"),
        ({"messages": chat(("user", [{"type": "image_url"}]))}, "part that is not text"),
        ({"messages": []}, "no messages"),
        ({"messages": "Q"}, "messages is text, not a list"),
        ({"prompt": "Q"}, "no messages"),
        (["Q"], "the row is a list, while the file's shape is messages"),
        (7, "the row is a number"),
    ],
)
def test_a_conversation_that_cannot_be_read_costs_only_its_row(
    tmp_path: Path, row: object, problem: str
) -> None:
    good = {"messages": chat(("user", "Q"))}
    first, bad, last = items(tmp_path, good, row, good)
    assert isinstance(first, SeedRecord)
    assert isinstance(last, SeedRecord)
    assert isinstance(bad, BadRow)
    assert bad.row == 2
    assert problem in bad.problem
    assert bad.solution


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"input": "I", "output": "A"}, "no instruction: the row's columns are input, output"),
        ({"text": "A whole prompt.", "output": "A"}, "no instruction"),
        ({"instruction": "", "output": "A"}, "the column instruction is empty"),
        ({"instruction": "  \n", "output": "A"}, "the column instruction is empty"),
        ({"instruction": None, "output": "A"}, "the column instruction is empty"),
        ({"instruction": 42, "output": "A"}, "the instruction is a number, not text"),
        ({"instruction": ["Q"], "output": "A"}, "the instruction is a list, not text"),
        ({"instruction": "Q", "output": ["A"]}, "the reference is a list, not text"),
        ({"instruction": "Q", "input": True, "output": ""}, "the input is true or false"),
        ({"instruction": "a\0b", "output": ""}, "NUL character"),
        ({"instruction": "half \ud83d", "output": ""}, "half of a surrogate pair"),
    ],
)
def test_a_row_of_the_wrong_kind_costs_only_itself(
    tmp_path: Path, row: object, problem: str
) -> None:
    good = {"instruction": "Q", "output": "A"}
    first, bad, last = items(tmp_path, good, row, good)
    assert isinstance(first, SeedRecord)
    assert isinstance(last, SeedRecord)
    assert isinstance(bad, BadRow)
    assert (bad.row, problem in bad.problem) == (2, True), bad.problem


def test_a_self_instruct_task_without_instances_has_no_reference(tmp_path: Path) -> None:
    seed = one(tmp_path, {"instruction": "Q", "instances": []})
    assert (seed.shape, seed.reference) == ("self_instruct", None)
    [_, bad] = items(
        tmp_path, {"instruction": "Q", "instances": []}, {"instruction": "Q", "instances": "x"}
    )
    assert isinstance(bad, BadRow)
    assert "instances is text" in bad.problem


def test_what_a_row_says_of_itself_is_kept(tmp_path: Path) -> None:
    row = {
        "id": "r-1",
        "prompt": "Q",
        "category": "Maths",
        "language": "ja-JP",
        "license": "MIT",
        "system": "Be brief.",
        "kwargs": [{"n": 3}],
        "empty": None,
    }
    seed = one(tmp_path, row, category="qa", language="en", licence="CC0-1.0")
    assert (seed.category, seed.language, seed.licence) == ("math", "ja", "MIT")
    assert seed.system == "Be brief."
    assert seed.meta == {"id": "r-1", "kwargs": [{"n": 3}]}


def test_defaults_serve_rows_that_do_not_say(tmp_path: Path) -> None:
    seed = one(tmp_path, {"prompt": "Q"}, category="coding", language="Japanese", licence="MIT")
    assert (seed.category, seed.language, seed.licence) == ("code", "ja", "MIT")


def test_a_category_or_language_that_is_not_ours_is_left_to_classification(tmp_path: Path) -> None:
    seed = one(tmp_path, {"prompt": "Q", "category": "humanities", "language": "a mix"})
    assert (seed.category, seed.language) == (None, None)
    assert seed.meta == {"category": "humanities", "language": "a mix"}
    assert one(tmp_path, {"prompt": "Q", "category": 7}).meta == {"category": 7}


def test_columns_with_other_names_are_mapped(tmp_path: Path) -> None:
    row = {"q": "Q", "a": "A", "topic": "sql", "instruction": "not this", "output": "nor this"}
    names = {"instruction": "q", "reference": "a", "category": "topic"}
    seed = one(tmp_path, row, fields=names)
    assert (seed.instruction, seed.reference, seed.category) == ("Q", "A", "sql")
    assert seed.meta == {"instruction": "not this", "output": "nor this"}


def test_a_named_shape_overrules_what_the_columns_suggest(tmp_path: Path) -> None:
    row = {"instruction": "Q", "output": "A", "messages": chat(("user", "Q2"))}
    assert one(tmp_path, row).instruction == "Q2"
    assert one(tmp_path, row, shape="alpaca").instruction == "Q"


def test_a_broken_first_row_does_not_settle_the_shape(tmp_path: Path) -> None:
    bad, good = items(tmp_path, {"nonsense": 1}, {"prompt": "Q"})
    assert isinstance(bad, BadRow)
    assert "no instruction: the row's columns are nonsense" in bad.problem
    assert isinstance(good, SeedRecord)


@pytest.mark.parametrize(
    ("spaced", "joined"),
    [
        ("你 去 那 儿 ， 快 点", "你去那儿，快点"),
        ("用 S E E D . 2 4 小 时", "用SEED.24小时"),
        ("4 . 6 公 里", "4.6公里"),
        ("W h a t ?", "What?"),
        ("我 玩 Counter Strike 三 年 了", "我玩Counter Strike三年了"),
        ("How are you , friend ?", "How are you, friend?"),
        ("火锅 我 在 重庆 吃 了", "火锅我在重庆吃了"),
        ("今 日 は V I P で す", "今日はVIPです"),
        ("哈 哈 😂 😂 ~ ~", "哈哈😂😂~~"),
        ("  好  ", "好"),
        ("", ""),
    ],
)
def test_spaced_characters_are_joined_and_words_kept_apart(spaced: str, joined: str) -> None:
    assert join_spaced(spaced) == joined


def test_values_no_json_column_can_keep_become_plain() -> None:
    odd = {
        "time": datetime.date(2024, 5, 1),
        "nan": float("nan"),
        "large": 1 << 70,
        "bytes": b"\x00",
        "text": "a\0\ud800b",
        1: (1, 2),
    }
    assert as_plain(odd) == {
        "time": "2024-05-01",
        "nan": None,
        "large": str(1 << 70),
        "bytes": None,
        "text": "a?b",
        "1": [1, 2],
    }
