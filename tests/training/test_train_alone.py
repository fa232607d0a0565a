"""The trainer imports, prepares a corpus and trains where LangGraph and LangChain are absent; its
recipe and plan load without torch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from trainer import exported_corpus, recipe_document, tiny_model, write_recipe

from training.report.reading import read_metrics

_BLOCK = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {names}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
"""

_ALL = """
import importlib, pkgutil, training
names = [m.name for m in pkgutil.walk_packages(training.__path__, "training.")]
for name in names:
    if name != "training.losses.triton_kernels":
        importlib.import_module(name)
print(len(names))
"""

_PREPARE = """
from training.engine.stages import tokenised_corpus
from training.recipe import load_train_recipe
_, tokens = tokenised_corpus(load_train_recipe(sys.argv[1]))
print(len(tokens.train))
"""

_TRAIN = """
import sys
from cli.main import main
sys.exit(main(["train", "sft", *sys.argv[1:]]))
"""


def _run(absent: set[str], code: str, *arguments: str) -> str:
    program = _BLOCK.format(names=sorted(absent)) + code
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.strip().splitlines()[-1]


FACTORY = {
    "langgraph", "langchain", "langchain_core", "langchain_openai", "openai", "agents", "graph",
    "teachers",
}  # fmt: skip


def test_every_module_of_the_trainer_imports_without_the_factory() -> None:
    assert int(_run(FACTORY, _ALL)) > 50


def test_a_corpus_is_prepared_without_the_factory(tmp_path: Path) -> None:
    document = recipe_document(exported_corpus(tmp_path / "data"), tiny_model(tmp_path / "student"))
    assert int(_run(FACTORY, _PREPARE, str(write_recipe(tmp_path, document)))) > 10


@pytest.mark.slow
def test_a_stage_is_trained_without_the_factory_in_any_of_its_processes(tmp_path: Path) -> None:
    """What is not there for the command is not there for the launcher and the ranks either: every
    interpreter that starts reads `sitecustomize`."""
    (tmp_path / "sitecustomize.py").write_text(_BLOCK.format(names=sorted(FACTORY)))
    checkout = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{checkout}"}
    done = subprocess.run(
        [sys.executable, "-c", "import langgraph"],
        env=environment,
        capture_output=True,
        check=False,
    )
    assert b"ModuleNotFoundError" in done.stderr
    document = recipe_document(exported_corpus(tmp_path / "data"), tiny_model(tmp_path / "student"))
    document["stages"][0]["max_steps"] = 1
    recipe = str(write_recipe(tmp_path, document))
    done = subprocess.run(
        [sys.executable, "-c", _TRAIN, recipe], env=environment, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    stage = tmp_path / "trained" / "tiny" / "sft"
    assert (stage / "model" / "model.safetensors").exists()
    kinds = [record["kind"] for record in read_metrics(stage / "metrics.jsonl")]
    assert kinds.count("step") == 1


def test_recipe_and_plan_load_without_torch() -> None:
    code = "import training.recipe, training.plan.plan, cli.train_plan, cli.train; print(1)"
    assert _run({"torch", "transformers", "deepspeed"}, code) == "1"
