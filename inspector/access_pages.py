"""Signing in where a token is asked, and signing out."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response

from inspector.forms import FormFields
from inspector.guard import PAUSE_S, is_encrypted
from inspector.site import Site, onwards, own_path


def add_access_pages(router: APIRouter, site: Site) -> None:
    """Adds `/login` and `/logout`."""
    guard = site.guard

    @router.get("/login", response_class=HTMLResponse)
    def login_page(request: Request, onwards: str = "/") -> HTMLResponse:
        return site.page(request, "login.html.jinja", onwards=own_path(onwards), wrong=False)

    @router.post("/login")
    async def login(request: Request, fields: FormFields) -> Response:
        site.check_form(request, fields.text("word"))
        next = own_path(fields.text("next"))
        if not guard.is_token(fields.text("token").strip()):
            await asyncio.sleep(PAUSE_S)
            return site.page(request, "login.html.jinja", 401, onwards=next, wrong=True)
        answer = onwards(next)
        answer.set_cookie(
            guard.session_cookie,
            guard.sessions.begin(),
            httponly=True,
            samesite="lax",
            secure=is_encrypted(request),
        )
        return answer

    @router.post("/logout")
    def logout(request: Request, fields: FormFields) -> Response:
        site.check_form(request, fields.text("word"))
        guard.sessions.end(request.cookies.get(guard.session_cookie, ""))
        answer = onwards("/login" if site.settings.token else "/")
        answer.delete_cookie(
            guard.session_cookie, httponly=True, samesite="lax", secure=is_encrypted(request)
        )
        return answer
