"""What walks through the graphs: the seed, its drafts, and where each goes next.

Two small state machines: a seed's (`SeedState`) and a draft's (`SampleState`). A draft is a frozen
dataclass that every node replaces; `step` holds the node's decision, which `graph.routes` reads.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass, replace
from typing import Annotated, Literal, TypedDict

from agents.categories import Category
from agents.expansion import Task
from teachers.terms import Contribution, merge_contributions

Origin = Literal["seed", "expansion", "revision"]
Status = Literal["pending", "accepted", "rejected", "held", "failed"]


@dataclass(frozen=True, slots=True)
class SeedInput:
    """A seed as read from the corpus; category and language may still be unknown."""

    id: str
    family_id: str
    instruction: str
    input: str
    system: str | None
    reference: str | None
    category: Category | None
    language: str | None


@dataclass(frozen=True, slots=True)
class Draft:
    """A candidate on its way. `claimed_category` is what the expansion teacher says a variant is;
    `feedback` is the evidence of the verdict that sent its parent back. `responder` and
    `response_prompt` (`name#hash`) say who wrote the response with what, `score` is the sum of the
    three scores."""

    id: str
    seed_id: str
    parent_id: str | None
    family_id: str
    origin: Origin
    variant: int
    round: int
    category: Category
    language: str
    system: str | None
    instruction: str
    original_instruction: str | None
    input: str
    reference: str | None
    claimed_category: Category | None = None
    feedback: str | None = None
    reasoning: str | None = None
    response: str | None = None
    finish_reason: str | None = None
    refusal: str | None = None
    fingerprint: str | None = None
    responder: str | None = None
    response_prompt: str | None = None
    score: int | None = None
    contributions: tuple[Contribution, ...] = ()
    shaped_by: tuple[tuple[str, str], ...] = ()

    @property
    def task(self) -> Task:
        """The draft as the agents see it."""
        return Task(
            instruction=self.instruction,
            input=self.input,
            category=self.category,
            language=self.language,
            system=self.system,
            reference=self.reference,
        )

    def shaped(self, step: str, shape: str, *by: Contribution) -> Draft:
        """The draft with one more step in its lineage; `by` are the teachers who wrote text."""
        others = tuple(pair for pair in self.shaped_by if pair[0] != step)
        return replace(
            self,
            shaped_by=(*others, (step, shape)),
            contributions=merge_contributions(self.contributions, by),
        )


@dataclass(frozen=True, slots=True)
class Step:
    """A node's decision. `go` is onwards; the others end this round with a reason."""

    kind: Literal["go", "accept", "reject", "hold", "fail", "revise"]
    reason: str | None = None
    detail: str | None = None


GO = Step("go")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one draft ended."""

    sample_id: str
    status: Status
    reason: str | None


class SampleState(TypedDict, total=False):
    """One draft's walk. `outcomes` is what the seed's graph gets back."""

    draft: Draft
    step: Step
    outcomes: Annotated[list[Outcome], operator.add]


class SampleOutcomes(TypedDict, total=False):
    """What a draft's walk hands back to its seed's."""

    outcomes: Annotated[list[Outcome], operator.add]


class SeedState(TypedDict, total=False):
    """One seed's walk."""

    seed: SeedInput
    drafts: tuple[Draft, ...]
    step: Step
    shaped_by: dict[str, str]
    outcomes: Annotated[list[Outcome], operator.add]
