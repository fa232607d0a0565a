"""Who wrote the responses, as far as the corpus can tell: `label_tail` has to know.

In: a recipe with a database, a stage, the tokenised corpus. Out: nothing, or a refusal. That
objective takes the label for a draw from the stage's teacher as it is: at temperature 1, nothing
cut off and nothing penalised. Its name for a model and the factory's may differ, and what was not
stated was the server's default; so only what is certainly otherwise is refused, and the rest is the
recipe's word.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from sqlalchemy import RowMapping, select

from storage.corpus import call_t
from storage.database import Database
from storage.tables import Completion, table_of
from training.data.tokenised import TokenisedCorpus
from training.errors import CorpusRefused
from training.recipe import StageSettings, TrainRecipe

# What leaves the model's own distribution as it is.
_PLAIN: dict[str, tuple[float, ...]] = {
    "temperature": (1,),
    "top_p": (1,),
    "top_k": (-1, 0),
    "min_p": (0,),
    "repetition_penalty": (1,),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
}
_completion_t = table_of(Completion)


def check_authors(recipe: TrainRecipe, stage: StageSettings, tokens: TokenisedCorpus) -> None:
    """Refuses `label_tail` over responses that its teacher certainly did not draw so.

    Raises:
        CorpusRefused: says how many were written otherwise, and how.
        StorageError: the database cannot be read.
    """
    if stage.objective != "label_tail" or recipe.corpus.db is None:
        return
    [name] = {rule.teacher for rule in stage.teachers}
    strangers = {_base(other.model) for other in recipe.teachers.values()}
    strangers.discard(_base(recipe.teachers[name].model))
    samples = {tokens.sample_ids[number] for number in range(len(tokens))}
    calls = {each["sample_id"]: each for each in _calls(recipe.corpus.db)}
    found = Counter(
        how
        for sample in samples
        if sample in calls and (how := _otherwise(calls[sample], strangers)) is not None
    )
    if found:
        listed = ", ".join(f"{count} {how}" for how, count in found.most_common(3))
        raise CorpusRefused(
            f"{found.total()} of {len(samples)} responses were not drawn from the teacher '{name}' "
            f"as stage '{stage.name}' takes them to be.",
            cause=f"'label_tail' needs plain draws at temperature 1; the corpus says: {listed}.",
            solution="Let this teacher write the responses at temperature 1, top_p 1 and without "
            "penalties, or take another objective: `tail_bucket` is right for any corpus.",
        )


def _calls(db: str) -> Iterator[RowMapping]:
    """The calls that brought responses, oldest first: a sample that was made anew keeps its name,
    and the last call is the one whose words it has."""
    statement = (
        select(call_t.c.sample_id, call_t.c.model, call_t.c.parameters, _completion_t.c.simulated)
        .select_from(call_t.outerjoin(_completion_t, _completion_t.c.key == call_t.c.request_key))
        .where(call_t.c.agent == "response", call_t.c.error_type.is_(None))
        .order_by(call_t.c.created_at)
    )
    database = Database.open(db)
    try:
        with database.read() as connection:
            yield from connection.execute(statement).mappings()
    finally:
        database.close()


def _otherwise(call: RowMapping, strangers: set[str]) -> str | None:
    """What is certainly not as it would have to be, in words; None where nothing is."""
    if call["simulated"]:
        return "by a simulated teacher"
    if _base(call["model"]) in strangers:
        return f"by {_base(call['model'])}"
    for name, plain in _PLAIN.items():
        value = (call["parameters"] or {}).get(name)
        if value is not None and value not in plain:
            return f"at {name} {value}"
    return None


def _base(model: str) -> str:
    """A model's own name: the last part of a hub's name or of a path."""
    return model.rstrip("/").rpartition("/")[2]
