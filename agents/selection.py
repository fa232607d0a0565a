"""The selection agent: scores how much a candidate would teach, and says whether that is enough.

In: a candidate with its response. Out: three integers from 0 to 9 (informativeness, helpfulness,
generalisation), or *unscored* where no valid answer could be had; that is never turned into a
number. Paper: arXiv 2504.15027.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from agents.asking import Asker, ask_structured
from agents.expansion import Task
from agents.prompts import PromptLibrary
from agents.settings import RoleSettings
from teachers.errors import SchemaFailure

ROLE = "selection"
Policy = Literal["accept", "reject", "hold"]


class MinimumScores(BaseModel):
    """The least a candidate must reach in each dimension and on average."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    informativeness: int = Field(default=0, ge=0, le=9)
    helpfulness: int = Field(default=0, ge=0, le=9)
    generalisation: int = Field(default=0, ge=0, le=9)
    mean: float = Field(default=0, ge=0, le=9)


class SelectionSettings(RoleSettings):
    """`on_unscored` says what becomes of a candidate that the teacher could not score."""

    prompt: str = "selection/score"
    minimum: MinimumScores = MinimumScores()
    on_unscored: Policy = "reject"


class SelectionAnswer(BaseModel):
    """What the score prompt asks for; the reason comes first so that it precedes the numbers."""

    model_config = ConfigDict(extra="ignore")

    rationale: str
    informativeness: int = Field(ge=0, le=9, strict=True)
    helpfulness: int = Field(ge=0, le=9, strict=True)
    generalisation: int = Field(ge=0, le=9, strict=True)

    @property
    def total(self) -> int:
        """The sum, 0 to 27."""
        return self.informativeness + self.helpfulness + self.generalisation


@dataclass(frozen=True, slots=True)
class Scored:
    """The scores with the request they came from; `answer` is None for *unscored*."""

    answer: SelectionAnswer | None
    request_key: str | None
    problem: str | None = None


def score_variables(task: Task, response: str, reasoning: str | None) -> dict[str, object]:
    """What the prompt for scores is filled in with."""
    return {
        **task.variables(), "system": task.system, "response": response, "reasoning": reasoning
    }  # fmt: skip


async def score(
    asker: Asker,
    prompts: PromptLibrary,
    settings: SelectionSettings,
    task: Task,
    response: str,
    reasoning: str | None,
) -> Scored:
    """Asks for the scores of one candidate."""
    prompt = prompts.get(settings.prompt).render(score_variables(task, response, reasoning))
    try:
        answer = await ask_structured(asker, ROLE, prompt, "selection", SelectionAnswer)
    except SchemaFailure as failure:
        return Scored(None, None, failure.cause)
    return Scored(answer.value, answer.reply.request_key)


def below_minimum(answer: SelectionAnswer, minimum: MinimumScores) -> str | None:
    """The first minimum that the scores do not reach, in words; None when they reach all."""
    for dimension in ("informativeness", "helpfulness", "generalisation"):
        got, least = getattr(answer, dimension), getattr(minimum, dimension)
        if got < least:
            return f"{dimension} {got} < {least}"
    mean = answer.total / 3
    if mean < minimum.mean:
        return f"mean {mean:.2f} < {minimum.mean:g}"
    return None
