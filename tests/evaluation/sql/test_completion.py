"""SQL completion end to end: a model at an endpoint, real databases, rows, and what comes of it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from endpoints import Endpoint, completion
from evaluating import recipe, write_lines
from factory import cli, last_line

from evaluation.run import EvaluationResult
from evaluation.settings import EvaluationRecipe
from evaluation.sql.errors import SqlBenchmarkError
from evaluation.sql.run import run
from evaluation.sql.table import side_by_side, stored_side_by_side
from storage.database import Database
from storage.doctor import examine

SCHEMA = (
    "CREATE TABLE 顧客 (id int PRIMARY KEY, 名前 text NOT NULL, 都市 text); -- 客户\n"
    "INSERT INTO 顧客 VALUES (1, '山田', '東京'), (2, '李雷', '北京'), (3, 'Ann', '東京');"
)
GOLDS = {
    "東京の顧客は?": "SELECT 名前 FROM 顧客 WHERE 都市 = '東京' ORDER BY id",
    "How many customers per city?": "SELECT 都市, COUNT(*) FROM 顧客 GROUP BY 都市",
}
ROWS = [{"question": q, "query": gold, "schema": SCHEMA} for q, gold in GOLDS.items()]


def _said(body: Mapping[str, Any]) -> tuple[str, str]:
    """The gold that a question asks for, and what was typed of it."""
    text = body["messages"][-1]["content"]
    gold = next(gold for question, gold in GOLDS.items() if question in text)
    typed = text.partition("<typed>\n")[2].partition("\n</typed>")[0]
    return gold, typed


async def _perfect(request: web.Request) -> web.StreamResponse:
    gold, typed = _said(await request.json())
    assert gold.startswith(typed)
    return web.json_response(completion(f"```sql\n{gold}\n```"))


async def _deletes(request: web.Request) -> web.StreamResponse:
    return web.json_response(completion("```sql\nSELECT 1 FROM 顧客; DROP TABLE 顧客\n```"))


async def _endless(request: web.Request) -> web.StreamResponse:
    query = "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT count(*) FROM r"
    return web.json_response(completion(query))


def at(url: str, **sql: Any) -> EvaluationRecipe:
    retry = {"attempts": 1, "first_wait_s": 0, "unreachable_patience_s": 0}
    teacher = {"kind": "openai", "base_url": url, "model": "tiny", "retry": retry}
    return recipe(teachers={"student": teacher}, judge=None, sql=sql)


async def evaluated(
    handler: Any, database: Database, tmp_path: Path, **sql: Any
) -> EvaluationResult:
    data = write_lines(tmp_path / "rows.jsonl", ROWS)
    async with Endpoint(*[handler] * 20) as endpoint:
        settings = at(endpoint.url, data=data, **sql)
        return await run(settings, database, log_folder=tmp_path / "runs")


@pytest.fixture(params=["sqlite", "postgresql"])
def backend(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The settings of each backend."""
    if request.param == "sqlite":
        return {"backend": "sqlite"}
    return {"backend": "postgresql", "postgres_url": request.getfixturevalue("postgres_server")}


async def test_a_perfect_model_passes_everything_and_saves_all_typing_but_one_key(
    database: Database, tmp_path: Path
) -> None:
    result = await evaluated(_perfect, database, tmp_path)
    assert result.status == "finished" and result.scores is not None
    metrics = result.scores.metrics
    assert (metrics["items"], metrics["pass_at_1"], metrics["kept_typed_text"]) == (6, 100, 100)
    # The first suggestion of each query is accepted, and no later one is seen.
    keystrokes = result.scores.details["keystrokes"]
    rows = result.scores.details["keystrokes_by_row"].values()
    assert [sum(row[n] for row in rows) for n in (0, 1)] == [
        keystrokes["remaining"], keystrokes["saved"]
    ]  # fmt: skip
    assert keystrokes["remaining"] - keystrokes["saved"] == len(GOLDS)
    assert metrics["adoption_rate"] == 100 * keystrokes["saved"] / keystrokes["remaining"]
    assert metrics["adoption_rate_strict"] == metrics["adoption_rate"]
    assert metrics["latency_p50_s"] is not None
    assert metrics["latency_p50_s"] <= (metrics["latency_p95_s"] or 0) < 10
    assert examine(database).ok


async def test_the_backends_agree_on_right_and_wrong(
    backend: dict[str, Any], database: Database, tmp_path: Path
) -> None:
    async def half(request: web.Request) -> web.StreamResponse:
        gold, _ = _said(await request.json())
        if "COUNT" in gold:
            return web.json_response(completion("FROM 顧客"))
        return web.json_response(completion(gold.lower()))

    if backend["backend"] == "postgresql":
        backend["gold_dialect"] = "postgres"
    result = await evaluated(half, database, tmp_path, **backend)
    assert result.scores is not None
    assert result.scores.metrics["pass_at_1"] == 50


@pytest.mark.parametrize(("handler", "reason"), [(_deletes, "refused"), (_endless, "timeout")])
async def test_harmful_answers_are_failures_and_the_rest_goes_on(
    handler: Any, reason: str, backend: dict[str, Any], database: Database, tmp_path: Path
) -> None:
    result = await evaluated(handler, database, tmp_path, time_limit_s=0.3, **backend)
    assert result.status == "finished" and result.scores is not None
    assert result.scores.metrics["pass_at_1"] == 0
    reasons = result.scores.details["not_passed"]
    assert set(reasons) <= {reason, "wrong_result", "error"}
    assert reasons.get(reason, 0) >= 1


async def test_what_was_answered_is_not_asked_again_and_keeps_its_latency(
    database: Database, tmp_path: Path
) -> None:
    data = write_lines(tmp_path / "rows.jsonl", ROWS)
    async with Endpoint(*[_perfect] * 20) as endpoint:
        first = await run(at(endpoint.url, data=data), database, log_folder=tmp_path)
        asked = len(endpoint.arrived)
        second = await run(at(endpoint.url, data=data), database, log_folder=tmp_path)
    assert (asked, len(endpoint.arrived)) == (6, 6)
    assert first.evaluation_id == second.evaluation_id
    assert first.scores is not None and second.scores is not None
    assert first.scores.metrics == second.scores.metrics


@pytest.mark.parametrize(
    "change", [{"max_tokens": 100}, {"schema": SCHEMA.replace("Ann", "Bob")}], ids=str
)
async def test_other_rows_or_another_limit_are_another_evaluation(
    change: dict[str, Any], database: Database, tmp_path: Path
) -> None:
    schema = change.get("schema", SCHEMA)
    limits = {name: value for name, value in change.items() if name != "schema"}
    results = []
    async with Endpoint(*[_perfect] * 20) as endpoint:
        for ddl, more in ((SCHEMA, {}), (schema, limits)):
            row = {**ROWS[0], "db_name": "shop", "schema": ddl}
            data = write_lines(tmp_path / "rows.jsonl", [row])
            settings = at(endpoint.url, data=data, **more)
            results.append(await run(settings, database, log_folder=tmp_path))
    first, other = results
    assert first.evaluation_id != other.evaluation_id
    assert other.figures.calls_cached == (3 if "schema" in change else 0)
    assert first.scores is not None and first.scores.details["rows_as_of"].startswith("20")


async def test_latencies_are_those_of_real_requests_at_once(
    database: Database, tmp_path: Path
) -> None:
    async def slow(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(0.2 if "東京の顧客" in str(await request.json()) else 0.05)
        return web.json_response(completion("FROM 顧客"))

    result = await evaluated(slow, database, tmp_path)
    assert result.scores is not None
    metrics = result.scores.metrics
    assert result.scores.details["latencies_known"] == 6
    half, most = metrics["latency_p50_s"], metrics["latency_p95_s"]
    assert half is not None and most is not None
    assert 0.05 <= half < most and most >= 0.2


async def test_the_model_reads_schema_question_and_typed_text_but_no_rows(
    database: Database, tmp_path: Path
) -> None:
    data = write_lines(tmp_path / "rows.jsonl", ROWS[:1])
    async with Endpoint(*[_perfect] * 20) as endpoint:
        await run(at(endpoint.url, data=data, fractions=[0.5]), database, log_folder=tmp_path)
    (asked,) = endpoint.arrived
    system, user = asked["messages"]
    assert system["role"] == "system"
    assert 'CREATE TABLE "顧客"' in user["content"]
    assert "東京の顧客は?" in user["content"]
    assert "山田" not in user["content"]
    assert asked["temperature"] == 0


async def test_a_broken_row_costs_that_row_and_is_named(database: Database, tmp_path: Path) -> None:
    broken = [
        *ROWS,
        {"query": "SELECT 1"},
        {"query": "", "schema": SCHEMA},
        {"query": "SELECT id FROM 顧客", "schema": SCHEMA, "prefix": "SELECT 名前"},
    ]
    data = write_lines(tmp_path / "rows.jsonl", broken)
    async with Endpoint(*[_perfect] * 20) as endpoint:
        result = await run(at(endpoint.url, data=data), database, log_folder=tmp_path)
    assert result.scores is not None
    left_out = result.scores.details["left_out"]
    assert [line.partition(":")[0] for line in left_out] == [
        f"rows.jsonl, line {number}" for number in (3, 4, 5)
    ]
    assert result.scores.metrics["items"] == 6


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("rows.txt", "SELECT 1", "no SQL benchmark"),
        ("rows.jsonl", "", "no row"),
        ("rows.jsonl", '{"query": "SELECT 1", "schema": "DROP TABLE t"}', "schema"),
    ],
)
async def test_a_file_that_cannot_be_used_is_refused_with_its_cause(
    name: str, text: str, says: str, database: Database, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(SqlBenchmarkError, match=says) as caught:
        await run(at("http://127.0.0.1:9/v1", data=str(tmp_path / name)), database)
    assert caught.value.cause and caught.value.solution


def test_a_simulated_model_is_evaluated_from_the_command_line(tmp_path: Path) -> None:
    data = write_lines(tmp_path / "rows.jsonl", ROWS)
    arguments = ["eval", "sql", "--model", "simulated", "--data", data, "--json"]
    first = last_line(cli(*arguments, "--db", "eval.db", cwd=tmp_path).stdout)
    assert (first["status"], first["simulated"]) == ("finished", True)
    assert first["metrics"]["items"] == 6
    assert first["calls"]["made"] == 6
    second = last_line(cli(*arguments, "--db", "eval.db", cwd=tmp_path).stdout)
    assert (second["calls"]["made"], second["calls"]["cached"]) == (0, 6)
    assert second["metrics"] == first["metrics"]


async def test_teacher_and_student_stand_side_by_side_where_they_were_asked_the_same(
    database: Database, tmp_path: Path
) -> None:
    data = write_lines(tmp_path / "rows.jsonl", ROWS)
    for name, handler, more in (
        ("teacher", _perfect, {}),
        ("student", _deletes, {}),
        ("student", _perfect, {"fractions": [0.5]}),
    ):
        async with Endpoint(*[handler] * 20) as endpoint:
            settings = at(endpoint.url, data=data, **more)
            named = settings.model_copy(update={"label": name})
            await run(named, database, log_folder=tmp_path)
    tables = {table.models: dict(table.rows) for table in stored_side_by_side(database)}
    assert set(tables) == {("teacher", "student"), ("student",)}
    both = tables["teacher", "student"]
    assert both["Pass@1 (%)"] == ("100.0", "0.0")
    assert both["Not passed: refused"] == ("0", "6")


def test_models_stand_side_by_side() -> None:
    teacher = {"pass_at_1": 80.0, "latency_p50_s": 1.25, "items": 4}
    student = {"pass_at_1": 75.0, "latency_p50_s": None, "items": 4}
    parts = [
        {"pass_at_1_by_fraction": {"0.5": 90.0}, "not_passed": {"error": 1}},
        {"pass_at_1_by_fraction": {"0.25": 50.0, "0.5": 80.0}},
    ]
    table = side_by_side(["teacher", "student"], [teacher, student], parts)
    rows = dict(table.rows)
    assert rows["Pass@1 (%)"] == ("80.0", "75.0")
    assert rows["Pass@1 with 25 % typed (%)"] == ("–", "50.0")
    assert rows["Latency p50 (s)"] == ("1.250", "–")
    assert rows["Not passed: error"] == ("1", "0")
    assert table.markdown().splitlines()[0] == "| | teacher | student |"
