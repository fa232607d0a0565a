"""What the form for a fork shows before anything is asked: the teachers, the prompt, the cost.

In: the corpus, an identifier, an agent. Out: a `ForkForm`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from common.hashing import digest_text
from graph.forks.fork import Spent
from graph.forks.ground import Ground, read_ground
from graph.forks.took import took_before
from graph.recipe import ROLES, Recipe
from inspector.prompt_files import PromptFile, prompt_file
from storage.database import Database


@dataclass(frozen=True, slots=True)
class TeacherView:
    """A teacher as the recipe describes it: `where` requests go, and the variable of its key."""

    name: str
    kind: str
    where: str
    key: str | None
    plays: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ForkForm:
    """`text` is the prompt as the sample went through it, `file` its file as it is now."""

    ground: Ground
    text: str
    hash: str
    file: PromptFile | None
    teachers: tuple[TeacherView, ...]
    took: Spent

    @property
    def address(self) -> str:
        """Where the form lies."""
        sample, seed = self.ground.sample, self.ground.seed
        place = f"samples/{sample['id']}" if sample is not None else f"seeds/{seed['id']}"
        return f"/{place}/fork"


def read_form(
    database: Database, prompts: Path, id: str, agent: str, prompt_name: str | None
) -> ForkForm:
    """Looks up everything that the form shows.

    Raises:
        NotFound: there is no such seed or sample.
        ForkRefused: it cannot be forked from that agent.
    """
    with database.snapshot() as connection:
        ground = read_ground(connection, id, agent, prompt_name, prompts)
        took = took_before(connection, ground)
    text = ground.prompts[ground.prompt_name]
    return ForkForm(
        ground=ground,
        text=text,
        hash=digest_text(text),
        file=prompt_file(prompts, ground.prompt_name),
        teachers=tuple(_teacher(name, ground.recipe) for name in sorted(ground.recipe.teachers)),
        took=took,
    )


def _teacher(name: str, recipe: Recipe) -> TeacherView:
    settings = recipe.teachers[name]
    server = getattr(settings, "server", None)
    where = getattr(settings, "base_url", None) or getattr(settings, "path", None)
    if where is None:
        where = f"a server that is started for it: {server.model}" if server else "started here"
    return TeacherView(
        name=name,
        kind=settings.kind,
        where=str(where),
        key=getattr(settings, "api_key_env", None),
        plays=tuple(
            role
            for role in ROLES
            if recipe.agents.role(role).enabled and recipe.teacher_of(role) == name
        ),
    )
