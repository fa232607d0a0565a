"""`stillhouse review`: the queue of held samples, and one decision about one of them.

A decision is only written down; the next `stillhouse run` carries it out. Works while a run writes.
"""

from __future__ import annotations

from rich.rule import Rule
from rich.text import Text

from cli.entry import at_work
from cli.plain import one_line, plain
from cli.show import console
from cli.wrapping import wrapped
from storage.database import Database
from storage.review import HeldSample, ReviewRefused, decide, held_samples

_SHOWN_ID = 12
_EVIDENCE_CHARACTERS = 400
_LISTED_CHARACTERS = 300


def review_command(
    id: str | None, decision: str | None, db: str, reviewer: str | None, note: str | None
) -> int:
    """Lists the queue, shows one held sample (`id` alone), or decides it; returns the exit code."""
    at_work()
    database = Database.open(db)
    try:
        if id is None or decision is None:
            _list(database, id)
        else:
            _decide(database, id, decision, reviewer, note)
    finally:
        database.close()
    return 0


def _decide(
    database: Database, id: str, decision: str, reviewer: str | None, note: str | None
) -> None:
    decided = decide(database, id, decision, reviewer, note)
    words = {"accept": "accepted", "reject": "rejected"}
    said = f"Sample {decided.sample_id[:_SHOWN_ID]} is to be {words[decided.decision]}"
    if decided.replaced is not None:
        said += f" (in place of: {decided.replaced})"
    console.print(Text(f"{said}, says {plain(decided.reviewer)}."))
    console.print(Text(f"The next run of '{decided.recipe}' carries it out: stillhouse run RECIPE"))


def _list(database: Database, prefix: str | None) -> None:
    shown = waiting = 0
    with database.read() as connection:
        for sample in held_samples(connection):
            if prefix is not None and not sample.id.startswith(prefix.lower()):
                continue
            shown += 1
            waiting += sample.decision is None
            _show(sample, whole=prefix is not None)
    if prefix is not None and not shown:
        raise ReviewRefused(
            f"No held sample's identifier begins with '{prefix}'.",
            cause="Either there is no such sample, or it is not held.",
            solution="List the held samples.",
            command="stillhouse review",
        )
    if not shown:
        console.print("No sample is held: nothing waits for a person.")
        return
    console.print(Rule(style="dim"))
    console.print(f"{shown:,} held, {waiting:,} of them still to be decided:")
    console.print("  stillhouse review ID                      the whole sample")
    console.print("  stillhouse review ID accept --note WHY")
    console.print("  stillhouse review ID reject --note WHY")


def _show(sample: HeldSample, *, whole: bool) -> None:
    facts = (sample.recipe, sample.category, sample.language, sample.reason)
    title = f"{sample.id[:_SHOWN_ID]}  {' · '.join(plain(fact) for fact in facts if fact)}"
    console.print(Rule(Text(title, style="bold"), align="left", style="dim"))
    parts = (
        ("instruction", sample.instruction),
        ("input", sample.input),
        ("reasoning", sample.reasoning),
        ("response", sample.response),
        ("reference", sample.reference),
    )
    for name, text in parts:
        if text:
            console.print(Text(name, style="cyan"))
            shown = text if whole else one_line(text, _LISTED_CHARACTERS)
            for line in wrapped(shown, console.width - 2):
                console.print(Text(f"  {line}"))
    for name, label, said in sample.evidence:
        line = f"{name}: {label}. {one_line(said, _EVIDENCE_CHARACTERS)}"
        console.print(Text(plain(line), style="yellow"))
    if sample.decision is not None:
        line = f"decided: {sample.decision}, by {sample.reviewer}; the next run carries it out"
        console.print(Text(plain(line), style="green"))
