"""Makes a fork: a corpus with one seed and the answers before the change, walked by the graph.

In: a corpus, which is only read, and a `Fork`. Out: a `Draft` whose own corpus has every call,
score and verdict of the new walk. Answers of the steps before are copied into the fork's request
cache, so they cost nothing and stay what they were; the step itself and all after it are asked.
Killed half way, the same wish goes on where it stopped, and pays for no finished call twice.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, select

from agents.prompts import parse_prompt
from common.errors import StillhouseError
from common.hashing import digest, digest_text
from graph.changes import read_resolved
from graph.forks.errors import ForkBusy, ForkNotFound, ForkRefused
from graph.forks.fork import Draft, Facts, Fork, Told
from graph.forks.ground import Ground, changed, read_ground
from graph.forks.place import filled, one_at_a_time
from graph.forks.shelf import find_fork, list_forks, tell_error, write_json
from graph.forks.steps import OF_SEED, STEPS, step_of_call
from graph.forks.trial import try_prompts
from graph.recipe import Recipe
from graph.run import Progress, RunOptions, RunResult, run_factory
from graph.stop import Stop
from storage.corpus import call_t, first_run, sample_t, seed_t
from storage.database import Database
from storage.errors import DatabaseBusy
from storage.tables import Completion, table_of

completion_t = table_of(Completion)
# The name becomes a path in the fork's folder, and a corpus may come from anywhere.
_PROMPT_NAME = re.compile(r"\w[\w.-]*(?:/\w[\w.-]*)+")


@dataclass(frozen=True)
class Plan:
    """A checked wish. `teacher` and `prompt` are None where nothing changes."""

    ground: Ground
    teacher: str | None
    prompt: str | None
    recipe: Recipe

    @property
    def prompts(self) -> dict[str, str]:
        """Every prompt of the fork by name."""
        edited = {} if self.prompt is None else {self.ground.prompt_name: self.prompt}
        return {**self.ground.prompts, **edited}


async def make_fork(
    database: Database,
    folder: Path,
    prompts: Path,
    fork: Fork,
    progress: Progress | None = None,
    on_ready: Callable[[Stop], None] = lambda stop: None,
) -> Draft:
    """Makes a fork, or goes on with an unfinished one of the same wish.

    Args:
        database: the corpus; it is only read.
        folder: where forks lie (`graph.forks.shelf.forks_folder`).
        prompts: the folder of prompt files.
        fork: what is wished.
        progress: filled in as it walks.
        on_ready: gets the `Stop` with which it can be ended.

    Raises:
        StillhouseError: why it cannot be made, or what stopped it; the draft is kept then, and the
            same wish goes on with it.
    """
    draft = prepare_fork(database, folder, prompts, fork)
    await walk_fork(draft, progress, on_ready)
    return find_fork(folder, draft.facts.id)


def prepare_fork(database: Database, folder: Path, prompts: Path, fork: Fork) -> Draft:
    """Checks a wish and makes the fork's folder; nobody is asked yet.

    Raises:
        NotFound: there is no such seed or sample.
        ForkRefused: the wish cannot be fulfilled, or its folder not be made.
        PromptError: the edited prompt is none, or cannot be filled in.
    """
    with database.snapshot() as connection:
        ground = read_ground(connection, fork.id, fork.agent, fork.prompt_name, prompts)
        plan = _plan(ground, fork)
        own = first_run(connection) or ""
    facts = _facts(plan, fork.who, str(database.name), own)
    # It may take a while, and a snapshot held meanwhile would let a run's log grow.
    try_prompts(ground, plan.prompts, ground.prompt_name if plan.prompt is not None else None)
    # Two clicks on one button, or two commands, are one wish.
    with one_at_a_time(folder, facts.seed_id) as of_seed:
        for draft in list_forks(folder, facts.seed_id, own):
            if draft.facts.asked == facts.asked and draft.state != "finished":
                return draft
        with filled(folder, of_seed, facts.id) as place, database.snapshot() as connection:
            _fill(place, plan, connection)
            write_json(place / "fork.json", facts)
    return find_fork(folder, facts.id)


async def walk_fork(
    draft: Draft,
    progress: Progress | None = None,
    on_ready: Callable[[Stop], None] = lambda stop: None,
) -> RunResult | None:
    """Walks a prepared fork to its end; None where it was there already.

    Raises:
        StillhouseError: what stopped it. It is told in the draft from then on.
        ForkNotFound: it was dropped before it began.
    """
    if draft.state == "finished":
        return None
    folder = draft.folder
    recipe = read_resolved(_kept_recipe(draft))
    if recipe is None:
        raise ForkRefused(
            f"The fork {draft.facts.id[:12]} cannot go on.",
            cause="Another version of Stillhouse began it.",
            solution="Drop it and make it anew.",
            command=f"stillhouse fork --drop {draft.facts.id[:12]}",
        )
    options = RunOptions(
        recipe,
        draft.database,
        log_folder=folder / "runs",
        prompts=folder / "prompts",
        only_variant=draft.facts.variant,
    )
    tell_error(folder, None)
    try:
        result = await run_factory(options, progress or Progress(), on_ready)
        if result.error is not None:
            raise result.error
    except DatabaseBusy as error:
        raise ForkBusy(
            f"The fork {draft.facts.id[:12]} is being made already.",
            cause="Another process or page began it and has not ended.",
            solution="Wait for it; it is in the list meanwhile.",
            command="stillhouse fork --list --db DB",
        ) from error
    except StillhouseError as error:
        parts = (error.code, error.what, error.cause, error.solution, error.command)
        tell_error(folder, Told(*parts))
        raise
    return result


def _kept_recipe(draft: Draft) -> str:
    try:
        return (draft.folder / "recipe.yaml").read_text(encoding="utf-8")
    except OSError as error:
        raise ForkNotFound(
            f"The fork {draft.facts.id[:12]} is gone.",
            cause=f"Its recipe cannot be read any more: {error.strerror}.",
            solution="It was dropped before it began; make it anew.",
        ) from error


def _plan(ground: Ground, fork: Fork) -> Plan:
    for name in ground.prompts:
        if not _PROMPT_NAME.fullmatch(name):
            raise ForkRefused(
                f"The recipe names a prompt '{name}'.",
                cause="A prompt is named AGENT/NAME, in letters, digits, `_`, `-` and `.`.",
                solution="Correct the recipe and run it; what it makes can be forked.",
            )
    teacher = fork.teacher if fork.teacher != ground.teacher else None
    recipe = ground.recipe
    if teacher is not None:
        if teacher not in recipe.teachers:
            raise ForkRefused(
                f"The recipe '{recipe.name}' describes no teacher '{teacher}'.",
                cause=f"As its runs left it, it has: {', '.join(sorted(recipe.teachers))}.",
                solution="Choose one of these, or describe it in the recipe and run that once.",
            )
        agents = recipe.agents
        role = agents.role(ground.agent).model_copy(update={"teacher": teacher})
        agents = agents.model_copy(update={ground.agent: role})
        recipe = changed(recipe, {"agents": agents})
    prompt = None
    if fork.prompt is not None:
        prompt = fork.prompt.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "\ufffd")
        parse_prompt(ground.prompt_name, Path(f"{ground.prompt_name}.md"), prompt)
        if prompt == ground.prompts[ground.prompt_name]:
            prompt = None
    return Plan(ground, teacher, prompt, recipe)


def _facts(plan: Plan, who: str | None, corpus: str, corpus_id: str) -> Facts:
    ground = plan.ground
    sample_id = None if ground.sample is None else str(ground.sample["id"])
    round = 0 if plan.teacher or plan.prompt is not None else ground.round
    texts = {name: digest_text(text) for name, text in plan.prompts.items()}
    asked = [corpus_id, ground.seed["id"], sample_id, ground.step, round, plan.recipe.hash(), texts]
    return Facts(
        id=uuid.uuid4().hex,
        corpus=corpus,
        corpus_id=corpus_id,
        recipe=plan.recipe.name,
        seed_id=str(ground.seed["id"]),
        sample_id=sample_id,
        variant=ground.variant,
        step=ground.step,
        agent=ground.agent,
        old_teacher=ground.teacher,
        teacher=plan.teacher,
        prompt_name=ground.prompt_name,
        prompt_setting=ground.prompt_setting,
        old_prompt=ground.prompts[ground.prompt_name],
        prompt=plan.prompt,
        who=(who or "").strip() or None,
        asked=digest(asked),
        created_at=datetime.now(UTC).isoformat(),
    )


def _fill(place: Path, plan: Plan, original: Connection) -> None:
    for name, text in plan.prompts.items():
        path = place / "prompts" / f"{name}.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="")
    (place / "recipe.yaml").write_text(plan.recipe.text(), encoding="utf-8")
    database = Database.open(str(place / "corpus.db"), create=True)
    try:
        with database.write() as connection:
            connection.execute(seed_t.insert(), _seed(plan.ground))
            keys = _keys_before(original, plan)
            wanted = select(completion_t).where(completion_t.c.key.in_(keys))
            for row in original.execute(wanted).mappings():
                connection.execute(completion_t.insert(), dict(row))
    finally:
        database.close()


def _seed(ground: Ground) -> dict[str, Any]:
    """The seed's row, to be walked. What classification found is taken over, unless the fork is
    about that."""
    row = ground.seed
    asked = ground.step == "classify"
    return {
        **row,
        "recipe": ground.recipe.name,
        "status": "pending",
        "reason": None,
        "shaped_by": None,
        "category": None if asked else row["category"],
        "ordinal": 0,
    }


def _keys_before(original: Connection, plan: Plan) -> list[str]:
    """The answers that the fork begins with: of all steps before its own. Without a change these
    are also the rounds before, which would come out the same."""
    ground = plan.ground
    again = plan.teacher is None and plan.prompt is None
    first = STEPS.index(ground.step)
    c = call_t.c
    rows = original.execute(
        select(c.agent, c.round, c.prompt_name, c.request_key, sample_t.c.variant)
        .outerjoin_from(call_t, sample_t, sample_t.c.id == c.sample_id)
        .where(c.seed_id == ground.seed["id"], c.error_type.is_(None))
    ).all()
    before: set[str] = set()
    anew: set[str] = set()
    for agent, round, prompt_name, key, variant in rows:
        step = step_of_call(agent, prompt_name, ground.recipe)
        if step is None or (ground.variant is not None and variant not in (None, ground.variant)):
            continue
        earlier = STEPS.index(step) < first
        if again and step not in OF_SEED and ground.step not in OF_SEED:
            earlier = (round, STEPS.index(step)) < (ground.round, first)
        (before if earlier else anew).add(key)
    return sorted(before - anew)
