"""A fork's comparison arranged for a page: old and new side by side, their changed words marked.

In: a `Comparison`. Out: plain values that the template shows in order. Japanese and Chinese are
compared character by character, since no spaces part their words.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from graph.forks.comparing import CandidatePair, Comparison, Part, StepPair
from graph.forks.fork import Facts
from inspector.differences import DiffLine, word_diff

_MOST_KEPT = 128


@dataclass(frozen=True, slots=True)
class Sides:
    """One text twice: `old` without what was added, `new` without what was removed. `folded` is
    what need not be read at once."""

    label: str
    old: tuple[DiffLine, ...]
    new: tuple[DiffLine, ...]
    folded: bool


@dataclass(frozen=True, slots=True)
class StepView:
    """One agent's question and answer where something differs; `only` says which walk alone asked
    it."""

    agent: str
    only: str | None
    sides: tuple[Sides, ...]


@dataclass(frozen=True, slots=True)
class CandidateView:
    """One round of one variant. `same` lists what came out as before."""

    pair: CandidatePair
    steps: tuple[StepView, ...]
    sides: tuple[Sides, ...]
    same: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ForkView:
    """A whole fork. `before` is what was asked before there was a sample, `before_same` the agents
    whose part in that came out as it was."""

    prompt: Sides | None
    before: tuple[StepView, ...]
    before_same: tuple[str, ...]
    candidates: tuple[CandidateView, ...]


def fork_view(told: Comparison, facts: Facts) -> ForkView:
    """Everything that differs, side by side."""
    return ForkView(
        prompt=_sides(told.prompt, folded=False) if told.prompt is not None else None,
        before=_steps(told.before, facts.agent),
        before_same=tuple(dict.fromkeys(step.agent for step in told.before if step.same)),
        candidates=tuple(_candidate(pair, facts.agent) for pair in told.candidates),
    )


def newer_view(file: str, facts: Facts) -> Sides | None:
    """The prompt's file beside the edited text, where the file is not what the sample used."""
    if facts.prompt is None or file == facts.old_prompt:
        return None
    return _sides(Part(facts.prompt_name, file, facts.prompt), folded=False)


def _candidate(pair: CandidatePair, changed: str) -> CandidateView:
    answers = {(part.old, part.new) for step in pair.steps for part in step.parts}
    same = [step.agent for step in pair.steps if step.same]
    same += [part.label for part in pair.parts if part.same]
    return CandidateView(
        pair=pair,
        steps=_steps(pair.steps, changed),
        sides=tuple(
            _sides(part, folded=(part.old, part.new) in answers)
            for part in pair.parts
            if not part.same
        ),
        same=tuple(dict.fromkeys(same)),
    )


def _steps(steps: tuple[StepPair, ...], changed: str) -> tuple[StepView, ...]:
    """Later agents are asked about the changed one's answer, which need not be read again there."""
    return tuple(
        StepView(
            agent=step.agent,
            only="old" if step.new is None else "new" if step.old is None else None,
            sides=tuple(
                _sides(part, folded=part.label == "question" and step.agent != changed)
                for part in step.parts
                if not part.same
            ),
        )
        for step in steps
        if not step.same
    )


def _sides(part: Part, *, folded: bool) -> Sides:
    stretches = _compared(part.old, part.new)
    return Sides(
        label=part.label,
        old=tuple(found for found in stretches if found.kind != "added"),
        new=tuple(found for found in stretches if found.kind != "removed"),
        folded=folded,
    )


@lru_cache(maxsize=_MOST_KEPT)
def _compared(old: str, new: str) -> tuple[DiffLine, ...]:
    """A page that refreshes itself compares the same texts every few seconds."""
    return tuple(word_diff(old, new))
