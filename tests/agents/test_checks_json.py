"""The JSON check: applies where the answer is to be JSON, and to nothing that talks about JSON."""

from __future__ import annotations

import pytest

from agents.checks import check_json, wants_json

ASKED = "List three fruits. Return your answer in JSON format."


@pytest.mark.parametrize(
    "instruction",
    [
        ASKED,
        "Return a JSON object with keys `name` and `age`.",
        "Convert the following CSV to JSON.",
        "Respond in valid JSON.",
        "Give me a JSON array of the first five primes.",
        "What are the advantages of tea? Wrap the entire output in JSON format.",
        "Can you give me a nickname for Stafford? Please use JSON format.",
        "Extract the name and the date as JSON.",
        "次の情報をJSON形式で出力してください。",
        "島について詳しく説明してください。ただし回答はJSON形式で答えてください。",
        "请以JSON格式返回结果。",
        "把下面的信息转换成JSON。",
    ],
)
def test_a_wish_for_json_is_seen(instruction: str) -> None:
    assert wants_json(instruction)


@pytest.mark.parametrize(
    "instruction",
    [
        "List three fruits.",
        "Explain what JSON is.",
        "What does JSON stand for?",
        "Parse this JSON with Python.",
        "Write a Python function that returns JSON.",
        "How do I return data in JSON format from a server?",
        "Describe the advantages of JSON over XML.",
        "Generate a JSON schema for a person.",
        "Summarize the JSON below in one sentence.",
        "Convert this JSON to YAML.",
        "JSONとは何ですか？",
        "PythonでJSONを読み込む方法を教えてください。",
        "JSON形式で出力する関数を書いてください。",
        "什么是JSON？",
        "用Python解析JSON。",
    ],
)
def test_talk_about_json_is_not_a_wish_for_it(instruction: str) -> None:
    assert not wants_json(instruction)
    assert check_json(instruction, "It is a format.") is None


@pytest.mark.parametrize(
    "response",
    [
        '["apple", "pear", "plum"]',
        ' {"fruits": []}\n',
        '```json\n{"fruits": ["apple"]}\n```',
        'Here you are:\n\n{"fruits": ["apple", "{pear}"]}\n\nEnjoy!',
        '<think>Three fruits {</think>{"fruits": 3}',
    ],
)
def test_json_passes_without_deciding(response: str) -> None:
    result = check_json(ASKED, response)
    assert result is not None
    assert (result.label, result.decisive) == ("pass", False)


@pytest.mark.parametrize(
    "response",
    [
        "apple, pear and plum",
        '{"fruits": ["apple",]}',
        "{'fruits': 'apple'}",
        '```json\n{"fruits": ["apple", "pe',
        '{"a": 1}\n{"b": 2}',
        '{"a": NaN}',
        "",
        "[" * 100_000,
    ],
)
def test_what_does_not_parse_fails_and_says_why(response: str) -> None:
    result = check_json(ASKED, response)
    assert result is not None
    assert (result.label, result.decisive) == ("fail", True)
    assert result.evidence["problem"]


@pytest.mark.parametrize(
    "instruction",
    [
        "Return a JSON object with the keys `name` and `age`.",
        'Output JSON only, with the keys "name", "age".',
        "Respond in JSON with fields 'name' (a string) and 'age'.",
        "結果はJSONのみで返してください。キーは「name」と「age」とします。",
        '请以JSON格式返回，字段为"name"和"age"。',
    ],
)
def test_named_keys_must_be_there(instruction: str) -> None:
    complete = check_json(instruction, '{"person": [{"name": "Ann", "age": 3}]}')
    partial = check_json(instruction, '{"name": "Ann"}')
    assert complete is not None
    assert partial is not None
    assert complete.label == "pass"
    assert (partial.label, partial.decisive) == ("fail", True)
    assert partial.evidence == {"missing_keys": "age"}


@pytest.mark.parametrize(
    "instruction",
    [
        "Return a JSON object with the keys 'name' and 'age' (optional).",
        'Write a riddle that doesn\'t use the word "key" or "lock". Wrap it into one JSON block.',
    ],
)
def test_optional_keys_and_quoted_words_are_not_required(instruction: str) -> None:
    result = check_json(instruction, '{"other": 1}')
    assert result is not None
    assert result.label == "pass"
