"""The steps of a story as a page of lines: what agents were asked and answered, what was decided.

In: the parts of a `Story`. Out: lines on a `Page`, safe for a terminal and broken to its width.
Nothing is told by colour alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.text import Text

from cli.plain import plain
from cli.show import dollars
from cli.wrapping import shortened, wrapped
from storage.stories import CallStory, MessageStory, SampleStory, ScoreStory, VerdictStory

QUESTION_LINES = 6
REASONING_LINES = 12
ANSWER_LINES = 30
_LABEL = 12
_LABEL_OF_CALL = 9
_OF_CALL = 6


@dataclass
class Page:
    """Lines to print. `full`: nothing is left out."""

    width: int
    full: bool
    lines: list[Text] = field(default_factory=list)

    def heading(self, words: str) -> None:
        """A heading with a rule to the page's edge."""
        self.lines.append(Text())
        rule = "─" * max(3, self.width - len(words) - 4)
        self.lines.append(Text.assemble("── ", (words, "bold"), " ", rule))

    def fact(self, label: str, words: str) -> None:
        """A labelled line; what does not fit goes on below its beginning."""
        self._labelled("  " + label.ljust(_LABEL), words)

    def fact_of_call(self, label: str, words: str) -> None:
        """The same, under a call."""
        self._labelled(" " * _OF_CALL + label.ljust(_LABEL_OF_CALL), words)

    def _labelled(self, label: str, words: str) -> None:
        for line in wrapped(words, self.width - len(label)) or [""]:
            self.lines.append(Text(f"{label}{line}".rstrip()))
            label = " " * len(label)

    def quote(self, label: str, words: str, most_lines: int) -> None:
        """Somebody's words behind a bar, shortened unless everything is wanted."""
        bar = f"{' ' * _OF_CALL}│ "
        self.lines.append(Text(f"{' ' * _OF_CALL}{label}"))
        width = self.width - len(bar)
        lines, more = shortened(words, width, most_lines)
        if self.full:
            lines, more = wrapped(words, width), 0
        self.lines.extend(Text(f"{bar}{line}".rstrip()) for line in lines)
        if more:
            self.lines.append(Text(f"{bar}… {more} more lines: --full", style="italic"))


def show_candidate(page: Page, sample: SampleStory) -> None:
    """One round of one candidate, from the gates to its end."""
    what = "The seed's own instruction" if sample.variant == 0 else f"Variant {sample.variant}"
    page.heading(f"{what}, round {sample.round}  {sample.id[:12]}")
    page.fact("instruction", sample.original_instruction or sample.instruction)
    if sample.original_instruction is not None:
        page.fact("reworded", sample.instruction)
    if sample.input:
        page.fact("input", sample.input)
    _show_verdicts(page, [v for v in sample.verdicts if v.kind == "gate"])
    show_calls(page, sample.calls)
    score = sample.score
    page.lines.append(Text())
    if score is not None:
        page.fact("scores", _scores(score))
    _show_verdicts(page, [v for v in sample.verdicts if v.kind != "gate"])
    for review in sample.reviews:
        applied = "carried out" if review.applied_at else "waits for the next run"
        note = f": {review.note}" if review.note else ""
        page.fact("review", f"{review.decision} by {review.reviewer} ({applied}){note}")
        for label, words in (
            ("edited instruction", review.edited_instruction),
            ("edited response", review.edited_response),
        ):
            if words:
                page.quote(label, words, ANSWER_LINES)
    reason = f": {sample.reason}" if sample.reason else ""
    detail = f" — {sample.detail}" if sample.detail else ""
    page.fact("ended", f"{sample.status}{reason}{detail}")


def _scores(score: ScoreStory) -> str:
    rationale = f": {score.rationale}" if score.rationale else ""
    if score.informativeness is None:
        return f"{score.label}{rationale}"
    return (
        f"informativeness {score.informativeness}, helpfulness {score.helpfulness}, "
        f"generalisation {score.generalisation}{rationale}"
    )


def _show_verdicts(page: Page, verdicts: Iterable[VerdictStory]) -> None:
    for verdict in verdicts:
        evidence = "; ".join(f"{key}: {_value(value)}" for key, value in verdict.evidence.items())
        words = f"{verdict.label}  {verdict.name} ({verdict.kind})"
        page.fact("verdict", f"{words}  {evidence}".rstrip())


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str) else str(value)


def show_calls(page: Page, calls: Sequence[CallStory]) -> None:
    """Every question with all attempts at it."""
    attempts: list[CallStory] = []
    for place, call in enumerate(calls):
        attempts.append(call)
        following = calls[place + 1] if place + 1 < len(calls) else None
        if following is None or following.request_key != call.request_key or not call.error_type:
            _show_question(page, attempts)
            attempts = []


def _show_question(page: Page, attempts: Sequence[CallStory]) -> None:
    call = attempts[-1]
    page.lines.append(Text())
    title = Text(f"  ▸ {call.agent}", style="bold")
    page.lines.append(title.append(Text(f"  {plain(call.prompt)}", style="not bold")))
    page.fact_of_call("teacher", _teacher(call))
    page.fact_of_call("with", _parameters(call))
    for attempt in attempts:
        page.fact_of_call("came", _came(attempt))
    _show_messages(page, call.question)
    answer = call.answer
    if answer is None:
        return
    if answer.reasoning:
        page.quote("reasoning", answer.reasoning, REASONING_LINES)
    if answer.refusal:
        page.quote("refusal", answer.refusal, ANSWER_LINES)
    if answer.content or not answer.refusal:
        page.quote("answer", answer.content or "(nothing)", ANSWER_LINES)


def _teacher(call: CallStory) -> str:
    revision = f", revision {call.revision}" if call.revision else ""
    simulated = ", SIMULATED" if call.answer is not None and call.answer.simulated else ""
    return f"{call.teacher} ({call.model}{revision}{simulated})"


def _parameters(call: CallStory) -> str:
    named = [f"{name} {value}" for name, value in call.parameters.items()]
    if call.schema:
        named.append(f"a structured answer ({call.schema})")
    return ", ".join(named) or "the server's own parameters"


def _came(call: CallStory) -> str:
    if call.cached:
        return "from the corpus, which held this answer already; nothing was sent"
    took = "" if call.latency_s is None else f" after {call.latency_s:.2f} s"
    if call.error_type is not None:
        detail = f": {call.error_detail}" if call.error_detail else ""
        return f"attempt {call.attempt} failed{took}, {call.error_type}{detail}"
    tokens = f"{_count(call.prompt_tokens)} tokens asked, {_count(call.completion_tokens)} answered"
    if call.reasoning_tokens:
        tokens += f" ({call.reasoning_tokens:,} of them thinking)"
    attempt = f", attempt {call.attempt}" if call.attempt > 1 else ""
    finish = f", finish {call.finish_reason}" if call.finish_reason else ""
    return f"answered{took}{attempt}; {tokens}; cost {dollars(call.cost_usd)}{finish}"


def _count(number: int | None) -> str:
    return "unknown" if number is None else f"{number:,}"


def _show_messages(page: Page, question: tuple[MessageStory, ...] | None) -> None:
    if question is None:
        page.fact_of_call("question", "not kept, since no attempt at it was answered")
        return
    if page.full:
        for message in question:
            page.quote(f"question, {message.role}", message.content, QUESTION_LINES)
        return
    earlier = ", ".join(message.role for message in question[:-1])
    label = f"question (after: {earlier})" if earlier else "question"
    page.quote(label, question[-1].content, QUESTION_LINES)
