"""Reads the body of a request before any page does, and no more of it than a page can need.

In: the request and a limit. Out: the whole body, or an answer that refuses it. Length headers are
believed only as far as they refuse; what arrives is counted (a chunked body says no length).
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.types import Message, Receive

# A form with two edited texts, in which a Japanese character takes nine bytes.
LONGEST_BODY = 4_000_000
LONGEST_LOGIN = 8_000
LONGEST_TEXT = 200_000
FORM = "application/x-www-form-urlencoded"


class TooLong(Exception):
    """The body has more bytes than the limit."""


def longest(path: str) -> int:
    """How many bytes a form for this address may have."""
    return LONGEST_LOGIN if path in ("/login", "/logout") else LONGEST_BODY


def is_form(request: Request) -> bool:
    """Whether the body is said to be of the one kind that pages send."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower() == FORM


async def read_body(request: Request, receive: Receive, limit: int) -> bytes | None:
    """The whole body; None where the visitor went away while sending it.

    Raises:
        TooLong: it has more bytes than `limit`, or says so.
    """
    said = request.headers.get("content-length", "0")
    if not said.isdecimal() or len(said) > 15 or int(said) > limit:
        raise TooLong
    body = bytearray()
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        if len(body) > limit:
            raise TooLong
        more = message.get("more_body", False)
    return bytes(body)


def replayed(body: bytes, receive: Receive) -> Receive:
    """Gives the body that was read to whoever asks next, then what follows it."""
    given = False

    async def receive_again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive_again
