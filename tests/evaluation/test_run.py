"""An evaluation's run: resumable, cached, traced, and sound in its rows however it ends."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from conftest import CorpusMaker
from endpoints import Endpoint, Gate, completion
from evaluating import IFEVAL, recipe, run, write_lines
from factory import cli, end, last_line, one, rows, start_cli, until_in

from common.recipes import RecipeError
from evaluation.benchmark import MODEL, Asker, Item, ItemResult, Judged, Scores
from evaluation.errors import EvaluationError
from evaluation.run import EvaluationResult, evaluate
from evaluation.settings import EvaluationRecipe, load_evaluation
from storage.database import Database
from storage.doctor import examine
from storage.errors import DatabaseBusy
from storage.tables import Export, TrainingRun
from teachers.types import Message, Sampling


class Echoes:
    """A benchmark that asks for words and keeps the answer's length and latency."""

    name = "echoes"
    roles = (MODEL,)

    def __init__(self, count: int = 4) -> None:
        self.items = [Item(f"i{n}", f"Say the word number {n}.") for n in range(count)]

    def settings(self) -> dict[str, Any]:
        return {"version": 1}

    async def judge(self, item: Item, asker: Asker) -> Judged:
        asked = [Message("user", item.prompt)]
        reply = await asker.ask(MODEL, asked, Sampling(temperature=0.5, max_tokens=20))
        text = reply.completion.content
        return Judged(text, {"characters": len(text), "latency_s": reply.latency_s})

    def score(self, results: Sequence[ItemResult]) -> Scores:
        return Scores({"characters": sum(len(r.judged.response) for r in results if r.judged)})


def at(url: str, **changes: Any) -> EvaluationRecipe:
    retry = {"attempts": 1, "first_wait_s": 0, "unreachable_patience_s": 0}
    teacher = {"kind": "openai", "base_url": url, "model": "tiny", "retry": retry}
    return recipe(teachers={"student": teacher}, judge=None, **changes)


async def asked(settings: EvaluationRecipe, database: Database, tmp_path: Path) -> EvaluationResult:
    return await run(Echoes(), settings, database, tmp_path)


async def test_answers_verdicts_and_calls_are_rows(database: Database, tmp_path: Path) -> None:
    async with Endpoint() as endpoint:
        result = await asked(at(endpoint.url), database, tmp_path)
    with database.read() as connection:
        (row,) = connection.exec_driver_sql(
            "SELECT status, benchmark, model, served, code_revision FROM evaluation"
        ).all()
        items = connection.exec_driver_sql(
            "SELECT item, status, response FROM evaluation_item ORDER BY ordinal"
        ).all()
        calls = connection.exec_driver_sql(
            "SELECT role, teacher, model, prompt_tokens, cached, finish_reason FROM evaluation_call"
        ).all()
    assert tuple(row)[:4] == ("finished", "echoes", "tiny", "tiny")
    assert [tuple(item) for item in items] == [(f"i{n}", "done", "Yes.") for n in range(4)]
    assert {tuple(call) for call in calls} == {(MODEL, "student", "scripted", 10, False, "stop")}
    assert result.scores is not None and result.scores.metrics == {"characters": 16}
    assert examine(database).ok


async def test_the_same_again_asks_nothing_and_knows_the_first_latency(
    database: Database, tmp_path: Path
) -> None:
    async with Endpoint() as endpoint:
        first = await asked(at(endpoint.url), database, tmp_path)
    # Nobody listens there now.
    again = await asked(at(endpoint.url), database, tmp_path)
    assert again.evaluation_id == first.evaluation_id and again.status == "finished"
    assert (again.figures.calls_made, again.figures.calls_cached) == (0, 4)
    with database.read() as connection:
        verdicts = connection.exec_driver_sql("SELECT verdict FROM evaluation_item").all()
    read = [v if isinstance(v, dict) else json.loads(v) for (v,) in verdicts]
    assert all(verdict["latency_s"] > 0 for verdict in read)


async def test_a_cancelled_evaluation_resumes_without_asking_twice(
    tmp_path: Path,
) -> None:
    database = Database.open(str(tmp_path / "corpus.db"), create=True)
    gate = Gate()
    async with Endpoint(completion(), completion(), gate) as endpoint:
        settings = at(endpoint.url, items_in_flight=1)
        task = asyncio.create_task(asked(settings, database, tmp_path))
        await gate.reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert one(tmp_path / "corpus.db", "SELECT status FROM evaluation") == "interrupted"
        result = await asked(settings, database, tmp_path)
        assert result.figures.calls_made == 2 and result.figures.calls_cached == 2
        assert len(endpoint.arrived) == 5
    database.close()


async def test_a_question_that_fails_for_a_passing_reason_leaves_it_incomplete(
    tmp_path: Path,
) -> None:
    database = Database.open(str(tmp_path / "corpus.db"), create=True)
    async with Endpoint(completion(), 500) as endpoint:
        settings = at(endpoint.url, items_in_flight=1)
        first = await asked(settings, database, tmp_path)
        assert first.status == "incomplete" and dict(first.figures.failed) == {"server_error": 1}
        assert one(tmp_path / "corpus.db", "SELECT reason FROM evaluation_item WHERE item = 'i1'") \
            == "server_error"  # fmt: skip
        again = await asked(settings, database, tmp_path)
        assert again.status == "finished" and again.figures.calls_made == 1
    errors = rows(tmp_path / "corpus.db", "SELECT error_type FROM evaluation_call WHERE attempt = 1"
                  " AND error_type IS NOT NULL")  # fmt: skip
    assert errors == [{"error_type": "server_error"}]
    database.close()


async def test_a_question_that_cannot_be_asked_is_counted_and_the_rest_goes_on(
    tmp_path: Path,
) -> None:
    database = Database.open(str(tmp_path / "corpus.db"), create=True)
    async with Endpoint(400) as endpoint:
        result = await asked(at(endpoint.url), database, tmp_path)
    assert result.status == "finished"
    assert (result.figures.done, dict(result.figures.failed)) == (3, {"bad_request": 1})
    database.close()


async def test_a_fatal_failure_ends_it_with_its_reason(tmp_path: Path) -> None:
    database = Database.open(str(tmp_path / "corpus.db"), create=True)
    async with Endpoint(completion(), 401) as endpoint:
        result = await asked(at(endpoint.url, items_in_flight=1), database, tmp_path)
    assert result.status == "failed" and result.error is not None
    assert result.error.code == "authentication"
    (row,) = rows(tmp_path / "corpus.db", "SELECT status, reason, metrics FROM evaluation")
    assert row == {"status": "failed", "reason": "authentication", "metrics": None}
    pending = one(tmp_path / "corpus.db", "SELECT count(*) FROM evaluation_item"
                  " WHERE status = 'pending'")  # fmt: skip
    assert pending == 3
    database.close()


async def test_a_budget_that_is_reached_interrupts_and_counts_what_was_spent(
    tmp_path: Path,
) -> None:
    database = Database.open(str(tmp_path / "corpus.db"), create=True)
    async with Endpoint() as endpoint:
        first = await asked(
            at(endpoint.url, budget={"calls": 3}, items_in_flight=1), database, tmp_path
        )
        assert first.status == "interrupted" and first.error is not None
        assert first.error.code == "budget_reached" and first.figures.calls_made == 3
        still = await asked(at(endpoint.url, budget={"calls": 3}), database, tmp_path)
        assert still.figures.calls_made == 0
        more = await asked(at(endpoint.url, budget={"calls": 4}), database, tmp_path)
        assert more.status == "finished" and more.figures.calls_made == 1
    database.close()


@pytest.mark.parametrize(
    "change",
    [{"repetition": 1}, {"sampling": {"temperature": 0.1}}, {"limit": 3}],
)
async def test_what_shapes_the_result_makes_another_evaluation(
    change: dict[str, Any], tmp_path: Path
) -> None:
    database = Database.open(str(tmp_path / "corpus.db"), create=True)
    async with Endpoint() as endpoint:
        first = await asked(at(endpoint.url), database, tmp_path)
        other = await asked(at(endpoint.url, **change), database, tmp_path)
    assert other.evaluation_id != first.evaluation_id
    made = 0 if "limit" in change else 4
    assert other.figures.calls_made == made
    database.close()


async def test_a_model_that_a_stage_left_leads_back_to_its_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database.open(str(tmp_path / "corpus.db"), create=True)
    corpus = CorpusMaker(database)
    folder = tmp_path / "out" / "model"
    folder.mkdir(parents=True)
    export = corpus.add(
        Export, id="e" * 32, recipe="tests", path="x", format="messages", rows=1,
        content_hash="0", manifest={"filters": {"status": ["accepted"]}},
    )  # fmt: skip
    corpus.add(
        TrainingRun, id="f" * 32, export_id=export, stage="small/kd", recipe_text="",
        recipe_hash="0", status="finished", output=str(folder),
    )  # fmt: skip
    settings = load_evaluation(roles={"model": str(folder)})
    async with Endpoint() as endpoint:

        async def start(server: object, on_progress: object = None) -> str:
            return endpoint.url

        monkeypatch.setattr("teachers.vllm_server.VllmServer.start", start)
        monkeypatch.setattr(
            "teachers.vllm_server.VllmServer.watch", lambda server: asyncio.sleep(9)
        )
        result = await asked(settings, database, tmp_path)
    assert result.lineage is not None and result.model == "small/kd"
    (row,) = rows(tmp_path / "corpus.db", "SELECT training_run_id, model FROM evaluation")
    assert row == {"training_run_id": "f" * 32, "model": "small/kd"}
    database.close()


async def test_an_evaluation_waits_for_no_run_but_refuses(tmp_path: Path) -> None:
    database = Database.open(str(tmp_path / "corpus.db"), create=True)
    with database.run_lock(), pytest.raises(DatabaseBusy):
        await asked(recipe(), database, tmp_path)
    database.close()


async def test_a_benchmark_without_items_is_refused(tmp_path: Path) -> None:
    database = Database.open(str(tmp_path / "corpus.db"), create=True)
    with pytest.raises(EvaluationError, match="no items"):
        await evaluate(Echoes(0), recipe(), database)
    database.close()


async def test_two_items_under_one_key_are_refused(tmp_path: Path) -> None:
    class Doubled(Echoes):
        def __init__(self) -> None:
            self.items = [Item("i", "Say one."), Item("i", "Say two.")]

    database = Database.open(str(tmp_path / "corpus.db"), create=True)
    with pytest.raises(EvaluationError, match="are called 'i'"):
        await evaluate(Doubled(), recipe(), database)
    database.close()


async def test_an_answer_with_a_nul_is_the_same_when_it_comes_from_the_corpus(
    database: Database, tmp_path: Path
) -> None:
    class Chats(Echoes):
        async def judge(self, item: Item, asker: Asker) -> Judged:
            first = await asker.ask(MODEL, [Message("user", item.prompt)], Sampling())
            said = [Message("user", item.prompt), Message("assistant", first.completion.content)]
            second = await asker.ask(MODEL, [*said, Message("user", "And?")], Sampling())
            return Judged(second.completion.content, {"first": first.completion.content})

    async with Endpoint(completion("a\0b"), completion("c\0")) as endpoint:
        first = await run(Chats(1), at(endpoint.url), database, tmp_path)
        again = await run(Chats(1), at(endpoint.url), database, tmp_path)
    assert first.scores == again.scores and again.figures.calls_made == 0
    with database.read() as connection:
        assert (
            connection.exec_driver_sql("SELECT response FROM evaluation_item").scalar() == "c\ufffd"
        )


async def test_contamination_that_was_found_stays_where_nobody_looks_again(
    tmp_path: Path,
) -> None:
    database = Database.open(str(tmp_path / "corpus.db"), create=True)
    async with Endpoint() as endpoint:
        await asked(at(endpoint.url), database, tmp_path)
        again = await asked(at(endpoint.url, contamination={"enabled": False}), database, tmp_path)
    assert again.contamination is None
    found = json.loads(one(tmp_path / "corpus.db", "SELECT contamination FROM evaluation"))
    assert found["items"] == 4
    database.close()


@pytest.mark.parametrize(
    ("roles", "missing"),
    [
        ({"base_url": "http://127.0.0.1:9/v1"}, "--model"),
        ({"model": "m", "api_key_env": "KEY"}, "--base-url"),
        ({"model": "simulated", "judge_url": "http://127.0.0.1:9/v1"}, "--judge"),
        ({"model": "simulated", "judge": "m", "judge_key_env": "KEY"}, "--judge-url"),
    ],
)
def test_options_that_nothing_would_use_are_refused(roles: dict[str, str], missing: str) -> None:
    with pytest.raises(RecipeError) as refused:
        load_evaluation(roles=roles)
    assert f"Without {missing} " in refused.value.cause


@contextmanager
def journalled_server(folder: Path) -> Iterator[tuple[str, Path]]:
    journal = folder / "journal"
    command = [sys.executable, "-m", "teachers.simulated", "--port", "0", "--exit-with-stdin"]
    command += ["--settings-json", json.dumps({"latency_s": 0.1}), "--journal", str(journal)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())["base_url"], journal
        process.terminate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_interrupts_it_and_says_how_to_go_on(number: int, tmp_path: Path) -> None:
    pytest.importorskip("lm_eval")
    prompts = [{**IFEVAL[0], "key": n, "prompt": f"Name fruit {n}."} for n in range(200)]
    data = write_lines(tmp_path / "prompts.jsonl", prompts)
    db = tmp_path / "corpus.db"
    with journalled_server(tmp_path) as (url, _):
        words = [
            "eval", "ifeval", "--model", "simulated-teacher", "--base-url", url, "--data", data,
            "--db", str(db), "--set", "teachers.model.limits={max_concurrency: 2}", "--json",
        ]  # fmt: skip
        process = start_cli(*words, cwd=tmp_path)
        try:
            until_in(db, "SELECT count(*) >= 3 FROM completion", process)
            process.send_signal(number)
            out, err = process.communicate(timeout=60)
        finally:
            end(process)
    assert process.returncode == 130, err
    assert "the same command resumes it" in out and "Traceback" not in err
    assert last_line(out)["status"] == "interrupted"
    assert one(db, "SELECT status FROM evaluation") == "interrupted"


async def test_a_fault_of_a_benchmark_is_not_hidden_and_ends_everything(tmp_path: Path) -> None:
    class Faulty(Echoes):
        async def judge(self, item: Item, asker: Asker) -> Judged:
            if item.key == "i1":
                raise ZeroDivisionError
            return await super().judge(item, asker)

    database = Database.open(str(tmp_path / "corpus.db"), create=True)
    gate = Gate()
    async with Endpoint(gate, gate, gate) as endpoint:
        with pytest.raises(ZeroDivisionError):
            await run(Faulty(), at(endpoint.url), database, tmp_path)
    assert one(tmp_path / "corpus.db", "SELECT status FROM evaluation") == "failed"
    database.close()


def test_killed_half_way_and_resumed_no_committed_answer_is_made_twice(tmp_path: Path) -> None:
    pytest.importorskip("lm_eval")
    prompts = [{**IFEVAL[0], "key": n, "prompt": f"Name fruit {n}."} for n in range(60)]
    data = write_lines(tmp_path / "prompts.jsonl", prompts)
    db = tmp_path / "corpus.db"
    with journalled_server(tmp_path) as (url, journal):
        words = [
            "eval", "ifeval", "--model", "simulated-teacher", "--base-url", url, "--data", data,
            "--db", str(db), "--set", "teachers.model.limits={max_concurrency: 4}", "--json",
        ]  # fmt: skip
        process = start_cli(*words, cwd=tmp_path)
        try:
            until_in(db, "SELECT count(*) >= 20 FROM completion", process)
            process.kill()
            process.communicate()
        finally:
            end(process)
        kept = {row["response_id"].rpartition("-")[2] for row in
                rows(db, "SELECT response_id FROM completion")}  # fmt: skip
        before = len(journal.read_text().splitlines())
        assert one(db, "SELECT status FROM evaluation") == "running"
        done = cli(*words, cwd=tmp_path)
        answered = journal.read_text().splitlines()[before:]
    assert done.returncode == 0, done.stderr
    result = last_line(done.stdout)
    assert result["items"] == {"total": 60, "done": 60, "failed": {}}
    assert 20 <= len(kept) == result["calls"]["cached"] < 60
    assert result["calls"]["made"] == 60 - len(kept)
    assert not kept.intersection(answered), "a committed answer was made again"
