"""What tests of evaluations share: small benchmarks, recipes, runs of them, the data folder."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest

from evaluation.benchmark import Benchmark
from evaluation.run import EvaluationResult, evaluate
from evaluation.settings import EvaluationRecipe, load_evaluation
from storage.database import Database

CHECKOUT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("STILLHOUSE_DATA") or CHECKOUT.parent / "shared" / "data") / "eval"
Test = TypeVar("Test", bound=Callable[..., Any])


def needs_data(test: Test) -> Test:
    """Marks a test that reads the real data; skipped where that is absent."""
    absent = pytest.mark.skipif(
        not DATA.is_dir(), reason=f"no data at {DATA}; set STILLHOUSE_DATA to the folder above"
    )
    marked: Test = pytest.mark.data(absent(test))
    return marked


IFEVAL = (
    {"key": 1, "prompt": "Name a fruit. Use no commas.", "kwargs": [{}],
     "instruction_id_list": ["punctuation:no_comma"]},
    {"key": 2, "prompt": "Write at least 3 words in capital letters.",
     "kwargs": [{"relation": "at least", "num_words": 3}, {}],
     "instruction_id_list": ["length_constraints:number_words", "change_case:english_capital"]},
)  # fmt: skip
QUESTIONS = (
    {"question_id": 81, "category": "writing",
     "turns": ["Describe a {strange} harbour.", "Now in one sentence."]},
    {"question_id": 111, "category": "math", "turns": ["What is 17 * 23?", "And 17 * 24?"]},
)  # fmt: skip
REFERENCES = (
    {"question_id": 111, "choices": [{"index": 0, "turns": ["391", "408"]}]},
)  # fmt: skip


def write_lines(path: Path, rows: Sequence[Mapping[str, Any]]) -> str:
    """A JSONL file of these rows."""
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_text(text, encoding="utf-8")
    return str(path)


def recipe(**changes: Any) -> EvaluationRecipe:
    """A recipe whose model and judge are simulated, unless changed."""
    document = {
        "model": "student",
        "judge": "grader",
        "teachers": {"student": {"kind": "simulated"}, "grader": {"kind": "simulated"}},
    }
    return load_evaluation(options=document | changes)


async def run(
    benchmark: Benchmark, settings: EvaluationRecipe, database: Database, folder: Path
) -> EvaluationResult:
    """One invocation."""
    return await evaluate(benchmark, settings, database, log_folder=folder / "runs")
