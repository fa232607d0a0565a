"""`stillhouse eval` at the command line: options that stand for a recipe, figures, refusals."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from evaluating import IFEVAL, QUESTIONS, REFERENCES, write_lines
from factory import cli, environment, last_line, one

pytest.importorskip("lm_eval")


def mtbench(folder: Path) -> list[str]:
    questions = write_lines(folder / "question.jsonl", QUESTIONS)
    references = write_lines(folder / "gpt-4.jsonl", REFERENCES)
    return ["eval", "mtbench", "--data", questions, "--references-file", references]


def test_a_rehearsal_says_its_figures_and_that_it_is_one(tmp_path: Path) -> None:
    words = [*mtbench(tmp_path), "--model", "simulated", "--judge", "simulated"]
    done = cli(*words, "--label", "small", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "contamination: 0 of 2 items in 0 samples" in done.stdout
    assert "mt_bench of small done" in done.stdout
    assert "SIMULATED" in done.stdout
    assert "writing" in done.stdout and "math" in done.stdout


def test_a_recipes_teacher_is_chosen_by_name_and_its_paths_lie_beside_it(tmp_path: Path) -> None:
    folder = tmp_path / "recipe"
    folder.mkdir()
    write_lines(folder / "prompts.jsonl", IFEVAL)
    (folder / "recipe.yaml").write_text(
        "model: one\nteachers:\n  one: {kind: simulated}\n  two: {kind: simulated}\n"
        "ifeval: {data: prompts.jsonl}\n"
    )
    done = cli("eval", "ifeval", folder, "--model", "two", "--db", "x.db", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert last_line(done.stdout)["metrics"]["prompts"] == 2
    assert one(tmp_path / "x.db", "SELECT DISTINCT teacher FROM evaluation_call") == "two"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "No model to evaluate was named"),
        (["--model", "simulated"], "needs a judge"),
        (["--model", "m", "--base-url", "ftp://x"], "base_url must begin with"),
        (["--model", "simulated", "--set", "smapling.top_p=1"], "Did you mean 'sampling'?"),
        (["--model", "simulated", "--set", "mtbench.datta=x"], "Did you mean 'data'?"),
        (["--model", "./no/such/folder", "--judge", "simulated"], "There is no checkpoint"),
        (["--model", "simulated", "--data", "none.jsonl"], "There is no such file"),
    ],
)
def test_a_mistake_is_said_with_its_solution(words: list[str], said: str, tmp_path: Path) -> None:
    done = cli(*mtbench(tmp_path), *words, cwd=tmp_path)
    assert done.returncode == 1
    assert said in done.stderr and "Solution" in done.stderr
    assert "Traceback" not in done.stderr


def test_with_json_also_a_mistake_is_an_object(tmp_path: Path) -> None:
    done = cli("eval", "ifeval", "--json", cwd=tmp_path)
    assert done.returncode == 1
    assert last_line(done.stdout) == {"evaluation": None, "status": "failed", "error": "recipe"}


def test_a_key_is_read_from_the_environment_and_kept_nowhere(tmp_path: Path) -> None:
    words = ["--model", "m", "--base-url", "http://127.0.0.1:9/v1", "--api-key-env", "EVAL_KEY"]
    data = write_lines(tmp_path / "prompts.jsonl", IFEVAL)
    patience = "teachers.model.retry={attempts: 1, unreachable_patience_s: 0}"
    words += ["--data", data, "--db", "x.db", "--set", patience]
    done = cli("eval", "ifeval", *words, cwd=tmp_path, env=environment(EVAL_KEY=None))
    assert done.returncode == 1 and "EVAL_KEY is not set" in done.stderr
    secret = "not-to-be-found-anywhere"
    done = cli("eval", "ifeval", *words, cwd=tmp_path, env=environment(EVAL_KEY=secret))
    assert done.returncode == 1 and "cannot be reached" in done.stderr
    assert "Unclosed" not in done.stderr
    kept = b"".join(path.read_bytes() for path in tmp_path.iterdir() if path.is_file())
    assert secret.encode() not in kept and secret not in done.stdout + done.stderr
    assert not os.environ.get("EVAL_KEY")
