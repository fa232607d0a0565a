"""docs/evaluation.md says what is so: its recipe loads, its options and figures' names exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from evaluating import CHECKOUT
from typer.main import get_command

from cli.eval_app import eval_app
from evaluation.alpaca.benchmark import AlpacaSettings
from evaluation.alpaca.figures import Pair, win_rates
from evaluation.ifeval.benchmark import IfevalSettings
from evaluation.mtbench.benchmark import MtBenchSettings
from evaluation.settings import EvaluationRecipe, load_evaluation, section

PAGE = (CHECKOUT / "docs" / "evaluation.md").read_text(encoding="utf-8")


def test_the_pages_recipe_loads_with_every_section(tmp_path: Path) -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "eval.yaml").write_text(text)
    recipe = load_evaluation(tmp_path / "eval.yaml", roles={"model": "before"})
    assert recipe.model == "before" and recipe.judge == "grader"
    assert section(recipe, "ifeval", IfevalSettings).data == str(tmp_path / "prompts.jsonl")
    assert section(recipe, "mtbench", MtBenchSettings).references_file
    assert section(recipe, "alpaca", AlpacaSettings).difficulty_file
    assert set(yaml.safe_load(text)) <= set(EvaluationRecipe.model_fields)


def test_every_option_on_the_page_exists() -> None:
    group = get_command(eval_app)
    known = {
        option
        for command in group.commands.values()  # type: ignore[attr-defined]
        for parameter in command.params
        for option in parameter.opts
    }
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", PAGE))
    assert named and named <= known, named - known


@pytest.mark.parametrize("key", ["label", "limit", "repetition", "items_in_flight"])
def test_the_keys_of_the_table_are_the_recipes(key: str) -> None:
    assert f"| `{key}` |" in PAGE and key in EvaluationRecipe.model_fields


def test_the_figures_that_the_page_names_are_computed() -> None:
    pytest.importorskip("alpaca_eval")
    found = win_rates([Pair(0, "a", "b", 2.0), Pair(1, "a", "b", 1.0)])
    named = {"win_rate", "standard_error", "n_wins", "n_draws", "avg_length"}
    assert named <= set(found) and all(f"`{name}`" in PAGE for name in named)
