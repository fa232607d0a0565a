"""Opening a run's teachers: what keeps one from answering is said at once, and all is closed."""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import traceback
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import pytest_asyncio
from aiohttp import web
from endpoints import Endpoint, unused_port
from pydantic import TypeAdapter

from teachers import opening
from teachers.budget import Budget, BudgetSettings
from teachers.config import AnyTeacher, TeacherSettings
from teachers.errors import (
    AuthenticationFailed,
    MissingApiKey,
    QuotaExhausted,
    ServerDied,
    TeacherError,
    TimedOut,
    Unreachable,
)
from teachers.gateway import Answer, Gateway, NoCache
from teachers.opening import Fleet, LimitsDiffer
from teachers.recorded import RecordingUnreadable
from teachers.types import Message, Request

SECRET = "sk-Zq81-not-for-anybody"
MakeFleet = Callable[..., Fleet]

FAKE_VLLM = '''#!{python}
"""Plays `vllm serve` until it is told to die."""
import os, sys
from http.server import BaseHTTPRequestHandler, HTTPServer

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/die":
            print("OutOfMemoryError: the engine is gone", flush=True)
            os._exit(7)
        allowed = self.headers.get("Authorization") == "Bearer " + os.environ["VLLM_API_KEY"]
        body = b'{{"data": [{{"id": "hub/tiny", "max_model_len": 64}}]}}'
        self.send_response(200 if allowed or self.path == "/health" else 401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass

address = sys.argv[sys.argv.index("--host") + 1], int(sys.argv[sys.argv.index("--port") + 1])
HTTPServer(address, Handler).serve_forever()
'''


@pytest_asyncio.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[MakeFleet]:
    """Makes fleets, which are closed in the end."""
    made: list[Fleet] = []

    def make(**teachers: dict[str, Any]) -> Fleet:
        adapter: TypeAdapter[TeacherSettings] = TypeAdapter(AnyTeacher)
        settings = {name: adapter.validate_python(values) for name, values in teachers.items()}
        made.append(Fleet(settings, Budget(BudgetSettings()), NoCache(), tmp_path / "logs"))
        return made[-1]

    yield make
    for one in made:
        await one.close()


def openai(url: str, **more: Any) -> dict[str, Any]:
    return {"kind": "openai", "base_url": url, "model": "m", **more}


async def ask(gateway: Gateway, text: str = "What is 6 * 7?") -> Answer:
    request = Request(
        endpoint=gateway.endpoint,
        model=gateway.model,
        revision=gateway.revision,
        messages=(Message("user", text),),
    )
    return await gateway.answer(request, lambda answer: None, lambda attempt: None)


def everything_told(error: BaseException) -> str:
    """All that a log or a crash could show of an error: its texts, its causes, its frames."""
    return "".join(traceback.format_exception(error)) + repr(error) + str(vars(error))


async def listed(_: web.Request) -> web.Response:
    return web.json_response({"object": "list", "data": [{"id": "m"}]})


# Keys.


@pytest.mark.parametrize("value", [None, "", "  \n"])
async def test_a_missing_key_names_the_variable_and_the_teacher(
    fleet: MakeFleet, monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    monkeypatch.delenv("BIG_KEY", raising=False)
    if value is not None:
        monkeypatch.setenv("BIG_KEY", value)
    async with Endpoint(models=listed) as endpoint:
        with pytest.raises(MissingApiKey) as caught:
            await fleet(big=openai(endpoint.url, api_key_env="BIG_KEY")).open(["big"])
    assert "'big'" in caught.value.what
    assert "BIG_KEY" in caught.value.cause
    assert "export BIG_KEY=" in caught.value.solution
    assert caught.value.command == "stillhouse teacher check big"
    assert caught.value.fatal


async def test_the_key_is_sent_to_its_endpoint_and_to_no_other(
    fleet: MakeFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BIG_KEY", SECRET)
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    async with Endpoint(models=listed) as keyed, Endpoint(models=listed) as keyless:
        opened = fleet(
            big=openai(keyed.url, api_key_env="BIG_KEY"),
            small={"kind": "vllm", "base_url": keyless.url, "model": "m"},
        )
        await opened.open(["big", "small"])
        await asyncio.gather(*(ask(gateway) for gateway in opened.gateways.values()))
        assert keyed.headers[0]["Authorization"] == f"Bearer {SECRET}"
        assert "Authorization" not in keyless.headers[0]
        assert SECRET not in str(keyless.headers)


@pytest.mark.parametrize("status", [401, 403])
async def test_a_wrong_key_is_known_at_once_and_never_shown(
    fleet: MakeFleet, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    async def refuses(request: web.Request) -> web.Response:
        message = f"Incorrect API key provided: {request.headers['Authorization']}."
        return web.json_response({"error": {"message": message}}, status=status)

    monkeypatch.setenv("BIG_KEY", SECRET)
    async with Endpoint(models=refuses) as endpoint:
        with pytest.raises(AuthenticationFailed) as caught:
            await fleet(big=openai(endpoint.url, api_key_env="BIG_KEY")).open(["big"])
        assert endpoint.arrived == []
    assert "'big'" in caught.value.what
    assert "BIG_KEY" in caught.value.solution
    assert "[key removed]" in caught.value.cause
    assert SECRET not in everything_told(caught.value)


async def test_no_part_of_an_opened_fleet_shows_a_key(
    fleet: MakeFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BIG_KEY", SECRET)
    async with Endpoint(models=listed) as endpoint:
        opened = fleet(big=openai(endpoint.url, api_key_env="BIG_KEY"))
        await opened.open(["big"])
        gateway = opened.gateways["big"]
        for part in (opened, gateway, *vars(opened).values(), *vars(gateway).values()):
            assert SECRET not in repr(part) + str(part)


@pytest.mark.parametrize("fault", [500, 429, 400, "unreachable"])
async def test_no_error_of_a_call_shows_a_key(
    fleet: MakeFleet, monkeypatch: pytest.MonkeyPatch, fault: int | str
) -> None:
    async def tells(request: web.Request) -> web.Response:
        body = {"error": {"message": f"You sent {request.headers['Authorization']}"}}
        # A 429 for want of credit is not waited for.
        body["error"]["code"] = "insufficient_quota" if fault == 429 else "other"
        return web.json_response(body, status=int(fault))

    monkeypatch.setenv("BIG_KEY", SECRET)
    # Two, since the first one finds out that the connection from before is gone.
    retry = {"attempts": 2, "first_wait_s": 0.01, "unreachable_patience_s": 0}
    async with Endpoint(tells, tells, models=listed) as endpoint:
        opened = fleet(big=openai(endpoint.url, api_key_env="BIG_KEY", retry=retry))
        await opened.open(["big"])
        if fault != "unreachable":
            with pytest.raises(TeacherError) as caught:
                await ask(opened.gateways["big"])
    if fault == "unreachable":
        with pytest.raises(Unreachable) as caught:
            await ask(opened.gateways["big"])
    assert SECRET not in everything_told(caught.value)


# Addresses.


async def test_an_unreachable_teacher_is_named_with_the_command_that_checks_it(
    fleet: MakeFleet,
) -> None:
    url = f"http://127.0.0.1:{unused_port()}/v1"
    opened = fleet(near={"kind": "simulated"}, far=openai(url))
    with pytest.raises(Unreachable) as caught:
        await opened.open(["near", "far"])
    assert "'far'" in caught.value.what
    assert url in caught.value.what
    assert caught.value.command == "stillhouse teacher check far"
    assert caught.value.fatal


@pytest.mark.parametrize("kind", ["openai", "vllm", "simulated"])
async def test_any_kind_at_an_address_where_nobody_listens_is_unreachable(
    fleet: MakeFleet, kind: str
) -> None:
    values = {"kind": kind, "base_url": f"http://127.0.0.1:{unused_port()}/v1"}
    if kind != "simulated":
        values["model"] = "m"
    with pytest.raises(Unreachable):
        await fleet(far=values).open(["far"])


async def test_a_server_that_does_not_answer_is_waited_for_no_longer_than_patience_lasts(
    fleet: MakeFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def stalls(_: web.Request) -> web.Response:
        await asyncio.sleep(3600)
        raise AssertionError("nobody waits for an hour")

    monkeypatch.setattr(opening, "LEAST_PATIENCE_S", 0.01)
    async with Endpoint(models=stalls) as endpoint:
        hasty = openai(endpoint.url, retry={"unreachable_patience_s": 0.2})
        with pytest.raises(TimedOut, match=r"'slow' did not list its models within 0\.2 s"):
            await fleet(slow=hasty).open(["slow"])
        quick = openai(endpoint.url, timeout_s=0.2)
        with pytest.raises(TimedOut, match=r"'slow' did not answer within 0\.2 s"):
            await fleet(slow=quick).open(["slow"])


@pytest.mark.parametrize(
    "answer",
    [
        None,
        web.Response(status=405),
        web.Response(status=400),
        web.Response(status=500),
        web.Response(status=503),
        web.Response(status=429, headers={"Retry-After": "600"}),
        web.Response(text="<html>Welcome</html>", content_type="text/html"),
        web.json_response([{"id": "m"}]),
        web.json_response({}),
        web.json_response({"data": None}),
    ],
    ids=lambda answer: f"{answer.status} {answer.text}" if answer else "no such path",
)
async def test_a_server_that_lists_no_models_is_still_a_server(
    fleet: MakeFleet, answer: web.Response | None
) -> None:
    async def answers(_: web.Request) -> web.Response:
        assert answer is not None
        return web.Response(
            status=answer.status, body=answer.body, content_type=answer.content_type
        )

    async with Endpoint(models=answers if answer else None) as endpoint:
        opened = fleet(big=openai(endpoint.url))
        await opened.open(["big"])
        assert "big" not in opened.models
        assert (await ask(opened.gateways["big"])).completion.content == "Yes."


async def test_an_account_without_credit_is_known_at_once(fleet: MakeFleet) -> None:
    async def no_credit(_: web.Request) -> web.Response:
        body = {"error": {"message": "Pay first.", "code": "insufficient_quota"}}
        return web.json_response(body, status=429)

    async with Endpoint(models=no_credit) as endpoint:
        with pytest.raises(QuotaExhausted):
            await fleet(big=openai(endpoint.url)).open(["big"])


async def test_what_a_server_lists_is_kept_for_the_check(fleet: MakeFleet) -> None:
    async with Endpoint(models=listed) as endpoint:
        opened = fleet(big=openai(endpoint.url))
        await opened.open(["big"])
        assert opened.models == {"big": [{"id": "m"}]}


@pytest.mark.filterwarnings("error::ResourceWarning")
async def test_a_teacher_that_did_not_open_leaves_no_connection_behind(fleet: MakeFleet) -> None:
    async def refuses(_: web.Request) -> web.Response:
        return web.json_response({"error": {"message": "no"}}, status=401)

    async with Endpoint(models=refuses) as endpoint:
        opened = fleet(big=openai(endpoint.url))
        with pytest.raises(AuthenticationFailed):
            await opened.open(["big"])
        await opened.close()
    gc.collect()
    connections = psutil.Process().net_connections()
    port = int(endpoint.url.split(":")[2].split("/")[0])
    assert not [c for c in connections if c.raddr and c.raddr.port == port]


# Limits.


async def test_teachers_at_one_address_share_its_limiter_and_others_do_not(
    fleet: MakeFleet,
) -> None:
    async with Endpoint(models=listed) as one, Endpoint(models=listed) as other:
        opened = fleet(
            writer=openai(one.url, limits={"max_concurrency": 2}),
            judge=openai(f"{one.url}/", model="m2"),
            far=openai(other.url),
        )
        await opened.open(["writer", "judge", "far"])
        gateways = opened.gateways
        assert gateways["writer"].limiter is gateways["judge"].limiter
        assert gateways["writer"].limiter is not gateways["far"].limiter
        assert gateways["judge"].limiter.limit == 2


async def test_a_429_for_one_teacher_holds_back_the_other_at_the_same_address(
    fleet: MakeFleet,
) -> None:
    slow_down = web.json_response({"error": {"message": "slow"}}, status=429)
    slow_down.headers["Retry-After"] = "0.2"
    async with Endpoint(slow_down, models=listed) as endpoint:
        opened = fleet(writer=openai(endpoint.url), judge=openai(endpoint.url))
        await opened.open(["writer", "judge"])
        writer, judge = opened.gateways["writer"], opened.gateways["judge"]
        pauses: list[float] = []
        endpoint.on_arrival = lambda: pauses.append(judge.limiter.paused_for_s)
        asking = asyncio.create_task(ask(writer, "first"))
        while not judge.limiter.paused_for_s:  # noqa: ASYNC110  (there is no event for it)
            await asyncio.sleep(0.001)
        await asyncio.gather(asking, ask(judge, "second"))
        assert pauses == [0.0] * 3


async def test_two_simulated_teachers_are_two_processes_with_limiters_of_their_own(
    fleet: MakeFleet,
) -> None:
    opened = fleet(
        a={"kind": "simulated"},
        b={"kind": "simulated", "simulation": {"model": "simulated-b"}},
    )
    await opened.open(["a", "b"])
    assert opened.gateways["a"].limiter is not opened.gateways["b"].limiter
    models = [(await ask(opened.gateways[name])).completion.model for name in "ab"]
    assert models == ["simulated-teacher", "simulated-b"]


# Processes.


def simulated_children() -> list[psutil.Process]:
    """The simulated teachers that this process has started and that live."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if "teachers.simulated" in process.cmdline():
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


async def test_a_simulated_teacher_runs_while_the_fleet_is_open_and_is_gone_afterwards(
    fleet: MakeFleet,
) -> None:
    opened = fleet(big={"kind": "simulated"})
    await opened.open(["big"])
    (child,) = simulated_children()
    answer = await ask(opened.gateways["big"])
    assert "42" in answer.completion.content
    assert answer.completion.simulated is True
    await opened.close()
    assert not child.is_running()
    assert simulated_children() == []


async def test_a_fleet_that_could_not_open_whole_ends_what_it_had_started(
    fleet: MakeFleet,
) -> None:
    opened = fleet(near={"kind": "simulated"}, far=openai(f"http://127.0.0.1:{unused_port()}/v1"))
    with pytest.raises(Unreachable):
        await opened.open(["near", "far"])
    assert len(simulated_children()) == 1
    await opened.close()
    assert simulated_children() == []


async def test_closing_twice_or_without_opening_does_no_harm(fleet: MakeFleet) -> None:
    opened = fleet(big={"kind": "simulated"})
    await opened.close()
    await opened.open(["big"])
    await opened.close()
    await opened.close()
    assert simulated_children() == []


async def test_a_managed_servers_death_is_announced_with_its_log(
    fleet: MakeFleet, tmp_path: Path
) -> None:
    executable = tmp_path / "vllm"
    executable.write_text(FAKE_VLLM.format(python=sys.executable))
    executable.chmod(0o755)
    port = unused_port()
    server = {"model": "hub/tiny", "executable": str(executable), "port": port}
    opened = fleet(local={"kind": "vllm", "server": server})
    await opened.open(["local"])
    assert opened.models["local"] == [{"id": "hub/tiny", "max_model_len": 64}]
    assert not opened.died.is_set()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /die HTTP/1.0\r\n\r\n")
    await reader.read()
    writer.close()
    async with asyncio.timeout(20):
        await opened.died.wait()
    assert isinstance(opened.death, ServerDied)
    assert "OutOfMemoryError: the engine is gone" in opened.death.cause
    assert "engine is gone" in (tmp_path / "logs" / "local.log").read_text()


# Recordings, and what a gateway is told.


async def test_a_recording_is_a_teacher_like_the_others(fleet: MakeFleet, tmp_path: Path) -> None:
    path = tmp_path / "old.jsonl"
    path.write_text(json.dumps({"prompt": "Q", "response": "A "}) + "\n")
    opened = fleet(old={"kind": "recorded", "path": str(path), "model": "gpt-9"})
    await opened.open(["old"])
    gateway = opened.gateways["old"]
    answer = await ask(gateway, "Q")
    assert answer.completion.content == "A "
    assert answer.cost_usd == 0.0
    assert gateway.endpoint.startswith("recorded:")


async def test_a_recording_that_cannot_be_read_keeps_the_run_from_beginning(
    fleet: MakeFleet, tmp_path: Path
) -> None:
    values = {"kind": "recorded", "path": str(tmp_path / "nowhere.jsonl"), "model": "gpt-9"}
    with pytest.raises(RecordingUnreadable, match="'old'") as caught:
        await fleet(old=values).open(["old"])
    assert caught.value.fatal


async def test_a_gateway_carries_what_the_recipe_says_of_its_teacher(fleet: MakeFleet) -> None:
    terms = {"allows_training": True, "licence": "MIT", "note": "ours"}
    async with Endpoint(models=listed) as endpoint:
        opened = fleet(
            big=openai(
                endpoint.url, revision="r1", family="qwen", terms=terms, structured="json_object"
            ),
            rehearsal={"kind": "simulated"},
        )
        await opened.open(["big", "rehearsal"])
    big, rehearsal = opened.gateways["big"], opened.gateways["rehearsal"]
    assert (big.name, big.model, big.revision, big.family) == ("big", "m", "r1", "qwen")
    assert (big.endpoint, big.structured_mode) == (endpoint.url, "json_object")
    assert big.contribution.as_dict() == {
        "teacher": "big", "model": "m", "licence": "MIT", "allows_training": "true",
        "note": "ours", "simulated": False,
    }  # fmt: skip
    assert rehearsal.contribution.simulated is True
    assert rehearsal.contribution.allows_training == "false"


async def test_only_the_teachers_that_are_asked_for_are_opened(fleet: MakeFleet) -> None:
    opened = fleet(near={"kind": "simulated"}, far=openai(f"http://127.0.0.1:{unused_port()}/v1"))
    await opened.open(["near"])
    assert list(opened.gateways) == ["near"]


async def test_a_judge_of_the_writers_own_family_is_warned_about(fleet: MakeFleet) -> None:
    async with Endpoint(models=listed) as endpoint:
        families = {"a": "qwen", "b": "qwen", "c": "llama", "d": None, "e": None}
        opened = fleet(**{n: openai(endpoint.url, family=f) for n, f in families.items()})
        await opened.open(list(families))
    warned = {(w, j): bool(opened.warnings(w, j)) for w in "abcd" for j in "abcde"}
    assert warned[("a", "b")]
    assert all(warned[(name, name)] for name in "abcd")
    assert not any(warned[pair] for pair in [("a", "c"), ("a", "d"), ("d", "e"), ("c", "b")])
    (told,) = opened.warnings("a", "b")
    assert "'a'" in told
    assert "'b'" in told
    assert opened.warnings(None, "a") == opened.warnings("a", None) == []


async def test_teachers_at_one_address_who_ask_for_other_limits_are_refused(
    fleet: MakeFleet,
) -> None:
    async with Endpoint(models=listed) as endpoint:
        opened = fleet(
            writer=openai(endpoint.url, limits={"rpm": 10}),
            judge=openai(endpoint.url, limits={"rpm": 20}),
        )
        with pytest.raises(LimitsDiffer, match="judge"):
            await opened.open(["writer", "judge"])


async def test_limits_set_for_one_of_two_teachers_count_whichever_opens_first(
    fleet: MakeFleet,
) -> None:
    async with Endpoint(models=listed) as endpoint:
        opened = fleet(
            judge=openai(endpoint.url), writer=openai(endpoint.url, limits={"max_concurrency": 2})
        )
        await opened.open(["judge", "writer"])
        assert opened.gateways["judge"].limiter.limit == 2
