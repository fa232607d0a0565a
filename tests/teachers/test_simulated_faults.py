"""The faults that the simulated teacher puts into an answer's content, at set rates."""

from __future__ import annotations

import json
from typing import Any

import pytest

from teachers.simulated.answers import Answer, answer
from teachers.simulated.asks import read_ask
from teachers.simulated.language import detect_language
from teachers.simulated.settings import SimulatedSettings

INSTRUCTIONS = {
    "en": "Explain how bridges carry heavy trains across wide rivers.",
    "ja": "鉄道の橋が広い川を越えて重い列車を支える仕組みを説明してください。",
    "zh": "请解释铁路桥梁如何承载沉重的列车跨过宽阔的河流。",
}


def request(instruction: str, *turns: str, rewrite: bool = False) -> dict[str, Any]:
    """A question, or with `rewrite` a structured ask, with the turns that follow it."""
    contents = (f"Do this.\n<instruction>\n{instruction}\n</instruction>\n", *turns)
    roles = ("user", "assistant") * len(contents)
    messages = [{"role": r, "content": c} for r, c in zip(roles, contents, strict=False)]
    wanted = {"type": "json_schema", "json_schema": {"name": "rewrite"}}
    return {"messages": messages} | ({"response_format": wanted} if rewrite else {})


def ask(body: dict[str, Any], settings: SimulatedSettings) -> Answer:
    return answer(read_ask(body), settings)


def parsed(given: Answer) -> Any:
    """The content as JSON, or None where it is broken."""
    try:
        return json.loads(given.content or "")
    except ValueError:
        return None


def test_broken_json_is_drawn_anew_after_a_complaint_which_keeps_the_material() -> None:
    settings = SimulatedSettings(malformed_json=0.5)
    recovered = broken = 0
    for n in range(60):
        instruction = f"Explain the number {n} to me."
        first = ask(request(instruction, rewrite=True), settings)
        if parsed(first) is not None:
            continue
        broken += 1
        complaint = request(instruction, first.content or "", "No valid JSON.", rewrite=True)
        second = parsed(ask(complaint, settings))
        if second is not None:
            assert str(n) in second["instruction"]
            recovered += 1
    assert 15 <= broken <= 45
    assert 5 <= recovered < broken


def test_malformed_json_is_never_put_into_free_text() -> None:
    body = request("What is 17 * 23 + 5?")
    assert ask(body, SimulatedSettings(malformed_json=1)) == ask(body, SimulatedSettings())


@pytest.mark.parametrize("language", ["en", "ja", "zh"])
def test_a_refusal_is_in_the_language_and_in_its_own_field_where_json_was_asked(
    language: str,
) -> None:
    settings = SimulatedSettings(refusal=1)
    plain = ask(request(INSTRUCTIONS[language]), settings)
    assert detect_language(plain.content or "") == language
    assert plain.refusal is None
    refused = ask(request(INSTRUCTIONS[language], rewrite=True), settings)
    assert refused.content is None
    assert detect_language(refused.refusal or "") == language


def test_an_empty_answer_has_no_content() -> None:
    given = ask(request(INSTRUCTIONS["en"]), SimulatedSettings(empty=1))
    assert (given.content, given.finish_reason, given.injected) == ("", "stop", ("empty",))


def test_a_cut_answer_is_the_beginning_of_the_whole_and_says_so() -> None:
    cut = ask(request(INSTRUCTIONS["en"]), SimulatedSettings(length_cut=1))
    whole = ask(request(INSTRUCTIONS["en"]), SimulatedSettings())
    assert cut.finish_reason == "length"
    assert cut.content
    assert whole.content is not None
    assert whole.content.startswith(cut.content)
    assert len(cut.content) < len(whole.content)


def test_another_sampling_seed_draws_the_fault_anew() -> None:
    settings = SimulatedSettings(empty=0.5)
    given = {ask(request("Hi") | {"seed": n}, settings).content == "" for n in range(20)}
    assert given == {True, False}
