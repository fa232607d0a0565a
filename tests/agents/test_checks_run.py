"""All the checks together: a fixed order, only what applies, evidence that can be kept."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from agents.checks import CheckResult, LengthBounds, run_checks

GOOD = "There are 6 * 7 = 42 apples in all of the baskets on the table.\n\nFinal answer: 42"


def run(**changes: Any) -> dict[str, CheckResult]:
    given: dict[str, Any] = {
        "instruction": "There are 6 baskets with 7 apples each. How many apples are there?",
        "input": "",
        "response": GOOD,
        "reference": "42",
        "category": "math",
        "language": "en",
        "finish_reason": "stop",
        "bounds": LengthBounds(),
    }
    return {result.name: result for result in run_checks(**(given | changes))}


def test_a_good_answer_passes_everything_in_a_fixed_order() -> None:
    results = run()
    assert list(results) == [
        "truncated",
        "length",
        "refusal",
        "language",
        "final_answer",
        "stated_equations",
    ]
    assert {result.label for result in results.values()} == {"pass"}
    assert [name for name, result in results.items() if result.decisive] == ["final_answer"]


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"finish_reason": "length"}, "truncated"),
        ({"response": " "}, "length"),
        ({"bounds": LengthBounds(max_chars=20)}, "length"),
        ({"response": "I'm sorry, but I can't assist with that."}, "refusal"),
        ({"response": "There are many apples. " * 40}, "repetition"),
        ({"response": "バスケットには全部で42個のりんごが入っています。"}, "language"),
        ({"instruction": "List the apples as JSON.", "reference": None}, "json"),
        ({"instruction": "What is 6 * 8?", "reference": None}, "arithmetic"),
        ({"reference": "43"}, "final_answer"),
        ({"response": GOOD.replace("= 42", "= 45")}, "stated_equations"),
    ],
)
def test_each_fault_is_found_by_its_check_alone(changes: dict[str, Any], name: str) -> None:
    failed = [result for result in run(**changes).values() if result.label == "fail"]
    assert [(result.name, result.decisive) for result in failed] == [(name, True)]


def test_evidence_is_made_of_json_scalars() -> None:
    for response in (GOOD, "x " * 400, "", "1 + 1 = 3"):
        for result in run(response=response).values():
            kept = orjson.loads(orjson.dumps(result.evidence))
            assert kept == result.evidence
            assert all(not isinstance(value, dict | list) for value in kept.values())


def test_reasoning_before_the_answer_is_not_the_answer() -> None:
    thought = "<think>Is it 6 + 7 = 14? No. たぶん四十二だと思いますが確かめます。</think>"
    assert {result.label for result in run(response=thought + GOOD).values()} == {"pass"}
    assert run(response=thought)["length"].label == "fail"


def test_the_input_belongs_to_the_question() -> None:
    results = run(instruction="Calculate the following:", input="6 * 8", reference=None)
    assert results["arithmetic"].evidence["wanted"] == "48"


def test_a_reference_is_compared_as_a_number_only_for_maths() -> None:
    results = run(category="qa", reference="It ended in 1945.", response="It ended in May 1945.")
    assert "final_answer" not in results


@pytest.mark.parametrize("category", ["writing", "translation", "code", "extraction"])
def test_sums_in_material_are_not_checked(category: str) -> None:
    assert "stated_equations" not in run(category=category, response="He wrote: 1 + 1 = 3.")


def test_an_unclassified_sample_is_checked_too() -> None:
    results = run(category=None, language=None, reference=None, finish_reason=None)
    assert list(results) == ["length", "refusal", "stated_equations"]


def test_a_query_is_judged_by_its_rows_and_not_by_its_language() -> None:
    results = run(
        instruction="大阪の顧客の名前を求めるSQLを書いてください。",
        input="CREATE TABLE customers (name TEXT, city TEXT);",
        response="select name from customers where not city <> 'Osaka'",
        reference="SELECT name FROM customers WHERE city = 'Osaka'",
        category="sql",
        language="ja",
    )
    assert results["sql_result"].decisive
    assert {result.label for result in results.values()} == {"pass"}


def test_words_that_equal_the_reference_settle_what_no_number_does() -> None:
    results = run(
        instruction="Ann is taller than Ken. Who is taller?",
        response="The answer is Ann.",
        reference="Ann",
        category="logic",
    )
    assert [name for name, result in results.items() if result.decisive] == ["reference"]
