"""False alarms on real data: none on GSM8K, Self-Instruct, IFEval and LCCD but known mistakes."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest

from agents.checks import LengthBounds, check_final_answer, check_json, run_checks, wants_json
from agents.checks.answers import final_answer
from agents.checks.sums import asked_sum
from common.language import is_language

CHECKOUT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("STILLHOUSE_DATA") or CHECKOUT.parent / "shared" / "data")

pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(
        not DATA.is_dir(), reason=f"no data folder at {DATA}; set STILLHOUSE_DATA to one"
    ),
]

# Sums that are wrong in GSM8K itself.
GSM8K_MISTAKES = {"192*100 = $1920", "6*2.5 = $18.00", "4000 + 2040 = 6120", "100 * 0.75 = $0.75"}


def gsm8k() -> list[dict[str, str]]:
    return json.loads((DATA / "seeds/gsm8k_alpaca_1500.json").read_text())


def self_instruct() -> list[tuple[str, str, str]]:
    lines = (DATA / "seeds/self_instruct_175.jsonl").read_text().splitlines()
    return [
        (seed["instruction"], instance["input"], instance["output"])
        for seed in map(json.loads, lines)
        for instance in seed["instances"]
    ]


def ifeval(model: str) -> list[dict[str, Any]]:
    with gzip.open(DATA / f"eval/ifeval/verdicts/{model}_strict.jsonl.gz", "rt") as lines:
        return [json.loads(line) for line in lines]


def failures(
    instruction: str, response: str, language: str, category: str | None = None, input: str = ""
) -> list[tuple[str, str]]:
    results = run_checks(
        instruction=instruction,
        input=input,
        response=response,
        reference=None,
        category=category,
        language=language,
        finish_reason="stop",
        bounds=LengthBounds(),
    )
    return [(r.name, str(r.evidence)) for r in results if r.label == "fail"]


def test_gsm8k_fails_only_where_its_own_sums_are_wrong() -> None:
    found = [
        failure
        for row in gsm8k()
        for failure in failures(row["instruction"], row["output"], "en", "math")
    ]
    assert {name for name, _ in found} == {"stated_equations"}
    assert len(found) == len(GSM8K_MISTAKES)
    assert all(any(mistake in evidence for mistake in GSM8K_MISTAKES) for _, evidence in found)


def test_self_instruct_fails_nowhere() -> None:
    for instruction, material, response in self_instruct():
        assert failures(instruction, response, "en", input=material) == []


def test_ifevals_gpt_4o_mini_responses_fail_nowhere() -> None:
    for row in ifeval("en_gpt-4o-mini-2024-07-18"):
        assert failures(row["prompt"], row["response"], "en") == []


def test_english_data_is_never_called_another_language() -> None:
    texts = [text for row in gsm8k() for text in (row["instruction"], row["output"])]
    texts += [
        text for instruction, material, _ in self_instruct() for text in (instruction, material)
    ]
    texts += [row["prompt"] for row in ifeval("en_gpt-4o-mini-2024-07-18")]
    assert [text for text in texts if is_language(text, "en") is False] == []


def test_self_instructs_one_chinese_output_is_called_so() -> None:
    others = [output for *_, output in self_instruct() if is_language(output, "en") is False]
    assert len(others) == 1
    assert is_language(others[0], "zh") is True


def test_chinese_dialogues_are_never_called_another_language() -> None:
    dialogues = json.loads((DATA / "seeds/lccd_toy.json").read_text())
    turns = [turn.replace(" ", "") for split in dialogues.values() for d in split for turn in d]
    verdicts = [is_language(turn, "zh") for turn in turns]
    assert False not in verdicts
    assert verdicts.count(True) > 0.8 * len(turns)


def test_japanese_prompts_are_japanese() -> None:
    prompts = [row["prompt"] for row in ifeval("ja_Qwen__Qwen2.5-1.5B-Instruct-GPTQ-Int4")]
    assert {is_language(prompt, "ja") for prompt in prompts} == {True}


def test_gsm8k_answers_are_read_and_equal_themselves() -> None:
    rows = gsm8k()
    read = [final_answer(row["output"]) for row in rows]
    assert sum(found is not None and found.certain for found in read) > 0.97 * len(rows)
    for row in rows:
        result = check_final_answer(row["output"], row["output"])
        assert result is None or (result.label, result.decisive) == ("pass", True)


def test_the_first_gsm8k_answers_are_the_published_ones() -> None:
    published = [72, 10, 5, 42, 624, 35, 48, 16, 41, 990, 121, 5, 85, 35]
    for row, value in zip(gsm8k(), published, strict=False):
        found = final_answer(row["output"])
        assert found is not None
        assert found.numbers[0].value == value


def test_no_word_problem_is_taken_for_a_plain_sum() -> None:
    instructions = [row["instruction"] for row in gsm8k()]
    instructions += [f"{instruction}\n{material}" for instruction, material, _ in self_instruct()]
    assert [text for text in instructions if asked_sum(text) is not None] == []


@pytest.mark.parametrize(
    "model", ["en_gpt-4o-mini-2024-07-18", "en_Qwen__Qwen2.5-1.5B-Instruct-GPTQ-Int4"]
)
def test_json_is_wanted_where_ifeval_says_so_and_judged_as_its_scorer_does(model: str) -> None:
    name = "en:detectable_format:json_format"
    lenient = 0
    for row in ifeval(model):
        asked = name in row["instruction_id_list"]
        assert wants_json(row["prompt"]) is asked
        if not asked:
            continue
        result = check_json(row["prompt"], row["response"])
        assert result is not None
        followed = row["follow_instruction_list"][row["instruction_id_list"].index(name)]
        if followed:
            assert result.label == "pass"
        lenient += result.label == "pass" and not followed
    # A sentence around the only object: the scorer says no, the check forgives it.
    assert lenient <= 1
