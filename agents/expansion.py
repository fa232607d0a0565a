"""The expansion agent: classifies a seed where its file does not, and writes variants of it.

In: an instruction with its category and language. Out: new instructions that are meant to keep
both; whether they did is for the gate to decide. Paper: DistilQwen2.5, arXiv 2504.15027.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from agents.asking import Asker, SomeText, Structured, ask_structured
from agents.categories import CATEGORIES, Category, known_category, language_name
from agents.prompts import PromptLibrary
from agents.settings import RoleSettings

ROLE = "expansion"


class ExpansionSettings(RoleSettings):
    """`variants`: how many new instructions per seed (0: none). `keep_seed`: whether the seed's own
    instruction is a candidate too. `classify`: `missing` asks where the file does
    not say, `never` takes `other` then."""

    classify: Literal["missing", "never"] = "missing"
    variants: int = Field(default=1, ge=0, le=50)
    keep_seed: bool = True
    prompt: str = "expansion/expand"
    classify_prompt: str = "expansion/classify"


class ClassificationAnswer(BaseModel):
    """What the classify prompt asks for."""

    model_config = ConfigDict(extra="ignore")

    category: Category
    language: str = Field(pattern=r"^[a-z]{2}$")


class VariantAnswer(BaseModel):
    """One variant as the teacher wrote it, with the category it claims."""

    model_config = ConfigDict(extra="ignore")

    instruction: SomeText
    category: str


class ExpansionAnswer(BaseModel):
    """What the expand prompt asks for."""

    model_config = ConfigDict(extra="ignore")

    variants: list[VariantAnswer] = Field(min_length=1)


@dataclass(frozen=True, slots=True)
class Task:
    """An instruction as the agents see it."""

    instruction: str
    input: str
    category: Category
    language: str
    system: str | None = None
    reference: str | None = None

    def variables(self) -> dict[str, object]:
        """What every prompt about the instruction is filled in with."""
        return {
            "instruction": self.instruction,
            "input": self.input,
            "category": self.category,
            "language": self.language,
            "language_name": language_name(self.language),
        }


def classify_variables(instruction: str, input: str) -> dict[str, object]:
    """What the prompt for classifying is filled in with."""
    return {"instruction": instruction, "input": input, "categories": CATEGORIES}


def expand_variables(settings: ExpansionSettings, task: Task) -> dict[str, object]:
    """What the prompt for new variants is filled in with."""
    return {**task.variables(), "categories": CATEGORIES, "count": settings.variants}


async def classify(
    asker: Asker, prompts: PromptLibrary, settings: ExpansionSettings, instruction: str, input: str
) -> Structured[ClassificationAnswer]:
    """Asks for the category and language of an instruction."""
    prompt = prompts.get(settings.classify_prompt).render(classify_variables(instruction, input))
    return await ask_structured(asker, ROLE, prompt, "classification", ClassificationAnswer)


async def expand(
    asker: Asker, prompts: PromptLibrary, settings: ExpansionSettings, task: Task
) -> Structured[ExpansionAnswer]:
    """Asks for `settings.variants` new instructions like `task`; a surplus is cut off."""
    prompt = prompts.get(settings.prompt).render(expand_variables(settings, task))
    answer = await ask_structured(asker, ROLE, prompt, "expansion", ExpansionAnswer)
    kept = answer.value.variants[: settings.variants]
    return Structured(ExpansionAnswer(variants=kept), answer.reply)


def claimed_category(variant: VariantAnswer) -> Category | None:
    """The category that the teacher says the variant has; None where it is no category of ours."""
    return known_category(variant.category)
