"""One sample's page, or one seed's: its family, what teachers say of its tokens, the whole trace.

In: an identifier's first characters. Out: the page, or a redirect to the whole identifier's.
"""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response

from inspector.captures import RowsReader, captures_of
from inspector.forks_page import drafts_of
from inspector.site import Site, onwards
from inspector.story_view import Prompts, questions_of, rounds_of
from storage.answer_tokens import answer_tokens
from storage.prompt_uses import prompt_texts
from storage.teacher_rows import rows_entries
from storage.trace import resolve, story


def add_sample_page(router: APIRouter, site: Site, rows: RowsReader | None = None) -> None:
    """Adds `/samples/ID` and `/seeds/ID`; `rows` reads what was captured."""

    @router.get("/samples/{id}", response_class=HTMLResponse)
    def sample_page(request: Request, id: str) -> Response:
        return _page(request, id)

    @router.get("/seeds/{id}", response_class=HTMLResponse)
    def seed_page(request: Request, id: str) -> Response:
        return _page(request, id)

    def _page(request: Request, id: str) -> Response:
        with site.database.snapshot() as connection:
            kind, whole = resolve(connection, id)
            address = f"/{kind}s/{whole}"
            if request.url.path != address:
                return onwards(address)
            told = story(connection, kind, whole)
            calls = [*told.seed.calls, *(call for s in told.samples for call in s.calls)]
            keys = {c.request_key for c in calls if c.answer is not None and c.answer.logprobs}
            tokens = answer_tokens(connection, sorted(keys))
            prompts = Prompts(site.prompts)
            edited = {
                call.prompt_hash
                for call in calls
                if prompts.state(call.prompt_name, call.prompt_hash) == "edited"
            }
            prompts.texts = prompt_texts(connection, edited)
            entries = rows_entries(connection, whole) if told.sample else ()
        return site.page(
            request,
            "sample.html.jinja",
            here="samples",
            told=told,
            sample=told.sample,
            seed=told.seed,
            before=questions_of(told.seed.calls, prompts, tokens),
            rounds=rounds_of(told, prompts, tokens),
            forks=drafts_of(site, told.seed.id),
            captures=captures_of(entries, rows, told.sample.response if told.sample else None),
        )
