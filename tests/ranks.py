"""Ranks that are forked from one process which has imported it all, so that tests pay for one
start; a stage for them to train, and what they left of it.

They are real worker processes with DeepSpeed over gloo: `training/engine/forked_ranks.py`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor
from trainer import recipe_document, write_recipe

from training.engine.checkpoints import whole_checkpoints
from training.engine.last_words import ERRORS
from training.engine.spec import StageSpec
from training.recipe import TrainRecipe, load_train_recipe
from training.report.reading import read_metrics

_RANKS = Path(__file__).parent / "training" / "engine" / "forked_ranks.py"
_KILLED = -9
# What depends on the clock and the machine; all else in a record must come out the same again.
_OF_THE_MOMENT = {"time", "seconds", "tokens_per_s", "mfu", "peak_memory_bytes"}


class Ranks:
    """Runs stages in ranks forked from one process."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    @classmethod
    @contextmanager
    def forked(cls) -> Iterator[Ranks]:
        environment = os.environ | {
            "DS_ACCELERATOR": "cpu", "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1",
            "TOKENIZERS_PARALLELISM": "false",
        }  # fmt: skip
        process = subprocess.Popen(
            [sys.executable, str(_RANKS)], env=environment, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True, cwd=_RANKS.parents[3],
        )  # fmt: skip
        yield cls(process)
        process.communicate()
        assert process.returncode == 0

    def run(self, spec: StageSpec, ranks: int | None = None, **limits: int) -> dict[str, Any]:
        """Trains; returns the first error that a rank left, empty where all ended well."""
        codes = self._ask(spec, ranks, limits=limits)
        left = sorted(spec.folder.glob(ERRORS))
        if not left:
            logs = [file.read_text() for file in sorted(spec.folder.glob("rank-*.log"))]
            assert set(codes) == {0}, [log[-3000:] for log in logs]
            return {}
        assert 1 in codes
        said: dict[str, Any] = json.loads(left[0].read_text(encoding="utf-8"))
        return said

    def kill(self, spec: StageSpec, step: int) -> None:
        """Trains until the metrics have that step, and then kills every rank with SIGKILL."""
        assert set(self._ask(spec, None, kill_at=step)) == {_KILLED}

    def _ask(self, spec: StageSpec, ranks: int | None, **more: Any) -> list[int]:
        for old in spec.folder.glob(ERRORS):
            old.unlink()
        asked = {"spec": str(spec.write()), "ranks": ranks or spec.recipe.engine.ranks, **more}
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        codes: list[int] = json.loads(self._process.stdout.readline())
        return codes


def five_steps(made: Path, folder: Path, **sections: Any) -> TrainRecipe:
    """A recipe of one stage over the models and the corpus in `made`: five steps on one rank, ZeRO
    0, with a checkpoint after each. Sections, and `stage`, are laid over it."""
    document = recipe_document(made / "data" / "corpus.jsonl.manifest.json", made / "student")
    document |= {
        "output": str(folder / "trained"),
        "teachers": {"big": {"model": str(made / "teacher"), "dtype": "float32"}},
        "capture": {"store": str(folder / "rows"), "k": 4},
    }
    document["engine"] |= {"checkpoint_every": 1}
    document["stages"][0] |= {"max_steps": 5}
    stage = sections.pop("stage", {})
    document["stages"][0] |= stage
    for name, section in sections.items():
        document[name] |= section
    return load_train_recipe(write_recipe(folder, document))


def curve_of(spec: StageSpec) -> list[dict[str, Any]]:
    """The lines of steps and validations, but for what the clock and the machine make of them."""
    return [
        {name: value for name, value in record.items() if name not in _OF_THE_MOMENT}
        for record in read_metrics(spec.folder / "metrics.jsonl")
        if record["kind"] != "event"
    ]


def begun_of(spec: StageSpec) -> list[dict[str, Any]]:
    """What each run in the stage's folder said when it began."""
    records = read_metrics(spec.folder / "metrics.jsonl")
    return [record for record in records if record.get("name") == "begin"]


def steps_of(spec: StageSpec) -> list[int]:
    """The steps that the metrics have."""
    return [record["step"] for record in curve_of(spec) if record["kind"] == "step"]


def kept(spec: StageSpec) -> list[int]:
    """The steps of the whole checkpoints."""
    return [each.step for each in whole_checkpoints(spec.folder / "checkpoints")]


def weights_of(spec: StageSpec) -> dict[str, Tensor]:
    """The weights that the stage left."""
    return load_file(spec.folder / "model" / "model.safetensors")
