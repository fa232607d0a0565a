"""What tests of the whole factory share: a small recipe in a folder, runs of it, and its tables.

In: rows of seeds and changes to a plain recipe. Out: the result of `run_factory` in this process or
of the `stillhouse` command in one of its own, and the corpus as rows. Teachers are real simulated
servers; nothing is mocked.
"""

from __future__ import annotations

import asyncio
import copy
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import yaml
from aiohttp import web

from graph.recipe import load_recipe
from graph.run import Progress, RunOptions, RunResult, run_factory
from graph.stop import Stop
from storage.database import Database
from storage.doctor import examine

STILLHOUSE = Path(sys.executable).with_name("stillhouse")
CHECKOUT = Path(__file__).resolve().parent.parent
PROMPTS = CHECKOUT / "prompts"

MATHS = {"instruction": "What is 17 * 23 + 5?", "category": "math", "language": "en"}
WRITING = {
    "instruction": "Write two sentences about a lighthouse that stands on a rock in the sea.",
    "category": "writing",
    "language": "en",
}
MATHS_JA = {"instruction": "48 と 57 の和はいくつですか。", "category": "math", "language": "ja"}
WRITING_JA = {
    "instruction": "秋の公園について、短い文章を三文で書いてください。",
    "category": "writing",
    "language": "ja",
}
MATHS_ZH = {"instruction": "请计算 125 乘以 8 的结果。", "category": "math", "language": "zh"}
WRITING_ZH = {
    "instruction": "请写三句话介绍你们学校旁边的公园。",
    "category": "writing",
    "language": "zh",
}
SEEDS = (MATHS, WRITING, MATHS_JA, WRITING_JA, MATHS_ZH, WRITING_ZH)

# A test that waits for what never comes should end one day.
_PATIENCE_S = 120
_QUICK_RETRIES = {"first_wait_s": 0.01, "longest_wait_s": 0.05}
_RECIPE: dict[str, Any] = {
    "name": "small",
    "seeds": ["seeds.jsonl"],
    "teacher": "local",
    "teachers": {"local": {"kind": "simulated", "retry": _QUICK_RETRIES}},
    "agents": {"expansion": {"variants": 1}, "verification": {"max_rounds": 1}},
}


def simulated(**simulation: Any) -> dict[str, Any]:
    """A simulated teacher's section of a recipe."""
    return {"kind": "simulated", "retry": dict(_QUICK_RETRIES), "simulation": simulation}


def sums(count: int, start: int = 0) -> list[dict[str, Any]]:
    """That many maths seeds, no two alike."""
    return [
        {"instruction": f"What is {n} + {3 * n}?", "category": "math", "language": "en"}
        for n in range(start + 11, start + 11 + count)
    ]


def write_seeds(path: Path, rows: Sequence[Mapping[str, Any] | str]) -> Path:
    """A JSONL file; a string is written as the line that it is."""
    lines = [r if isinstance(r, str) else json.dumps(r, ensure_ascii=False) for r in rows]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def write_recipe(
    folder: Path, seeds: Sequence[Mapping[str, Any] | str] = SEEDS, **changes: Any
) -> Path:
    """A recipe with its seeds in `folder`; sections in `changes` are merged into the plain one."""
    folder.mkdir(parents=True, exist_ok=True)
    write_seeds(folder / "seeds.jsonl", seeds)
    path = folder / "recipe.yaml"
    document = merged(_RECIPE, changes)
    path.write_text(yaml.safe_dump(document, allow_unicode=True, sort_keys=False), encoding="utf-8")
    return path


def merged(plain: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`plain` with `changes` laid over it, section by section."""
    result = copy.deepcopy(dict(plain))
    for key, value in changes.items():
        old = result.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            result[key] = merged(old, value)
        else:
            result[key] = value
    return result


async def run(
    recipe: Path, *overrides: str, db: str | Path | None = None, limit: int | None = None
) -> RunResult:
    """One invocation in this process; the database lies beside the recipe unless said otherwise."""
    return await stoppable_run(recipe, lambda stop: None, *overrides, db=db, limit=limit)


async def stoppable_run(
    recipe: Path,
    on_ready: Callable[[Stop], Any],
    *overrides: str,
    db: str | Path | None = None,
    limit: int | None = None,
    progress: Progress | None = None,
) -> RunResult:
    """As `run`; `on_ready` gets the run's `Stop`."""
    options = RunOptions(
        load_recipe(recipe, overrides),
        str(db or corpus_of(recipe)),
        limit,
        log_folder=recipe.parent / "runs",
    )
    return await run_factory(options, progress or Progress(), on_ready)


async def until(condition: Callable[[], bool]) -> None:
    """Returns once `condition` holds."""
    async with asyncio.timeout(_PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - it happens in another task or process
            await asyncio.sleep(0.002)


def corpus_of(recipe: Path) -> Path:
    """The database that `run` makes."""
    return recipe.parent / "corpus.db"


def command(*arguments: str | Path) -> list[str]:
    """The `stillhouse` command of this environment."""
    return [str(STILLHOUSE), *map(str, arguments)]


def environment(**variables: str | None) -> dict[str, str]:
    """This process's environment with some variables set, or taken out (None)."""
    merged_variables = {**os.environ, "COLUMNS": "200", **variables}
    return {name: value for name, value in merged_variables.items() if value is not None}


def cli(
    *arguments: str | Path, cwd: Path, timeout: float = 60, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Runs the command to its end, as a user would."""
    options.setdefault("env", environment())
    return subprocess.run(
        command(*arguments), cwd=cwd, capture_output=True, text=True, timeout=timeout, **options
    )


def start_cli(*arguments: str | Path, cwd: Path, **options: Any) -> subprocess.Popen[str]:
    """Starts the command and leaves it running."""
    options.setdefault("env", environment())
    return subprocess.Popen(
        command(*arguments),
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def end(process: subprocess.Popen[str]) -> None:
    """Ends a process that a failed test left behind."""
    if process.poll() is None:
        process.send_signal(signal.SIGKILL)
        process.communicate()


def until_in(db: Path, query: str, process: subprocess.Popen[str]) -> None:
    """Returns once the query counts something; the process must still be at work then."""
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        try:
            if one(db, query):
                return
        except sqlite3.OperationalError:
            # The database is still being made.
            pass
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    raise AssertionError(f"it never came: {query}")


def last_line(output: str) -> dict[str, Any]:
    """The JSON object on the last line of a command's standard output."""
    value = json.loads(output.strip().splitlines()[-1])
    assert isinstance(value, dict)
    return value


def rows(db: str | Path, query: str, *parameters: Any) -> list[dict[str, Any]]:
    """What a SQLite corpus answers."""
    with closing(sqlite3.connect(f"file:{db}?mode=ro", uri=True)) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(query, parameters)]


def one(db: str | Path, query: str, *parameters: Any) -> Any:
    """The only value of the only row."""
    ((value,),) = [tuple(row.values()) for row in rows(db, query, *parameters)]
    return value


def samples(db: str | Path, where: str = "1=1", *parameters: Any) -> list[dict[str, Any]]:
    """Samples in the order of their seeds, variants and rounds; JSON columns are read."""
    found = rows(
        db,
        "SELECT sample.* FROM sample JOIN seed ON seed.id = seed_id "
        f"WHERE {where} ORDER BY ordinal, variant, round",
        *parameters,
    )
    for sample in found:
        for name in ("terms", "shaped_by"):
            sample[name] = json.loads(sample[name]) if sample[name] else None
    return found


def outcomes(db: str | Path) -> dict[str, tuple[str, str | None, str | None]]:
    """Every sample's end with its response, to compare corpora by."""
    return {s["id"]: (s["status"], s["reason"], s["response"]) for s in samples(db)}


def questions(db: str | Path, agent: str) -> list[str]:
    """The last user message of every answered call of an agent."""
    found = rows(
        db,
        "SELECT request FROM completion JOIN agent_call ON request_key = key "
        "WHERE agent = ? AND error_type IS NULL ORDER BY agent_call.created_at",
        agent,
    )
    return [json.loads(row["request"])["messages"][-1]["content"] for row in found]


def assert_sound(db: str | Path, *, pending: bool = False) -> None:
    """The accounting invariant and the file itself; after a run's end nothing may be pending."""
    database = Database.open(str(db))
    try:
        report = examine(database)
    finally:
        database.close()
    broken = [(check.says, check.examples) for check in report.checks if not check.ok]
    assert not broken, broken
    if not pending:
        assert report.seeds.get("pending", 0) == 0
        assert report.samples.get("pending", 0) == 0


@asynccontextmanager
async def answering(
    content: str, *, api_key: str | None = None
) -> AsyncIterator[tuple[dict[str, Any], list[str]]]:
    """An OpenAI-compatible server that gives every request the same answer, as a teacher's section
    of a recipe; and the bodies that it was sent. With `api_key`, others are refused by 401."""
    bodies: list[str] = []

    async def handle(request: web.Request) -> web.Response:
        if api_key is not None and request.headers.get("Authorization") != f"Bearer {api_key}":
            return web.json_response({"error": {"message": "Incorrect API key."}}, status=401)
        if request.method == "GET":
            return web.json_response({"data": [{"id": "fixed"}]})
        bodies.append(await request.text())
        message = {"role": "assistant", "content": content}
        usage = {"prompt_tokens": 7, "completion_tokens": 3}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return web.json_response({"model": "fixed", "choices": [choice], "usage": usage})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    try:
        yield (
            {"kind": "openai", "base_url": f"http://127.0.0.1:{port}/v1", "model": "fixed"},
            bodies,
        )
    finally:
        await runner.cleanup()
