"""The review queue: one held sample at a time, decided with the keyboard, undone with one key.

In: forms. Out: decisions in the corpus, and the next sample. People at different places of the
queue stay apart; where two meet, the second is told what the first decided. Whatever is refused,
the page comes again with everything that was typed into it.
"""

from __future__ import annotations

from urllib.parse import quote, unquote

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response
from sqlalchemy import select

from common.errors import StillhouseError
from common.hashing import digest_text
from inspector.bodies import LONGEST_TEXT
from inspector.errors import BadQuestion
from inspector.forms import FormFields
from inspector.guard import is_encrypted
from inspector.rendering import query
from inspector.review_form import Typed, choosing, read_typed
from inspector.site import REVIEWER, Site, onwards
from inspector.statuses import status_of
from inspector.visible import encodable
from storage.corpus import review_t
from storage.errors import NotFound
from storage.review import text_hash
from storage.reviewing import (
    ReviewCollision,
    Waiting,
    decide_seen,
    next_held,
    queue_counts,
    undo,
    waiting_decision,
)
from storage.trace import resolve, story

_YEAR_S = 365 * 24 * 3600


def add_review_page(router: APIRouter, site: Site) -> None:
    """Adds `/review` and what belongs to it."""

    @router.get("/review", response_class=HTMLResponse)
    def queue(request: Request, after: str = "", done: str = "") -> Response:
        with site.database.read() as connection:
            following = next_held(connection, after or _place(request))
            counts = queue_counts(connection)
        if following is not None:
            return onwards(f"/review/{following}{query({'done': done})}")
        return site.page(
            request, "queue_empty.html.jinja", here="review", counts=counts, done=_done(site, done)
        )

    @router.get("/review/{id}", response_class=HTMLResponse)
    def review_page(request: Request, id: str, done: str = "") -> Response:
        return _sample_page(site, request, id, done)

    @router.post("/review/{id}")
    def decide(request: Request, id: str, fields: FormFields) -> Response:
        typed = read_typed(fields)
        try:
            site.check_form(request, fields.text("word"))
            answer: Response = _decided(site, id, typed)
        except StillhouseError as error:
            answer = _given_back(site, request, id, typed, error)
        answer.set_cookie(
            REVIEWER,
            quote(encodable(typed.reviewer[:200])),
            max_age=_YEAR_S,
            httponly=True,
            samesite="lax",
            secure=is_encrypted(request),
        )
        return answer

    @router.post("/review/undo/{review}")
    def undo_decision(request: Request, review: str, fields: FormFields) -> Response:
        site.check_form(request, fields.text("word"))
        return onwards(f"/review/{undo(site.database, review)}")


def _place(request: Request, beyond: str = "") -> str:
    """Where in the queue a visitor begins, or goes on after having met somebody at a sample: at a
    place of their own, so that two do not go side by side from there."""
    return digest_text(f"{request.state.visitor} {beyond}")


def _decided(site: Site, id: str, typed: Typed) -> Response:
    with site.database.read() as connection:
        kind, whole = resolve(connection, id)
        sample = story(connection, kind, whole).sample
    if sample is None:
        raise NotFound(
            f"There is no sample '{id[:12]}'.",
            cause="The identifier is a seed's, or the sample went meanwhile.",
            solution="Go back to the queue.",
        )
    chosen = choosing(typed, sample.instruction, sample.response)
    written = decide_seen(site.database, sample.id, chosen, typed.seen)
    return onwards(f"/review{query({'after': sample.id, 'done': written})}")


def _given_back(
    site: Site, request: Request, id: str, typed: Typed, error: StillhouseError
) -> HTMLResponse:
    """The page again, with why the decision was refused, how the sample is now, and what was
    typed."""
    try:
        return _sample_page(site, request, id, "", typed, error)
    except StillhouseError as worse:
        return site.page(
            request, "error.html.jinja", status_of(worse), error=worse, typed=typed.texts
        )


def _sample_page(
    site: Site,
    request: Request,
    id: str,
    done: str,
    typed: Typed | None = None,
    error: StillhouseError | None = None,
) -> HTMLResponse:
    with site.database.snapshot() as connection:
        kind, whole = resolve(connection, id)
        if kind != "sample":
            raise BadQuestion(
                "Only samples are reviewed.",
                cause=f"{id[:12]} is a seed.",
                solution="Open one of its samples.",
            )
        told = story(connection, kind, whole)
        waiting = waiting_decision(connection, whole)
        counts = queue_counts(connection)
    sample = told.sample
    if sample is None:
        raise NotFound(
            f"There is no sample '{whole[:12]}'.",
            cause="It went while the page was made.",
            solution="Go back to the queue.",
        )
    met = isinstance(error, ReviewCollision)
    return site.page(
        request,
        "review.html.jinja",
        200 if error is None else status_of(error),
        here="review",
        told=told,
        sample=sample,
        seed=told.seed,
        waiting=waiting,
        seen_hash=text_hash(sample.instruction, sample.reasoning, sample.response),
        reviewer=typed.reviewer if typed else _reviewer(request),
        counts=counts,
        done=_done(site, done),
        typed=typed,
        error=error,
        onwards=_place(request, sample.id) if met else sample.id,
        longest_text=LONGEST_TEXT,
        read_only=site.database.read_only,
    )


def _done(site: Site, review: str) -> tuple[Waiting, str] | None:
    """The decision that was just written, with its sample, so that it can be undone."""
    if not review:
        return None
    c = review_t.c
    columns = (c.id, c.decision, c.reviewer, c.note, c.created_at, c.sample_id)
    with site.database.read() as connection:
        row = connection.execute(
            select(*columns).where(c.id == review, c.applied_at.is_(None))
        ).first()
    return None if row is None else (Waiting(*row[:5]), row.sample_id)


def _reviewer(request: Request) -> str:
    """The name that was given last; cookies hold ASCII only."""
    return unquote(request.cookies.get(REVIEWER, ""))
