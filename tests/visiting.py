"""A visitor without a browser: keeps cookies as one would, and sends the forms of pages.

In: a running inspector. Out: answers as they come, also those that a browser would not show.
"""

from __future__ import annotations

import re
from html import unescape
from http.client import HTTPResponse
from urllib.parse import urlencode, urlsplit

from inspecting import Served

FORM = "application/x-www-form-urlencoded"
_HIDDEN = re.compile(r'type="hidden" name="(\w+)" value="([^"]*)"')


class Visitor:
    """Cookies by name, and the hidden fields of the page that was opened last."""

    def __init__(self, site: Served) -> None:
        self.site = site
        self.cookies: dict[str, str] = {}
        self.hidden: dict[str, str] = {}

    def ask(self, method: str, path: str, body: str | None = None, **headers: str) -> HTTPResponse:
        """One request; what it sets is kept."""
        cookie = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        answer = self.site.ask(method, path, body, Cookie=cookie, **headers)
        for line in answer.headers.get_all("set-cookie") or []:
            name, _, value = line.partition(";")[0].partition("=")
            self.cookies[name] = value
        return answer

    def open(self, path: str, **headers: str) -> HTTPResponse:
        """A page; redirections within the inspector are followed."""
        answer = self.ask("GET", path, **headers)
        while answer.status == 303:
            path = str(answer.getheader("location"))
            answer = self.ask("GET", path, **headers)
        self.hidden = {name: unescape(text) for name, text in _HIDDEN.findall(said(answer))}
        return answer

    def send(self, path: str, fields: dict[str, str], **headers: str) -> HTTPResponse:
        """A form with the hidden fields of the page that was opened last."""
        sent = {"Content_Type": FORM, "Host": urlsplit(self.site.url).netloc,
                "Origin": self.site.url, **headers}  # fmt: skip
        return self.ask("POST", path, urlencode({**self.hidden, **fields}), **sent)

    def sign_in(self, token: str) -> HTTPResponse:
        """Shows the token on the page that asks for it."""
        self.open("/login")
        return self.send("/login", {"token": token, "next": "/"})


def said(answer: HTTPResponse) -> str:
    """The body of an answer."""
    return str(answer.said)  # type: ignore[attr-defined]
