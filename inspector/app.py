"""Puts the inspector together: pages behind the guard, and errors as pages that say what to do.

In: an open database and settings. Out: an ASGI application.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from common.errors import StillhouseError
from inspector.access_pages import add_access_pages
from inspector.captures import RowsReader
from inspector.errors import BadQuestion, InspectorFault
from inspector.evaluations_page import add_evaluations_page
from inspector.forks_page import add_forks_page
from inspector.guard import HEADERS, Guard, GuardMiddleware
from inspector.prompts_page import add_prompts_page
from inspector.rendering import STATIC
from inspector.review_page import add_review_page
from inspector.run_page import add_run_page
from inspector.sample_page import add_sample_page
from inspector.samples_page import add_samples_page
from inspector.settings import Settings
from inspector.site import Site
from inspector.statuses import status_of
from storage.database import Database


def make_app(database: Database, settings: Settings, rows: RowsReader | None = None) -> FastAPI:
    """The application; it closes the database when it ends. `rows` reads what was captured."""
    guard = Guard(settings)
    site = Site(database, settings, guard)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        try:
            yield
        finally:
            site.close()

    # No schema and no documentation pages: these load scripts from elsewhere.
    app = FastAPI(lifespan=lifespan, openapi_url=None, docs_url=None, redoc_url=None)
    router = APIRouter()
    for add in (
        add_access_pages,
        add_run_page,
        add_samples_page,
        partial(add_sample_page, rows=rows),
        add_forks_page,
        add_review_page,
        add_prompts_page,
        add_evaluations_page,
    ):
        add(router, site)
    app.include_router(router)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    app.add_middleware(GuardMiddleware, guard=guard)
    _answer_errors(app, site)
    return app


def _answer_errors(app: FastAPI, site: Site) -> None:
    def page(request: Request, error: StillhouseError, status: int) -> HTMLResponse:
        return site.page(request, "error.html.jinja", status, error=error)

    @app.exception_handler(StillhouseError)
    def known(request: Request, error: StillhouseError) -> HTMLResponse:
        return page(request, error, status_of(error))

    @app.exception_handler(HTTPException)
    def http(request: Request, error: HTTPException) -> HTMLResponse:
        told = BadQuestion(
            "There is no such page." if error.status_code == 404 else "That cannot be asked here.",
            cause=f"The server answers {error.status_code}: {error.detail}",
            solution="Go back, or begin at the first page.",
        )
        return page(request, told, error.status_code)

    @app.exception_handler(RequestValidationError)
    def invalid(request: Request, error: RequestValidationError) -> HTMLResponse:
        fields = ", ".join(str(fault["loc"][-1]) for fault in error.errors())
        told = BadQuestion(
            "The address or form cannot be read.",
            cause=f"These parts are missing or of another kind: {fields}.",
            solution="Go back and use the page's own links and fields.",
        )
        return page(request, told, 400)

    # It answers outside the guard, and what went wrong is told on the server's own console only.
    @app.exception_handler(Exception)
    def fault(request: Request, _error: Exception) -> HTMLResponse:
        told = InspectorFault(
            "The page could not be made.",
            cause="The inspector has a fault here; its console tells more.",
            solution="Try another page, and please report what you did.",
        )
        answer = page(request, told, 500)
        answer.headers.update(HEADERS)
        return answer
