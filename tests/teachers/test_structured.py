"""What a teacher wrote is read as it stands: completions, thinking, schemas and their instances."""

from __future__ import annotations

import json
from enum import Enum
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, RootModel

from teachers.errors import TransportFault
from teachers.structured import (
    MalformedAnswer,
    complaint_message,
    completion_from_response,
    parse_structured,
    schema_of,
    split_thinking,
)
from teachers.types import Usage


class Colour(Enum):
    """A docstring that no teacher should read."""

    RED = "red"
    BLUE = "blue"


class Part(BaseModel):
    """One part."""

    name: str = Field(min_length=1, max_length=20, pattern="^[a-z]+$")
    category: Literal["math", "code"]
    colour: Colour = Colour.RED


class Whole(BaseModel):
    """The whole."""

    model_config = ConfigDict(extra="ignore")

    parts: list[Part] = Field(min_length=1, description="all of them")
    score: int = Field(ge=0, le=9, strict=True)
    share: float = Field(gt=0, lt=1)
    note: str | None = None
    best: Part = Field(description="the best one")


class Verdict(BaseModel):
    correct: bool = Field(strict=True)
    evidence: str


class Tree(BaseModel):
    value: int
    children: list[Tree]


PART = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "category": {"enum": ["math", "code"], "type": "string"},
        "colour": {"enum": ["red", "blue"], "type": "string"},
    },
    "required": ["name", "category", "colour"],
    "additionalProperties": False,
}


def test_a_schema_is_closed_complete_written_out_and_free_of_refused_keywords() -> None:
    assert schema_of(Whole) == {
        "type": "object",
        "properties": {
            "parts": {"type": "array", "items": PART, "minItems": 1, "description": "all of them"},
            "score": {"type": "integer", "minimum": 0, "maximum": 9},
            "share": {"type": "number"},
            "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
            "best": {**PART, "description": "the best one"},
        },
        "required": ["parts", "score", "share", "note", "best"],
        "additionalProperties": False,
    }
    assert schema_of(Whole) is schema_of(Whole)


def test_a_model_that_recurs_keeps_its_reference() -> None:
    schema = schema_of(Tree)
    reference = {"$ref": "#/$defs/Tree"}
    assert schema["properties"]["children"] == {"type": "array", "items": reference}
    assert schema["$defs"]["Tree"]["properties"]["children"]["items"] == reference
    assert schema["$defs"]["Tree"]["additionalProperties"] is False


class FreeKeys(BaseModel):
    counts: dict[str, int]


class Anything(BaseModel):
    value: Any


class Pair(BaseModel):
    both: tuple[int, str]


class JustAList(RootModel[list[int]]):
    pass


@pytest.mark.parametrize(
    ("model", "place"),
    [
        (FreeKeys, r"FreeKeys\.counts"),
        (Anything, r"Anything\.value"),
        (Pair, r"Pair\.both"),
        (JustAList, "JustAList"),
    ],
)
def test_what_strict_mode_cannot_say_is_named(model: type[BaseModel], place: str) -> None:
    with pytest.raises(TypeError, match=place):
        schema_of(model)


GOOD = '{"correct": true, "evidence": "2 + 2 = 4"}'


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        f"  {GOOD}\n",
        f"```json\n{GOOD}\n```",
        f"Sure! Here it is:\n\n```\n{GOOD}\n```\nI hope this helps {{name}}.",
        f"<think>Is it {{right}}? {{}} \n</think>\n{GOOD}",
        f'It holds that {{"a": 1}} is true.\n</think>\n\n{GOOD}',
        f"By \\frac{{1}}{{2}} and \\textbf{{x}}: {GOOD}",
        f"{GOOD}\n\nOnce more: {GOOD}",
        f'You asked for {{"type": "object"}}. {GOOD}',
        '{"correct": true, "evidence": "2 + 2 = 4", "confidence": 0.9}',
        '{"evidence": "2 + 2 = 4",\n "correct": true}',
    ],
)
def test_an_answer_is_found_whatever_stands_around_it(text: str) -> None:
    assert parse_structured(text, Verdict) == Verdict(correct=True, evidence="2 + 2 = 4")


def test_a_line_break_inside_a_string_stays_one() -> None:
    assert parse_structured('{"correct": true, "evidence": "a\nb"}', Verdict).evidence == "a\nb"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "the answer is empty"),
        ("<think>hm", "only thinking"),
        ("I think that it is right.", "no JSON object"),
        ('["yes"]', "no JSON object"),
        ("{}", "`correct`: field required; `evidence`: field required"),
        ('{"correct": "yes", "evidence": ""}', "`correct`: input should be a valid boolean.*yes"),
        ('{"correct": 1, "evidence": ""}', "`correct`: input should be a valid boolean, not 1"),
        ('{"correct": true "evidence": ""}', "',' delimiter at line 1, column 18"),
        ('{"correct": true,\n "evidence": "",}', "not valid: .* at line 2"),
        (r'{"correct": true, "evidence": "\sum"}', "not valid: invalid .escape"),
        ('{"correct": true, "evidence": "and then', "never closed, as if the answer had been cut"),
        ('{"correct": true, "evidence": ["a"', "never closed"),
        ('{"correct": true, "correct": false, "evidence": ""}', "a key stands twice"),
        (f'{GOOD} No: {{"correct": false, "evidence": ""}}', "2 different JSON objects"),
        (f'{GOOD} No: {{"correct": false, "evid', "never closed"),
        ('{"a":' * 5000 + "1" + "}" * 5000, "nested too deeply"),
    ],
)
def test_an_answer_that_does_not_fit_is_told_what_and_where(text: str, complaint: str) -> None:
    with pytest.raises(MalformedAnswer, match=complaint) as raised:
        parse_structured(text, Verdict)
    assert raised.value.complaint == str(raised.value)
    assert len(raised.value.complaint) < 1000


def test_a_fault_deep_inside_is_told_by_its_place() -> None:
    part = {"name": "a", "category": "maths", "colour": "red"}
    whole = {"parts": [part], "score": 10, "share": 0.5, "note": None, "best": part}
    with pytest.raises(MalformedAnswer) as raised:
        parse_structured(json.dumps(whole), Whole)
    complaint = raised.value.complaint
    assert "`parts.0.category`: input should be 'math' or 'code', not \"maths\"" in complaint
    assert "`score`: input should be less than or equal to 9, not 10" in complaint


def test_many_faults_are_cut_to_a_few() -> None:
    whole = {"parts": [{}] * 9, "score": 1, "share": 0.5, "note": None, "best": {}}
    with pytest.raises(MalformedAnswer, match=r"and \d+ more faults"):
        parse_structured(json.dumps(whole), Whole)


def test_what_stands_inside_a_broken_object_is_no_answer() -> None:
    with pytest.raises(MalformedAnswer, match="not valid"):
        parse_structured(f'{{"answers": [{GOOD}] "n": 1}}', Verdict)


@given(st.builds(Verdict, correct=st.booleans(), evidence=st.text()), st.booleans())
def test_every_instance_survives_being_written_and_read(verdict: Verdict, ascii: bool) -> None:
    text = json.dumps(verdict.model_dump(), ensure_ascii=ascii)
    assert parse_structured(f"Well:\n```json\n{text}\n```", Verdict) == verdict


@given(st.text(alphabet='{}[]":,\\ntruefals0123 ', max_size=60))
def test_any_text_is_an_instance_or_a_complaint(text: str) -> None:
    try:
        parse_structured(text, Verdict)
    except MalformedAnswer as error:
        assert error.complaint


def test_a_complaint_message_says_what_is_wrong_and_holds_the_schema() -> None:
    message = complaint_message("`correct`: field required", schema_of(Verdict))
    assert "`correct`: field required" in message
    assert "only the corrected JSON object" in message
    assert json.loads(message.rsplit("\n", 1)[1]) == schema_of(Verdict)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("the answer", (None, "the answer")),
        ("  the answer\n", (None, "  the answer\n")),
        ("<think>steps</think>the answer", ("steps", "the answer")),
        ("\n<think>\nsteps\n</think>\n\nthe answer\n", ("steps", "the answer\n")),
        ("<think>\n\n</think>\n\nthe answer", (None, "the answer")),
        ("steps\n</think>\n\nthe answer", ("steps", "the answer")),
        ("steps</think>\nthe answer", ("steps", "the answer")),
        ("steps\n</think>", ("steps", "")),
        ("<think>cut by the lim", ("cut by the lim", "")),
        ("<think>", (None, "")),
        ("<think>a</think>b</think>c", ("a", "b</think>c")),
        (
            "Put it into <think> and\n</think>\ntags",
            (None, "Put it into <think> and\n</think>\ntags"),
        ),
        ("Close with </think> as usual", (None, "Close with </think> as usual")),
        (
            '{"instruction": "Explain </think> to me"}',
            (None, '{"instruction": "Explain </think> to me"}'),
        ),
        ("<think>一歩ずつ</think>最終的な答え：7", ("一歩ずつ", "最終的な答え：7")),
    ],
)
def test_thinking_is_split_off_the_beginning_only(
    content: str, expected: tuple[str | None, str]
) -> None:
    assert split_thinking(content) == expected


@given(st.text())
def test_a_text_without_tags_is_left_as_it_is(content: str) -> None:
    if "<think>" not in content and "</think>" not in content:
        assert split_thinking(content) == (None, content)


def response(**message: object) -> dict[str, Any]:
    return {"choices": [{"message": {"role": "assistant", **message}, "finish_reason": "stop"}]}


@pytest.mark.parametrize(
    ("message", "content", "reasoning"),
    [
        ({"content": "a", "reasoning_content": "r"}, "a", "r"),
        ({"content": "a", "reasoning": "r"}, "a", "r"),
        ({"content": "a", "reasoning_content": None, "reasoning": "r"}, "a", "r"),
        ({"content": "a", "reasoning_content": "\n\n"}, "a", None),
        ({"content": None, "reasoning": "cut"}, "", "cut"),
        ({"content": "<think>r</think>a"}, "a", "r"),
        ({"content": "<think>r</think>a", "reasoning": "own"}, "<think>r</think>a", "own"),
        ({}, "", None),
        (
            {
                "content": [
                    {"type": "thinking", "thinking": [{"type": "text", "text": "r"}]},
                    {"type": "text", "text": "a"},
                    {"type": "reference", "reference_ids": [1]},
                    {"type": "text", "text": "b"},
                ]
            },
            "ab",
            "r",
        ),
    ],
)
def test_content_and_reasoning_are_found_wherever_servers_put_them(
    message: dict[str, object], content: str, reasoning: str | None
) -> None:
    completion = completion_from_response(response(**message))
    assert (completion.content, completion.reasoning) == (content, reasoning)


def test_everything_a_server_tells_is_kept() -> None:
    logprobs = {"content": [{"token": "a", "logprob": -0.1, "top_logprobs": []}]}
    completion = completion_from_response(
        {
            "id": "chatcmpl-7",
            "model": "deep-1",
            "system_fingerprint": "fp-3",
            "prompt_token_ids": [1, 2],
            "usage": {
                "prompt_tokens": 2,
                "completion_tokens": 3,
                "completion_tokens_details": {"reasoning_tokens": 1},
            },
            "choices": [
                {
                    "message": {"content": None, "refusal": "I will not."},
                    "logprobs": logprobs,
                    "token_ids": [7, 8, 9],
                    "finish_reason": "length",
                }
            ],
        }
    )
    assert completion.refusal == "I will not."
    assert completion.finish_reason == "length"
    assert (completion.model, completion.revision) == ("deep-1", "fp-3")
    assert completion.usage == Usage(2, 3, 1)
    assert completion.logprobs == logprobs
    assert (completion.prompt_token_ids, completion.token_ids) == ((1, 2), (7, 8, 9))
    assert completion.response_id == "chatcmpl-7"
    assert not completion.simulated


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (None, Usage()),
        ({"prompt_tokens": 1}, Usage(1, None, None)),
        ({"completion_tokens": 2, "completion_tokens_details": None}, Usage(None, 2, None)),
        ({"completion_tokens": 2, "reasoning_tokens": 1}, Usage(None, 2, 1)),
    ],
)
def test_usage_that_a_server_does_not_tell_stays_unknown(usage: Any, expected: Usage) -> None:
    assert completion_from_response({**response(content="a"), "usage": usage}).usage == expected


@pytest.mark.parametrize(
    "mark",
    [{"simulated": True}, {"model": "simulated-1"}, {"system_fingerprint": "simulated-abc"}],
)
def test_a_simulated_answer_is_known_by_any_of_its_marks(mark: dict[str, object]) -> None:
    assert completion_from_response({**response(content="a"), **mark}).simulated


@pytest.mark.parametrize(
    "broken",
    [
        {},
        {"choices": None},
        {"choices": []},
        {"choices": [{}]},
        {"choices": [{"message": None}]},
        {"choices": [{"text": "a completion of another kind"}]},
    ],
)
def test_an_answer_without_a_message_is_a_transport_fault(broken: dict[str, Any]) -> None:
    with pytest.raises(TransportFault, match="deep"):
        completion_from_response(broken, "deep")
