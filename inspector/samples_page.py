"""The list of samples: filtered and sorted by what the address says.

In: the address's query. Out: the page `/samples`; the same address gives the same list to everyone.
"""

from __future__ import annotations

import re
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, Response
from sqlalchemy import Connection, select

from inspector.errors import BadQuestion
from inspector.run_page import COUNTER, RecipeCount
from inspector.site import Site, onwards
from storage.errors import NotFound
from storage.keyset import BadCursor
from storage.prompt_uses import prompt_t
from storage.sample_filters import SampleFilter
from storage.sample_list import SORTS, list_samples
from storage.tables import SAMPLE_STATUSES
from storage.trace import resolve

_IDENTIFIER = re.compile(r"[0-9a-f]{8,32}")
_MOST_SCORE = 27


def add_samples_page(router: APIRouter, site: Site) -> None:
    """Adds `/samples`."""

    @router.get("/samples", response_class=HTMLResponse)
    def samples_page(
        request: Request,
        recipe: str = "",
        status: str = "",
        reason: str = "",
        category: str = "",
        language: str = "",
        teacher: str = "",
        prompt: str = "",
        score_from: str = "",
        score_to: str = "",
        words: Annotated[str, Query(max_length=500)] = "",
        sort: str = "changed",
        order: str = "desc",
        after: str = "",
    ) -> Response:
        if sort not in SORTS or order not in ("asc", "desc"):
            raise BadQuestion(
                f"The list cannot be sorted by '{sort}', '{order}'.",
                cause=f"It can be by {', '.join(SORTS)}; asc or desc.",
                solution="Click on a column's name.",
            )
        wanted = SampleFilter(
            recipe=recipe or None,
            status=status or None,
            reason=reason or None,
            category=category or None,
            language=language or None,
            teacher=teacher or None,
            prompt_hash=prompt or None,
            score_from=_score(score_from),
            score_to=_score(score_to),
            words=words.strip() or None,
        )
        with site.database.read() as connection:
            if _IDENTIFIER.fullmatch(words.strip()):
                found = _named(connection, words.strip())
                if found is not None:
                    return onwards(found)
            try:
                page = list_samples(connection, wanted, sort, order == "desc", after or None)
            except BadCursor as error:
                raise BadQuestion(error.what, cause=error.cause, solution=error.solution) from error
            prompts = _prompts(connection)
        filters = {
            **asdict(wanted), "prompt_hash": None, "prompt": wanted.prompt_hash,
        }  # fmt: skip
        return site.page(
            request,
            "samples.html.jinja",
            here="samples",
            page=page,
            wanted=wanted,
            filters=filters,
            sort=sort,
            sorts=list(SORTS),
            order=order,
            after=after,
            options=_options(site, wanted),
            prompts=prompts,
        )


def _score(text: str) -> int | None:
    if not text.strip():
        return None
    digits = text.strip().lstrip("0") or "0"
    if not digits.isdecimal() or len(digits) > 2 or int(digits) > _MOST_SCORE:
        raise BadQuestion(
            f"'{text[:20]}' is no score.",
            cause=f"The sum of the three scores is a whole number from 0 to {_MOST_SCORE}.",
            solution="Give such a number, or nothing.",
        )
    return int(digits)


def _named(connection: Connection, identifier: str) -> str | None:
    try:
        kind, whole = resolve(connection, identifier)
    except NotFound:
        return None
    return f"/{kind}s/{whole}"


def _prompts(connection: Connection) -> list[tuple[str, str]]:
    """Every prompt text that was used: its hash, and what people call it."""
    query = select(prompt_t.c.hash, prompt_t.c.name, prompt_t.c.version).order_by(
        prompt_t.c.name, prompt_t.c.first_used_at
    )
    return [
        (row.hash, _label(row.name, row.version, row.hash)) for row in connection.execute(query)
    ]


def _label(name: str, version: str, hash: str) -> str:
    return f"{name}@{version} ({hash[:8]})"


def _options(site: Site, wanted: SampleFilter) -> dict[str, list[str]]:
    """What can be chosen, from the last count; a value that is chosen already is always there."""
    options: dict[str, set[str]] = {name: set() for name in _CHOICES}
    options["status"] = set(SAMPLE_STATUSES)
    counted = site.counted(COUNTER, "all")
    recipes: dict[str, RecipeCount] = counted.value if counted else {}
    for name, count in recipes.items():
        options["recipe"].add(name)
        options["reason"].update(reason for _, reason in count.figures.reasons)
        options["teacher"].update(count.figures.teachers)
        for what in ("category", "language"):
            options[what].update(count.figures.mix[what])
    chosen: dict[str, Any] = asdict(wanted)
    for name, values in options.items():
        if chosen[name]:
            values.add(chosen[name])
    return {name: sorted(values) for name, values in options.items()}


_CHOICES = ("recipe", "status", "reason", "category", "language", "teacher")
