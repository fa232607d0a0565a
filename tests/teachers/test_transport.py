"""The transport against a real local server that misbehaves in every way we know of."""

from __future__ import annotations

import asyncio
import resource
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

import orjson
import pytest
from aiohttp import web

from teachers import transport as transport_module
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
from teachers.transport import HttpTransport, parse_json

KEY = "sk-the/secret+key-0123456789"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """The proxies of the machine that the tests run on are none of their business."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@asynccontextmanager
async def served(handler: Handler, port: int = 0) -> AsyncIterator[str]:
    """The base URL of a server that answers everything by `handler`."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    host, port = runner.addresses[0][:2]
    try:
        yield f"http://{host}:{port}/v1"
    finally:
        await runner.cleanup()


def answering(status: int, body: object, headers: dict[str, str] | None = None) -> Handler:
    """A handler with one answer; bytes are sent as they are, all else as JSON."""

    async def handler(request: web.Request) -> web.Response:
        raw = body if isinstance(body, bytes) else orjson.dumps(body)
        return web.Response(
            status=status, body=raw, content_type="application/json", headers=headers
        )

    return handler


async def posted(handler: Handler, **settings: object) -> tuple[dict, Mapping[str, str]]:
    async with served(handler) as url:
        transport = HttpTransport(url, name="deep", **settings)  # type: ignore[arg-type]
        try:
            answer, headers = await transport.post_json("/chat/completions", {"model": "m"})
        finally:
            await transport.close()
        return answer, headers


async def failure(handler: Handler, **settings: object) -> TeacherError:
    with pytest.raises(TeacherError) as raised:
        await posted(handler, **settings)
    return raised.value


async def test_a_post_sends_json_with_the_key_and_returns_the_object_and_headers() -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.json_response(
            {
                "path": request.path_qs,
                "sent": await request.json(),
                "authorization": request.headers["Authorization"],
                "type": request.content_type,
            },
            headers={"x-request-id": "7"},
        )

    answer, headers = await posted(handler, api_key=KEY)
    assert answer == {
        "path": "/v1/chat/completions",
        "sent": {"model": "m"},
        "authorization": f"Bearer {KEY}",
        "type": "application/json",
    }
    assert headers["x-request-id"] == "7"


async def test_a_keyless_transport_sends_no_authorization_and_get_reads_too() -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.json_response({"m": request.method, "a": request.headers.get("Authorization")})

    async with served(handler) as url:
        transport = HttpTransport(url)
        answer, _ = await transport.get_json("/models")
        await transport.close()
    assert answer == {"m": "GET", "a": None}


async def test_a_query_in_the_base_url_goes_with_every_request() -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.json_response({"path": request.path_qs})

    async with served(handler) as url:
        transport = HttpTransport(f"{url}?api-version=preview")
        answer, _ = await transport.get_json("/models")
        await transport.close()
    assert answer == {"path": "/v1/models?api-version=preview"}


async def test_connections_are_used_again_and_many_are_open_at_once() -> None:
    peers: set[object] = set()
    together = asyncio.Barrier(150)

    async def handler(request: web.Request) -> web.Response:
        assert request.transport is not None
        peers.add(request.transport.get_extra_info("peername"))
        if request.method == "POST":
            await together.wait()
        return web.json_response({})

    async with served(handler) as url:
        transport = HttpTransport(url)
        for _ in range(5):
            await transport.get_json("/models")
        assert len(peers) == 1
        await asyncio.gather(*[transport.post_json("/chat", {}) for _ in range(150)])
        assert len(peers) == 150
        await transport.close()


def test_a_transport_works_in_a_second_event_loop() -> None:
    async def address() -> str:
        async with served(answering(200, {})) as url:
            return url

    transport = HttpTransport(asyncio.run(address()))
    port = int(transport.base_url.split(":")[2].split("/")[0])

    async def once() -> dict:
        async with served(answering(200, {"fine": True}), port):
            answer, _ = await transport.get_json("/models")
            await transport.close()
        return answer

    assert asyncio.run(once()) == asyncio.run(once()) == {"fine": True}


async def test_a_refused_connection_is_unreachable_and_says_where_and_what_to_type() -> None:
    async with served(answering(200, {})) as url:
        pass
    transport = HttpTransport(url, name="deep")
    with pytest.raises(Unreachable) as raised:
        await transport.post_json("/chat/completions", {})
    await transport.close()
    assert url in raised.value.what
    assert raised.value.command == "stillhouse teacher check deep"
    assert raised.value.fatal


async def test_a_name_that_does_not_resolve_is_unreachable() -> None:
    transport = HttpTransport("http://teacher.invalid/v1", name="deep")
    with pytest.raises(Unreachable, match=r"teacher\.invalid"):
        await transport.get_json("/models")
    await transport.close()


@pytest.mark.parametrize(
    "address", ["127.0.0.1:8000/v1", "ftp://host/v1", "", "http://", "http://me:pw@host/v1"]
)
def test_an_address_that_is_none_is_refused_at_once(address: str) -> None:
    with pytest.raises(Unreachable, match="base_url") as raised:
        HttpTransport(address, name="deep")
    assert "pw" not in str(raised.value)


async def test_a_server_that_stalls_is_a_transport_fault_with_the_patience_in_it() -> None:
    async def handler(request: web.Request) -> web.Response:
        await asyncio.sleep(30)
        return web.Response()

    error = await failure(handler, timeout_s=0.2)
    assert type(error) is TimedOut
    assert "0.2 s" in error.what
    assert error.retryable


async def test_a_server_that_hangs_up_is_a_transport_fault() -> None:
    async def handler(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    assert type(await failure(handler)) is TransportFault


async def test_a_body_that_ends_early_is_a_transport_fault() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b'{"choices": [{"mess')
        assert request.transport is not None
        request.transport.close()
        return response

    assert type(await failure(handler)) is TransportFault


@pytest.mark.parametrize("body", [b"", b'{"choices": [{"mess', b"<html>hello</html>", b'["a"]'])
async def test_a_200_without_a_json_object_is_a_transport_fault(body: bytes) -> None:
    error = await failure(answering(200, body))
    assert type(error) is TransportFault


async def test_a_body_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport_module, "MAX_BODY_BYTES", 100_000)
    error = await failure(answering(200, b'"' + b"a" * 200_000 + b'"'))
    assert type(error) is TransportFault
    assert "endless" in error.what


async def test_a_machine_out_of_files_does_not_call_the_server_unreachable() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with served(answering(200, {})) as url:
        transport = HttpTransport(url, name="deep")
        transport._opened()
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        try:
            with pytest.raises(TransportFault) as raised:
                await transport.post_json("/chat/completions", {})
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        await transport.close()
    assert type(raised.value) is TransportFault
    assert "open files" in raised.value.solution


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (500, {"error": {"message": "boom"}}, ServerFault),
        (502, b"<html><h1>Bad gateway</h1></html>", ServerFault),
        (503, b"", ServerOverloaded),
        (529, {"error": {"type": "overloaded_error"}}, ServerOverloaded),
        (408, {"error": "slow"}, ServerFault),
        (409, {"error": "conflict"}, ServerFault),
        (429, {"error": {"message": "slow down", "code": "rate_limit_exceeded"}}, RateLimited),
        (429, {"error": {"message": "check your plan and billing details"}}, RateLimited),
        (429, {"error": {"message": "no", "code": "insufficient_quota"}}, QuotaExhausted),
        (429, {"error": {"message": "no", "type": "exceeded_current_quota_error"}}, QuotaExhausted),
        (400, {"error": {"message": "no", "code": "billing_hard_limit_reached"}}, QuotaExhausted),
        (402, {"error": {"message": "Insufficient Balance"}}, QuotaExhausted),
        (401, {"error": {"message": "who?"}}, AuthenticationFailed),
        (403, {"detail": "no"}, AuthenticationFailed),
        (403, {"error": {"message": "no", "metadata": {"flagged_input": "x"}}}, BadRequest),
        (404, {"detail": "Not Found"}, ModelNotFound),
        (308, b"", ModelNotFound),
        (400, {"error": {"message": "temperature must be below 2"}}, BadRequest),
        (422, {"detail": [{"loc": ["body", "n"], "msg": "value is no integer"}]}, BadRequest),
        (405, b"", BadRequest),
    ],
)
async def test_each_status_becomes_its_own_kind(
    status: int, body: object, kind: type[TeacherError]
) -> None:
    assert type(await failure(answering(status, body))) is kind


@pytest.mark.parametrize(
    "message",
    [
        "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens.",
        "The decoder prompt (length 9000) is longer than the maximum model length of 8192.",
        "the request exceeds the available context size. try increasing the context size",
        "Input length (9000 tokens) exceeds the maximum allowed length (8192 tokens).",
        "The input (5000 tokens) is longer than the model's context length (4096 tokens).",
        "prompt is too long: 210000 tokens > 200000 maximum",
        "Your input exceeds the context window of this model.",
        "The input token count (1100000) exceeds the maximum number of tokens allowed (1048576).",
        "`inputs` tokens + `max_new_tokens` must be <= 4096.",
    ],
)
async def test_servers_words_for_a_full_context_are_understood(message: str) -> None:
    for body in ({"error": {"message": message}}, {"object": "error", "message": message}):
        assert type(await failure(answering(400, body))) is ContextExceeded


async def test_the_code_alone_says_that_the_context_is_full() -> None:
    body = {"error": {"message": "too much", "code": "context_length_exceeded"}}
    assert type(await failure(answering(400, body))) is ContextExceeded


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [({"Retry-After": "7"}, 7.0), ({"retry-after-ms": "250"}, 0.25), ({}, None)],
)
async def test_a_rate_limit_carries_how_long_to_wait(
    headers: dict[str, str], seconds: float | None
) -> None:
    error = await failure(answering(429, {"error": {"message": "slow"}}, headers))
    assert isinstance(error, RateLimited)
    assert error.retry_after_s == seconds


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"message": "upstream fell over"}, ServerFault),
        ("upstream fell over", ServerFault),
        ({"message": "upstream is busy", "code": 429}, RateLimited),
        ({"message": "model overloaded", "code": 503}, ServerOverloaded),
    ],
)
async def test_an_error_object_inside_a_200_is_no_answer(
    error: object, kind: type[TeacherError]
) -> None:
    for body in ({"error": error}, {"choices": [{"error": error, "message": {"content": "a"}}]}):
        assert type(await failure(answering(200, body))) is kind


async def test_an_error_field_that_is_null_is_no_error() -> None:
    answer, _ = await posted(answering(200, {"error": None, "choices": []}))
    assert answer["choices"] == []


async def test_a_refused_key_names_the_variable() -> None:
    error = await failure(answering(401, {"error": "no"}), api_key=KEY, api_key_env="DEEP_KEY")
    assert "DEEP_KEY" in error.solution


async def test_a_path_without_v1_is_pointed_out() -> None:
    async with served(answering(404, {"detail": "Not Found"})) as url:
        transport = HttpTransport(url.removesuffix("/v1"))
        with pytest.raises(ModelNotFound) as raised:
            await transport.post_json("/chat/completions", {})
        await transport.close()
    assert "/v1" in raised.value.solution


async def test_a_long_message_is_shortened() -> None:
    error = await failure(answering(400, {"error": {"message": "x" * 5000}}))
    assert len(error.cause) < 350


@pytest.mark.parametrize("status", [200, 302, 400, 401, 404, 429, 500])
@pytest.mark.parametrize(
    "body",
    [
        f"bad key {KEY}".encode(),
        {"error": {"message": "x" * 280 + f" your key {KEY} is wrong", "code": KEY}},
        {"error": {"request": {"headers": {"Authorization": f"Bearer {KEY}"}}}},
    ],
)
async def test_a_key_that_the_server_echoes_never_shows(status: int, body: object) -> None:
    headers = {"Location": f"http://elsewhere/{KEY}"}
    error = await failure(answering(status, body, headers), api_key=KEY)
    shown = [str(error), repr(error), repr(error.__dict__), repr(error.__context__)]
    shown += traceback.format_exception(error)
    assert KEY[:20] not in "".join(shown)


@pytest.mark.parametrize("key", ["sk-line\nbreak-secret", "sk-ключ-secret"])
def test_a_key_that_no_header_can_carry_is_refused_without_showing_it(key: str) -> None:
    with pytest.raises(AuthenticationFailed) as raised:
        HttpTransport("http://127.0.0.1:1/v1", api_key=key, api_key_env="DEEP_KEY")
    assert "secret" not in str(raised.value)
    assert "DEEP_KEY" in raised.value.solution


async def test_spaces_around_a_key_are_dropped_and_its_repr_does_not_hold_it() -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.json_response({"a": request.headers["Authorization"]})

    answer, _ = await posted(handler, api_key=f"{KEY}\n")
    assert answer == {"a": f"Bearer {KEY}"}
    assert KEY not in repr(HttpTransport("http://127.0.0.1:1/v1", api_key=KEY))


async def test_text_that_is_no_text_is_a_bad_request_before_it_is_sent() -> None:
    transport = HttpTransport("http://127.0.0.1:1/v1")
    with pytest.raises(BadRequest, match="JSON"):
        await transport.post_json("/chat/completions", {"content": "half \ud83d"})


async def test_a_proxy_of_the_environment_is_used_but_never_for_loopback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.json_response(
            {"host": request.host, "auth": request.headers.get("Proxy-Authorization")}
        )

    async with served(handler) as url:
        monkeypatch.setenv("http_proxy", url.removesuffix("/v1").replace("//", "//me:pw@"))
        through = HttpTransport("http://teacher.invalid/v1")
        answer, _ = await through.get_json("/models")
        await through.close()
        assert answer == {"host": "teacher.invalid", "auth": "Basic bWU6cHc="}
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
        direct = HttpTransport(url)
        answer, _ = await direct.get_json("/models")
        await direct.close()
        assert answer["host"] in url


async def test_the_key_goes_to_the_teacher_and_not_to_the_proxy() -> None:
    seen: list[bytes] = []

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(proxy, "127.0.0.1", 0)
    async with server:
        address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        transport = HttpTransport("https://teacher.invalid/v1", api_key=KEY, proxy=address)
        with pytest.raises(TransportFault) as raised:
            await transport.post_json("/chat/completions", {})
        await transport.close()
    assert seen[0].startswith(b"CONNECT teacher.invalid:443")
    assert KEY.encode() not in seen[0]
    assert "407" in raised.value.cause


def streaming(*pieces: bytes) -> Handler:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for piece in pieces:
            await response.write(piece)
            await asyncio.sleep(0.005)
        return response

    return handler


async def streamed(handler: Handler) -> list[dict]:
    async with served(handler) as url:
        transport = HttpTransport(url, name="deep")
        try:
            return [answer async for answer in transport.stream_json("/chat/completions", {})]
        finally:
            await transport.close()


async def test_a_stream_yields_its_events_wherever_the_pieces_are_cut() -> None:
    whole = (
        ': hello\r\n\r\nevent: x\ndata: {"n":"一"}\n\ndata:{"n":2}\r\n\r\ndata: [DONE]\n\n'.encode()
    )
    expected = [{"n": "一"}, {"n": 2}]
    assert await streamed(streaming(whole, b'data: {"n":3}\n\n')) == expected
    for cut in range(1, len(whole), 7):
        assert await streamed(streaming(whole[:cut], whole[cut:])) == expected


@pytest.mark.parametrize(
    ("handler", "kind"),
    [
        (streaming(b'data: {"n":1}\n\ndata: {"error":{"message":"died"}}\n\n'), ServerFault),
        (streaming(b'data: {"n":1}\n\ndata: {"n":\n\n'), TransportFault),
        (answering(429, {"error": {"message": "slow"}}), RateLimited),
        (answering(401, b"no"), AuthenticationFailed),
    ],
)
async def test_a_stream_fails_with_the_same_types(
    handler: Handler, kind: type[TeacherError]
) -> None:
    with pytest.raises(TeacherError) as raised:
        await streamed(handler)
    assert type(raised.value) is kind


def test_json_as_python_servers_write_it_is_read() -> None:
    read = parse_json(b'{"logprob": -Infinity, "text": "half \\ud83d, whole \\ud83d\\ude00"}')
    assert read["logprob"] == float("-inf")
    assert read["text"] == "half \ufffd, whole \U0001f600"
