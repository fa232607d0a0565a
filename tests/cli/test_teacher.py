"""`stillhouse teacher`: what a teacher can do is found out by asking, and nothing stays behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from aiohttp import web
from factory import end, simulated, start_cli, write_recipe
from pydantic import TypeAdapter

from cli.teacher import UnknownTeacher, check_command, simulate_command
from teachers.check import CheckReport, check_teacher
from teachers.config import AnyTeacher
from teachers.simulated.settings import InvalidSimulatedSettings

Answer = Callable[[dict[str, Any]], web.Response]
SECRET = "sk-very-secret-1234"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def completion(content: str, **message: Any) -> dict[str, Any]:
    return {
        "id": "c1",
        "model": "thinker-0601",
        "choices": [
            {
                "index": 0,
                "finish_reason": "stop",
                "message": {"role": "assistant", "content": content, **message},
            }
        ],
        "usage": {"prompt_tokens": 7, "completion_tokens": 9, "total_tokens": 16},
    }


Serve = Callable[[Answer, dict[str, Any] | None], Awaitable[str]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Starts an endpoint that answers as it is told; its base URL."""
    runners: list[web.AppRunner] = []

    async def started(answer: Answer, models: dict[str, Any] | None) -> str:
        async def chat(request: web.Request) -> web.Response:
            return answer(await request.json())

        async def listed(request: web.Request) -> web.Response:
            return web.json_response(models)

        app = web.Application()
        app.router.add_post("/v1/chat/completions", chat)
        if models is not None:
            app.router.add_get("/v1/models", listed)
        runner = web.AppRunner(app)
        runners.append(runner)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}/v1"

    yield started
    for runner in runners:
        await runner.cleanup()


async def check(folder: Path, **values: Any) -> CheckReport:
    given = {"kind": "openai", "model": "thinker"} | values
    settings = TypeAdapter(AnyTeacher).validate_python(given)
    return await check_teacher("it", settings, folder)


def states(report: CheckReport) -> dict[str, str]:
    return {finding.name: finding.state for finding in report.findings}


def seen(report: CheckReport, name: str) -> str:
    (words,) = (finding.seen for finding in report.findings if finding.name == name)
    return words


def capable(body: dict[str, Any]) -> web.Response:
    """A server that can do everything."""
    answer = completion('{"capital": "東京"}' if "response_format" in body else "Two.")
    answer["choices"][0]["message"]["reasoning_content"] = "2, 43, 2 …"
    answer["choices"][0]["token_ids"] = [1, 2, 3]
    if body.get("logprobs"):
        row = {"token": "Two", "logprob": -0.1, "bytes": None}
        row["top_logprobs"] = [dict(row) for _ in range(body["top_logprobs"])]
        answer["choices"][0]["logprobs"] = {"content": [row]}
    return web.json_response(answer)


async def test_everything_a_server_gives_is_found(serve: Serve, tmp_path: Path) -> None:
    url = await serve(capable, {"data": [{"id": "thinker", "context_length": 131072}]})
    prices = {"usd_per_million_prompt_tokens": 1, "usd_per_million_completion_tokens": 4}
    terms = {"allows_training": True, "licence": "mit"}
    report = await check(tmp_path, base_url=url, prices=prices, terms=terms)
    assert report.answers
    assert set(states(report).values()) == {"yes"}
    assert report.context_length == 131072
    assert (report.served, report.simulated) == ("thinker-0601", False)
    assert report.latency_s is not None and report.latency_s > 0
    assert seen(report, "log-probabilities") == "1 tokens, 5 alternatives each"
    assert "mit" in seen(report, "terms")


def plain(body: dict[str, Any]) -> web.Response:
    """A server that knows chat and refuses or ignores the rest."""
    if body.get("logprobs"):
        error = {"message": "logprobs are not supported", "type": "invalid_request_error"}
        return web.json_response({"error": error}, status=400)
    answer = completion("Tokyo, of course.")
    del answer["usage"]
    return web.json_response(answer)


async def test_what_a_server_refuses_or_ignores_is_told_apart(serve: Serve, tmp_path: Path) -> None:
    url = await serve(plain, {"data": [{"id": "another"}]})
    report = await check(tmp_path, base_url=url)
    assert report.answers
    assert states(report) == {
        "model listed": "no", "reasoning": "no", "token ids": "no", "usage": "no",
        "log-probabilities": "no", "json_schema": "no", "json_object": "no",
        "price known": "no", "terms": "unknown",
    }  # fmt: skip
    assert "logprobs are not supported" in seen(report, "log-probabilities")
    assert "accepted, but" in seen(report, "json_schema")
    assert "another" in seen(report, "model listed")
    assert report.context_length is None


async def test_a_server_that_lists_no_models_can_still_answer(serve: Serve, tmp_path: Path) -> None:
    report = await check(tmp_path, base_url=await serve(capable, None))
    assert report.answers
    assert states(report)["model listed"] == "unknown"


async def test_a_capability_that_could_not_be_tried_is_unknown(
    serve: Serve, tmp_path: Path
) -> None:
    def broken(body: dict[str, Any]) -> web.Response:
        return web.Response(status=500) if "response_format" in body else capable(body)

    report = await check(tmp_path, base_url=await serve(broken, None))
    assert report.answers
    assert states(report)["json_schema"] == "unknown"
    assert "server_error" in seen(report, "json_schema")


async def test_thinking_inside_the_content_counts_as_reasoning(
    serve: Serve, tmp_path: Path
) -> None:
    def thinking(body: dict[str, Any]) -> web.Response:
        return web.json_response(completion("<think>\nHm.\n</think>\nTwo."))

    report = await check(tmp_path, base_url=await serve(thinking, None))
    assert states(report)["reasoning"] == "yes"


async def test_an_object_without_the_key_asked_for_still_shows_that_objects_come(
    serve: Serve, tmp_path: Path
) -> None:
    def loose(body: dict[str, Any]) -> web.Response:
        return web.json_response(completion('{"city": "Tokyo"}'))

    found = states(await check(tmp_path, base_url=await serve(loose, None)))
    assert (found["json_schema"], found["json_object"]) == ("no", "yes")


async def test_a_refused_key_is_an_error_that_names_the_variable_only(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusing(body: dict[str, Any]) -> web.Response:
        return web.json_response({"error": {"message": f"bad key {SECRET}"}}, status=401)

    monkeypatch.setenv("SOME_KEY", SECRET)
    report = await check(tmp_path, base_url=await serve(refusing, None), api_key_env="SOME_KEY")
    assert report.error is not None and report.error.code == "authentication"
    assert "SOME_KEY" in report.error.solution
    assert seen(report, "key") == "SOME_KEY is set"
    assert SECRET not in repr(report) + str(report.error)


async def test_a_recording_is_counted_and_not_asked(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    rows = [{"prompt": f"{n}?", "response": str(n)} for n in range(3)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    report = await check(tmp_path, kind="recorded", path=str(path))
    assert report.answers
    assert seen(report, "recorded answers") == "3 prompts"
    missing = await check(tmp_path, kind="recorded", path=str(tmp_path / "none.jsonl"))
    assert missing.error is not None and missing.error.code == "recording_unreadable"


def test_a_simulated_teacher_is_started_asked_and_stopped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = write_recipe(tmp_path, teachers={"local": simulated(context_length=4096)})
    assert check_command("local", str(recipe), [], True) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["reachable"], found["simulated"]) == (True, True)
    assert found["context_length"] == 4096
    assert found["findings"]["log-probabilities"]["state"] == "yes"
    assert found["findings"]["json_schema"]["state"] == "yes"
    assert found["findings"]["reasoning"]["state"] == "no"
    assert found["error"] is None
    children = psutil.Process(os.getpid()).children(recursive=True)
    assert not [child for child in children if "teachers.simulated" in " ".join(child.cmdline())]


def test_people_get_a_table_with_marks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "140")
    assert check_command("local", str(write_recipe(tmp_path)), [], False) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("local  simulated, simulated-teacher: answers")
    marked = [line.split() for line in lines if line.strip()[:1] in ("✓", "✗", "?")]
    assert {words[1]: words[0] for words in marked}["log-probabilities"] == "✓"
    assert {words[1]: words[0] for words in marked}["reasoning"] == "✗"
    assert any("SIMULATED" in line for line in lines)


def test_an_unreachable_teacher_is_said_with_cause_and_solution(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"http://127.0.0.1:{free_port()}/v1"
    recipe = write_recipe(
        tmp_path, teachers={"api": {"kind": "openai", "base_url": url, "model": "gpt"}}
    )
    assert check_command("api", str(recipe), [], True) == 1
    captured = capsys.readouterr()
    found = json.loads(captured.out.splitlines()[-1])
    assert found["reachable"] is False
    assert found["error"]["code"] == "unreachable"
    assert url in captured.err
    assert "Solution" in captured.err


def test_a_missing_key_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SOME_KEY", raising=False)
    teacher = {
        "kind": "openai", "base_url": "http://127.0.0.1:9/v1", "model": "m",
        "api_key_env": "SOME_KEY",
    }  # fmt: skip
    recipe = write_recipe(tmp_path, teachers={"api": teacher})
    assert check_command("api", str(recipe), [], False) == 1
    captured = capsys.readouterr()
    assert "SOME_KEY is not set" in captured.out
    assert "SOME_KEY" in captured.err


def test_an_unknown_teacher_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UnknownTeacher) as caught:
        check_command("locl", str(write_recipe(tmp_path)), [], False)
    assert "'local'" in caught.value.solution
    assert "check local" in (caught.value.command or "")


def test_simulate_serves_until_it_is_interrupted(tmp_path: Path) -> None:
    process = start_cli(
        "teacher", "simulate", "--port", "0", "--set", "model=simulated-x", cwd=tmp_path
    )
    try:
        assert process.stdout is not None
        told = ""
        while "Ctrl-C" not in told:
            line = process.stdout.readline()
            assert line, process.stderr and process.stderr.read()
            told += line
        snippet = yaml.safe_load(told.partition("In a recipe:")[2].rpartition("Ctrl-C")[0])
        teacher = snippet["teachers"]["rehearsal"]
        recipe = write_recipe(tmp_path, teachers={"mine": teacher})
        with urllib.request.urlopen(f"{teacher['base_url']}/models", timeout=10) as answer:
            assert json.load(answer)["data"][0]["id"] == "simulated-x"
        assert check_command("mine", str(recipe), [], True) == 0
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0
    finally:
        end(process)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("servererror=0.1", "'server_error'"),
        ("server_error", "key=value"),
        ("server_error=2", "less than or equal to 1"),
        ("model=gpt", "simulated"),
        ("server_error=[", "server_error=["),
    ],
)
def test_a_wrong_setting_of_a_simulation_says_what_is_right(setting: str, said: str) -> None:
    with pytest.raises(InvalidSimulatedSettings) as caught:
        simulate_command(0, [setting])
    assert said in str(caught.value)


def test_a_taken_port_is_an_error(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        process = start_cli(
            "teacher", "simulate", "--port", str(taken.getsockname()[1]), cwd=tmp_path
        )
        try:
            _, told = process.communicate(timeout=30)
        finally:
            end(process)
    assert process.returncode == 1
    assert "cannot listen" in told
    assert "Solution" in told
