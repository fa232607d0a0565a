"""What must be true of every corpus, as SQL: one query per check, each selecting what breaks it.

In: nothing. Out: `CHECKS`, in the order in which people read them. A query gives one column, the
identifiers of the rows that break its sentence; on a sound corpus it gives none. The sentences hold
at every moment, also while a run writes, because a run commits what belongs together in one
transaction. A seed that is pending may be on its second walk, with rows of the first still about,
so what concerns several rows of one seed is asked of ended seeds only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Select,
    Text,
    and_,
    case,
    cast,
    exists,
    func,
    literal,
    or_,
    select,
    union,
)

from storage.corpus import call_t, run_t, sample_t, seed_t, verdict_t
from storage.tables import RUN_STATUSES, SAMPLE_STATUSES, SEED_STATUSES, Prompt, table_of
from storage.trace import completion_t, score_t

prompt_t = table_of(Prompt)
_HEXADECIMAL = "0123456789abcdef"
_HASH_IN_LINEAGE = 12


@dataclass(frozen=True)
class Check:
    """One sentence that must be true, and the query for the rows that break it."""

    name: str
    says: str
    broken: Any


def _ids(*selects: Select[Any]) -> Any:
    """Several queries of one column as one that can be counted."""
    return selects[0].subquery() if len(selects) == 1 else union(*selects).subquery()


def _parts_differ(table: Any, words: tuple[str, ...], kind: str) -> Select[Any]:
    parts = func.sum(case((table.c.status.in_(words), 1), else_=0))
    return (
        select((literal(f"{kind} of ") + table.c.recipe).label("id"))
        .group_by(table.c.recipe)
        .having(func.count() != parts)
    )


def _blank(column: Any) -> ColumnElement[bool]:
    return or_(column.is_(None), func.trim(column, " \n\r\t") == "")


_accepted = sample_t.c.status == "accepted"
_answered = call_t.c.error_type.is_(None)
_ended = seed_t.c.status != "pending"
_parent = sample_t.alias("parent")
_other = sample_t.alias("other")


def _verdict(*labels: str, kinds: tuple[str, ...]) -> ColumnElement[bool]:
    return exists().where(
        verdict_t.c.sample_id == sample_t.c.id,
        verdict_t.c.kind.in_(kinds),
        verdict_t.c.label.in_(labels),
    )


def _response_call(*further: ColumnElement[bool]) -> ColumnElement[bool]:
    return exists().where(
        call_t.c.sample_id == sample_t.c.id, call_t.c.agent == "response", _answered, *further
    )


def _unproven() -> Select[Any]:
    """Accepted samples without the verdict that their reason speaks of."""
    lineage = func.coalesce(cast(sample_t.c.shaped_by, Text), "")
    touched = or_(lineage.like('%"verify":%'), sample_t.c.reason == "verified")
    shown = case(
        (sample_t.c.reason == "accepted_by_human", _verdict("pass", kinds=("human",))),
        (sample_t.c.reason == "unverified", _verdict("unscored", kinds=("executable", "judge"))),
        else_=or_(~touched, _verdict("pass", kinds=("executable", "judge", "human"))),
    )
    return select(sample_t.c.id).where(_accepted, ~shown)


def _family_differs() -> tuple[Select[Any], Select[Any]]:
    from_seed = (
        select(sample_t.c.id)
        .join(seed_t, seed_t.c.id == sample_t.c.seed_id)
        .where(
            or_(
                sample_t.c.family_id != seed_t.c.family_id,
                sample_t.c.recipe != seed_t.c.recipe,
            )
        )
    )
    from_parent = (
        select(sample_t.c.id)
        .join(_parent, _parent.c.id == sample_t.c.parent_id)
        .where(
            or_(
                sample_t.c.family_id != _parent.c.family_id,
                sample_t.c.seed_id != _parent.c.seed_id,
                sample_t.c.variant != _parent.c.variant,
            )
        )
    )
    return from_seed, from_parent


def _round_differs() -> tuple[Select[Any], Select[Any]]:
    of_child = (
        select(sample_t.c.id)
        .join(_parent, _parent.c.id == sample_t.c.parent_id)
        .where(sample_t.c.round != _parent.c.round + 1)
    )
    of_first = select(sample_t.c.id).where(sample_t.c.parent_id.is_(None), sample_t.c.round != 0)
    return of_child, of_first


def _accepted_twice() -> Select[Any]:
    """Accepted samples for whose words another walk was accepted too, in one recipe, where the
    duplicate gate let both in. Later rounds inherit their first round's decision."""
    first = sample_t.alias("first_round")
    decided = exists().where(
        first.c.seed_id == sample_t.c.seed_id,
        first.c.variant == sample_t.c.variant,
        first.c.round == 0,
        verdict_t.c.sample_id == first.c.id,
        verdict_t.c.name == "duplicate",
        verdict_t.c.label == "pass",
    )
    same_words = (
        select(sample_t.c.recipe, sample_t.c.fingerprint)
        .where(_accepted, sample_t.c.fingerprint.is_not(None))
        .group_by(sample_t.c.recipe, sample_t.c.fingerprint)
        .having(func.count() > 1)
        .subquery()
    )
    candidates = (
        select(
            sample_t.c.id,
            sample_t.c.recipe,
            sample_t.c.fingerprint,
            (sample_t.c.seed_id + literal(" ") + cast(sample_t.c.variant, Text)).label("walk"),
        )
        .join(
            same_words,
            and_(
                same_words.c.recipe == sample_t.c.recipe,
                same_words.c.fingerprint == sample_t.c.fingerprint,
            ),
        )
        .join(seed_t, seed_t.c.id == sample_t.c.seed_id)
        .where(_accepted, _ended, decided)
        .subquery()
    )
    return (
        select(func.min(candidates.c.id).label("id"))
        .group_by(candidates.c.recipe, candidates.c.fingerprint)
        .having(func.count(candidates.c.walk.distinct()) > 1)
    )


def _owner_missing() -> Select[Any]:
    owner = verdict_t.c.evidence["of"].as_string()
    return select(verdict_t.c.sample_id.label("id")).where(
        verdict_t.c.name == "duplicate",
        verdict_t.c.label == "fail",
        ~exists().where(_other.c.id == owner),
    )


def _bad_scores() -> Select[Any]:
    numbers = [score_t.c[n] for n in ("informativeness", "helpfulness", "generalisation")]
    scored = and_(*(and_(n.is_not(None), n.between(0, 9)) for n in numbers))
    unscored = and_(*(n.is_(None) for n in numbers))
    sound = case(
        (score_t.c.label == "scored", scored),
        (score_t.c.label == "unscored", unscored),
        else_=literal(1) == literal(0),
    )
    return select(score_t.c.sample_id.label("id")).where(~sound)


def _list_columns_differ() -> tuple[Select[Any], Select[Any]]:
    """Samples whose columns for lists say otherwise than the rows that they repeat. One that was
    made anew has calls of several prompts, in whatever order they were first made: its columns are
    held to any one of them, not to the newest."""
    of_ended = select(sample_t.c.id).join(seed_t, seed_t.c.id == sample_t.c.seed_id).where(_ended)
    total = score_t.c.informativeness + score_t.c.helpfulness + score_t.c.generalisation
    by_score = of_ended.outerjoin(score_t, score_t.c.sample_id == sample_t.c.id).where(
        sample_t.c.score_total.is_distinct_from(total)
    )
    hash = func.substr(call_t.c.prompt_hash, 1, _HASH_IN_LINEAGE)
    repeated = _response_call(
        call_t.c.teacher == sample_t.c.responder,
        call_t.c.prompt_name + literal("#") + hash == sample_t.c.response_prompt,
    )
    named = or_(sample_t.c.responder.is_not(None), sample_t.c.response_prompt.is_not(None))
    answered = and_(sample_t.c.response.is_not(None), _response_call())
    by_call = of_ended.where(case((named, ~repeated), else_=answered))
    return by_score, by_call


def _simulation_hidden() -> tuple[Select[Any], Select[Any]]:
    terms = func.coalesce(cast(sample_t.c.terms, Text), "").like('%"simulated":true%')
    by_terms = select(sample_t.c.id).where(
        or_(and_(sample_t.c.simulated, ~terms), and_(~sample_t.c.simulated, terms))
    )
    # A sample may have had a simulated teacher on an earlier walk; then a later call is not.
    kept = completion_t.c.key == call_t.c.request_key
    by_answer = select(sample_t.c.id).where(
        ~sample_t.c.simulated,
        sample_t.c.response.is_not(None),
        _response_call(kept, completion_t.c.simulated),
        ~_response_call(kept, ~completion_t.c.simulated),
    )
    return by_terms, by_answer


def _run_differs() -> Select[Any]:
    made = (
        select(call_t.c.run_id, func.count().label("n"))
        .where(_answered, ~call_t.c.cached)
        .group_by(call_t.c.run_id)
        .subquery()
    )
    return (
        select(run_t.c.id)
        .outerjoin(made, made.c.run_id == run_t.c.id)
        .where(run_t.c.status != "running", run_t.c.calls_made != func.coalesce(made.c.n, 0))
    )


def _negative(table: Any) -> Select[Any]:
    columns = [table.c.cost_usd, table.c.prompt_tokens, table.c.completion_tokens]
    return select(table.c.id).where(or_(*(column < 0 for column in columns)))


def _rounds_accepted() -> Select[Any]:
    several = (
        select(sample_t.c.seed_id, func.min(sample_t.c.id).label("id"))
        .where(_accepted)
        .group_by(sample_t.c.seed_id, sample_t.c.variant)
        .having(func.count() > 1)
        .subquery()
    )
    return select(several.c.id).join(seed_t, seed_t.c.id == several.c.seed_id).where(_ended)


CHECKS: tuple[Check, ...] = (
    Check(
        "seed_states",
        "every seed is pending, done or failed",
        _ids(select(seed_t.c.id).where(seed_t.c.status.not_in(SEED_STATUSES))),
    ),
    Check(
        "sample_states",
        "every sample is pending, accepted, rejected, held or failed",
        _ids(select(sample_t.c.id).where(sample_t.c.status.not_in(SAMPLE_STATUSES))),
    ),
    Check(
        "parts_add_up",
        "the parts add up to the whole, in each recipe",
        _ids(
            _parts_differ(seed_t, SEED_STATUSES, "seeds"),
            _parts_differ(sample_t, SAMPLE_STATUSES, "samples"),
            _parts_differ(run_t, RUN_STATUSES, "runs"),
        ),
    ),
    Check(
        "end_reasons",
        "every end state has a reason",
        _ids(
            *(
                select(t.c.id).where(t.c.status != "pending", _blank(t.c.reason))
                for t in (seed_t, sample_t)
            )
        ),
    ),
    Check(
        "seeds_settled",
        "no ended seed has a pending sample",
        _ids(
            select(sample_t.c.id)
            .join(seed_t, seed_t.c.id == sample_t.c.seed_id)
            .where(_ended, sample_t.c.status == "pending")
        ),
    ),
    Check(
        "accepted_responses",
        "every accepted sample has a response",
        _ids(select(sample_t.c.id).where(_accepted, _blank(sample_t.c.response))),
    ),
    Check(
        "accepted_calls",
        "every accepted sample's response leads back to an answered call",
        _ids(select(sample_t.c.id).where(_accepted, ~_response_call())),
    ),
    Check(
        "accepted_verdicts",
        "every accepted sample has the verdict that its reason speaks of",
        _ids(_unproven()),
    ),
    Check(
        "one_round_accepted",
        "of one candidate's rounds at most one is accepted",
        _ids(_rounds_accepted()),
    ),
    Check(
        "answers_kept",
        "every answered call has its completion",
        _ids(
            select(call_t.c.id).where(
                _answered, ~exists().where(completion_t.c.key == call_t.c.request_key)
            )
        ),
    ),
    Check(
        "prompts_kept",
        "every call's prompt is kept, word for word",
        _ids(
            select(call_t.c.prompt_hash.label("id"))
            .distinct()
            .where(~exists().where(prompt_t.c.hash == call_t.c.prompt_hash))
        ),
    ),
    Check(
        "completion_keys",
        "every completion's key is a hash",
        _ids(
            select(completion_t.c.key.label("id")).where(
                or_(
                    func.length(completion_t.c.key) != 32,
                    func.rtrim(completion_t.c.key, _HEXADECIMAL) != "",
                )
            )
        ),
    ),
    Check(
        "parents_exist",
        "every later round has its parent",
        _ids(
            select(sample_t.c.id).where(
                sample_t.c.parent_id.is_not(None),
                ~exists().where(_parent.c.id == sample_t.c.parent_id),
            )
        ),
    ),
    Check("rounds", "rounds increase by one from parent to child", _ids(*_round_differs())),
    Check("families", "families agree along every lineage", _ids(*_family_differs())),
    Check(
        "duplicates",
        "no two accepted samples have the same words where the duplicate gate decided",
        _ids(_accepted_twice()),
    ),
    Check(
        "duplicate_evidence",
        "every duplicate's verdict names a sample that exists",
        _ids(_owner_missing()),
    ),
    Check("scores", "scores are integers from 0 to 9, or unscored and null", _ids(_bad_scores())),
    Check(
        "list_columns",
        "a sample's total, responder and response prompt are those of its score and calls",
        _ids(*_list_columns_differ()),
    ),
    Check(
        "simulation",
        "whatever a simulated teacher wrote is marked as simulated",
        _ids(*_simulation_hidden()),
    ),
    Check(
        "costs",
        "costs and token counts are unknown or not negative",
        _ids(_negative(call_t), _negative(run_t)),
    ),
    Check("runs", "every ended run's figure is the number of its calls", _ids(_run_differs())),
)
