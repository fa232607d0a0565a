"""A fork beside what it was forked from: every text of every agent, old and new.

In: the corpus and a `Draft`. Out: a `Comparison`: questions, answers, scores, verdicts and ends in
pairs, by variant, round and agent. Gates are left out: they judge a draft against the rest of a
corpus, and a fork's holds one seed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from graph.forks.fork import Draft
from graph.forks.steps import AGENT_OF_STEP
from storage.database import Database
from storage.stories import CallStory, SampleStory, ScoreStory, SeedStory, Story, VerdictStory
from storage.trace import story

_AGENTS = tuple(dict.fromkeys(AGENT_OF_STEP.values()))


@dataclass(frozen=True, slots=True)
class Part:
    """One text that both sides have; empty where a side does not have it."""

    label: str
    old: str
    new: str

    @property
    def same(self) -> bool:
        """Whether nothing changed."""
        return self.old == self.new


@dataclass(frozen=True, slots=True)
class StepPair:
    """One answered question of both walks; None where only the other walk asked it."""

    agent: str
    old: CallStory | None
    new: CallStory | None
    parts: tuple[Part, ...]

    @property
    def same(self) -> bool:
        """Whether question and answer are what they were."""
        return self.old is not None and self.new is not None and all(p.same for p in self.parts)


@dataclass(frozen=True, slots=True)
class CandidatePair:
    """One round of one variant in both walks; None where only the other walk came to it."""

    variant: int
    round: int
    old: SampleStory | None
    new: SampleStory | None
    steps: tuple[StepPair, ...]
    parts: tuple[Part, ...]

    @property
    def language(self) -> str | None:
        """In which language its texts are."""
        known = self.new or self.old
        return known.language if known is not None else None

    @property
    def same(self) -> bool:
        """Whether all of it came out as before."""
        return all(step.same for step in self.steps) and all(part.same for part in self.parts)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Both walks. `before` are the questions asked before there was a draft; `prompt` is the
    edited prompt, None where it was not edited."""

    seed: SeedStory
    prompt: Part | None
    before: tuple[StepPair, ...]
    candidates: tuple[CandidatePair, ...]

    @property
    def same(self) -> bool:
        """Whether nothing came out differently."""
        return all(p.same for p in self.before) and all(p.same for p in self.candidates)


def compare_fork(database: Database, draft: Draft) -> Comparison:
    """Reads both walks as they are now.

    Raises:
        NotFound: the corpus does not hold the seed any more.
    """
    facts = draft.facts
    with database.snapshot() as connection:
        old = story(connection, "seed", facts.seed_id)
    own = Database.open(draft.database)
    try:
        with own.snapshot() as connection:
            new = story(connection, "seed", facts.seed_id)
    finally:
        own.close()
    prompt = None
    if facts.prompt is not None:
        prompt = Part(facts.prompt_name, facts.old_prompt, facts.prompt)
    return Comparison(
        seed=old.seed,
        prompt=prompt,
        # What classification found is taken over by all other forks, and not asked.
        before=tuple(
            _pairs(old.seed.calls, new.seed.calls)
            if facts.step == "classify"
            else _pairs(_of_prompts(old.seed.calls, new.seed.calls), new.seed.calls)
        ),
        candidates=tuple(_candidates(old, new, facts.variant)),
    )


def _of_prompts(calls: Sequence[CallStory], like: Sequence[CallStory]) -> list[CallStory]:
    names = {call.prompt_name for call in like}
    return [call for call in calls if call.prompt_name in names]


def _candidates(old: Story, new: Story, variant: int | None) -> Iterable[CandidatePair]:
    was, now = ({(s.variant, s.round): s for s in told.samples} for told in (old, new))
    for key in sorted({*was, *now}):
        if variant is not None and key[0] != variant:
            continue
        before, after = was.get(key), now.get(key)
        yield CandidatePair(
            variant=key[0],
            round=key[1],
            old=before,
            new=after,
            steps=tuple(_pairs(before.calls if before else (), after.calls if after else ())),
            parts=_outcome(before, after),
        )


def _pairs(old: Sequence[CallStory], new: Sequence[CallStory]) -> Iterable[StepPair]:
    """Answers by agent: equal requests are pairs, of the others the last ones, which counted. What
    the old walk asked besides (before an edit, or until an answer could be read) is left out."""
    was, now = (_by_agent(calls) for calls in (old, new))
    for agent in _AGENTS:
        known = {call.request_key: call for call in was[agent]}
        asked = {call.request_key for call in now[agent]}
        others = [call for call in was[agent] if call.request_key not in asked]
        pairs = []
        for call in reversed(now[agent]):
            before = known.get(call.request_key) or (others.pop() if others else None)
            pairs.append(StepPair(agent, before, call, _texts(before, call)))
        yield from reversed(pairs)
        if not pairs and others:
            yield StepPair(agent, others[-1], None, _texts(others[-1], None))


def _by_agent(calls: Sequence[CallStory]) -> defaultdict[str, list[CallStory]]:
    found: defaultdict[str, list[CallStory]] = defaultdict(list)
    for call in calls:
        if call.answer is not None:
            found[call.agent].append(call)
    return found


def _texts(old: CallStory | None, new: CallStory | None) -> tuple[Part, ...]:
    labelled = (
        ("asked of", _who(old), _who(new)),
        ("question", _question(old), _question(new)),
        ("reasoning", _reasoning(old), _reasoning(new)),
        ("answer", _answer(old), _answer(new)),
    )
    return tuple(Part(*texts) for texts in labelled if texts[1] or texts[2])


def _who(call: CallStory | None) -> str:
    if call is None:
        return ""
    revision = f", revision {call.revision}" if call.revision else ""
    return f"{call.teacher} ({call.model}{revision})"


def _question(call: CallStory | None) -> str:
    if call is None or call.question is None:
        return ""
    return "\n\n".join(f"{message.role}:\n{message.content}" for message in call.question)


def _reasoning(call: CallStory | None) -> str:
    return (call.answer.reasoning or "") if call is not None and call.answer is not None else ""


def _answer(call: CallStory | None) -> str:
    if call is None or call.answer is None:
        return ""
    return call.answer.content or call.answer.refusal or ""


def _outcome(old: SampleStory | None, new: SampleStory | None) -> tuple[Part, ...]:
    told: dict[str, Callable[[SampleStory], str | None]] = {
        "ended": _end,
        "instruction": lambda sample: sample.instruction,
        "reasoning": lambda sample: sample.reasoning,
        "response": lambda sample: sample.response,
        "scores": lambda sample: _score(sample.score),
        "verdicts": lambda sample: _verdicts(sample.verdicts),
    }
    parts = (
        Part(label, *((tell(side) or "") if side is not None else "" for side in (old, new)))
        for label, tell in told.items()
    )
    return tuple(part for part in parts if part.old or part.new)


def _end(sample: SampleStory) -> str:
    reason = f": {sample.reason}" if sample.reason else ""
    detail = f" ({sample.detail})" if sample.detail else ""
    return f"{sample.status}{reason}{detail}"


def _score(score: ScoreStory | None) -> str:
    if score is None:
        return ""
    because = f"\n{score.rationale}" if score.rationale else ""
    if score.informativeness is None:
        return f"{score.label}{because}"
    return (
        f"informativeness {score.informativeness}, helpfulness {score.helpfulness}, "
        f"generalisation {score.generalisation}{because}"
    )


def _verdicts(verdicts: Iterable[VerdictStory]) -> str:
    return "\n".join(
        f"{found.label} {found.name} ({found.kind}){_evidence(found.evidence)}"
        for found in sorted(verdicts, key=lambda found: found.name)
        if found.kind != "gate"
    )


def _evidence(evidence: dict[str, Any]) -> str:
    return "".join(
        f"\n  {key}: {value if isinstance(value, str) else _json(value)}"
        for key, value in evidence.items()
    )


def _json(value: Any) -> str:
    return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS, default=str).decode()
