"""`stillhouse trace`: one sample's or seed's whole story, to be read in a terminal.

In: an identifier's first characters. Out: where it came from and what became of it, its family, and
then step by step what each agent was asked, what it answered, and what was decided. `--full` leaves
nothing out, `--json` gives the story as data.
"""

from __future__ import annotations

import os

from rich.text import Text

from cli.plain import one_line, plain
from cli.show import console, dollars, print_json
from cli.story_steps import Page, show_calls, show_candidate
from storage.database import Database
from storage.stories import SampleStory, SeedStory, Story
from storage.trace import resolve, story

_WIDEST = 100
_NARROWEST = 40


def trace_command(id: str, db: str, full: bool, json: bool) -> int:
    """Tells the story; returns the exit code."""
    database = Database.open(db)
    try:
        with database.read() as connection:
            told = story(connection, *resolve(connection, id))
    finally:
        database.close()
    if json:
        print_json(told.as_dict())
        return 0
    page = Page(_width(), full)
    _show_header(page, told)
    _show_family(page, told)
    if told.seed.calls:
        page.heading("Before there was a candidate")
        show_calls(page, told.seed.calls)
    for sample in told.lineage() or told.samples:
        show_candidate(page, sample)
    for line in page.lines:
        console.print(line, no_wrap=True, crop=False, overflow="ignore")
    return 0


def _width() -> int:
    known = console.is_terminal or "COLUMNS" in os.environ
    return max(_NARROWEST, min(console.width, _WIDEST)) if known else _WIDEST


def _show_header(page: Page, told: Story) -> None:
    seed, sample = told.seed, told.sample
    status, reason = (sample or seed).status, (sample or seed).reason
    title = Text(f"{told.kind.capitalize()} {told.id}  ", style="bold")
    page.lines.append(title.append(status.upper()).append(f" {plain(reason)}" if reason else ""))
    if sample is not None and sample.detail:
        page.fact("because", sample.detail)
    if sample is not None and sample.simulated:
        page.fact("SIMULATED", "a simulated teacher wrote part of it: for rehearsal only")
    item = sample or seed
    page.fact("category", f"{item.category or 'unknown'}, language {item.language or 'unknown'}")
    if sample is not None:
        page.fact("origin", _origin(sample))
    page.fact("seed", f"{seed.id} of recipe {seed.recipe}" if sample else f"recipe {seed.recipe}")
    page.fact("from", _where(seed))
    page.fact("family", seed.family_id)
    for terms in sample.terms if sample else ():
        page.fact("terms", _terms(terms))
    spending = told.spending
    page.fact(
        "took",
        f"{spending.calls_made} calls, {spending.calls_cached} more answered from the corpus, "
        f"{spending.attempts_failed} failed attempts; {spending.prompt_tokens:,} tokens asked, "
        f"{spending.completion_tokens:,} answered; cost {dollars(spending.cost_usd)} "
        "(the seed and all its candidates)",
    )


def _origin(sample: SampleStory) -> str:
    if sample.variant == 0:
        origin = "the seed's own instruction"
    else:
        origin = f"variant {sample.variant}, written by the expansion agent"
    return f"{origin}; round {sample.round}" if sample.round else origin


def _where(seed: SeedStory) -> str:
    licence = f", licence {seed.licence}" if seed.licence else ""
    return f"{seed.source}, row {seed.row} (shape {seed.source_shape}){licence}"


def _terms(terms: dict[str, object]) -> str:
    allowed = {"true": "may train models", "false": "must not train models"}
    word = allowed.get(str(terms.get("allows_training")), "unknown whether it may train models")
    parts = [f"{terms.get('teacher')} ({terms.get('model')}): {word}"]
    parts += [str(terms[key]) for key in ("licence", "note") if terms.get(key)]
    return "; ".join(parts)


def _show_family(page: Page, told: Story) -> None:
    page.heading("Family")
    seed = f"  seed {told.seed.id[:12]} {told.seed.status}  "
    page.lines.append(Text(seed + one_line(told.seed.instruction, page.width - len(seed))))
    _show_branch(page, told, None, "  ")


def _show_branch(page: Page, told: Story, parent: str | None, before: str) -> None:
    children = told.children_of(parent)
    for place, sample in enumerate(children):
        last = place == len(children) - 1
        what = f"round {sample.round}" if parent else f"variant {sample.variant}"
        if parent is None and sample.variant == 0:
            what = "own words"
        reason = f" {plain(sample.reason)}" if sample.reason else ""
        line = Text(f"{before}{'└─' if last else '├─'} {what}  {sample.id[:12]}  ")
        line.append(f"{sample.status}{reason}")
        if sample.id == told.id:
            line.append("  ◀ this one", style="bold")
        page.lines.append(line)
        _show_branch(page, told, sample.id, before + ("   " if last else "│  "))
