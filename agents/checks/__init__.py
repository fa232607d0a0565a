"""Executable checks: what can be found out about a response without asking anybody.

Pure functions of text; nothing generated is executed but one reading SQL query (`sql_result`).
`run_checks` runs them all in one fixed order and returns what applied. A failed check is always
certain of its ground (`decisive`); a passed one is decisive only where it settles correctness, as
an equal final answer does.
"""

from __future__ import annotations

from agents.checks.json_validity import check_json, wants_json
from agents.checks.language import check_instruction_language, check_response_language
from agents.checks.length import LengthBounds, check_length, check_repetition, check_truncated
from agents.checks.maths import (
    check_arithmetic_instruction,
    check_final_answer,
    check_stated_equations,
)
from agents.checks.reference import check_reference
from agents.checks.refusal import check_refusal
from agents.checks.result import CheckResult, Scalar
from agents.checks.sql_result import check_sql_result

# Their responses repeat what they were given, wrong sums included.
_REPEATS_MATERIAL = frozenset(
    {"code", "sql", "translation", "writing", "summarization", "classification", "extraction"}
)


def run_checks(
    *,
    instruction: str,
    input: str,
    response: str,
    reference: str | None,
    category: str | None,
    language: str | None,
    finish_reason: str | None,
    bounds: LengthBounds,
) -> tuple[CheckResult, ...]:
    """Every check that applies to one response, in a fixed order, cheap ones first.

    A `<think>…</think>` part is left out, except where a loop is looked for.
    """
    answer = response.rpartition("</think>")[2]
    asked = f"{instruction}\n{input}" if input else instruction
    number = check_final_answer(answer, reference) if category == "math" else None
    query = check_sql_result(asked, answer, reference) if category == "sql" else None
    results = (
        check_truncated(finish_reason),
        check_length(answer, bounds),
        check_refusal(answer, instruction),
        check_repetition(response, instruction),
        check_response_language(answer, language, category, instruction, input),
        check_json(instruction, answer),
        check_arithmetic_instruction(asked, answer),
        number,
        query,
        None if number or query else check_reference(answer, reference),
        None if category in _REPEATS_MATERIAL else check_stated_equations(answer, asked),
    )
    return tuple(result for result in results if result is not None)


__all__ = [
    "CheckResult",
    "LengthBounds",
    "Scalar",
    "check_arithmetic_instruction",
    "check_final_answer",
    "check_instruction_language",
    "check_json",
    "check_length",
    "check_reference",
    "check_refusal",
    "check_repetition",
    "check_response_language",
    "check_sql_result",
    "check_stated_equations",
    "check_truncated",
    "run_checks",
    "wants_json",
]
