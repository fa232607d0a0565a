"""What edits have made stale in a recipe's part of the corpus, and what redoing it costs.

In: an open database and the recipe as it is now. Out: a `StaleState`. Nothing is started for it and
nobody is asked: shapes are computed from the recipe, the prompt files and the teachers' identities.
"""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass
from typing import Any

from agents.prompts import PromptLibrary
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


def find_stale(database: Database, recipe: Recipe) -> StaleState:
    """Compares the corpus with the recipe and the prompt files as they are now.

    Raises:
        TeacherError: a managed server's checkpoint or a recording cannot be read.
        PromptError: a prompt file cannot be used.
    """
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
