"""Stands before every page: who may ask, from where, and what the browser may do with the answer.

In: requests. Out: the same, or a refusal. Held to here, for every address alike:
- the Host header names this machine, so that no other site's name can be made to point here
  (DNS rebinding);
- where a token is set, the visitor has shown it;
- a body is a form, and no longer than one of ours can be;
- a request that changes something comes from one of our own pages: Fetch Metadata, Origin, and a
  word that only those pages contain must all agree (cross-site request forgery);
- answers carry a policy under which no script or style runs but our own files.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
from hashlib import blake2b
from urllib.parse import quote, urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from inspector.bodies import TooLong, is_form, longest, read_body, replayed
from inspector.rendering import static_version
from inspector.sessions import Sessions
from inspector.settings import Settings

# A wrong token is answered after this long, so that nobody tries many.
PAUSE_S = 0.5
_SAFE = ("GET", "HEAD")
_STATIC = "/static/"
_KEPT = "private, max-age=31536000, immutable"
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


class Guard:
    """The checks; one per server. Its secret lives as long as the process. Browsers keep cookies by
    host and not by port, so each inspector's have its port in their names."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._secret = secrets.token_bytes(32)
        self.sessions = Sessions()
        self.session_cookie = f"stillhouse_session_{settings.port}"
        self.visitor_cookie = f"stillhouse_visitor_{settings.port}"

    def form_word(self, visitor: str) -> str:
        """The word that this visitor's forms carry."""
        return blake2b(f"form:{visitor}".encode(), key=self._secret, digest_size=24).hexdigest()

    def is_token(self, given: str) -> bool:
        """Whether `given` is the token."""
        expected = self._settings.token or ""
        return bool(expected) and hmac.compare_digest(given.encode(), expected.encode())

    def is_signed_in(self, request: Request) -> bool:
        """Whether the visitor may see the corpus."""
        if not self._settings.token or self.is_token(_bearer(request)):
            return True
        return self.sessions.is_good(request.cookies.get(self.session_cookie, ""))

    def is_guess(self, request: Request) -> bool:
        """Whether a request tries a token that is none."""
        given = _bearer(request)
        return bool(given and self._settings.token) and not self.is_token(given)

    def refusal(self, request: Request) -> Response | None:
        """Why a request is not answered, as an answer; None where it may pass. The word of a form
        is checked where the form is read (`is_own_form`)."""
        if not self._is_for_us(request.headers.get("host", "")):
            return _refused(421, "This address is not one of the inspector's.", _HOST_HELP)
        path = request.url.path
        is_open = path == "/login" or path.startswith(_STATIC)
        if not is_open and not self.is_signed_in(request):
            if request.method not in _SAFE or request.headers.get("x-requested-with"):
                return _refused(401, "The token has not been shown.", "Open / and sign in.")
            onwards = path + (f"?{request.url.query}" if request.url.query else "")
            return RedirectResponse(f"/login?onwards={quote(onwards, safe='')}", status_code=303)
        if request.method not in _SAFE and not self._is_own_origin(request):
            return _refused(
                403,
                "This request did not come from a page of the inspector.",
                "Open the page here and do it there.",
            )
        if request.method == "POST" and not is_form(request):
            return _refused(415, "This is not a form.", "Send what the page's own form sends.")
        return None

    def _is_for_us(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname
        except ValueError:
            return False
        return name is not None and name.lower() in self._settings.names

    @staticmethod
    def _is_own_origin(request: Request) -> bool:
        if request.headers.get("sec-fetch-site", "same-origin") != "same-origin":
            return False
        origin = urlsplit(request.headers.get("origin", ""))
        host = request.headers.get("host", "").lower()
        return origin.scheme in ("http", "https") and origin.netloc.lower() == host

    def is_own_form(self, request: Request, word: str) -> bool:
        """Whether a form's word is the one that its visitor was given."""
        visitor = request.cookies.get(self.visitor_cookie, "")
        return bool(visitor) and hmac.compare_digest(
            word.encode(), self.form_word(visitor).encode()
        )


class GuardMiddleware:
    """Asks the guard, gives new visitors their number, and puts the headers on every answer."""

    def __init__(self, app: ASGIApp, guard: Guard) -> None:
        self._app = app
        self._guard = guard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        visitor = request.cookies.get(self._guard.visitor_cookie)
        new = None if visitor else secrets.token_urlsafe(18)
        state = scope.setdefault("state", {})
        state["visitor"] = visitor or new
        state["signed_in"] = self._guard.is_signed_in(request)

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                if _is_kept(request, message["status"]):
                    headers["cache-control"] = _KEPT
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                if new and _is_visit(request):
                    secure = "; Secure" if is_encrypted(request) else ""
                    headers.append(
                        "set-cookie",
                        f"{self._guard.visitor_cookie}={new}; Path=/; HttpOnly; SameSite=Lax"
                        f"{secure}",
                    )
            await send(message)

        if self._guard.is_guess(request):
            await asyncio.sleep(PAUSE_S)
        refusal = self._guard.refusal(request)
        if refusal is None and request.method not in _SAFE:
            try:
                body = await read_body(request, receive, longest(request.url.path))
            except TooLong:
                refusal = _refused(
                    413, "This form is too long.", "Go back: the page still has what you wrote."
                )
            else:
                if body is None:
                    return
                receive = replayed(body, receive)
        await (refusal or self._app)(scope, receive, send_guarded)


def is_encrypted(request: Request) -> bool:
    """Whether the browser speaks HTTPS to the proxy before us. The browser's own Origin says so; of
    a proxy's X-Forwarded-Proto, the server believes what comes from this machine."""
    return "https" in (request.url.scheme, urlsplit(request.headers.get("origin", "")).scheme)


def _is_kept(request: Request, status: int) -> bool:
    """Whether a browser may keep the answer: a style or script under its version."""
    is_static = request.url.path.startswith(_STATIC)
    return is_static and status in (200, 304) and request.url.query == static_version()


def _is_visit(request: Request) -> bool:
    """Whether a visitor without a cookie is new. A browser keeps our cookie back when another site
    sends a form or asks for a part of a page; a number given then would replace its own."""
    if request.method not in _SAFE or request.url.path.startswith(_STATIC):
        return False
    headers = request.headers
    elsewhere = headers.get("sec-fetch-site") == "cross-site"
    return not elsewhere or headers.get("sec-fetch-dest") == "document"


def _bearer(request: Request) -> str:
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    return given.strip() if scheme.lower() == "bearer" else ""


_HOST_HELP = (
    "The Host header names another machine. Behind a proxy, or under another name, start the "
    "inspector with --allow-host NAME."
)


def _refused(status: int, what: str, help: str) -> Response:
    return PlainTextResponse(f"{what}\n{help}\n", status_code=status)
