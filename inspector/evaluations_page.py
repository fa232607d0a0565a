"""Evaluations and training runs: what models scored, and the rows each was trained on.

In: the corpus, and exported files where they lie. Out: `/evaluations`, one evaluation with its
items, one item with its calls, one training run, one export with its samples.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse
from sqlalchemy import select

from inspector.site import Site
from storage.evaluations import calls_of, evaluations, find_evaluation, find_item, item_t, origin_of
from storage.trained import (
    evaluations_of,
    exported_rows,
    find_export,
    find_training,
    training_runs,
)

_ITEMS = 50
_HERE = "evaluations"
# What databases and files count in 64 bits.
Place = Annotated[int, Query(ge=-1, le=2**62)]


def add_evaluations_page(router: APIRouter, site: Site) -> None:
    """Adds `/evaluations`, `/trainings` and `/exports`."""

    @router.get("/evaluations", response_class=HTMLResponse)
    def list_page(request: Request) -> HTMLResponse:
        with site.database.read() as connection:
            found, trained = evaluations(connection), training_runs(connection)
        return site.page(
            request, "evaluations.html.jinja", here=_HERE, found=found, trained=trained,
            figures=figures,
        )  # fmt: skip

    @router.get("/evaluations/{id}", response_class=HTMLResponse)
    def evaluation_page(request: Request, id: str, after: Place = -1) -> HTMLResponse:
        with site.database.read() as connection:
            row = find_evaluation(connection, id)
            c = item_t.c
            columns = (c.item, c.ordinal, c.category, c.language, c.prompt, c.response, c.verdict,
                       c.status, c.reason)  # fmt: skip
            query = select(*columns).where(c.evaluation_id == row["id"], c.ordinal > after)
            items = [
                dict(item)
                for item in connection.execute(
                    query.order_by(c.ordinal).limit(_ITEMS + 1)
                ).mappings()
            ]
            origin = origin_of(connection, row["training_run_id"])
        return site.page(
            request,
            "evaluation.html.jinja",
            here=_HERE,
            row=row,
            items=items[:_ITEMS],
            after=items[_ITEMS - 1]["ordinal"] if len(items) > _ITEMS else None,
            origin=origin,
            figures=figures,
        )

    @router.get("/evaluations/{id}/items", response_class=HTMLResponse)
    def item_page(request: Request, id: str, item: str) -> HTMLResponse:
        with site.database.read() as connection:
            row = find_evaluation(connection, id)
            found = find_item(connection, row["id"], item)
            calls = calls_of(connection, row["id"], item)
        return site.page(request, "item.html.jinja", here=_HERE, row=row, item=found, calls=calls)

    @router.get("/trainings/{id}", response_class=HTMLResponse)
    def training_page(request: Request, id: str) -> HTMLResponse:
        with site.database.read() as connection:
            row = find_training(connection, id)
            origin = origin_of(connection, row["id"])
            found = evaluations_of(connection, row["id"])
        return site.page(
            request, "training.html.jinja", here=_HERE, row=row, origin=origin, found=found,
            figures=figures,
        )  # fmt: skip

    @router.get("/exports/{id}", response_class=HTMLResponse)
    def export_page(request: Request, id: str, at: Place = 0) -> HTMLResponse:
        with site.database.read() as connection:
            row = find_export(connection, id)
            page = exported_rows(connection, row, max(at, 0))
        return site.page(request, "export.html.jinja", here=_HERE, row=row, page=page, at=at)


def figures(metrics: dict[str, Any] | None, most: int = 6) -> list[tuple[str, str]]:
    """The first figures of a result, as names and texts."""
    found = []
    for name, value in (metrics or {}).items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        found.append((name, f"{value:,}" if isinstance(value, int) else f"{value:.4g}"))
    return found[:most]
