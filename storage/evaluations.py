"""The questions that people and reports ask about evaluations: which there are, what came of each.

Every function takes an open connection and returns plain values; JSON columns are read.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, select

from storage.errors import NotFound
from storage.tables import (
    Completion,
    Evaluation,
    EvaluationCall,
    EvaluationItem,
    Export,
    TrainingRun,
    table_of,
)

evaluation_t = table_of(Evaluation)
item_t = table_of(EvaluationItem)
evaluation_call_t = table_of(EvaluationCall)
_completion_t = table_of(Completion)
_run_t, _export_t = table_of(TrainingRun), table_of(Export)


def evaluations(connection: Connection, benchmark: str | None = None) -> list[dict[str, Any]]:
    """Every evaluation, oldest first, as its row."""
    query = select(evaluation_t).order_by(evaluation_t.c.created_at, evaluation_t.c.id)
    if benchmark is not None:
        query = query.where(evaluation_t.c.benchmark == benchmark)
    return [dict(row) for row in connection.execute(query).mappings()]


def find_evaluation(connection: Connection, id_prefix: str) -> dict[str, Any]:
    """The one evaluation whose identifier begins so.

    Raises:
        NotFound: there is none, or there are several.
    """
    query = select(evaluation_t).where(evaluation_t.c.id.startswith(id_prefix, autoescape=True))
    found = [dict(row) for row in connection.execute(query.limit(9)).mappings()]
    if len(found) == 1:
        return found[0]
    listed = ", ".join(f"{row['id'][:12]} ({row['benchmark']}, {row['model']})" for row in found)
    raise NotFound(
        f"'{id_prefix}' names {'several evaluations' if found else 'no evaluation'}.",
        cause=f"They begin alike: {listed}." if found else "No identifier begins so.",
        solution="Give more of its characters." if found else "List the evaluations first.",
        command="stillhouse eval show --db DB",
    )


def items_of(connection: Connection, evaluation_id: str) -> list[dict[str, Any]]:
    """The items of an evaluation, in the benchmark's order."""
    query = select(item_t).where(item_t.c.evaluation_id == evaluation_id)
    return [dict(row) for row in connection.execute(query.order_by(item_t.c.ordinal)).mappings()]


def find_item(connection: Connection, evaluation_id: str, item: str) -> dict[str, Any]:
    """One item.

    Raises:
        NotFound: the evaluation has no such item.
    """
    query = select(item_t).where(item_t.c.evaluation_id == evaluation_id, item_t.c.item == item)
    row = connection.execute(query).mappings().first()
    if row is None:
        raise NotFound(
            f"The evaluation {evaluation_id[:12]} has no item '{item}'.",
            cause="Its items are named as the benchmark names them.",
            solution="Look at the list of its items.",
            command=f"stillhouse eval show {evaluation_id[:12]} --items --db DB",
        )
    return dict(row)


def calls_of(connection: Connection, evaluation_id: str, item: str) -> list[dict[str, Any]]:
    """An item's calls in the order in which they were made; an answered one has `answer`, the row
    of its completion, with the request word for word."""
    query = (
        select(evaluation_call_t)
        .where(evaluation_call_t.c.evaluation_id == evaluation_id, evaluation_call_t.c.item == item)
        .order_by(evaluation_call_t.c.created_at)
    )
    calls = [dict(row) for row in connection.execute(query).mappings()]
    keys = [call["request_key"] for call in calls]
    kept = select(_completion_t).where(_completion_t.c.key.in_(keys))
    answers = {row["key"]: dict(row) for row in connection.execute(kept).mappings()}
    for call in calls:
        call["answer"] = answers.get(call["request_key"]) if not call["error_type"] else None
    return calls


def origin_of(connection: Connection, training_run_id: str | None) -> dict[str, Any] | None:
    """Where an evaluated model comes from: its training run's stage and folder, and the export
    that it was trained on; None for a model that no stage of this corpus made."""
    if training_run_id is None:
        return None
    query = (
        select(
            _run_t.c.id,
            _run_t.c.stage,
            _run_t.c.output,
            _export_t.c.id.label("export"),
            _export_t.c.path,
            _export_t.c.rows,
            _export_t.c.content_hash,
        )
        .outerjoin(_export_t, _export_t.c.id == _run_t.c.export_id)
        .where(_run_t.c.id == training_run_id)
    )
    row = connection.execute(query).mappings().first()
    return None if row is None else dict(row)
