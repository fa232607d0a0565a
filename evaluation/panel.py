"""Who plays the model and the judge: known by identity at once, opened when first needed.

In: the recipe's teachers. Out: gateways by role. An evaluation whose every answer is in the corpus
starts no server and needs no key; the first question that is not there opens all roles at once, so
that a judge's wrong key is known before the model has answered hundreds of questions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from evaluation.settings import EvaluationRecipe
from teachers.budget import Budget, require_prices
from teachers.errors import TeacherError
from teachers.gateway import CompletionCache, Gateway
from teachers.identity import TeacherIdentity, identity_of
from teachers.opening import Fleet


async def identify(recipe: EvaluationRecipe, roles: Sequence[str]) -> dict[str, TeacherIdentity]:
    """Who plays each role, without opening anyone.

    Raises:
        JudgeMissing: a role has no teacher.
        TeacherError: a checkpoint or a recording cannot be read, or a price that a budget needs
            is not known.
    """
    names = {role: recipe.teacher_of(role) for role in roles}
    require_prices(recipe.budget, {n: recipe.teachers[n].prices for n in names.values()})
    return {role: await identity_of(n, recipe.teachers[n]) for role, n in names.items()}


class Panel:
    """The roles of one evaluation; `close` it."""

    def __init__(
        self,
        recipe: EvaluationRecipe,
        identities: dict[str, TeacherIdentity],
        budget: Budget,
        cache: CompletionCache,
        log_folder: Path,
    ) -> None:
        self.identities = identities
        self._names = {role: recipe.teacher_of(role) for role in identities}
        self.fleet = Fleet(recipe.teachers, budget, cache, log_folder)
        self._lock = asyncio.Lock()
        self._open = False
        self._refusal: TeacherError | None = None

    def name(self, role: str) -> str:
        """What the recipe calls the teacher who plays a role."""
        return self._names[role]

    async def gateway(self, role: str) -> Gateway:
        """The role's gateway; the first call opens every role's teacher.

        Raises:
            TeacherError: what keeps one of them from answering.
        """
        async with self._lock:
            if self._refusal is not None:
                # Whoever waited meanwhile need not try what was just tried.
                raise self._refusal
            if not self._open:
                try:
                    await self.fleet.open(list(dict.fromkeys(self._names.values())))
                except TeacherError as error:
                    self._refusal = error
                    raise
                self._open = True
        return self.fleet.gateways[self._names[role]]

    async def close(self) -> None:
        """Closes connections and stops the servers that were started."""
        await self.fleet.close()
