"""The verification agent: is the response correct and consistent? Checks first, then a judge.

In: a candidate with its response. Out: verdicts with evidence. Executable checks decide where they
can; where none is decisive a judge is asked, best one of another model family than the teacher who
wrote the response. What neither could decide is *unscored*. Paper: arXiv 2504.15027.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from agents.asking import Asker, ask_structured
from agents.categories import Category
from agents.checks import CheckResult, LengthBounds, run_checks
from agents.expansion import Task
from agents.prompts import PromptLibrary
from agents.selection import Policy
from agents.settings import RoleSettings
from teachers.errors import SchemaFailure

ROLE = "verification"
Label = Literal["pass", "fail", "unscored"]


class HumanSettings(BaseModel):
    """When a person decides: for these categories, or whenever nothing else could."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    categories: tuple[Category, ...] = ()
    when: Literal["never", "unscored", "always"] = "never"


class VerificationSettings(RoleSettings):
    """`judge` asks a teacher where checks do not decide; `max_rounds` is how often a failed
    candidate goes back to rewriting with the verdict's evidence."""

    prompt: str = "verification/judge"
    checks: bool = True
    judge: bool = True
    max_rounds: int = Field(default=1, ge=0, le=10)
    length: LengthBounds = LengthBounds()
    on_unscored: Policy = "reject"
    human: HumanSettings = HumanSettings()


class JudgeAnswer(BaseModel):
    """What the judge prompt asks for; evidence first, so that it precedes the decision."""

    model_config = ConfigDict(extra="ignore")

    evidence: str
    correct: bool = Field(strict=True)
    consistent: bool = Field(strict=True)


@dataclass(frozen=True, slots=True)
class Finding:
    """One verdict: who found what, with evidence; `request_key` leads to a judge's words."""

    name: str
    kind: Literal["executable", "judge"]
    label: Label
    evidence: dict[str, Any]
    request_key: str | None = None


@dataclass(frozen=True, slots=True)
class Verification:
    """Every finding, the label they add up to, and what to tell the rewriting agent."""

    label: Label
    findings: tuple[Finding, ...]
    feedback: str | None


async def verify(
    asker: Asker,
    prompts: PromptLibrary,
    settings: VerificationSettings,
    task: Task,
    response: str,
    reasoning: str | None,
    finish_reason: str | None,
) -> Verification:
    """Runs the checks, and asks the judge where they do not decide."""
    results: tuple[CheckResult, ...] = ()
    if settings.checks:
        results = run_checks(
            instruction=task.instruction,
            input=task.input,
            response=response,
            reference=task.reference,
            category=task.category,
            language=task.language,
            finish_reason=finish_reason,
            bounds=settings.length,
        )
    findings = tuple(Finding(r.name, "executable", r.label, r.evidence) for r in results)
    failed = [r for r in results if r.label == "fail"]
    if any(r.decisive for r in failed):
        return Verification("fail", findings, _feedback_from_checks(failed))
    if any(r.decisive for r in results) or not settings.judge:
        # A check that decides nothing (not empty, not refused) is no verification.
        decided = any(r.decisive for r in results)
        label: Label = "fail" if failed else "pass" if decided else "unscored"
        return Verification(label, findings, _feedback_from_checks(failed))
    judged = await _judge(asker, prompts, settings, task, response, reasoning)
    findings = (*findings, judged)
    feedback = _feedback_from_checks(failed)
    if judged.label == "fail":
        feedback = "\n".join(filter(None, (feedback, str(judged.evidence["evidence"]))))
    label = "fail" if failed else judged.label
    return Verification(label, findings, feedback)


def judge_variables(task: Task, response: str, reasoning: str | None) -> dict[str, object]:
    """What the judge's prompt is filled in with."""
    return {
        **task.variables(), "system": task.system, "reference": task.reference,
        "response": response, "reasoning": reasoning,
    }  # fmt: skip


async def _judge(
    asker: Asker,
    prompts: PromptLibrary,
    settings: VerificationSettings,
    task: Task,
    response: str,
    reasoning: str | None,
) -> Finding:
    prompt = prompts.get(settings.prompt).render(judge_variables(task, response, reasoning))
    try:
        answer = await ask_structured(asker, ROLE, prompt, "verification", JudgeAnswer)
    except SchemaFailure as failure:
        return Finding("judge", "judge", "unscored", {"problem": failure.cause})
    judged = answer.value
    return Finding(
        "judge",
        "judge",
        "pass" if judged.correct and judged.consistent else "fail",
        {
            "correct": judged.correct,
            "consistent": judged.consistent,
            "evidence": judged.evidence,
            "teacher": answer.reply.by.teacher,
        },
        answer.reply.request_key,
    )


def _feedback_from_checks(failed: list[CheckResult]) -> str | None:
    if not failed:
        return None
    lines = []
    for result in failed:
        # The right answer is not passed on: a chain of thought written towards a known end teaches
        # nothing, and the check that knows it would be passed by copying.
        told = {key: value for key, value in result.evidence.items() if key != "wanted"}
        detail = "; ".join(f"{key}: {value}" for key, value in told.items())
        lines.append(f"The check '{result.name}' failed. {detail}".strip())
    return "\n".join(lines)
