"""`stillhouse run` as a user sees it: what it prints and hides, how it ends and is stopped."""

from __future__ import annotations

import asyncio
import os
import pty
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from factory import (
    MATHS,
    WRITING,
    answering,
    assert_sound,
    cli,
    command,
    corpus_of,
    end,
    environment,
    last_line,
    one,
    rows,
    samples,
    simulated,
    start_cli,
    sums,
    until_in,
    write_recipe,
    write_seeds,
)

KEYS = {"run", "seeds", "samples", "calls", "tokens", "cost"}


@contextmanager
def running(*arguments: str | Path, cwd: Path, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """The command at work; it does not outlive the test."""
    process = start_cli(*arguments, cwd=cwd, **options)
    try:
        yield process
    finally:
        end(process)


SEEN = "SELECT count(*) FROM seed"
BEGUN = "SELECT count(*) FROM run"
ANSWERED = "SELECT count(*) FROM completion"


def test_a_run_says_what_it_read_and_what_came_of_it(tmp_path: Path) -> None:
    recipe = write_recipe(
        tmp_path,
        [*sums(3), MATHS, MATHS],
        teachers={"local": simulated(wrong_math=0.4, server_error=0.2)},
    )
    done = cli("run", recipe, "--db", "corpus.db", cwd=tmp_path)
    assert done.returncode == 0
    assert done.stderr == ""
    assert "5 seeds from 5 rows" in done.stdout
    assert re.search(r"Run [0-9a-f]{12} done", done.stdout)
    assert re.search(r"seeds +5 done", done.stdout)
    assert "accepted" in done.stdout
    assert "rejected duplicate" in done.stdout
    assert "server_error" in done.stdout
    assert "$0.0000" in done.stdout
    assert "corpus.db" in done.stdout
    again = cli("run", recipe, "--db", "corpus.db", cwd=tmp_path)
    assert again.returncode == 0
    assert "5 of these seeds were in the corpus already" in again.stdout
    assert "0 made" in again.stdout
    assert_sound(tmp_path / "corpus.db")


def test_json_is_one_object_on_the_last_line_with_the_documented_keys(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, [MATHS, WRITING, '{"broken'])
    done = cli("run", recipe, "--db", "corpus.db", "--json", cwd=tmp_path)
    assert done.returncode == 0
    found = last_line(done.stdout)
    assert found.keys() >= KEYS
    assert found["seeds"] == {"pending": 0, "done": 2, "failed": 0}
    assert found["samples"] == {
        "pending": 0,
        "accepted": 4,
        "rejected": 0,
        "held": 0,
        "failed": 0,
    }
    assert found["run"] == one(tmp_path / "corpus.db", "SELECT id FROM run")
    made = one(tmp_path / "corpus.db", "SELECT count(*) FROM completion")
    assert found["calls"] == {"made": made, "cached": 0}
    assert set(found["tokens"]) == {"prompt", "completion"}
    assert found["tokens"]["prompt"] > found["tokens"]["completion"] > 0
    assert found["cost"] == 0
    assert found.keys() - KEYS == {"status", "error", "reasons", "attempts_failed", "bad_rows"}
    assert (found["status"], found["error"], found["bad_rows"]) == ("finished", None, 1)
    assert sum(line.startswith("{") for line in done.stdout.splitlines()) == 1


def test_json_comes_also_where_the_run_failed(tmp_path: Path) -> None:
    away = {**simulated(), "base_url": "http://127.0.0.1:9/v1"}
    recipe = write_recipe(tmp_path, teachers={"local": away})
    done = cli("run", recipe, "--db", "corpus.db", "--json", cwd=tmp_path)
    assert done.returncode == 1
    found = last_line(done.stdout)
    assert (found["status"], found["error"]) == ("failed", "unreachable")
    assert found["seeds"]["pending"] == 6


def test_an_unknown_price_is_null_in_json_and_unknown_in_words(tmp_path: Path) -> None:
    prices = {"usd_per_million_prompt_tokens": None}
    recipe = write_recipe(tmp_path, [MATHS], teachers={"local": {**simulated(), "prices": prices}})
    done = cli("run", recipe, "--db", "corpus.db", "--json", cwd=tmp_path)
    assert last_line(done.stdout)["cost"] is None
    assert re.search(r"cost +unknown", done.stdout)


def test_options_of_the_command_line_reach_the_run(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path / "recipe", [MATHS])
    write_seeds(tmp_path / "mine.jsonl", [WRITING, *sums(5)])
    arguments: list[str | Path] = ["run", recipe.parent, "--seeds", "mine.jsonl", "--limit", "2"]
    arguments += ["--set", "agents.expansion.variants=0", "--set", "name=mine", "--json"]
    done = cli(*arguments, cwd=tmp_path, env=environment(STILLHOUSE_DB="elsewhere.db"))
    assert done.returncode == 0
    found = samples(tmp_path / "elsewhere.db")
    assert [s["category"] for s in found] == ["writing", "math"]
    assert {s["recipe"] for s in found} == {"mine"}


def test_at_the_budgets_cap_the_run_ends_with_code_3_and_says_how_to_go_on(
    tmp_path: Path,
) -> None:
    recipe = write_recipe(tmp_path, sums(4))
    capped: list[str | Path] = ["run", recipe, "--db", "corpus.db", "--set", "budget.calls=6"]
    done = cli(*capped, "--json", cwd=tmp_path)
    assert done.returncode == 3
    found = last_line(done.stdout)
    assert (found["status"], found["error"]) == ("budget_reached", "budget_reached")
    assert found["calls"]["made"] <= 6
    assert "cap of 6 calls" in done.stderr
    assert "Solution" in done.stderr
    assert "--set budget.calls=" in done.stderr
    assert_sound(tmp_path / "corpus.db", pending=True)
    assert cli("run", recipe, "--db", "corpus.db", cwd=tmp_path).returncode == 0
    assert_sound(tmp_path / "corpus.db")


def test_ctrl_c_ends_a_run_soon_and_the_same_command_resumes_it(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, sums(3), teachers={"local": simulated(latency_s=1)})
    db = corpus_of(recipe)
    arguments: list[str | Path] = ["run", recipe, "--db", db, "--json"]
    with running(*arguments, cwd=tmp_path) as process:
        until_in(db, ANSWERED, process)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert err == ""
    assert "interrupted; the same command resumes it" in out
    assert last_line(out)["status"] == "interrupted"
    assert_sound(db, pending=True)
    kept = one(db, ANSWERED)
    # Latency is no part of who the teacher is.
    quick = ["--set", "teachers.local.simulation.latency_s=0"]
    done = cli(*arguments, *quick, cwd=tmp_path)
    assert done.returncode == 0
    found = last_line(done.stdout)
    assert found["seeds"] == {"pending": 0, "done": 3, "failed": 0}
    assert found["calls"]["cached"] > 0
    assert found["calls"]["made"] == one(db, ANSWERED) - kept
    assert_sound(db)


def test_a_request_to_end_is_heard_like_ctrl_c_and_while_no_teacher_answers(
    tmp_path: Path,
) -> None:
    recipe = write_recipe(tmp_path, sums(3), teachers={"local": simulated(latency_s=3000)})
    db = corpus_of(recipe)
    with running("run", recipe, "--db", db, "--json", cwd=tmp_path) as process:
        until_in(db, BEGUN, process)
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=20)
    assert process.returncode == 130
    assert last_line(out)["status"] == "interrupted"
    assert_sound(db, pending=True)


def test_ctrl_c_is_heard_while_a_long_file_is_read(tmp_path: Path) -> None:
    lines = 100_000
    recipe = write_recipe(tmp_path, sums(lines))
    db = corpus_of(recipe)
    with running("run", recipe, "--db", db, "--json", cwd=tmp_path) as process:
        until_in(db, SEEN, process)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=20)
    assert process.returncode == 130
    assert 0 < last_line(out)["seeds"]["pending"] < lines
    assert_sound(db, pending=True)


def test_a_second_ctrl_c_ends_the_process_at_once(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, sums(3), teachers={"local": simulated(latency_s=3000)})
    db = corpus_of(recipe)
    with running("run", recipe, "--db", db, cwd=tmp_path) as process:
        until_in(db, BEGUN, process)
        # Two that arrive at once are one to the system.
        while process.poll() is None:
            process.send_signal(signal.SIGINT)
            time.sleep(0.05)
        out, _ = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "interrupted" not in out
    assert_sound(db, pending=True)


def test_a_terminal_is_shown_live_progress(tmp_path: Path) -> None:
    recipe = write_recipe(
        tmp_path,
        [*sums(8), MATHS, MATHS],
        teachers={"local": simulated(latency_s=0.3)},
        run={"seeds_in_flight": 3},
    )
    ours, theirs = pty.openpty()
    seen = bytearray()

    def read() -> None:
        try:
            while part := os.read(ours, 65536):
                seen.extend(part)
        except OSError:
            # The other side has been closed.
            return

    reader = threading.Thread(target=read)
    reader.start()
    done = subprocess.run(
        command("run", recipe, "--db", "corpus.db", "--json"),
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
        timeout=60,
        env=environment(TERM="xterm-256color", COLUMNS="160", LINES="40"),
    )
    os.close(theirs)
    reader.join(timeout=10)
    os.close(ours)
    assert done.returncode == 0
    assert last_line(done.stdout)["seeds"]["done"] == 10
    shown = re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b"", bytes(seen)).decode()
    for word in ("small  running", "/10 seeds", "seeds/s", "left", "local: 3 in flight of"):
        assert word in shown
    for word in ("accepted", "not accepted", "made (", "asked,", "answered,", "cost $0"):
        assert word in shown


@pytest.fixture
def secret() -> str:
    return "sk-0123456789-abcdef-very-secret"


async def output_of(*arguments: str | Path, cwd: Path, key: str) -> tuple[int | None, str, str]:
    """Runs the command beside a server of this event loop, with a key in the environment."""
    process = await asyncio.create_subprocess_exec(
        *command(*arguments),
        cwd=cwd,
        env=environment(FIXED_KEY=key),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode, out.decode(), err.decode()


def holding(folder: Path, secret: str) -> list[str]:
    """The files below `folder` in which the secret stands."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [str(path) for path in files if secret.encode() in path.read_bytes()]


def shown_to_everybody() -> str:
    """The command lines of all processes, as `ps` shows them."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(path.read_bytes().decode(errors="replace"))
        except OSError:
            # It ended in the meantime.
            continue
    return "\n".join(lines)


RESPONSE_BY_KEY = {
    "expansion": {"variants": 0},
    "response": {"teacher": "fixed"},
    "verification": {"judge": False},
}


async def test_a_key_is_used_and_left_nowhere(tmp_path: Path, secret: str) -> None:
    during: list[str] = []
    async with answering("The lighthouse stands there.", api_key=secret) as (teacher, bodies):
        teacher |= {"api_key_env": "FIXED_KEY", "retry": {"first_wait_s": 0.01}}
        recipe = write_recipe(
            tmp_path, [WRITING, *sums(3)], agents=RESPONSE_BY_KEY, teachers={"fixed": teacher}
        )

        async def look() -> None:
            while True:
                during.extend(holding(tmp_path, secret))
                during.extend(["cmdline"] if secret in shown_to_everybody() else [])
                await asyncio.sleep(0.05)

        looking = asyncio.create_task(look())
        code, out, err = await output_of(
            "run", recipe, "--db", "corpus.db", "--json", cwd=tmp_path, key=secret
        )
        looking.cancel()
        assert (code, err) == (0, "")
        assert len(bodies) == 4
    assert secret not in out
    assert not any(secret in body for body in bodies)
    assert during == []
    assert holding(tmp_path, secret) == []
    trace = cli("trace", samples(tmp_path / "corpus.db")[0]["id"], cwd=tmp_path,
                env=environment(STILLHOUSE_DB="corpus.db"))  # fmt: skip
    assert secret not in trace.stdout


async def test_a_server_that_repeats_the_key_does_not_get_it_into_books_or_messages(
    tmp_path: Path, secret: str
) -> None:
    async def handle(request: web.Request) -> web.Response:
        if request.method == "GET":
            return web.json_response({"data": []})
        said = f"I was sent {request.headers['Authorization']}"
        return web.json_response({"error": {"message": said}}, status=500)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    teacher = {
        "kind": "openai",
        "base_url": f"http://127.0.0.1:{runner.addresses[0][1]}/v1",
        "model": "fixed",
        "api_key_env": "FIXED_KEY",
        "retry": {"attempts": 2, "first_wait_s": 0.01},
    }
    recipe = write_recipe(tmp_path, [WRITING], agents=RESPONSE_BY_KEY, teachers={"fixed": teacher})
    code, out, err = await output_of("run", recipe, "--db", "corpus.db", cwd=tmp_path, key=secret)
    await runner.cleanup()
    assert code == 0
    db = tmp_path / "corpus.db"
    failed = rows(db, "SELECT error_detail FROM agent_call WHERE error_type IS NOT NULL")
    assert rows(db, "SELECT status FROM sample") == [{"status": "failed"}]
    assert len(failed) == 2
    assert all("I was sent" in row["error_detail"] for row in failed)
    assert secret not in out + err
    assert holding(tmp_path, secret) == []


async def test_a_refused_key_is_reported_by_its_variable_and_not_shown(
    tmp_path: Path, secret: str
) -> None:
    async with answering("x", api_key="another") as (teacher, _):
        teacher |= {"api_key_env": "FIXED_KEY"}
        recipe = write_recipe(
            tmp_path, [WRITING], agents=RESPONSE_BY_KEY, teachers={"fixed": teacher}
        )
        code, out, err = await output_of(
            "run", recipe, "--db", "corpus.db", cwd=tmp_path, key=secret
        )
    assert code == 1
    assert "FIXED_KEY" in err
    assert secret not in out + err
    assert holding(tmp_path, secret) == []


def test_the_password_of_a_database_url_is_not_shown(tmp_path: Path, postgres_url: str) -> None:
    recipe = write_recipe(tmp_path, [MATHS])
    url = postgres_url.replace("stillhouse@", "stillhouse:hush-hush@")
    assert url != postgres_url
    done = cli("run", recipe, "--db", url, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "hush-hush" not in done.stdout + done.stderr
    assert "postgresql" in done.stdout
    done = cli("run", recipe, "--db", f"{postgres_url}?password=hush-hush", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "hush-hush" not in done.stdout + done.stderr
    assert "postgresql" in done.stdout
    nobody = re.sub(r":\d+/", ":9/", url)
    done = cli("run", recipe, "--db", nobody, cwd=tmp_path)
    assert done.returncode == 1
    assert "hush-hush" not in done.stdout + done.stderr


def test_nothing_that_a_seed_file_holds_steers_the_terminal(tmp_path: Path) -> None:
    name = "[red]seeds.jsonl"
    recipe = write_recipe(tmp_path, [MATHS])
    write_seeds(tmp_path / name, [MATHS, '{"instruction": "\x1b[31mred\x1b]0;title\x07"', "[/]"])
    done = cli("run", recipe, "--seeds", name, "--db", "[bold]c.db", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert name in done.stdout
    assert "[bold]c.db" in done.stdout
    assert "\x1b" not in done.stdout + done.stderr
