"""What a fork of a sample stands on: its seed, the recipe behind it, and its prompts word for word.

In: the corpus, an identifier, an agent. Out: a `Ground`. The recipe is the one of the run that made
the sample, as the corpus keeps it; of the recipe's latest run only teachers are taken that the
earlier one did not know. Prompts are the texts that the sample went through, wherever files stand
by now.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from sqlalchemy import Connection, select

from agents.prompts import PromptError, PromptLibrary
from common.hashing import digest_text
from graph.changes import read_resolved
from graph.forks.errors import ForkRefused
from graph.forks.shelf import SEED_ID
from graph.forks.steps import AGENT_OF_STEP, OF_SEED, find_step, prompt_of_step
from graph.recipe import ROLES, Recipe
from storage.corpus import run_t, sample_t, seed_t
from storage.prompt_uses import prompt_t
from storage.trace import resolve

# As `graph.services.step_shape` writes it: prompt, its hash, teacher and settings.
_SHAPE = re.compile(r"([^#]+)#([0-9a-f]+)#.*", re.DOTALL)
PROMPT_SETTINGS = ("prompt", "classify_prompt", "steps_prompt")


@dataclass(frozen=True)
class Ground:
    """`seed` and `sample` are rows; `sample` is None where a seed was named. `variant` is the only
    draft that will walk, None for all. `prompts` has every text of the recipe's roles by name, and
    `prompt_name` is the one of the step that the fork begins at."""

    seed: Mapping[str, Any]
    sample: Mapping[str, Any] | None
    recipe: Recipe
    step: str
    variant: int | None
    prompt_name: str
    prompts: dict[str, str]

    @property
    def agent(self) -> str:
        """Who does the step."""
        return AGENT_OF_STEP[self.step]

    @property
    def teacher(self) -> str:
        """Who played that agent."""
        name = self.recipe.teacher_of(self.agent)
        assert name is not None, "an enabled role has a teacher"
        return name

    @property
    def prompt_setting(self) -> str:
        """The recipe's key for the step's prompt."""
        role = self.recipe.agents.role(self.agent)
        return next(s for s in PROMPT_SETTINGS if getattr(role, s, None) == self.prompt_name)

    @property
    def round(self) -> int:
        """The round of the sample that was named."""
        return int(self.sample["round"]) if self.sample is not None else 0


def read_ground(
    connection: Connection, id: str, agent: str, prompt_name: str | None, folder: Path
) -> Ground:
    """Looks up what a fork needs.

    Args:
        connection: the corpus, seen at one moment.
        id: a sample's or seed's identifier, or its beginning.
        agent: where the fork is to begin; see `graph.forks.steps`.
        prompt_name: which of the agent's prompts, where it has two.
        folder: the prompt files, for a text that the corpus does not have.

    Raises:
        NotFound: no seed or sample, or several, have that identifier.
        ForkRefused: the recipe cannot be read any more, or the agent had no part in it.
    """
    kind, whole = resolve(connection, id)
    sample = _row(connection, sample_t, whole) if kind == "sample" else None
    seed = _row(connection, seed_t, sample["seed_id"] if sample is not None else whole)
    if not SEED_ID.fullmatch(str(seed["id"])):
        raise ForkRefused(
            "This seed's identifier is none that Stillhouse gives.",
            cause="It is not 32 hexadecimal digits, and a folder of forks is named after it.",
            solution="Bring the seed in by a run; somebody has changed the corpus.",
            command="stillhouse doctor",
        )
    of_seed = select(sample_t).where(sample_t.c.seed_id == seed["id"])
    latest_first = of_seed.order_by(sample_t.c.updated_at.desc(), sample_t.c.id)
    members = [dict(row) for row in connection.execute(latest_first).mappings()]
    own = [sample] if sample is not None else []
    recipe = _recipe_behind(connection, seed, [*own, *members])
    step = find_step(agent, prompt_name, recipe)
    lineages = [row["shaped_by"] or {} for row in (*own, seed, *members)]
    if step in OF_SEED and step not in (seed["shaped_by"] or {}):
        raise ForkRefused(
            f"Nobody was asked to {step} this seed.",
            cause="Its file says what it is." if step == "classify" else
            "The recipe wants no variants, or the walk ended before.",
            solution="Begin at another agent.",
        )  # fmt: skip
    category = sample["category"] if sample is not None else seed["category"]
    used = prompt_of_step(step, recipe, category)
    if prompt_name not in (None, used):
        raise ForkRefused(
            f"The prompt '{prompt_name}' has no part in this step.",
            cause=f"The recipe '{recipe.name}' gives the step '{step}' the prompt '{used}' here.",
            solution="Begin at the step that uses it, or leave the prompt out.",
        )
    return Ground(
        seed=seed,
        sample=sample,
        recipe=recipe,
        step=step,
        variant=None if sample is None or step in OF_SEED else sample["variant"],
        prompt_name=used,
        prompts=dict(_texts(connection, recipe, lineages, PromptLibrary(folder))),
    )


def _row(connection: Connection, table: Any, id: str) -> dict[str, Any]:
    return dict(connection.execute(select(table).where(table.c.id == id)).mappings().one())


def _recipe_behind(
    connection: Connection, seed: Mapping[str, Any], samples: Sequence[Mapping[str, Any]]
) -> Recipe:
    latest = connection.execute(
        select(run_t.c.recipe_text)
        .where(run_t.c.recipe == seed["recipe"])
        .order_by(run_t.c.started_at.desc())
        .limit(1)
    ).scalar()
    text = latest
    if samples:
        text = connection.execute(
            select(run_t.c.recipe_text).where(run_t.c.id == samples[0]["run_id"])
        ).scalar()
    recipe = read_resolved(text)
    if recipe is None:
        raise ForkRefused(
            f"The recipe behind this seed, '{seed['recipe']}', cannot be read.",
            cause="The corpus has no run of it." if text is None else
            "Another version of Stillhouse wrote it, with settings that this one does not know.",
            solution="Run the recipe again with this version; what it makes can be forked.",
            command="stillhouse run RECIPE --db DB",
        )  # fmt: skip
    newer = read_resolved(latest)
    teachers = {**(newer.teachers if newer is not None else {}), **recipe.teachers}
    return changed(recipe, {"seeds": [], "teachers": teachers})


def changed(recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
    """A recipe with some of its parts replaced, checked as a whole.

    Raises:
        ForkRefused: the parts contradict each other.
    """
    parts = {name: getattr(recipe, name) for name in Recipe.model_fields}
    try:
        return Recipe.model_validate({**parts, **values})
    except ValidationError as error:
        raise ForkRefused(
            "The recipe cannot be changed in that way.",
            cause="; ".join(fault["msg"] for fault in error.errors()),
            solution="Choose another teacher, or change the recipe and run it.",
        ) from error


def _texts(
    connection: Connection, recipe: Recipe, lineages: list[dict[str, str]], files: PromptLibrary
) -> Iterator[tuple[str, str]]:
    """Every prompt of the enabled roles: as the sample went through it, else as its seed's other
    samples did, else the file, else what the corpus used last."""
    went_through: dict[str, str] = {}
    for lineage in lineages:
        for shape in lineage.values():
            if found := _SHAPE.fullmatch(shape):
                went_through.setdefault(found[1], found[2])
    for role in ROLES:
        settings = recipe.agents.role(role)
        for setting in PROMPT_SETTINGS if settings.enabled else ():
            used = getattr(settings, setting, None)
            if used is not None:
                yield used, _text(connection, used, went_through.get(used), files)


def _text(connection: Connection, name: str, hash: str | None, files: PromptLibrary) -> str:
    c = prompt_t.c
    if hash is not None:
        # 'g' follows every hexadecimal digit.
        kept = select(c.text).where(c.hash >= hash, c.hash < f"{hash}g")
        kept_text = connection.execute(kept).scalars().first()
        if kept_text is not None:
            if not digest_text(str(kept_text)).startswith(hash):
                raise ForkRefused(
                    f"The text of the prompt '{name}' in the corpus was changed.",
                    cause=f"It does not fit its hash, {hash}.",
                    solution="Find out who changed the corpus; a run only ever adds texts.",
                    command="stillhouse doctor",
                )
            return str(kept_text)
    try:
        return files.get(name).text
    except PromptError as error:
        used = select(c.text).where(c.name == name).order_by(c.first_used_at.desc())
        last = connection.execute(used.limit(1)).scalar()
        if last is None:
            raise ForkRefused(
                f"The prompt '{name}' of the recipe is not to be had.",
                cause=f"No run left its text, and as a file: {error.what} {error.cause}",
                solution="Put the file back, or correct it.",
            ) from error
        return str(last)
