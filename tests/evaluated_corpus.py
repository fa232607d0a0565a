"""A corpus with real evaluations, made by the command itself: models whose answers are recorded, a
simulated judge, a simulated SQL model. Some answers are hostile.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
from pathlib import Path
from typing import Any

from evaluating import write_lines

from cli.main import main

HOSTILE = (
    "<script>alert(1)</script><img src=x onerror=alert(2)>\u202egnp.exe\x1b[31m "
    "</pre>{{ 7 * 7 }} “東京” 教师"
)
AFTER = "蒸留後 <b onmouseover=alert(3)>after</b>"
PROMPTS = [
    {"key": n, "prompt": f"Name fruit {n}. Use no commas, end with Bye.",
     "kwargs": [{}, {"end_phrase": "Bye."}],
     "instruction_id_list": ["punctuation:no_comma", "startend:end_checker"]}
    for n in range(20)
]  # fmt: skip
TURNS = [
    {"question_id": 81 + n, "category": category, "turns": [f"Question {n}.", f"More of {n}."]}
    for n, category in enumerate(("writing", "roleplay", "extraction", "stem", "writing", "stem"))
]
BASELINE = [
    {"instruction": f"Say {n}.", "output": f"{n} " * (n + 1),
     "dataset": "sums" if n % 2 else "wo\u202erds <i>x</i>"}
    for n in range(14)
]  # fmt: skip
SCHEMA = "CREATE TABLE 顧客 (id int PRIMARY KEY, 都市 text); INSERT INTO 顧客 VALUES (1, '東京');"
QUERIES = [
    {"question": "東京の顧客は?", "schema": SCHEMA,
     "query": "SELECT id FROM 顧客 WHERE 都市 = '東京'"},
    {"question": "How many?", "query": "SELECT COUNT(*) FROM 顧客", "schema": SCHEMA},
]  # fmt: skip


def _answer(model: str, n: int) -> str:
    """`before` ends no answer as asked, and uses commas in some; `after` is better at both."""
    if model == "before":
        return f"Pear{',' if n % 2 else ''} {n}"
    return HOSTILE + " Bye." if n % 4 == 0 else f"Apple{',' if n % 4 == 1 else ''} {n}. Bye."


def _recordings(folder: Path, model: str) -> str:
    rows = [
        {"prompt": row["prompt"], "response": _answer(model, n)} for n, row in enumerate(PROMPTS)
    ]
    rows += [
        {"prompt": turn, "response": f"{model} says {n} to {turn}" * (n + 1)}
        for n, row in enumerate(TURNS)
        for turn in row["turns"]
    ]
    rows += [
        {"prompt": row["instruction"], "response": f"{model} " * (3 + n)}
        for n, row in enumerate(BASELINE)
    ]
    return write_lines(folder / f"{model}.jsonl", rows)


def said(done: subprocess.CompletedProcess[str]) -> str:
    """The output of a command that went well."""
    assert done.returncode == 0, done.stderr
    return done.stdout


def build_corpus(folder: Path) -> Path:
    """Evaluates everything in `folder`; returns the database."""
    write_lines(folder / "prompts.jsonl", PROMPTS)
    write_lines(folder / "question.jsonl", TURNS)
    write_lines(folder / "queries.jsonl", QUERIES)
    (folder / "baseline.json").write_text(json.dumps(BASELINE))
    rows = "".join(f"{n},{0.1 * n - 0.5}\n" for n in range(len(BASELINE)))
    (folder / "difficulty.csv").write_text(f"index,instruction_difficulty\n{rows}")
    document: dict[str, Any] = {
        "model": "before", "judge": "grader",
        "teachers": {
            "grader": {"kind": "simulated"},
            **{
                name: {"kind": "recorded", "path": _recordings(folder, name), "model": name,
                       "prompt_field": "prompt", "response_field": "response"}
                for name in ("before", "after")
            },
        },
        "ifeval": {"data": "prompts.jsonl"},
        "mtbench": {"data": "question.jsonl"},
        "alpaca": {"baseline_outputs": "baseline.json", "difficulty_file": "difficulty.csv"},
    }  # fmt: skip
    (folder / "eval.yaml").write_text(json.dumps(document))
    # In this process, so that the benchmarks' libraries are loaded once.
    with contextlib.chdir(folder):
        for model, label in (("before", "before"), ("after", AFTER)):
            for benchmark in ("ifeval", "mtbench", "alpaca"):
                _evaluate(benchmark, "eval.yaml", "--model", model, "--label", label)
        _evaluate("sql", "--model", "simulated", "--data", "queries.jsonl", "--label", "before")
        _evaluate("ifeval", "eval.yaml", "--label", "short", "--limit", "8")
    return folder / "corpus.db"


def _evaluate(*words: str) -> None:
    try:
        main(["eval", *words, "--db", "corpus.db"])
    except SystemExit as ended:
        assert not ended.code, words
