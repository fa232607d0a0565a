"""The rewriting agent: says an instruction differently, then writes the response to it.

In: a task, and after a failed verification the verdict's evidence as feedback. Out: the reworded
instruction, and a response with its reasoning. Tasks that take several steps (maths, logic, code,
SQL, planning) are asked for a chain of thought, others are not. Paper: arXiv 2504.15027.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict

from agents.asking import Asker, Reply, SomeText, ask_structured, ask_text
from agents.categories import CHAIN_OF_THOUGHT, Category
from agents.expansion import Task
from agents.prompts import PromptLibrary
from agents.settings import RoleSettings

REWRITING_ROLE = "rewriting"
RESPONSE_ROLE = "response"
# How servers say that an answer ended before it was finished.
CUT = ("length", "max_tokens", "max_output_tokens", "model_length", "error", "abort", "cancelled")


class RewritingSettings(RoleSettings):
    """`prompt` rewords the instruction; disabled, the instruction stays as it is."""

    prompt: str = "rewriting/rewrite"


class ResponseSettings(RoleSettings):
    """`chain_of_thought` lists the categories whose response is asked for with its steps."""

    prompt: str = "rewriting/respond"
    steps_prompt: str = "rewriting/respond_with_steps"
    chain_of_thought: tuple[Category, ...] = CHAIN_OF_THOUGHT
    enabled: Literal[True] = True


class RewriteAnswer(BaseModel):
    """What the rewrite prompt asks for."""

    model_config = ConfigDict(extra="ignore")

    instruction: SomeText


@dataclass(frozen=True, slots=True)
class Rewritten:
    """The instruction to go on with. `kept_original` says why a rewording was not taken."""

    instruction: str
    reply: Reply
    kept_original: str | None = None


@dataclass(frozen=True, slots=True)
class Response:
    """A response and how it came: `cut` short, `refusal` in the protocol's field.

    `reasoning` is kept only where the task wants a chain of thought; what else a teacher thought
    is in its completion.
    """

    response: str
    reasoning: str | None
    finish_reason: str | None
    cut: bool
    refusal: str | None
    reply: Reply


def rewrite_variables(task: Task, feedback: str | None) -> dict[str, object]:
    """What the prompt for rewording is filled in with."""
    return {**task.variables(), "feedback": feedback}


def respond_variables(task: Task, feedback: str | None) -> dict[str, object]:
    """What the prompt for a response is filled in with."""
    return {**rewrite_variables(task, feedback), "system": task.system}


async def rewrite(
    asker: Asker,
    prompts: PromptLibrary,
    settings: RewritingSettings,
    task: Task,
    feedback: str | None,
) -> Rewritten:
    """Asks for the instruction in other words.

    A rewording that lost or changed a number would also have another right answer, so the original
    is kept, and the reason is reported.
    """
    prompt = prompts.get(settings.prompt).render(rewrite_variables(task, feedback))
    answer = await ask_structured(asker, REWRITING_ROLE, prompt, "rewrite", RewriteAnswer)
    reworded = answer.value.instruction
    if numbers_in(reworded) != numbers_in(task.instruction):
        return Rewritten(task.instruction, answer.reply, "the rewording changed the numbers")
    return Rewritten(reworded, answer.reply)


async def respond(
    asker: Asker,
    prompts: PromptLibrary,
    settings: ResponseSettings,
    task: Task,
    feedback: str | None,
    round: int = 0,
) -> Response:
    """Asks for the response; with steps where the task's category wants them."""
    prompt = prompts.get(response_prompt(settings, task.category)).render(
        respond_variables(task, feedback)
    )
    reply = await ask_text(asker, RESPONSE_ROLE, prompt, round)
    completion = reply.completion
    return Response(
        response=completion.content,
        reasoning=completion.reasoning if task.category in settings.chain_of_thought else None,
        finish_reason=completion.finish_reason,
        cut=completion.finish_reason in CUT,
        refusal=completion.refusal
        or ("content_filter" if completion.finish_reason == "content_filter" else None),
        reply=reply,
    )


def response_prompt(settings: ResponseSettings, category: str) -> str:
    """The prompt for one category: with written-out steps or without."""
    return settings.steps_prompt if category in settings.chain_of_thought else settings.prompt


# A minus belongs to the number unless something that it could be taken from stands before it. A
# full-width comma groups full-width digits only; between others it lists.
_NUMBER = re.compile(
    r"(?P<minus>(?<![A-Za-z0-9０-９)\]])[-−－])?(?P<digits>\d+(?:[.,]\d+|[．，][０-９]+)*)"
)
_IN_ONE_SIGN = re.compile("[²³¹¼½¾⁰-⁹₀-₉⅐-⅟↉①-⒛]")
_GROUPED = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?")
_PLAIN_SEPARATORS = str.maketrans("．，", ".,")


def numbers_in(text: str) -> list[str]:
    """Every number written in digits, sorted, the same however it is written: 1,000 and １０００
    are 1000. Of a superscript or a fraction in one character (², ½) the character counts."""
    found = _IN_ONE_SIGN.findall(text)
    for match in _NUMBER.finditer(text):
        digits = "".join(
            str(unicodedata.decimal(c)) if c.isdecimal() else c
            for c in match["digits"].translate(_PLAIN_SEPARATORS)
        )
        parts = [digits.replace(",", "")] if _GROUPED.fullmatch(digits) else digits.split(",")
        parts[0] = f"-{parts[0]}" if match["minus"] else parts[0]
        found += parts
    return sorted(found)
