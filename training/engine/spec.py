"""What the ranks are told: one stage, checked and written by the parent process, read by each rank.

In and out: a JSON file in the stage's folder. Everything that could be refused was refused before
it was written; a rank only loads, trains and saves.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.losses.objective import Objective
from training.recipe import StageSettings, TrainRecipe

SPEC = "stage.json"
# What a checkpoint's files and the order of its samples depend on.
FIXED_ENGINE = {"ranks", "zero", "offload_optimizer", "offload_parameters"}


@dataclass(frozen=True, slots=True)
class StageSpec:
    """One stage of a recipe, ready to train.

    - `folder`: where its metrics, checkpoints and model go.
    - `start`: the folder (or hub name) of the weights it begins with.
    - `corpus`: the folder of the tokenised corpus.
    - `teaching`: for KD, the file with every example's keys and weights.
    - `identity`: hash of all that a result or a checkpoint depends on; checkpoints carry it.
    - `lineage`: what the model is made from; it is kept beside the weights.
    """

    recipe: TrainRecipe
    name: str
    folder: Path
    start: str
    corpus: Path
    teaching: Path | None
    identity: str
    lineage: dict[str, Any]

    @property
    def stage(self) -> StageSettings:
        """The stage's settings."""
        return next(stage for stage in self.recipe.stages if stage.name == self.name)

    @property
    def objective(self) -> Objective:
        """What the stage minimises."""
        stage = self.stage
        if stage.kind == "sft":
            return Objective("ce")
        return Objective(stage.objective, stage.alpha, stage.temperature, stage.beta)

    @property
    def adjustable(self) -> dict[str, Any]:
        """The settings that may change on the way, by their names in the recipe. They say how a
        step is cut and what is kept of it, never what it comes to."""
        recipe = self.recipe
        engine = recipe.engine.model_dump(mode="json", exclude=FIXED_ENGINE)
        return {
            **{f"engine.{name}": value for name, value in engine.items()},
            "student.gradient_checkpointing": recipe.student.gradient_checkpointing,
            "data.packing": recipe.data.packing,
        }

    def write(self) -> Path:
        """Writes the spec into its folder; returns the file."""
        file = self.folder / SPEC
        document = {
            "recipe": self.recipe.model_dump(mode="json"),
            "name": self.name,
            "folder": str(self.folder),
            "start": self.start,
            "corpus": str(self.corpus),
            "teaching": str(self.teaching) if self.teaching else None,
            "identity": self.identity,
            "lineage": self.lineage,
        }
        part = file.with_suffix(".part")
        part.write_text(json.dumps(document, ensure_ascii=False, indent=2), encoding="utf-8")
        part.replace(file)
        return file

    @classmethod
    def read(cls, file: Path) -> StageSpec:
        """Reads what `write` wrote."""
        said = json.loads(file.read_text(encoding="utf-8"))
        return cls(
            recipe=TrainRecipe.model_validate(said["recipe"]),
            name=said["name"],
            folder=Path(said["folder"]),
            start=said["start"],
            corpus=Path(said["corpus"]),
            teaching=Path(said["teaching"]) if said["teaching"] else None,
            identity=said["identity"],
            lineage=said["lineage"],
        )
