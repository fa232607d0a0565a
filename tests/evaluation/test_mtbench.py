"""MT-Bench: the published prompts to the byte, two turns, grades, and a rehearsal end to end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from endpoints import Endpoint, completion
from evaluating import DATA, QUESTIONS, REFERENCES, needs_data, recipe, run, write_lines

from common.paths import prompts_folder
from evaluation.benchmark import ItemResult, Judged
from evaluation.errors import DataMissing, JudgeMissing
from evaluation.mtbench.benchmark import MtBench, MtBenchSettings
from evaluation.mtbench.judging import PROMPT_FILE, judge_prompts, read_grade
from evaluation.settings import load_evaluation
from storage.database import Database


@pytest.fixture
def benchmark(tmp_path: Path) -> MtBench:
    return MtBench(
        MtBenchSettings(
            data=write_lines(tmp_path / "question.jsonl", QUESTIONS),
            references_file=write_lines(tmp_path / "gpt-4.jsonl", REFERENCES),
        )
    )


@pytest.fixture
def database(tmp_path: Path) -> Any:
    opened = Database.open(str(tmp_path / "corpus.db"), create=True)
    yield opened
    opened.close()


@needs_data
def test_the_judge_prompts_are_the_published_file() -> None:
    published = DATA / "mt_bench" / "judge_prompts.jsonl"
    assert (prompts_folder() / PROMPT_FILE).read_bytes() == published.read_bytes()


def endpoint(model: str, url: str) -> dict[str, Any]:
    return {"kind": "openai", "base_url": url, "model": model}


async def test_what_is_sent_is_the_published_prompt_filled_in(
    benchmark: MtBench, database: Database, tmp_path: Path
) -> None:
    answers = [completion(text) for text in ("A {question} harbour.", "One.", "391", "409")]
    grades = [completion(f"Good. [[{n}]]") for n in (7, 8, 10, 2)]
    async with Endpoint(*answers) as model, Endpoint(*grades) as judge:
        teachers = {
            "student": endpoint("s", model.url),
            "grader": endpoint("j", judge.url),
        }
        settings = recipe(teachers=teachers, items_in_flight=1)
        result = await run(benchmark, settings, database, tmp_path)
    prompts = judge_prompts()
    first = prompts["single-v1"].template.replace("{question}", QUESTIONS[0]["turns"][0])
    assert judge.arrived[0]["messages"] == [
        {"role": "system", "content": prompts["single-v1"].system},
        {"role": "user", "content": first.replace("{answer}", "A {question} harbour.")},
    ]
    multi = prompts["single-math-v1-multi-turn"]
    filled = multi.template.format(
        question_1="What is 17 * 23?", question_2="And 17 * 24?", answer_1="391", answer_2="409",
        ref_answer_1="391", ref_answer_2="408",
    )  # fmt: skip
    assert judge.arrived[3]["messages"] == [
        {"role": "system", "content": multi.system},
        {"role": "user", "content": filled},
    ]
    assert [body["temperature"] for body in judge.arrived] == [0.0] * 4
    assert [body["temperature"] for body in model.arrived] == [0.7, 0.7, 0.0, 0.0]
    assert [m["role"] for m in model.arrived[1]["messages"]] == ["user", "assistant", "user"]
    assert result.scores is not None
    metrics = result.scores.metrics
    assert (metrics["score"], metrics["turn_1"], metrics["turn_2"]) == (6.75, 8.5, 5.0)
    assert result.scores.details["by_category"]["math"]["score"] == 6.0
    assert list(result.scores.details["by_category"]) == ["writing", "math"]


@pytest.mark.parametrize(
    ("text", "grade"),
    [
        ("Rating: [[7]]", 7.0),
        ("Rating: [[8.5]] of [[10]]", 8.5),
        ("Rating: [6]", 6.0),
        ("Rating: 6", None),
        ("[[0]]", None),
        ("[[11]]", None),
        ("", None),
    ],
)
def test_a_grade_is_read_or_is_none(text: str, grade: float | None) -> None:
    assert read_grade(text) == grade


def test_unscored_turns_and_failed_questions_are_left_out_and_counted(benchmark: MtBench) -> None:
    first, second = benchmark.items
    turns = [{"grade": None}, {"grade": 4.0}]
    scores = benchmark.score(
        [ItemResult(first, Judged("x", {"turns": turns})), ItemResult(second, None, "timed_out")]
    )
    assert scores.metrics["score"] == 4.0 and scores.metrics["turn_1"] is None
    assert (scores.metrics["unscored"], scores.metrics["failed"]) == (1, 1)
    assert len(scores.notes) == 2


async def test_a_rehearsal_goes_through_and_its_second_run_asks_nothing(
    benchmark: MtBench, database: Database, tmp_path: Path
) -> None:
    first = await run(benchmark, recipe(), database, tmp_path)
    again = await run(benchmark, recipe(), database, tmp_path)
    assert first.status == "finished" and first.simulated and again.simulated
    assert (first.figures.calls_made, again.figures.calls_made) == (8, 0)
    assert again.figures.calls_cached == 8
    assert first.scores == again.scores and first.scores is not None
    assert first.scores.metrics["unscored"] == 0


@needs_data
async def test_the_eighty_questions_are_graded_by_a_simulated_judge(
    database: Database, tmp_path: Path
) -> None:
    folder = DATA / "mt_bench"
    settings = MtBenchSettings(
        data=str(folder / "question.jsonl"),
        references_file=str(folder / "reference_answer_gpt-4.jsonl"),
    )
    result = await run(MtBench(settings), recipe(), database, tmp_path)
    assert result.scores is not None
    assert result.scores.metrics["questions"] == 80
    assert result.scores.metrics["unscored"] == 0
    assert [part["questions"] for part in result.scores.details["by_category"].values()] == [10] * 8
    with database.read() as connection:
        rows = connection.exec_driver_sql(
            "SELECT prompt_name, count(*) FROM evaluation_call WHERE role = 'judge' "
            "GROUP BY prompt_name"
        ).all()
    counts = {name.rpartition("#")[2]: n for name, n in rows}
    assert counts == {
        "single-v1": 50, "single-v1-multi-turn": 50,
        "single-math-v1": 30, "single-math-v1-multi-turn": 30,
    }  # fmt: skip


async def test_without_a_judge_nothing_begins(
    benchmark: MtBench, database: Database, tmp_path: Path
) -> None:
    settings = load_evaluation(roles={"model": "simulated"})
    with pytest.raises(JudgeMissing, match="needs a judge"):
        await run(benchmark, settings, database, tmp_path)
    with database.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM evaluation").scalar() == 0


def test_a_question_graded_beside_a_reference_needs_one(tmp_path: Path) -> None:
    data = write_lines(tmp_path / "question.jsonl", QUESTIONS)
    with pytest.raises(DataMissing, match="no reference answers"):
        MtBench(MtBenchSettings(data=data))


async def test_a_turn_that_the_judge_cannot_grade_is_unscored_and_the_other_counts(
    benchmark: MtBench, database: Database, tmp_path: Path
) -> None:
    async with Endpoint() as model, Endpoint(completion("[[9]]"), 400) as judge:
        teachers = {"student": endpoint("s", model.url), "grader": endpoint("j", judge.url)}
        settings = recipe(teachers=teachers, items_in_flight=1, limit=1)
        result = await run(benchmark, settings, database, tmp_path)
    assert result.status == "finished" and result.scores is not None
    metrics = result.scores.metrics
    assert (metrics["turn_1"], metrics["turn_2"], metrics["score"]) == (9.0, None, 9.0)
    assert (metrics["unscored"], metrics["failed"]) == (1, 0)


def test_a_file_without_reference_answers_is_refused(tmp_path: Path) -> None:
    data = write_lines(tmp_path / "question.jsonl", QUESTIONS)
    with pytest.raises(DataMissing, match="holds no reference answers"):
        MtBench(MtBenchSettings(data=data, references_file=data))


def test_the_hubs_shape_of_a_question_is_read_too(tmp_path: Path) -> None:
    row = {"prompt_id": 111, "category": "math", "prompt": ["1 + 1?", "2 + 2?"],
           "reference": ["2", "4"]}  # fmt: skip
    data = tmp_path / "hub.json"
    data.write_text(json.dumps([row]))
    (item,) = MtBench(MtBenchSettings(data=str(data))).items
    assert item.key == "111" and item.data["references"] == ["2", "4"]


def test_a_question_numbered_nought_keeps_its_number(tmp_path: Path) -> None:
    rows = [{"question_id": n, "category": "writing", "turns": ["Write.", "Shorter."]}
            for n in (1, 0)]  # fmt: skip
    data = write_lines(tmp_path / "question.jsonl", rows)
    assert [item.key for item in MtBench(MtBenchSettings(data=data)).items] == ["1", "0"]
