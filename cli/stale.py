"""The `--stale` part of `stillhouse status`: which steps have changed, and what redoing costs.

In: a `StaleState`. Out: how it is told to people.
"""

from __future__ import annotations

from collections import Counter, defaultdict

from rich.table import Table
from rich.text import Text

from cli.plain import counted, plain
from cli.show import console, dollars
from graph.stale import StaleState


def show_stale(state: StaleState) -> None:
    """Tells people."""
    if not state.seeds:
        console.print(
            f"Nothing of {state.recipe} is stale: prompts, teachers and settings are the same."
        )
        return
    console.print(
        Text(
            f"Stale of {state.recipe}: {counted(state.samples, 'sample')}. The next run walks "
            f"{counted(state.seeds, 'seed')} again.",
            style="bold",
        )
    )
    table = Table(box=None, padding=(0, 2, 0, 2), header_style="bold")
    table.add_column("step")
    table.add_column("what has changed")
    table.add_column("seeds", justify="right")
    table.add_column("samples", justify="right")
    # One step can have several prompts; what changed in all of them alike is told once.
    rows: dict[tuple[str, tuple[str, ...]], Counter[str]] = defaultdict(Counter)
    for step, change in state.steps:
        rows[step.step, change.words].update(seeds=step.seeds, samples=step.samples)
    for (step_name, words), n in rows.items():
        counts = (f"{n[what]:,}" if n[what] else "·" for what in ("seeds", "samples"))
        table.add_row(step_name, Text("\n".join(map(plain, words))), *counts)
    console.print(table)
    redo = state.redo
    cost = dollars(redo.usd)
    if redo.unpriced_calls:
        cost = f"an unknown sum ({dollars(redo.known_usd)} of it known)"
    console.print(
        f"The calls concerned took {redo.calls_made:,} calls, "
        f"{redo.prompt_tokens + redo.completion_tokens:,} tokens and {cost} the first time. "
        "Redoing takes at most\nabout as much: a question that comes out unchanged is answered "
        "from the corpus."
    )
