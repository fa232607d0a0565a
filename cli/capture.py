"""`stillhouse capture`: scores a corpus with its teachers and says whether k was enough."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from cli.show import print_json
from cli.train import need_trainer
from common.recipes import RecipeError
from training.recipe import TrainRecipe, load_train_recipe

if TYPE_CHECKING:
    pass


def capture_command(recipe_path: str, set_: list[str], teachers: list[str], json: bool) -> int:
    """Captures; returns the exit code."""
    recipe = load_train_recipe(recipe_path, set_)
    names = _wanted(recipe, teachers)
    need_trainer()
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    reports = []
    for name in names:
        report = _capture(recipe, name)
        _show(name, report)
        reports.append({"teacher": name, **report.as_dict()})
    if json:
        print_json({"recipe": recipe.name, "captures": reports})
    return 0


def _wanted(recipe: TrainRecipe, asked: list[str]) -> list[str]:
    """The teachers asked for, or those that the KD stages name."""
    named = dict.fromkeys(rule.teacher for stage in recipe.stages for rule in stage.teachers)
    for name in asked:
        if name not in recipe.teachers:
            raise RecipeError(
                f"The recipe has no teacher '{name}'.",
                cause=f"Its teachers: {', '.join(recipe.teachers) or 'none'}.",
                solution="Give one of those, or leave --teacher out.",
            )
    wanted = asked or list(named)
    if not wanted:
        raise RecipeError(
            "There is nothing to capture.",
            cause="No stage of the recipe is KD, so none names a teacher.",
            solution="Add a KD stage, or name a teacher with --teacher.",
        )
    return wanted
