"""The `--stale` part of `stillhouse status`: which steps have changed, and what redoing costs.

In: an open database and the recipe as it is now. Out: a `StaleState`, and how it is told.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table
from rich.text import Text

from agents.prompts import PromptLibrary
from cli.plain import counted, plain
from cli.show import console, dollars
from common.paths import prompts_folder
from graph.changes import StepChange, explain, read_resolved
from graph.recipe import Recipe
from graph.shapes import role_teachers, shapes_for
from storage import redoing, staleness
from storage.database import Database
from storage.redoing import StaleStep
from storage.summary import TeacherFigures


@dataclass(frozen=True)
class StaleState:
    """What of a recipe is stale: `seeds` walk again at the next run, `samples` are replaced by it.
    `redo` is what the calls concerned took the first time."""

    recipe: str
    seeds: int
    samples: int
    steps: list[tuple[StaleStep, StepChange]]
    redo: TeacherFigures

    def report(self) -> dict[str, Any]:
        """As JSON shows it."""
        return {
            "seeds": self.seeds,
            "samples": self.samples,
            "steps": [
                {
                    "step": step.step,
                    "agent": step.agent,
                    "was": step.was,
                    "seeds": step.seeds,
                    "samples": step.samples,
                    **asdict(change),
                }
                for step, change in self.steps
            ],
            "redo": {
                "calls": self.redo.calls_made,
                "tokens": {
                    "prompt": self.redo.prompt_tokens,
                    "completion": self.redo.completion_tokens,
                },
                "cost": self.redo.usd,
                "known_cost": self.redo.known_usd,
            },
        }

    def show(self) -> None:
        """Tells people."""
        if not self.seeds:
            console.print(
                f"Nothing of {self.recipe} is stale: prompts, teachers and settings are the same."
            )
            return
        console.print(
            Text(
                f"Stale of {self.recipe}: {counted(self.samples, 'sample')}. The next run walks "
                f"{counted(self.seeds, 'seed')} again.",
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
        for step, change in self.steps:
            rows[step.step, change.words].update(seeds=step.seeds, samples=step.samples)
        for (step_name, words), n in rows.items():
            counts = (f"{n[what]:,}" if n[what] else "·" for what in ("seeds", "samples"))
            table.add_row(step_name, Text("\n".join(map(plain, words))), *counts)
        console.print(table)
        redo = self.redo
        cost = dollars(redo.usd)
        if redo.unpriced_calls:
            cost = f"an unknown sum ({dollars(redo.known_usd)} of it known)"
        console.print(
            f"The calls concerned took {redo.calls_made:,} calls, "
            f"{redo.prompt_tokens + redo.completion_tokens:,} tokens and {cost} the first time. "
            "Redoing takes at most\nabout as much: a question that comes out unchanged is answered "
            "from the corpus."
        )


def find_stale(database: Database, recipe: Recipe) -> StaleState:
    """Compares the corpus with the recipe and the prompt files as they are now."""
    prompts = PromptLibrary(prompts_folder())
    teachers = asyncio.run(role_teachers(recipe))
    current = shapes_for(recipe, prompts, teachers)
    steps = []
    with database.read() as connection:
        groups = staleness.stale_groups(connection, recipe.name, current)
        for step in redoing.stale_steps(groups, current):
            before = read_resolved(redoing.recipe_behind(connection, recipe.name, step.example))
            change = explain(
                step.was,
                current.shapes.get(step.step, frozenset()),
                step.agent,
                before=before,
                now=recipe,
                teachers=teachers,
            )
            steps.append((step, change))
        return StaleState(
            recipe=recipe.name,
            seeds=len(staleness.stale_seed_ids(connection, recipe.name, groups)),
            samples=sum(group.count for group in groups if group.kind == "sample"),
            steps=steps,
            redo=redoing.redo_cost(connection, recipe.name, groups),
        )
