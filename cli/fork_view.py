"""A fork in a terminal: what came out differently, each text with its changed words marked.

In: a `Draft` and its `Comparison`. Out: lines. Removed words stand in [-…-], added ones in {+…+},
so that nothing is told by colour alone; long stretches that are the same are shortened.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

from rich.text import Text

from cli.plain import counted, plain
from cli.show import console, dollars
from cli.story_steps import Page
from graph.forks.comparing import CandidatePair, Comparison, Part, StepPair
from graph.forks.fork import Draft
from inspector.differences import word_diff

_WIDEST = 100
_NARROWEST = 40
_BAR = "      │ "
# Of a stretch that is the same, so many characters are kept at either end.
_KEPT = 100
_MARKS = {"removed": ("[-", "-]", "red"), "added": ("{+", "+}", "green")}


def show_list(drafts: Sequence[Draft]) -> None:
    """Two lines for each fork."""
    for draft in drafts:
        facts, spent = draft.facts, draft.spent
        kind = "sample" if facts.sample_id is not None else "seed"
        error = f" ({draft.error.code})" if draft.error is not None else ""
        line = Text(facts.id[:12], style="bold").append(
            f"  {draft.state}{error}, of {kind} {(facts.sample_id or facts.seed_id)[:12]} from "
            f"{facts.agent} ({facts.step}), {facts.created_at[:16].replace('T', ' ')} UTC",
            style="not bold",
        )
        console.print(line)
        tokens = spent.prompt_tokens + spent.completion_tokens
        said = f"{counted(spent.calls, 'call')}, {tokens:,} tokens, {dollars(spent.usd)}"
        by = f", by {facts.who}" if facts.who is not None else ""
        console.print(Text(plain(f"{' ' * 14}{facts.change}; {said}{by}")))


def show_newer(name: str, file: str, prompt: str) -> None:
    """A prompt's file as it is now beside the text that was to be saved there."""
    page = _page(False)
    page.heading(f"The file of {plain(name)} as it is now, and what would be saved")
    _show_part(page, Part("", file, prompt))
    _print(page)


def show_comparison(draft: Draft, told: Comparison, full: bool) -> None:
    """Old and new, step by step."""
    page = _page(full)
    _show_header(page, draft, told)
    if told.prompt is not None:
        page.heading(f"Prompt {plain(told.prompt.label)}")
        _show_part(page, Part("", told.prompt.old, told.prompt.new))
    if told.before:
        page.heading("Before there was a candidate")
        _show_steps(page, told.before, draft.facts.agent)
    for pair in told.candidates:
        _show_candidate(page, pair, draft.facts.agent)
    page.lines.append(Text())
    identifier = draft.facts.id[:12]
    page.fact("draft", f"it stays; stillhouse fork --drop {identifier}")
    if told.prompt is not None:
        page.fact("save", f"the prompt as a new version: stillhouse fork --save {identifier}")
    _print(page)


def _page(full: bool) -> Page:
    known = console.is_terminal or "COLUMNS" in os.environ
    return Page(max(_NARROWEST, min(console.width, _WIDEST)) if known else _WIDEST, full)


def _print(page: Page) -> None:
    for line in page.lines:
        console.print(line, no_wrap=True, crop=False, overflow="ignore")


def _show_header(page: Page, draft: Draft, told: Comparison) -> None:
    facts, spent = draft.facts, draft.spent
    kind = "sample" if facts.sample_id is not None else "seed"
    title = f"Fork {facts.id[:12]} of {kind} {(facts.sample_id or facts.seed_id)[:12]}"
    page.lines.append(Text(title, style="bold"))
    page.fact("from", f"{facts.agent} ({facts.step})")
    page.fact("changed", facts.change)
    if facts.who is not None:
        page.fact("by", facts.who)
    page.fact(
        "took",
        f"{counted(spent.calls, 'call')} of its own, {spent.prompt_tokens:,} tokens asked, "
        f"{spent.completion_tokens:,} answered; cost {dollars(spent.usd)}",
    )
    if draft.state != "finished":
        page.fact("state", draft.state)
    if draft.error is not None:
        page.fact("stopped", f"{draft.error.what} {draft.error.cause} {draft.error.solution}")
    if told.same:
        page.fact("came out", "everything as before")


def _show_candidate(page: Page, pair: CandidatePair, agent: str) -> None:
    what = "The seed's own instruction" if pair.variant == 0 else f"Variant {pair.variant}"
    page.heading(f"{what}, round {pair.round}")
    if pair.new is None:
        page.fact("now", "the new walk did not come to this round")
        return
    if pair.old is None:
        page.fact("before", "the old walk did not come to this round")
    _show_steps(page, pair.steps, agent)
    page.lines.append(Text())
    answers = {(part.old, part.new) for step in pair.steps for part in step.parts}
    told = [part.label for part in pair.parts if (part.old, part.new) in answers]
    _show_parts(page, pair.parts, () if page.full else told)


def _show_steps(page: Page, steps: Sequence[StepPair], changed: str) -> None:
    """`changed` is the agent that was changed; later ones are asked about its answer, which need
    not be read again in each of their questions."""
    same = list(dict.fromkeys(step.agent for step in steps if step.same))
    if same:
        page.fact("as before", ", ".join(same))
    for step in steps:
        if not step.same:
            page.lines.extend((Text(), Text(f"  ▸ {step.agent}", style="bold")))
            brief = not page.full and step.agent != changed
            _show_parts(page, step.parts, ("question",) if brief else ())


def _show_parts(page: Page, parts: Iterable[Part], told: Sequence[str] = ()) -> None:
    """The parts that differ; of those that are `told` elsewhere, only that they do."""
    same = []
    for part in parts:
        if part.same:
            same.append(part.label)
        elif part.label in told and part.old and part.new:
            page.lines.append(Text(f"      {part.label} with other words: --full"))
        else:
            page.lines.append(Text(f"      {part.label}"))
            _show_part(page, part)
    if same:
        page.lines.append(Text(f"      as before: {', '.join(same)}"))


def _show_part(page: Page, part: Part) -> None:
    text = Text()
    for stretch in word_diff(plain(part.old), plain(part.new)):
        if stretch.kind == "same":
            text.append(stretch.text if page.full else _shortened(stretch.text))
            continue
        before, after, style = _MARKS[stretch.kind]
        text.append(f"{before}{stretch.text}{after}", style=style)
    text.expand_tabs(4)
    for line in text.wrap(console, page.width - len(_BAR)):
        line.rstrip()
        page.lines.append(Text(_BAR).append_text(line))


def _shortened(text: str) -> str:
    if len(text) <= 2 * _KEPT + 3:
        return text
    return f"{text[:_KEPT]} … {text[-_KEPT:]}"
