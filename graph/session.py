"""Everything that one invocation works with, put together: prompts, budget, teachers, books.

`open_session` checks what can be checked before anything is spent, and writes the run's row and
the prompts it uses. Once the session's teachers are open, `Session.services` is what the graph's
builder takes.
"""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import dataclass
from pathlib import Path

from agents.prompts import Prompt, PromptLibrary
from common.paths import prompts_folder
from common.revision import code_revision
from graph.books import Books
from graph.gates import Gates
from graph.recipe import ROLES, Recipe
from graph.services import Services, bind_roles
from storage import corpus, tables
from storage.completions import CompletionShelf, RequestCache
from storage.database import Database
from storage.tables import Run
from storage.writer import Change, Writer, row_of
from teachers.budget import Budget, Spend, require_prices
from teachers.gateway import Gateway
from teachers.opening import Fleet
from teachers.records import completion_of


@dataclass(frozen=True)
class Session:
    """One invocation's working parts."""

    recipe: Recipe
    database: Database
    prompts: PromptLibrary
    books: Books
    fleet: Fleet

    async def open_teachers(self) -> None:
        """Opens every teacher that some role names."""
        await self.fleet.open(self.recipe.used_teachers())

    def warnings(self) -> list[str]:
        """What a careful user would want to know before the run."""
        roles = self.teachers_by_role()
        found = []
        if not roles["response"].contribution.simulated:
            rehearsing = [role for role, by in roles.items() if by.contribution.simulated]
            if rehearsing:
                found.append(
                    "a real teacher writes the responses, but a simulated one still plays "
                    f"{', '.join(rehearsing)}: set agents.ROLE.teacher there too"
                )
        verification = self.recipe.agents.verification
        if verification.enabled and verification.judge:
            found += self.fleet.warnings(
                self.recipe.teacher_of("response"), self.recipe.teacher_of("verification")
            )
        return found

    def teachers_by_role(self) -> dict[str, Gateway]:
        """Who plays each enabled role; the teachers must be open."""
        names = {r: self.recipe.teacher_of(r) for r in ROLES if self.recipe.agents.role(r).enabled}
        return {role: self.fleet.gateways[name] for role, name in names.items() if name}

    def services(self, only_variant: int | None = None) -> Services:
        """What the nodes work with; the teachers must be open."""
        recipe, database = self.recipe, self.database
        with database.read() as connection:
            gates = Gates(
                known=corpus.known_fingerprints(connection, recipe.name)
                if recipe.gates.duplicates
                else (),
                live=corpus.places_taken(connection, recipe.name) if recipe.gates.quotas else {},
                quotas={str(category): n for category, n in recipe.gates.quotas.items()},
            )
        bindings = bind_roles(recipe, self.fleet.gateways)
        return Services(
            recipe,
            self.prompts,
            bindings,
            self.books,
            gates,
            self._find_owner,
            only_variant=only_variant,
        )

    async def _find_owner(self, fingerprint: str) -> str | None:
        await self.books.writer.flush()

        def ask() -> str | None:
            with self.database.read() as connection:
                return corpus.fingerprint_owner(connection, self.recipe.name, fingerprint)

        return await asyncio.to_thread(ask)


def used_prompts(recipe: Recipe, prompts: PromptLibrary) -> list[Prompt]:
    """Every prompt of the enabled roles, read and checked before anything is spent."""
    used: dict[str, Prompt] = {}
    for role in ROLES:
        settings = recipe.agents.role(role)
        if settings.enabled:
            for setting in ("prompt", "classify_prompt", "steps_prompt"):
                if hasattr(settings, setting):
                    prompt = prompts.get(getattr(settings, setting))
                    used[prompt.name] = prompt
    return list(used.values())


def check_recipe(recipe: Recipe, prompts: PromptLibrary) -> list[Prompt]:
    """Reads every prompt and price that the run will need, before anything is spent."""
    require_prices(
        recipe.budget, {name: recipe.teachers[name].prices for name in recipe.used_teachers()}
    )
    return used_prompts(recipe, prompts)


def open_session(
    recipe: Recipe,
    database: Database,
    writer: Writer,
    log_folder: Path,
    prompt_files: Path | None = None,
) -> Session:
    """Begins one invocation on an open database; raises `StillhouseError` for what is missing."""
    prompts = PromptLibrary(prompt_files or prompts_folder())
    used = check_recipe(recipe, prompts)
    with database.read() as connection:
        spent = corpus.spent(connection, recipe.name)
    budget = Budget(
        recipe.budget,
        Spend(
            calls=spent["calls"],
            tokens=spent["charged_tokens"],
            usd=spent["charged_usd"],
        ),
    )
    run = Run(
        id=uuid.uuid4().hex,
        recipe=recipe.name,
        recipe_hash=recipe.hash(),
        recipe_text=recipe.text(),
        code_revision=code_revision(),
    )
    cache = RequestCache(CompletionShelf(database), writer, completion_of)
    books = Books(writer, run.id, recipe.name)
    books.on_completion = cache.added
    fleet = Fleet(recipe.teachers, budget, cache, log_folder / run.id[:12])
    with database.write() as connection:
        corpus.close_killed_runs(connection)
    writer.submit([Change("insert", Run, row_of(run)), *map(_prompt_row, used)])
    return Session(recipe, database, prompts, books, fleet)


def _prompt_row(prompt: Prompt) -> Change:
    row = tables.Prompt(
        hash=prompt.hash, name=prompt.name, version=prompt.version, text=prompt.text
    )
    return Change("insert", tables.Prompt, row_of(row))
