"""What must be true of every evaluation, as SQL; the counterpart of `storage.invariants`."""

from __future__ import annotations

from sqlalchemy import exists, or_, select

from storage.evaluations import evaluation_call_t, evaluation_t, item_t
from storage.invariants import Check
from storage.trace import completion_t

_ended = evaluation_t.c.status.in_(("finished", "incomplete"))

EVALUATION_CHECKS: tuple[Check, ...] = (
    Check(
        "evaluations_settled",
        "every ended evaluation has figures and no pending item",
        select(evaluation_t.c.id)
        .where(
            _ended,
            or_(
                evaluation_t.c.metrics.is_(None),
                exists().where(
                    item_t.c.evaluation_id == evaluation_t.c.id, item_t.c.status == "pending"
                ),
            ),
        )
        .subquery(),
    ),
    Check(
        "evaluation_verdicts",
        "every judged item has a verdict, every failed one a reason",
        select((item_t.c.evaluation_id + " " + item_t.c.item).label("id"))
        .where(
            or_(
                (item_t.c.status == "done") & item_t.c.verdict.is_(None),
                (item_t.c.status == "failed") & item_t.c.reason.is_(None),
            )
        )
        .subquery(),
    ),
    Check(
        "evaluation_answers",
        "every answered call of an evaluation has its completion",
        select(evaluation_call_t.c.id)
        .where(
            evaluation_call_t.c.error_type.is_(None),
            ~exists().where(completion_t.c.key == evaluation_call_t.c.request_key),
        )
        .subquery(),
    ),
)
