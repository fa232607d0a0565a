"""The verification agent: checks decide where they can, a judge where they cannot, else nobody."""

from __future__ import annotations

from typing import Any

import pytest
from askers import LIBRARY, ScriptedAsker, TeacherAsker, said, simulated_teacher

from agents import verification
from agents.checks import CheckResult
from agents.expansion import Task
from agents.verification import Finding, Verification, VerificationSettings, verify
from teachers.types import Completion

SETTINGS = VerificationSettings()
SUM = Task("What is 17 * 23 + 5?", "", "math", "en")
RIVER = Task("Describe the river Elbe in a sentence.", "", "writing", "en")
ELBE = "The Elbe rises in the Giant Mountains and flows through Dresden and Hamburg to the sea."
YES = {"evidence": "It names source and mouth.", "correct": True, "consistent": True}
NO = {"evidence": "The Elbe does not flow through Dresden.", "correct": False, "consistent": True}


async def verified(
    asker: ScriptedAsker | TeacherAsker,
    task: Task,
    response: str,
    settings: VerificationSettings = SETTINGS,
    finish_reason: str | None = "stop",
    reasoning: str | None = None,
) -> Verification:
    return await verify(asker, LIBRARY, settings, task, response, reasoning, finish_reason)


def found(result: Verification, name: str) -> Finding:
    (finding,) = [f for f in result.findings if f.name == name]
    return finding


async def test_a_check_that_settles_it_passes_without_asking_the_judge() -> None:
    asker = ScriptedAsker()
    result = await verified(asker, SUM, "17 * 23 = 391, and 391 + 5 = 396.\nFinal answer: 396")
    assert result.label == "pass"
    assert result.feedback is None
    assert asker.asked == []
    assert found(result, "arithmetic").label == "pass"


async def test_a_check_that_settles_it_fails_without_asking_the_judge() -> None:
    asker = ScriptedAsker()
    result = await verified(asker, SUM, "Final answer: 395")
    assert result.label == "fail"
    assert asker.asked == []
    failed = found(result, "arithmetic")
    assert (failed.kind, failed.label) == ("executable", "fail")


async def test_the_feedback_of_a_failed_check_has_its_evidence_but_not_the_right_answer() -> None:
    result = await verified(ScriptedAsker(), SUM, "Final answer: 395")
    assert result.feedback is not None
    assert "The check 'arithmetic' failed." in result.feedback
    evidence = found(result, "arithmetic").evidence
    assert str(evidence.pop("wanted")) == "396"
    assert all(str(value) in result.feedback for value in evidence.values())
    assert "396" not in result.feedback


async def test_a_reference_decides_a_maths_answer() -> None:
    task = Task("How many eggs are left?", "", "math", "en", reference="6 + 6 = 12\n#### 12")
    right = await verified(ScriptedAsker(), task, "There are twelve.\nFinal answer: 12")
    wrong = await verified(ScriptedAsker(), task, "Final answer: 13")
    assert (right.label, wrong.label) == ("pass", "fail")


async def test_where_checks_pass_but_do_not_decide_the_judge_does() -> None:
    asker = ScriptedAsker(YES)
    result = await verified(asker, RIVER, ELBE)
    assert result.label == "pass"
    assert result.feedback is None
    assert [ask.role for ask in asker.asked] == ["verification"]
    assert asker.asked[0].schema_name == "verification"
    judged = found(result, "judge")
    assert (judged.kind, judged.label, judged.request_key) == ("judge", "pass", "key-1")
    assert judged.evidence == {**YES, "teacher": "simulated"}
    assert len(result.findings) > 1
    assert all(f.kind == "executable" for f in result.findings[:-1])


@pytest.mark.parametrize(("correct", "consistent"), [(False, True), (True, False), (False, False)])
async def test_a_response_that_is_not_both_correct_and_consistent_fails(
    correct: bool, consistent: bool
) -> None:
    asker = ScriptedAsker({**NO, "correct": correct, "consistent": consistent})
    result = await verified(asker, RIVER, ELBE)
    assert result.label == "fail"
    assert result.feedback == NO["evidence"]
    judged = found(result, "judge")
    assert judged.evidence["correct"] is correct
    assert judged.evidence["consistent"] is consistent


async def test_the_judge_sees_the_whole_candidate() -> None:
    asker = ScriptedAsker(YES)
    task = Task("訳してください。", "川", "translation", "ja", reference="river")
    await verified(asker, task, "川は英語で river と言います。", reasoning="川は river です。")
    prompt = said(asker.asked[0])
    assert "<instruction>\n訳してください。\n</instruction>" in prompt
    assert "<input>\n川\n</input>" in prompt
    assert "<reference>\nriver\n</reference>" in prompt
    assert "<reasoning>\n川は river です。\n</reasoning>" in prompt
    assert "<response>\n川は英語で river と言います。\n</response>" in prompt
    assert "<category>translation</category>" in prompt
    assert "<language>ja</language>" in prompt


@pytest.mark.parametrize("wrong", ["true", 1, 0, None, "yes"])
async def test_what_is_no_boolean_is_refused_and_not_converted(wrong: object) -> None:
    asker = ScriptedAsker({**YES, "correct": wrong}, NO)
    result = await verified(asker, RIVER, ELBE)
    assert "`correct`" in asker.asked[1].turns[1].content
    assert result.label == "fail"
    assert found(result, "judge").request_key == "key-2"


@pytest.mark.parametrize("nothing", ["I think it is fine.", "", '{"correct": true}'])
async def test_a_judge_without_a_readable_verdict_leaves_the_candidate_unscored(
    nothing: str,
) -> None:
    asker = ScriptedAsker(nothing, nothing, nothing)
    result = await verified(asker, RIVER, ELBE)
    assert result.label == "unscored"
    assert result.feedback is None
    judged = found(result, "judge")
    assert (judged.label, judged.request_key) == ("unscored", None)
    assert "After 2 complaints" in judged.evidence["problem"]


async def test_a_judge_that_refuses_leaves_the_candidate_unscored() -> None:
    refusal = Completion(content="", refusal="No.")
    result = await verified(ScriptedAsker(refusal, refusal, refusal), RIVER, ELBE)
    assert result.label == "unscored"


async def test_without_a_judge_only_a_decisive_check_verifies() -> None:
    settings = VerificationSettings(judge=False)
    asker = ScriptedAsker()
    assert (await verified(asker, RIVER, ELBE, settings)).label == "unscored"
    assert (await verified(asker, RIVER, "", settings)).label == "fail"
    assert asker.asked == []


async def test_without_checks_the_judge_alone_decides() -> None:
    settings = VerificationSettings(checks=False)
    asker = ScriptedAsker(YES)
    result = await verified(asker, SUM, "Final answer: 395", settings)
    assert result.label == "pass"
    assert [f.name for f in result.findings] == ["judge"]


async def test_with_neither_checks_nor_judge_nothing_is_verified() -> None:
    settings = VerificationSettings(checks=False, judge=False)
    asker = ScriptedAsker()
    assert await verified(asker, SUM, "Final answer: 396", settings) == Verification(
        "unscored", (), None
    )
    assert asker.asked == []


@pytest.mark.parametrize(
    ("task", "response", "finish_reason", "name"),
    [
        (RIVER, "The Elbe is", "length", "truncated"),
        (RIVER, "I'm sorry, but I can't help with that.", "stop", "refusal"),
        (RIVER, "エルベ川はドレスデンとハンブルクを通って北海に注ぐ、長くて美しい川です。", "stop",
         "language"),
        (RIVER, "   ", "stop", "length"),
        (Task("Give the answer as JSON.", "", "other", "en"), "{'a': 1", "stop", "json"),
        (Task("Why is 2 + 2 even?", "", "qa", "en"), "Because 2 + 2 = 5.", "stop",
         "stated_equations"),
    ],
    ids=lambda value: value if isinstance(value, str) and " " not in value else "",
)  # fmt: skip
async def test_each_failed_check_fails_the_candidate_and_is_its_feedback(
    task: Task, response: str, finish_reason: str, name: str
) -> None:
    asker = ScriptedAsker()
    result = await verified(asker, task, response, finish_reason=finish_reason)
    assert result.label == "fail"
    assert asker.asked == []
    assert f"The check '{name}' failed." in str(result.feedback)


def instead(monkeypatch: pytest.MonkeyPatch, *results: CheckResult) -> None:
    """Checks with these results: the ones we have now never fail without being sure."""
    monkeypatch.setattr(verification, "run_checks", lambda **_: results)


UNSURE = CheckResult("tone", "fail", False, {"found": "gruff"})
PASSED = CheckResult("length", "pass", False)
SURE = CheckResult("arithmetic", "pass", True)


@pytest.mark.parametrize("judge", [YES, NO, "unreadable"])
async def test_a_failed_check_that_is_not_sure_fails_the_candidate_whatever_the_judge_says(
    judge: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    instead(monkeypatch, UNSURE, PASSED)
    asker = ScriptedAsker(judge, judge, judge)
    result = await verified(asker, RIVER, ELBE)
    assert result.label == "fail"
    assert asker.asked
    assert "The check 'tone' failed. found: gruff" in str(result.feedback)
    assert (NO["evidence"] in str(result.feedback)) == (judge is NO)


async def test_a_failed_check_that_is_not_sure_fails_beside_a_passed_one_that_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    instead(monkeypatch, UNSURE, SURE)
    asker = ScriptedAsker()
    assert (await verified(asker, RIVER, ELBE)).label == "fail"
    assert asker.asked == []


async def test_a_failed_check_that_is_not_sure_decides_where_there_is_no_judge(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    instead(monkeypatch, UNSURE)
    settings = VerificationSettings(judge=False)
    assert (await verified(ScriptedAsker(), RIVER, ELBE, settings)).label == "fail"


async def test_a_real_judge_passes_a_sound_response_and_fails_one_that_misses_the_task() -> None:
    async with simulated_teacher() as asker:
        sound = await verified(asker, RIVER, ELBE)
        missed = await verified(asker, RIVER, "Bread is best when it is warm and has a dark crust.")
        assert len(asker.asked) == 2
    assert sound.label == "pass"
    assert missed.label == "fail"
    assert missed.feedback == found(missed, "judge").evidence["evidence"]
    assert "key words" in str(missed.feedback)


async def test_a_real_judge_catches_a_wrong_sum_where_the_checks_are_switched_off() -> None:
    async with simulated_teacher() as asker:
        settings = VerificationSettings(checks=False)
        right = await verified(asker, SUM, "Final answer: 396", settings)
        wrong = await verified(asker, SUM, "Final answer: 395", settings)
    assert (right.label, wrong.label) == ("pass", "fail")
    assert "396" in str(wrong.feedback)


async def test_a_real_judge_that_breaks_every_answer_leaves_the_candidate_unscored() -> None:
    async with simulated_teacher(malformed_json=1.0) as asker:
        assert (await verified(asker, RIVER, ELBE)).label == "unscored"
