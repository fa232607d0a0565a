"""The simulated teacher's server, spoken to by a real HTTP client: protocol, faults, counts."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from common.hashing import digest
from teachers.simulated.server import CannotListen, SimulatedServer
from teachers.simulated.settings import SimulatedSettings

Start = Callable[..., Awaitable[str]]
Body = dict[str, Any]


def question(text: str = "What is 6 * 7?", **more: Any) -> Body:
    return {
        "model": "simulated-teacher",
        "messages": [{"role": "user", "content": text}],
        **more,
    }


@pytest_asyncio.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest_asyncio.fixture
async def start() -> AsyncIterator[Start]:
    servers: list[SimulatedServer] = []

    async def started(journal: Path | None = None, **settings: Any) -> str:
        server = SimulatedServer(SimulatedSettings(**settings), journal)
        servers.append(server)
        return await server.start()

    yield started
    for server in servers:
        await server.stop()


async def post(client: aiohttp.ClientSession, base_url: str, body: Body) -> tuple[int, Any]:
    async with client.post(f"{base_url}/chat/completions", json=body) as response:
        return response.status, await response.json()


async def stats(client: aiohttp.ClientSession, base_url: str) -> dict[str, Any]:
    async with client.get(base_url.removesuffix("/v1") + "/simulated/stats") as response:
        told: dict[str, Any] = await response.json()
        return told


async def until_answered(client: aiohttp.ClientSession, base_url: str, body: Body) -> list[str]:
    """Asks until there is an answer; gives what went wrong before."""
    faults: list[str] = []
    while True:
        try:
            status, _ = await post(client, base_url, body)
        except aiohttp.ClientPayloadError:
            faults.append("truncated")
        else:
            if status == 200:
                return faults
            faults.append(str(status))


async def test_a_completion_has_the_protocols_shape_and_says_it_is_simulated(
    client: aiohttp.ClientSession, start: Start
) -> None:
    status, reply = await post(client, await start(), question())
    assert status == 200
    assert reply["object"] == "chat.completion"
    assert reply["simulated"] is True
    assert reply["model"].startswith("simulated")
    assert reply["system_fingerprint"].startswith("simulated-")
    (choice,) = reply["choices"]
    assert choice["finish_reason"] == "stop"
    assert choice["message"]["role"] == "assistant"
    assert choice["message"]["content"].endswith("Final answer: 42")
    usage = reply["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert usage["prompt_tokens"] > 0
    assert usage["completion_tokens"] > 0


async def test_models_and_health_answer(client: aiohttp.ClientSession, start: Start) -> None:
    base_url = await start(model="simulated-small", context_length=512)
    async with client.get(f"{base_url}/models") as response:
        listed = await response.json()
    assert listed["data"][0]["id"] == "simulated-small"
    assert listed["data"][0]["max_model_len"] == 512
    async with client.get(base_url.removesuffix("/v1") + "/health") as response:
        assert response.status == 200


@pytest.mark.parametrize("limit", ["max_tokens", "max_completion_tokens"])
async def test_a_token_limit_cuts_the_answer(
    client: aiohttp.ClientSession, start: Start, limit: str
) -> None:
    base_url = await start()
    _, whole = await post(client, base_url, question())
    _, cut = await post(client, base_url, question(**{limit: 5}))
    assert cut["choices"][0]["finish_reason"] == "length"
    assert cut["usage"]["completion_tokens"] == 5
    content = cut["choices"][0]["message"]["content"]
    assert whole["choices"][0]["message"]["content"].startswith(content)


async def test_log_probabilities_cover_the_content_token_by_token(
    client: aiohttp.ClientSession, start: Start
) -> None:
    asked = question("12 + 30 はいくつ", logprobs=True, top_logprobs=20)
    _, reply = await post(client, await start(), asked)
    entries = reply["choices"][0]["logprobs"]["content"]
    joined = b"".join(bytes(entry["bytes"]) for entry in entries).decode()
    assert joined == reply["choices"][0]["message"]["content"]
    assert len(entries) == reply["usage"]["completion_tokens"]
    for entry in entries:
        top = entry["top_logprobs"]
        assert len({t["token"] for t in top}) == 20
        assert top[0]["token"] == entry["token"]
        assert [t["logprob"] for t in top] == sorted((t["logprob"] for t in top), reverse=True)
        assert sum(math.exp(t["logprob"]) for t in top) <= 1 + 1e-9


async def test_a_streamed_answer_is_the_same_answer(
    client: aiohttp.ClientSession, start: Start
) -> None:
    base_url = await start()
    _, whole = await post(client, base_url, question(logprobs=True, top_logprobs=2))
    streamed = question(
        logprobs=True, top_logprobs=2, stream=True, stream_options={"include_usage": True}
    )
    async with client.post(f"{base_url}/chat/completions", json=streamed) as response:
        assert response.content_type == "text/event-stream"
        events = [line[6:] for line in (await response.text()).split("\n") if line]
    assert events.pop() == "[DONE]"
    chunks = [json.loads(event) for event in events]
    assert all(chunk["simulated"] is True for chunk in chunks)
    assert chunks[-1]["usage"] == whole["usage"]
    choices = [chunk["choices"][0] for chunk in chunks[:-1]]
    content = "".join(choice["delta"].get("content", "") for choice in choices)
    assert content == whole["choices"][0]["message"]["content"]
    assert choices[-1]["finish_reason"] == "stop"
    entries = [e for c in choices if c["logprobs"] for e in c["logprobs"]["content"]]
    assert entries == whole["choices"][0]["logprobs"]["content"]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (question() | {"model": "gpt-4o"}, 404, "model_not_found"),
        (question("word " * 4000) | {"max_tokens": 10}, 400, "context_length_exceeded"),
        (question(max_tokens=600), 400, "context_length_exceeded"),
        (question(max_tokens=0), 400, None),
        (question(max_tokens="9"), 400, None),
        (question(n=2), 400, None),
        (question(top_logprobs=3), 400, None),
        (question(logprobs=True, top_logprobs=21), 400, None),
        ({"model": "simulated-teacher", "messages": []}, 400, None),
        ({"model": "simulated-teacher", "messages": [{"role": "cook"}]}, 400, None),
        ({"messages": [{"role": "user", "content": "Hi"}]}, 400, None),
        ([1, 2], 400, None),
    ],
)
async def test_a_request_that_cannot_be_answered_gets_the_protocols_error(
    client: aiohttp.ClientSession, start: Start, body: Any, status: int, code: str | None
) -> None:
    given, reply = await post(client, await start(context_length=512), body)
    assert given == status
    assert reply["error"]["code"] == code
    assert reply["error"]["message"]
    assert reply["simulated"] is True


async def test_a_body_that_is_no_json_is_a_bad_request(
    client: aiohttp.ClientSession, start: Start
) -> None:
    base_url = await start()
    async with client.post(f"{base_url}/chat/completions", data=b"{nope") as response:
        assert response.status == 400
    told = await stats(client, base_url)
    assert told["by_status"] == {"400": 1}
    assert told["bodies"] == 0


async def test_a_server_error_and_a_rate_limit_are_json_errors(
    client: aiohttp.ClientSession, start: Start
) -> None:
    failing = await start(server_error=1)
    status, reply = await post(client, failing, question())
    assert status == 500
    assert reply["error"]["type"] == "server_error"
    limited = await start(rate_limited=1, retry_after_s=0.25)
    async with client.post(f"{limited}/chat/completions", json=question()) as response:
        assert response.status == 429
        assert float(response.headers["Retry-After"]) == 0.25


@pytest.mark.parametrize("stream", [False, True])
async def test_a_truncated_body_breaks_off_and_is_no_answer(
    client: aiohttp.ClientSession, start: Start, stream: bool
) -> None:
    base_url = await start(truncated_body=1)
    with pytest.raises(aiohttp.ClientPayloadError):
        async with client.post(
            f"{base_url}/chat/completions", json=question(stream=stream)
        ) as response:
            assert response.status == 200
            await response.read()
    told = await stats(client, base_url)
    assert told["answered"] == 0
    assert told["faults"] == {"truncated_body": 1}


async def test_a_stall_outlasts_an_impatient_client_and_is_no_answer(
    client: aiohttp.ClientSession, start: Start
) -> None:
    base_url = await start(stall=1, stall_s=1)
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(post(client, base_url, question()), 0.1)
    async with asyncio.timeout(30):
        while (told := await stats(client, base_url))["disconnected"] == 0:
            pass
    assert told["answered"] == 0
    assert told["faults"] == {"stall": 1}
    status, _ = await post(client, base_url, question())
    assert status == 200, "a patient client gets its answer after the stall"


async def test_no_body_meets_more_transport_faults_in_a_row_than_allowed(
    client: aiohttp.ClientSession, start: Start
) -> None:
    base_url = await start(server_error=0.5, rate_limited=0.25, truncated_body=0.25)
    for n in range(5):
        assert len(await until_answered(client, base_url, question(f"What is {n} + 1?"))) == 3
    told = await stats(client, base_url)
    assert told["answered"] == told["bodies"] == 5
    assert sum(told["faults"].values()) == 15


async def test_transport_faults_come_at_their_rates_and_the_same_for_another_server(
    client: aiohttp.ClientSession, start: Start
) -> None:
    rates = {"server_error": 0.2, "rate_limited": 0.2, "seed": 3}
    first, second = await start(**rates), await start(**rates)
    met = []
    for n in range(150):
        faults = await until_answered(client, first, question(f"What is {n} + 1?"))
        assert faults == await until_answered(client, second, question(f"What is {n} + 1?"))
        met.append(tuple(faults[:1]))
    assert 15 <= met.count(("500",)) <= 45
    assert 15 <= met.count(("429",)) <= 45
    assert 75 <= met.count(()) <= 105


async def test_the_counts_know_a_body_that_was_answered_twice(
    client: aiohttp.ClientSession, start: Start, tmp_path: Path
) -> None:
    journal = tmp_path / "journal"
    base_url = await start(journal)
    again, once = question("What is 1 + 1?"), question("What is 2 + 2?")
    for body in (again, once, dict(reversed(again.items())), again):
        await post(client, base_url, body)
    told = await stats(client, base_url)
    assert told["requests"] == told["answered"] == 4
    assert told["bodies"] == 2
    assert told["answered_more_than_once"] == 1
    assert told["by_status"] == {"200": 4}
    lines = journal.read_text().splitlines()
    assert lines == [digest(again), digest(once), digest(again), digest(again)]


async def test_content_faults_are_counted_by_name(
    client: aiohttp.ClientSession, start: Start
) -> None:
    base_url = await start(wrong_math=1, length_cut=1)
    await post(client, base_url, question())
    assert (await stats(client, base_url))["faults"] == {"length_cut": 1, "wrong_math": 1}


async def test_a_taken_port_is_an_error_with_a_solution(start: Start) -> None:
    port = int((await start()).rsplit(":", 1)[1].removesuffix("/v1"))
    with pytest.raises(CannotListen) as caught:
        await SimulatedServer(SimulatedSettings()).start(port=port)
    assert str(port) in caught.value.what


async def test_stopping_ends_stalled_requests_and_can_be_repeated(
    client: aiohttp.ClientSession,
) -> None:
    server = SimulatedServer(SimulatedSettings(stall=1, stall_s=600))
    base_url = await server.start()
    waiting = asyncio.create_task(post(client, base_url, question()))
    while (await stats(client, base_url))["requests"] == 0:
        pass
    await server.stop()
    await server.stop()
    with pytest.raises(aiohttp.ClientError):
        await waiting
    with pytest.raises(aiohttp.ClientError):
        await stats(client, base_url)
