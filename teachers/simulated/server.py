"""The HTTP server of a simulated teacher: routes, transport faults, counts, start and stop.

In: OpenAI chat-completions requests. Out: completions, or the fault that is drawn for this arrival.
`GET /simulated/stats` tells what arrived and what was answered; a journal names every body that was
answered in full, for tests that kill the client.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path
from typing import ClassVar

import orjson
from aiohttp import web

from common.errors import StillhouseError
from teachers.simulated import protocol
from teachers.simulated.answers import answer
from teachers.simulated.arrivals import Arrivals
from teachers.simulated.asks import read_ask
from teachers.simulated.chat_request import ChatRequest, Rejected, read_request
from teachers.simulated.faults import transport_fault
from teachers.simulated.settings import SimulatedSettings

_JSON = "application/json"
_LARGEST_BODY = 64 * 2**20
_GRACE_S = 0.2


class CannotListen(StillhouseError):
    """The address is taken or not ours."""

    code: ClassVar[str] = "cannot_listen"


class SimulatedServer:
    """One simulated teacher. Answers depend on the settings only; counts begin anew with a start.

    Args:
        settings: rates, seed, model name and times.
        journal: a file to which the hash of every body answered in full is appended, one line each.
    """

    def __init__(self, settings: SimulatedSettings, journal: Path | None = None) -> None:
        self._settings = settings
        self._fingerprint = f"simulated-{settings.identity()[:12]}"
        self._journal_path = journal
        self._journal: int | None = None
        self._arrivals = Arrivals()
        self._runner: web.AppRunner | None = None

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> str:
        """Listens, on a free port where `port` is 0; gives the base URL, which ends in `/v1`.

        Raises:
            CannotListen: when the address cannot be bound.
        """
        app = web.Application(client_max_size=_LARGEST_BODY)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/health", self._health)
        app.router.add_get("/simulated/stats", self._stats)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=_GRACE_S)
        await runner.setup()
        try:
            await web.TCPSite(runner, host, port, backlog=1024).start()
        except OSError as error:
            await runner.cleanup()
            raise CannotListen(
                f"The simulated teacher cannot listen on {host}:{port}.",
                cause=error.strerror or str(error),
                solution="Choose another port, or 0 for any free one.",
            ) from error
        if self._journal_path is not None:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
            self._journal = os.open(self._journal_path, flags, 0o644)
        self._runner = runner
        shown = f"[{host}]" if ":" in host else host
        return f"http://{shown}:{runner.addresses[0][1]}/v1"

    async def stop(self) -> None:
        """Stops listening and ends what is under way; a second call does nothing."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()
        journal, self._journal = self._journal, None
        if journal is not None:
            os.close(journal)

    async def _models(self, request: web.Request) -> web.Response:
        body = protocol.models(self._settings.model, self._settings.context_length)
        return web.Response(body=body, content_type=_JSON)

    async def _health(self, request: web.Request) -> web.Response:
        return web.Response(body=b'{"status":"ok","simulated":true}', content_type=_JSON)

    async def _stats(self, request: web.Request) -> web.Response:
        return web.Response(body=orjson.dumps(self._arrivals.stats()), content_type=_JSON)

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        self._arrivals.requests += 1
        raw = await request.read()
        try:
            chat = read_request(raw, self._settings)
        except Rejected as rejected:
            return self._error(rejected.status, rejected.body)
        body = chat.short_digest
        arrival, in_a_row = self._arrivals.arrive(body)
        fault = transport_fault(self._settings, body, arrival, in_a_row)
        self._arrivals.transport(body, fault)
        wait = self._settings.latency_s + (self._settings.stall_s if fault == "stall" else 0)
        if wait:
            await asyncio.sleep(wait)
        if fault == "server_error":
            return self._error(
                500, protocol.error("Simulated server error.", "server_error", "server_error")
            )
        if fault == "rate_limited":
            return self._rate_limited()
        reply = self._reply(chat)
        if chat.stream:
            return await self._send_stream(request, chat, reply, fault == "truncated_body")
        content = protocol.completion(reply, chat.top_logprobs)
        if fault == "truncated_body":
            return await self._send_part(request, content)
        return await self._send(request, chat, content)

    def _reply(self, chat: ChatRequest) -> protocol.Reply:
        ask = read_ask(chat.body)
        given = answer(ask, self._settings)
        self._arrivals.content(given.injected)
        tokens = None if given.content is None else protocol.split_tokens(given.content)
        finish_reason = given.finish_reason
        if tokens is not None and len(tokens) > chat.max_tokens:
            tokens, finish_reason = tokens[: chat.max_tokens], "length"
        return protocol.Reply(
            identity=ask.key,
            body=chat.digest.hex(),
            model=self._settings.model,
            fingerprint=self._fingerprint,
            tokens=tokens,
            refusal=given.refusal,
            finish_reason=finish_reason,
            prompt_tokens=chat.prompt_tokens,
        )

    def _error(self, status: int, body: bytes) -> web.Response:
        self._arrivals.status(status)
        return web.Response(status=status, body=body, content_type=_JSON)

    def _rate_limited(self) -> web.Response:
        message = "Simulated rate limit reached; try again later."
        response = self._error(
            429, protocol.error(message, "rate_limit_error", "rate_limit_exceeded")
        )
        response.headers["Retry-After"] = f"{self._settings.retry_after_s:g}"
        return response

    async def _send(
        self, request: web.Request, chat: ChatRequest, content: bytes
    ) -> web.StreamResponse:
        """Writes the body here and not after the handler, to know whether it went out in full."""
        response = web.Response(body=content, content_type=_JSON)
        self._arrivals.status(200)
        try:
            await response.prepare(request)
            await response.write_eof()
        except ConnectionError:
            self._arrivals.disconnected += 1
        else:
            self._answered(chat)
        return response

    async def _send_stream(
        self, request: web.Request, chat: ChatRequest, reply: protocol.Reply, truncated: bool
    ) -> web.StreamResponse:
        events = list(protocol.chunks(reply, chat.top_logprobs, chat.stream_usage))
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        self._arrivals.status(200)
        try:
            await response.prepare(request)
            for event in events[: len(events) // 2] if truncated else events:
                await response.write(event)
            if truncated:
                _hang_up(request)
                return response
            await response.write_eof()
        except ConnectionError:
            self._arrivals.disconnected += 1
        else:
            self._answered(chat)
        return response

    async def _send_part(self, request: web.Request, content: bytes) -> web.StreamResponse:
        """Promises the whole body, sends half of it, and hangs up."""
        response = web.StreamResponse(headers={"Content-Type": _JSON})
        response.content_length = len(content)
        self._arrivals.status(200)
        with contextlib.suppress(ConnectionError):
            await response.prepare(request)
            await response.write(content[: len(content) // 2])
            _hang_up(request)
        return response

    def _answered(self, chat: ChatRequest) -> None:
        self._arrivals.full_answer(chat.short_digest)
        if self._journal is not None:
            os.write(self._journal, chat.digest.hex().encode() + b"\n")


def _hang_up(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.close()
