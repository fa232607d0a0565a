"""Refusals in words: whole ones fail, regrets at the head of real answers do not."""

from __future__ import annotations

import pytest

from agents.checks import check_refusal


@pytest.mark.parametrize(
    "response",
    [
        "I'm sorry, but I can't assist with that.",
        "I’m sorry, but I can’t help with this request.",
        "Sorry, I cannot fulfill that request. Is there anything else?",
        "As an AI language model, I cannot browse the internet.",
        "As an AI, I do not have access to real-time information.",
        "I'm unable to provide that information.",
        "Unfortunately, I am not able to generate images.",
        "I won't help you with that.",
        "申し訳ありませんが、お手伝いできません。",
        "申し訳ございませんが、そのご質問にはお答えいたしかねます。",
        "AIアシスタントとして、その情報を提供することはできません。",
        "残念ながら、その質問には答えられません。",
        "很抱歉，我无法回答这个问题。",
        "抱歉，我不能提供这方面的帮助。",
        "作为一个AI语言模型，我没有办法访问互联网。",
    ],
)
def test_a_refusal_fails(response: str) -> None:
    result = check_refusal(response)
    assert result is not None
    assert (result.label, result.decisive) == ("fail", True)
    assert response.startswith(str(result.evidence["opening"])[:20])


@pytest.mark.parametrize(
    "response",
    [
        "The answer is 5.",
        "I can't wait to share this story with you!",
        "I can't help but smile when spring comes.",
        "Sorry for the delay! Here is the answer: 5.",
        "Unfortunately, I couldn't find my keys, so I walked home.",
        "I am unable to attend the meeting on Monday.",
        "I'm sorry for your loss. My thoughts are with you.",
        "Dear Ann, I'm sorry, but I can't provide the report before Friday.",
        "As an AI, I don't have feelings, but here is how people describe them.",
        "申し訳ありません、遅れました。会議は3時からです。",
        "对不起，我来晚了。",
        "我无法忘记那个夏天。",
    ],
)
def test_an_answer_is_no_refusal(response: str) -> None:
    result = check_refusal(response)
    assert result is not None
    assert (result.label, result.decisive) == ("pass", False)


def test_a_long_answer_that_opens_with_a_limit_is_no_refusal() -> None:
    response = "I'm sorry, but I can't provide legal advice. " + "In general, keep records. " * 40
    result = check_refusal(response)
    assert result is not None
    assert result.label == "pass"


@pytest.mark.parametrize(
    "instruction",
    [
        "Write a polite email declining a request.",
        "丁寧に断る返事を書いてください。",
        "写一句拒绝的话。",
    ],
)
def test_a_refusal_that_was_asked_for_is_left_alone(instruction: str) -> None:
    assert check_refusal("I'm sorry, but I can't support your request.", instruction) is None
