"""The trainer imports, and prepares a corpus, where LangGraph and LangChain are not installed; its
recipe and plan load without torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from trainer import exported_corpus, recipe_document, tiny_model, write_recipe

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


def test_recipe_and_plan_load_without_torch() -> None:
    code = "import training.recipe, training.plan.plan, cli.train_plan, cli.train; print(1)"
    assert _run({"torch", "transformers", "deepspeed"}, code) == "1"
