"""Small real HTTP servers for the tests of what stands between agents and teachers.

`Endpoint` answers chat completions as a script says and remembers what arrived; a script's item is
a status, a body, or a coroutine function that makes the response itself.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def unused_port() -> int:
    """A loopback port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def completion(content: str = "Yes.", **more: Any) -> dict[str, Any]:
    """A whole chat completion."""
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
    choice = {"index": 0, "message": {"role": "assistant", "content": content},
              "finish_reason": "stop"}  # fmt: skip
    return {"id": "1", "object": "chat.completion", "model": "scripted", "choices": [choice],
            "usage": usage, **more}  # fmt: skip


class Endpoint:
    """`async with Endpoint(500, 500, completion()) as endpoint:`; after the script it answers."""

    def __init__(
        self,
        *script: int | dict[str, Any] | web.Response | Handler,
        models: Handler | None = None,
        port: int = 0,
    ) -> None:
        self._script = list(script)
        self._models = models
        self._port = port
        self._runner: web.AppRunner | None = None
        self.arrived: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        # Called as each question arrives, before it is answered.
        self.on_arrival: Callable[[], None] = lambda: None
        self.url = ""

    async def __aenter__(self) -> Endpoint:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self._chat)
        if self._models is not None:
            app.router.add_get("/v1/models", self._models)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/v1"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        self.arrived.append(await request.json())
        self.headers.append(dict(request.headers))
        self.on_arrival()
        item = self._script.pop(0) if self._script else completion()
        if isinstance(item, web.Response):
            return item
        if isinstance(item, int):
            return web.json_response({"error": {"message": f"scripted {item}"}}, status=item)
        if isinstance(item, dict):
            return web.json_response(item)
        return await item(request)


class Gate:
    """A handler that answers only once it is opened; `reached` is set when someone waits there."""

    def __init__(self, then: dict[str, Any] | int | None = None) -> None:
        self._then = completion() if then is None else then
        self.reached = asyncio.Event()
        self.opened = asyncio.Event()

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        self.reached.set()
        await self.opened.wait()
        if isinstance(self._then, int):
            return web.json_response({"error": {"message": "scripted"}}, status=self._then)
        return web.json_response(self._then)


def throttled(retry_after_s: float | None) -> web.Response:
    """A 429, with or without Retry-After."""
    headers = {} if retry_after_s is None else {"Retry-After": f"{retry_after_s:g}"}
    body = {"error": {"message": "slow down", "type": "rate_limit_error"}}
    return web.json_response(body, status=429, headers=headers)
