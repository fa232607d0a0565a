"""The simulated teacher as a process: the same answers everywhere, and an end when it is due."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

ROOT = Path(__file__).parents[2]
SETTINGS = {"wrong_math": 0.3, "off_category": 0.2, "malformed_json": 0.2, "refusal": 0.1}
PROMPTS = [
    ("expansion", "<instruction>\nPlan a trip to Kyoto.\n</instruction>\n<count>3</count>"),
    ("expansion", "<instruction>\n12 × 7 はいくつですか？\n</instruction>\n<count>3</count>"),
    ("rewrite", "<instruction>\n请解释潮汐的原因。\n</instruction>"),
    (
        "selection",
        "<instruction>\nWhat are tides?\n</instruction>\n<response>\nTides…\n</response>",
    ),
    (None, "<instruction>\nWhat is 12 * 7?\n</instruction>\n<category>math</category>"),
    (None, "<instruction>\n海について詩を書いてください。\n</instruction>"),
]


def command(*options: str) -> list[str]:
    return [sys.executable, "-m", "teachers.simulated", *options]


@contextmanager
def running(*options: str, hash_seed: str = "0") -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    process = subprocess.Popen(
        command(*options),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
    )
    try:
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        assert ready["pid"] == process.pid
        yield process, ready["base_url"]
    finally:
        process.terminate()
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            assert pipe is not None
            pipe.close()


async def contents(base_url: str) -> list[Any]:
    given = []
    async with aiohttp.ClientSession() as session:
        for name, prompt in PROMPTS:
            body: dict[str, Any] = {
                "model": "simulated-teacher",
                "messages": [{"role": "user", "content": prompt}],
            }
            if name is not None:
                body["response_format"] = {"type": "json_schema", "json_schema": {"name": name}}
            async with session.post(f"{base_url}/chat/completions", json=body) as response:
                given.append((await response.json())["choices"])
    return given


async def test_two_processes_give_the_same_answers() -> None:
    options = ("--settings-json", json.dumps(SETTINGS))
    with (
        running(*options, hash_seed="1") as (_, first),
        running(*options, hash_seed="2") as (
            _,
            second,
        ),
    ):
        assert first != second
        assert await contents(first) == await contents(second)


async def test_another_seed_gives_other_answers() -> None:
    with (
        running("--settings-json", '{"seed": 1}') as (_, first),
        running("--settings-json", '{"seed": 2}') as (_, second),
    ):
        assert await contents(first) != await contents(second)


def test_it_ends_with_its_standard_input() -> None:
    with running("--exit-with-stdin") as (process, _):
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(timeout=20) == 0


def test_it_ends_with_a_parent_that_is_killed() -> None:
    program = (
        "import subprocess, sys, time\n"
        f"child = subprocess.Popen({command('--exit-with-stdin')!r}, stdin=subprocess.PIPE)\n"
        "time.sleep(600)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, cwd=ROOT
    )
    assert parent.stdout is not None
    child = json.loads(parent.stdout.readline())["pid"]
    os.kill(child, 0)
    parent.kill()
    parent.wait()
    # The pipe's other end is the child's alone now: it reads empty when the child is gone.
    assert parent.stdout.read() == b""
    parent.stdout.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_cleanly(number: signal.Signals) -> None:
    with running("--exit-with-stdin") as (process, _):
        process.send_signal(number)
        assert process.wait(timeout=20) == 0
        assert process.stderr is not None
        assert process.stderr.read() == b""


def test_without_the_option_it_outlives_its_input() -> None:
    with running() as (process, _):
        assert process.stdin is not None
        process.stdin.close()
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=1)


def test_wrong_settings_end_it_with_cause_and_solution() -> None:
    ended = subprocess.run(
        command("--settings-json", '{"refusal": 2}'),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 2
    assert "refusal" in ended.stderr
    assert "Solution:" in ended.stderr
    assert "Traceback" not in ended.stderr


async def test_the_journal_is_continued_by_the_next_process(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    for _ in range(2):
        with running("--journal", str(journal)) as (_, base_url):
            await contents(base_url)
    lines = journal.read_text().splitlines()
    assert len(lines) == 2 * len(PROMPTS)
    assert len(set(lines)) == len(PROMPTS)
