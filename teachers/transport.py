"""HTTP to one OpenAI-compatible endpoint: JSON goes out, JSON objects or typed errors come back.

`HttpTransport` keeps one aiohttp session per endpoint. Whatever can go wrong, from a refused
connection to an error object inside a 200, leaves as a `teachers.errors` type that names the
teacher and what to do. The API key is taken out of every text before it is shown.
"""

from __future__ import annotations

import asyncio
import errno
import json
import re
import urllib.request
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import orjson
from yarl import URL

from teachers.errors import (
    AuthenticationFailed,
    BadRequest,
    ContextExceeded,
    ModelNotFound,
    QuotaExhausted,
    RateLimited,
    ServerFault,
    ServerOverloaded,
    TeacherError,
    TimedOut,
    TransportFault,
    Unreachable,
)
from teachers.limiter import retry_after_from_headers

MAX_BODY_BYTES = 64 * 1024 * 1024
CONNECT_TIMEOUT_S = 10.0
# Uvicorn, and with it vLLM and SGLang, closes a connection that idles for 5 s; a request sent at
# that moment is lost, so ours are dropped a little earlier.
KEEPALIVE_S = 4.0
MESSAGE_CHARACTERS = 300
TRIED_AGAIN = "This is tried again; if it stays, look at the server's log."

_OUR_OWN_LIMITS = {errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL, errno.ENOBUFS}
# By label only: Gemini words its per-minute limit "check your plan and billing details" too.
_QUOTA_LABEL = re.compile(
    r"insufficient_(quota|balance|credits)|billing|exceeded_current_quota|arrearage"
)
_MODERATION_LABEL = re.compile(r"content_(filter|policy)|moderation")
_CONTEXT = re.compile(
    r"context[ _]?(length|size|window)|maximum model length|maximum allowed length"
    r"|(prompt|input)\b.{0,60}\b(too long|longer than|exceed)|max_new_tokens`? must be",
    re.IGNORECASE | re.DOTALL,
)


class HttpTransport:
    """Posts and gets JSON at one endpoint.

    Args:
        base_url: what comes before `/chat/completions`, usually ending in `/v1`; a query string is
            kept and sent with every request.
        name: what the recipe calls the teacher; stands in every error.
        api_key: sent as a bearer token; None for a keyless server.
        api_key_env: the environment variable that holds the key, for errors.
        timeout_s: for one whole request, answer included.
        headers: sent with every request.
        proxy: the proxy's URL; None takes the environment's (`HTTPS_PROXY`, `NO_PROXY`, …).
            Loopback addresses are never proxied.

    Raises:
        Unreachable: when `base_url` is no http(s) address.
        AuthenticationFailed: when the key holds characters that no header can carry.
    """

    def __init__(
        self,
        base_url: str,
        *,
        name: str = "teacher",
        api_key: str | None = None,
        api_key_env: str | None = None,
        timeout_s: float = 600.0,
        headers: Mapping[str, str] | None = None,
        proxy: str | None = None,
    ) -> None:
        self.name = name
        self._check = f"stillhouse teacher check {name}"
        self._url = _checked_url(base_url, name)
        self._key = (api_key or "").strip()
        self._key_env = api_key_env
        self._timeout_s = timeout_s
        self._headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self._key:
            self._headers["Authorization"] = f"Bearer {self._key}"
        self._headers |= headers or {}
        self._proxy = _proxy_for(self._url, proxy)
        self._session: aiohttp.ClientSession | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._urls: dict[str, URL] = {}
        if not (self._key.isascii() and self._key.isprintable()):
            raise AuthenticationFailed(
                f"The API key of teacher '{name}' cannot be sent.",
                cause="It holds a line break or a character that no HTTP header can carry.",
                solution=self._key_solution(),
            )

    def __repr__(self) -> str:
        return f"HttpTransport({self.base_url!r}, name={self.name!r})"

    @property
    def base_url(self) -> str:
        """The address without its query string."""
        return str(self._url.with_query(None))

    @property
    def host(self) -> str:
        """The endpoint's host name or address."""
        return self._url.host or ""

    async def post_json(
        self, path: str, payload: dict[str, Any], headers: Mapping[str, str] | None = None
    ) -> tuple[dict[str, Any], Mapping[str, str]]:
        """Posts `payload` to `path` (relative to the base URL); the answer's object and headers.

        Raises:
            TeacherError: one of its kinds for every way this can fail.
        """
        return await self._exchange("POST", path, self._encoded(payload), headers)

    async def get_json(self, path: str) -> tuple[dict[str, Any], Mapping[str, str]]:
        """Gets `path`, else as `post_json`."""
        return await self._exchange("GET", path, None, None)

    async def stream_json(
        self, path: str, payload: dict[str, Any]
    ) -> AsyncGenerator[dict[str, Any], None]:
        """Posts `payload` and yields the objects of a server-sent event stream up to `[DONE]`."""
        received = 0
        async with self._response("POST", path, self._encoded(payload), None) as response:
            if response.status != 200:
                self._object(response.status, await self._body(response), response.headers)
            rest = b""
            async for piece in response.content.iter_any():
                received += len(piece)
                self._check_size(received)
                *lines, rest = (rest + piece).split(b"\n")
                for line in lines:
                    data = line[5:].strip() if line.startswith(b"data:") else b""
                    if data == b"[DONE]":
                        return
                    if data:
                        yield self._object(200, data, response.headers)

    async def close(self) -> None:
        """Closes the connections; a later request opens new ones."""
        session, self._session = self._session, None
        if session is not None and self._loop is asyncio.get_running_loop():
            await session.close()

    def fault(
        self, what: str, cause: str, kind: type[TransportFault] = TransportFault
    ) -> TransportFault:
        """A `TransportFault` of this teacher, for an answer that is JSON but makes no sense."""
        return kind(
            f"Teacher '{self.name}' {what}.",
            cause=self._redacted(cause),
            solution=TRIED_AGAIN,
            command=self._check,
        )

    def _opened(self) -> aiohttp.ClientSession:
        loop = asyncio.get_running_loop()
        if self._session is None or self._session.closed or self._loop is not loop:
            # Not `trust_env`: it looks up .netrc and the proxy variables in a thread for every
            # request (four times the CPU), and a .netrc entry collides with our own key.
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE_S),
                timeout=aiohttp.ClientTimeout(
                    total=self._timeout_s, sock_connect=CONNECT_TIMEOUT_S
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                proxy=self._proxy,
            )
            self._loop = loop
        return self._session

    async def _exchange(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str] | None
    ) -> tuple[dict[str, Any], Mapping[str, str]]:
        async with self._response(method, path, body, headers) as response:
            answer = await self._body(response)
        return self._object(response.status, answer, response.headers), response.headers

    @asynccontextmanager
    async def _response(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str] | None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        url = self._urls.get(path)
        if url is None:
            url = self._urls[path] = (self._url / path.strip("/")).with_query(self._url.query)
        # With the request and not the session, whose headers aiohttp sends to a proxy as well.
        sent = {**self._headers, **headers} if headers else self._headers
        try:
            async with self._opened().request(
                method, url, data=body, headers=sent, allow_redirects=False
            ) as response:
                yield response
        except (aiohttp.ClientError, OSError) as error:
            # `from None`: aiohttp's errors hold the request with its headers, and so the key.
            raise self._connection_fault(error) from None

    async def _body(self, response: aiohttp.ClientResponse) -> bytes:
        body = bytearray()
        async for piece in response.content.iter_any():
            body += piece
            self._check_size(len(body))
        return bytes(body)

    def _check_size(self, received: int) -> None:
        if received > MAX_BODY_BYTES:
            raise self.fault("sent an endless answer", f"More than {MAX_BODY_BYTES} bytes came.")

    def _encoded(self, payload: dict[str, Any]) -> bytes:
        try:
            return orjson.dumps(payload)
        except orjson.JSONEncodeError as error:
            raise BadRequest(
                f"A request to teacher '{self.name}' cannot be written as JSON.",
                cause=str(error),
                solution="Correct the text concerned; half a surrogate pair is no character.",
            ) from error

    def _object(self, status: int, body: bytes, headers: Mapping[str, str]) -> dict[str, Any]:
        """The answer's object, or the fault that status, body and headers amount to."""
        try:
            answer = parse_json(body)
        except (ValueError, RecursionError) as error:
            if 200 <= status < 300:
                raise self.fault("sent an answer that is not whole JSON", str(error)) from None
            answer = body[:4096].decode(errors="replace")
        if not 200 <= status < 300:
            raise self._answer_fault(status, answer, headers)
        if not isinstance(answer, dict):
            raise self.fault("sent JSON that is no object", f"It is a {type(answer).__name__}.")
        error_object = _error_inside(answer)
        if error_object is not None:
            # Gateways put the upstream's status there, e.g. 429 inside a 200.
            code = error_object.get("code") if isinstance(error_object, dict) else None
            status = code if isinstance(code, int) and 400 <= code < 600 else 500
            raise self._answer_fault(status, {"error": error_object}, headers)
        return answer

    def _connection_fault(self, error: Exception) -> TeacherError:
        reason = self._redacted(f"{type(error).__name__}: {error}")
        if isinstance(error, TimeoutError):
            patience = (
                f"connect within {CONNECT_TIMEOUT_S:g} s"
                if isinstance(error, aiohttp.ConnectionTimeoutError)
                else f"answer within {self._timeout_s:g} s"
            )
            return self.fault(f"did not {patience}", reason, TimedOut)
        if isinstance(error, aiohttp.ClientConnectorError) and error.errno in _OUR_OWN_LIMITS:
            return TransportFault(
                f"No further connection to teacher '{self.name}' could be opened.",
                cause=reason,
                solution="Lower the teacher's max_concurrency, or raise the limit of open files.",
                command="ulimit -n",
            )
        if isinstance(error, aiohttp.ClientConnectorError):
            return Unreachable(
                f"Teacher '{self.name}' at {self.base_url} cannot be reached.",
                cause=reason,
                solution="Start the server, or correct the teacher's base_url.",
                command=self._check,
            )
        return self.fault("broke the connection off", reason)

    def _answer_fault(self, status: int, answer: Any, headers: Mapping[str, str]) -> TeacherError:
        message, labels = _message_and_labels(answer)
        said = self._redacted(message) or "(nothing)"
        cause = f"The server answered {status}: {said}"
        if status == 429 and not _QUOTA_LABEL.search(labels):
            return RateLimited(
                f"Teacher '{self.name}' asks for fewer requests.",
                cause=cause,
                solution="Nothing to do: the limiter waits and slows down.",
                retry_after_s=retry_after_from_headers(headers),
            )
        kind, what, solution = self._kind_of_fault(status, f"{message} {labels}", labels)
        if 300 <= status < 400 and (location := headers.get("Location")):
            solution = f"Use the address that it points to: {self._redacted(location)}"
        return kind(
            f"Teacher '{self.name}' {what}.", cause=cause, solution=solution, command=self._check
        )

    def _kind_of_fault(
        self, status: int, text: str, labels: str
    ) -> tuple[type[TeacherError], str, str]:
        """The error's type, what the teacher did, and what to do about it."""
        if status == 402 or _QUOTA_LABEL.search(labels):
            solution = "Add credit at the provider, then run again; finished calls are kept."
            return QuotaExhausted, "has no credit left", solution
        if status == 401 or (status == 403 and not _MODERATION_LABEL.search(labels)):
            return AuthenticationFailed, "did not accept the API key", self._key_solution()
        if status == 404 or 300 <= status < 400:
            solution = f"Correct the teacher's model, or its base_url ({self.base_url})"
            if not self._url.path.rstrip("/").endswith("/v1"):
                solution += ", which does not end in /v1"
            return ModelNotFound, "does not know the model or the path", f"{solution}."
        if status in (503, 504, 529):
            return ServerOverloaded, f"has too much to do ({status})", TRIED_AGAIN
        if status in (408, 409) or status >= 500:
            return ServerFault, f"failed to answer ({status})", TRIED_AGAIN
        if status in (400, 413, 422) and _CONTEXT.search(text):
            solution = "Lower max_tokens, leave the long seed out, or serve a longer context."
            return ContextExceeded, "has a context that a request does not fit", solution
        solution = "Correct the parameter that the server names."
        return BadRequest, f"refused a request ({status})", solution

    def _key_solution(self) -> str:
        if self._key_env is None:
            return "Name the key's environment variable under the teacher's api_key_env."
        return f"Set the environment variable {self._key_env} to a valid key for {self.base_url}."

    def _redacted(self, text: str) -> str:
        """`text` on one line, without the key, shortened: in this order, or half a key is left."""
        if len(self._key) >= 4:
            text = text.replace(self._key, "[key removed]")
        text = " ".join(text.split())
        return text if len(text) <= MESSAGE_CHARACTERS else f"{text[: MESSAGE_CHARACTERS - 1]}…"


def parse_json(body: bytes) -> Any:
    """`body` as JSON, also as Python servers write it: NaN, infinities, halves of surrogate pairs.

    Raises:
        ValueError: when it is none.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        text = json.dumps(json.loads(body), ensure_ascii=False)
    # Half a pair, from a token that ends inside a character, could be written nowhere further on.
    return json.loads(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))


def _checked_url(base_url: str, name: str) -> URL:
    try:
        url = URL(base_url.strip().rstrip("/"))
    except ValueError:
        url = URL()
    if url.scheme not in ("http", "https") or not url.host or url.user or url.password:
        raise Unreachable(
            f"Teacher '{name}' has a base_url that is no address of a server.",
            cause="It must be http://… or https://… with a host and without a user or password.",
            solution="Write it like http://127.0.0.1:8000/v1; a key goes into the environment.",
        )
    return url


def _proxy_for(url: URL, proxy: str | None) -> URL | None:
    host = url.host or ""
    if host in ("localhost", "::1") or host.startswith("127."):
        return None
    if proxy is None and not urllib.request.proxy_bypass(host):
        proxies = urllib.request.getproxies()
        proxy = proxies.get(url.scheme) or proxies.get("all")
    return URL(proxy) if proxy and proxy.startswith(("http://", "https://")) else None


def _error_inside(answer: dict[str, Any]) -> Any:
    """The error object that a 200 may hold: at the top, or (OpenRouter) in the first choice."""
    if answer.get("error"):
        return answer["error"]
    if answer.get("object") == "error":
        return answer
    choices = answer.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    return first.get("error") or None if isinstance(first, dict) else None


def _message_and_labels(answer: Any) -> tuple[str, str]:
    """What an error body says, and its machine-readable code and type, as servers word them."""
    error = answer
    if isinstance(answer, dict):
        error = answer.get("error") or answer
    if not isinstance(error, dict):
        return str(error), ""
    message = error.get("message") or error.get("detail") or error.get("msg") or error
    labels = [str(error.get(name) or "") for name in ("code", "type")]
    if isinstance(error.get("metadata"), dict) and "flagged_input" in error["metadata"]:
        labels.append("moderation")
    return (message if isinstance(message, str) else json.dumps(message)), " ".join(labels).lower()
