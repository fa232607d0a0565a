"""What the screenshots show: a corpus, a model trained on it and its evaluations, all really made.

In: an empty folder. Out, in it: `quickstart.db` from a run of `recipes/quickstart` whose writing
and planning wait for people, an export of it, a tiny student that was fine-tuned on that export,
rows captured from what came of it, and evaluations; beside them the recipes and prompts that were
used. What torch or vLLM would have to do is left out, and said, where they are not installed.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from benchmarks.support import CHECKOUT, run, stillhouse

DB, RECIPE, TRAINING = "quickstart.db", "recipes/quickstart", "recipes/rehearsal"
HELD = (
    "agents.verification.human.categories=[writing, planning]",
    "gates.quotas={math: 30, code: 16, sql: 12}",
    "teachers.rehearsal.prices={usd_per_million_prompt_tokens: 0.15, "
    "usd_per_million_completion_tokens: 0.6}",
    "teachers.rehearsal-judge.prices={usd_per_million_prompt_tokens: 2.5, "
    "usd_per_million_completion_tokens: 10}",
    "budget.calls=1000",
)
# Enough for a student of 0.4 million parameters to be sure of some of its words.
_EPOCHS, _LEARNING_RATE = 20, 3e-3
_IFEVAL: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("What is 17 * 23 + 5? Use no commas.", "punctuation:no_comma", {}),
    ("Name three rivers of Europe, all in lower case.", "change_case:english_lowercase", {}),
    ("Explain in at least 20 words why the sea is salty.", "length_constraints:number_words",
     {"relation": "at least", "num_words": 20}),
    ("List two fruits as bullet points that begin with *.",
     "detectable_format:number_bullet_lists", {"num_bullets": 2}),
    ("Give a title for a story about a lighthouse, in <<double angular brackets>>.",
     "detectable_format:title", {}),
    ("Describe a good breakfast. Do not use the word egg.", "keywords:forbidden_words",
     {"forbidden_words": ["egg"]}),
)  # fmt: skip
_QUESTIONS: tuple[Mapping[str, Any], ...] = (
    {"question_id": 81, "category": "writing",
     "turns": ["Describe a harbour in the early morning.", "Now in one sentence."]},
    {"question_id": 101, "category": "reasoning",
     "turns": ["Anna is taller than Ben, Ben than Cleo. Who is the smallest?", "And the tallest?"]},
    {"question_id": 111, "category": "math", "turns": ["What is 17 * 23?", "And 17 * 24?"]},
    {"question_id": 131, "category": "extraction",
     "turns": ["Which year is in: 'built 1871, burnt down'?", "As JSON, please."]},
)  # fmt: skip
_REFERENCES = (
    {"question_id": 101, "choices": [{"index": 0, "turns": ["Cleo", "Anna"]}]},
    {"question_id": 111, "choices": [{"index": 0, "turns": ["391", "408"]}]},
)


def sets(values: Sequence[str]) -> list[str]:
    """The options of the command line that set these values."""
    return [word for value in values for word in ("--set", value)]


def prepare(folder: Path) -> None:
    """Recipes and prompts of its own, which may be edited."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("prompts", RECIPE):
        shutil.copytree(CHECKOUT / name, folder / name, dirs_exist_ok=True)


def make_corpus(folder: Path) -> None:
    """Makes everything in a folder that was prepared."""
    stillhouse(["run", RECIPE, "--db", DB, *sets(HELD)], folder)
    stillhouse(["export", "corpus.jsonl", "--db", DB, "--allow-simulated"], folder)
    trained = _train(folder) if importlib.util.find_spec("torch") else None
    if trained is None:
        print("torch is not installed: no training, no captured rows.", file=sys.stderr)
    _evaluate(folder, trained)


def has_rows(folder: Path) -> bool:
    """Whether teacher rows were captured."""
    return (folder / TRAINING / "work" / "captures").is_dir()


def _train(folder: Path) -> Path:
    """Fine-tunes a tiny student and captures what it then says; returns the model's folder."""
    home = folder / TRAINING
    home.mkdir(parents=True)
    recipe = yaml.safe_load((CHECKOUT / TRAINING / "recipe.yaml").read_text(encoding="utf-8"))
    sft, kd = recipe["stages"]
    recipe |= {
        "corpus": recipe["corpus"] | {
            "manifest": "../../corpus.jsonl.manifest.json", "db": f"../../{DB}"
        },
        "teachers": {"taught": {"model": "work/trained/rehearsal/sft/model", "dtype": "float32"}},
        "stages": [
            sft | {"epochs": _EPOCHS, "learning_rate": _LEARNING_RATE},
            kd | {"teachers": [{"teacher": "taught"}]},
        ],
    }  # fmt: skip
    (home / "recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False), encoding="utf-8")
    script = str(CHECKOUT / "recipes" / "vllm-cpu" / "make_checkpoint.py")
    run([sys.executable, script, "--out", str(home / "work" / "student"), "--seed", "0"], folder)
    stillhouse(["train", "sft", TRAINING], folder)
    stillhouse(["capture", TRAINING], folder)
    return home / "work" / "trained" / "rehearsal" / "sft" / "model"


def _evaluate(folder: Path, trained: Path | None) -> None:
    """IFEval and MT-Bench of a simulation; IFEval of the student, too, where vLLM serves it."""
    prompts = [
        {"key": number, "prompt": prompt, "instruction_id_list": [check], "kwargs": [given]}
        for number, (prompt, check, given) in enumerate(_IFEVAL, 1000)
    ]
    _write_lines(folder / "ifeval.jsonl", prompts)
    _write_lines(folder / "question.jsonl", _QUESTIONS)
    _write_lines(folder / "gpt-4.jsonl", _REFERENCES)
    simulated = ["--model", "simulated", "--db", DB]
    mtbench = ["--judge", "simulated", "--data", "question.jsonl"]
    stillhouse(
        ["eval", "mtbench", *simulated, *mtbench, "--references-file", "gpt-4.jsonl"], folder
    )
    ifeval = ["eval", "ifeval", "--data", "ifeval.jsonl"]
    stillhouse([*ifeval, *simulated], folder)
    if trained is None:
        return
    if importlib.util.find_spec("vllm"):
        served = ("max_model_len=512", "kv_cache_gib=1", "enforce_eager=true", "seed=0")
        values = [f"teachers.model.server.{value}" for value in served]
        model = ["--model", str(trained.relative_to(folder)), "--db", DB]
        stillhouse([*ifeval, *model, *sets([*values, "sampling.max_tokens=128"])], folder)
    else:
        print("vLLM is not installed: the student itself is not evaluated.", file=sys.stderr)


def _write_lines(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_text(text, encoding="utf-8")
