"""A story as one trace: the seed, its samples, their agents, every question, every verdict.

In: a `Story`. Out: finished spans, each after its parent:

    seed (CHAIN)
    ├─ expansion (AGENT) ─ expansion/expand (LLM)
    └─ sample (CHAIN), one for every round of every candidate; a later round links to the one before
       ├─ duplicate (GUARDRAIL)
       ├─ response (AGENT) ─ rewriting/respond (LLM), its attempts as events
       └─ verification (AGENT) ─ verification/judge (LLM), judge (EVALUATOR)

Times are the corpus's: a call began as long before it was recorded as it took, and what has parts
lasts as long as they do. Identifiers are hashes of ours and of the corpus's, so that a trace that
is sent again is the same one, and two corpora of the same seeds stay apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from importlib.metadata import version

from openinference.semconv.resource import ResourceAttributes
from openinference.semconv.trace import SpanAttributes
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, Status, StatusCode, TraceFlags

from common.hashing import digest
from storage.stories import CallStory, ReviewStory, SampleStory, Story
from storage.telemetry.attributes import (
    Attributes,
    agent_attributes,
    call_attributes,
    runs_of,
    sample_attributes,
    score_attributes,
    seed_attributes,
    verdict_attributes,
)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SPAN_ID_DIGITS = 16
# Where a finding belongs that names no call of its own.
_FINDER = {"judge": "verification", "executable": "verification"}


@dataclass
class _Node:
    """A span to be. `key` tells it from all others of its trace; `moments` are nanoseconds since
    1970 at which something is known to have happened, `error` is the code of what went wrong."""

    key: tuple[str, ...]
    name: str
    attributes: Attributes
    moments: list[int] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    error: str | None = None
    follows: tuple[str, ...] | None = None
    parts: list[_Node] = field(default_factory=list)

    def began(self) -> int:
        return min([*self.moments, *(part.began() for part in self.parts)])

    def ended(self) -> int:
        return max([*self.moments, *(part.ended() for part in self.parts)])


class TraceMaker:
    """Makes the traces of one corpus.

    Args:
        corpus: what tells this corpus from others.
        project: where receivers sort the traces in; a seed's recipe where it is None.
        content: whether texts may leave.
    """

    def __init__(self, corpus: str, project: str | None = None, content: bool = True) -> None:
        self._corpus = corpus
        self._project = project
        self._content = content
        release = version("stillhouse")
        self._resource = {SERVICE_NAME: "stillhouse", SERVICE_VERSION: release}
        self._scope = InstrumentationScope("stillhouse", release)

    def spans_of(self, story: Story) -> list[ReadableSpan]:
        """The whole trace, the root first."""
        root = _seed(story, self._content)
        session = next(iter(runs_of(story)), None)
        resource = Resource(
            {**self._resource, ResourceAttributes.PROJECT_NAME: self._project or story.seed.recipe}
        )
        trace = int(digest(["trace", self._corpus, story.seed.id]), 16)

        def context(key: tuple[str, ...]) -> SpanContext:
            name = digest(["span", self._corpus, story.seed.id, *key])[:_SPAN_ID_DIGITS]
            return SpanContext(trace, int(name, 16), False, TraceFlags(TraceFlags.SAMPLED))

        # Made directly: a tracer would sample, shorten and number them as its environment says.
        return [
            ReadableSpan(
                name=node.name,
                context=context(node.key),
                parent=None if parent is None else context(parent.key),
                resource=resource,
                attributes={
                    **node.attributes,
                    **({} if session is None else {SpanAttributes.SESSION_ID: session}),
                },
                events=node.events,
                links=[] if node.follows is None else [Link(context(node.follows))],
                status=Status(StatusCode.OK)
                if node.error is None
                else Status(StatusCode.ERROR, node.error),
                start_time=node.began(),
                end_time=node.ended(),
                instrumentation_scope=self._scope,
            )
            for node, parent in _walk(root, None)
        ]


def _walk(node: _Node, parent: _Node | None) -> Iterator[tuple[_Node, _Node | None]]:
    yield node, parent
    for part in node.parts:
        yield from _walk(part, node)


def _seed(story: Story, content: bool) -> _Node:
    seed = story.seed
    root = _Node(("seed",), "seed", seed_attributes(story, content))
    root.parts = [
        *_agents(("seed",), seed.calls, content),
        *(_sample(sample, content) for sample in story.samples),
    ]
    if not root.parts:
        root.moments = [_nanoseconds(seed.updated_at)]
    if seed.status == "failed":
        root.error = seed.reason or "failed"
        root.events.append(_exception(root.error, None, root.ended()))
    return root


def _sample(sample: SampleStory, content: bool) -> _Node:
    key = ("sample", sample.id)
    agents = _agents(key, sample.calls, content)
    node = _Node(key, "sample", sample_attributes(sample, content), parts=agents)
    node.moments = [_nanoseconds(sample.created_at)]
    if not sample.reviews:
        node.moments.append(_nanoseconds(sample.updated_at))
    if sample.parent_id is not None:
        node.follows = ("sample", sample.parent_id)
    for found, finder in _findings(sample, content):
        home = next((agent for agent in agents if agent.name == finder), node)
        home.parts.append(found)
    for part in (node, *agents):
        part.parts.sort(key=lambda one: (one.began(), one.key))
    if sample.status == "failed":
        node.error = sample.reason or "failed"
        detail = sample.detail if content else None
        node.events.append(_exception(node.error, detail, node.ended()))
    node.events += [_review(review, content) for review in sample.reviews]
    return node


def _agents(owner: tuple[str, ...], calls: Sequence[CallStory], content: bool) -> list[_Node]:
    """The agents in the order in which they were first asked, each with its questions."""
    agents: dict[str, _Node] = {}
    for attempts in questions_of(calls):
        last = attempts[-1]
        agent = agents.setdefault(
            last.agent, _Node((*owner, last.agent), last.agent, agent_attributes(last.agent))
        )
        agent.parts.append(_question(owner, attempts, content))
        agent.error = None if last.error_type is None else last.error_type
    return list(agents.values())


def questions_of(calls: Sequence[CallStory]) -> list[tuple[CallStory, ...]]:
    """Attempts put together by question, in the order of the first ones. A question that is asked
    once more after it was answered is another one."""
    questions: list[list[CallStory]] = []
    open_ones: dict[str, list[CallStory]] = {}
    for call in calls:
        attempts = open_ones.setdefault(call.request_key, [])
        if not attempts:
            questions.append(attempts)
        attempts.append(call)
        if call.error_type is None:
            del open_ones[call.request_key]
    return [tuple(attempts) for attempts in questions]


def _question(owner: tuple[str, ...], attempts: Sequence[CallStory], content: bool) -> _Node:
    last = attempts[-1]
    node = _Node(
        (*owner, last.agent, last.id),
        last.prompt_name,
        call_attributes(last, len(attempts), content),
        error=last.error_type,
    )
    for attempt in attempts:
        ended = _nanoseconds(attempt.created_at)
        node.moments += [ended - round((attempt.latency_s or 0) * 1e9), ended]
        if attempt.error_type is None:
            continue
        detail = attempt.error_detail if content else None
        if attempt is last:
            node.events.append(_exception(attempt.error_type, detail, ended))
        else:
            said: Attributes = {"attempt": attempt.attempt, "error.type": attempt.error_type}
            node.events.append(
                Event("retry", said | ({"error.message": detail} if detail else {}), ended)
            )
    return node


def _findings(sample: SampleStory, content: bool) -> Iterator[tuple[_Node, str | None]]:
    """Every verdict and score, each with the agent that it came from; None for a gate's."""
    answered = {call.request_key: call for call in sample.calls if call.error_type is None}
    score = sample.score
    if score is not None:
        node = _Node(
            ("score", sample.id), "selection scores", score_attributes(score, content),
            [_nanoseconds(answered[score.request_key].created_at)]
            if score.request_key in answered else [_nanoseconds(sample.updated_at)],
        )  # fmt: skip
        yield node, "selection"
    for verdict in sample.verdicts:
        node = _Node(
            ("verdict", sample.id, verdict.name), verdict.name,
            verdict_attributes(verdict, content), [_nanoseconds(verdict.created_at)],
        )  # fmt: skip
        call = answered.get(verdict.request_key or "")
        yield node, call.agent if call is not None else _FINDER.get(verdict.kind)


def _review(review: ReviewStory, content: bool) -> Event:
    said = {
        "decision": review.decision,
        "applied": review.applied_at is not None,
        **(
            {
                "reviewer": review.reviewer,
                "note": review.note,
                "edited_instruction": review.edited_instruction,
                "edited_response": review.edited_response,
            }
            if content
            else {}
        ),
    }
    known = {name: value for name, value in said.items() if value is not None}
    return Event("review", known, _nanoseconds(review.created_at))


def _exception(code: str, detail: str | None, at: int) -> Event:
    said: Attributes = {"exception.type": code}
    return Event("exception", said | ({"exception.message": detail} if detail else {}), at)


def _nanoseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1) * 1000
