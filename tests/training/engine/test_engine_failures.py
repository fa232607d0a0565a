"""What goes wrong while ranks train: a typed error, the last good checkpoint kept, no wrong model.

Ranks are real worker processes with DeepSpeed over gloo, forked from one that has imported it all.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from trainer import exported_corpus, recipe_document, tiny_model, write_recipe
from transformers import AutoModelForCausalLM

from training.capture.capture import capture
from training.data.tokenised import TokenisedCorpus
from training.engine.checkpoints import COMPLETE, whole_checkpoints
from training.engine.schedules import training_schedule
from training.engine.spec import StageSpec
from training.engine.stages import stage_spec, tokenised_corpus
from training.errors import ModelRefused
from training.recipe import TrainRecipe, load_train_recipe
from training.report.reading import read_metrics
from training.store.shard import SUFFIX

pytestmark = pytest.mark.slow

_RANKS = Path(__file__).parent / "forked_ranks.py"


class Ranks:
    """Runs stages in ranks forked from one process."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def run(self, spec: StageSpec, ranks: int | None = None, **limits: int) -> dict[str, Any]:
        """Trains; returns the first error that a rank left, empty where all ended well."""
        for old in spec.folder.glob("error-*.json"):
            old.unlink()
        asked = {"spec": str(spec.write()), "ranks": ranks or spec.recipe.engine.ranks,
                 "limits": limits}  # fmt: skip
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        codes = json.loads(self._process.stdout.readline())
        left = sorted(spec.folder.glob("error-*.json"))
        if not left:
            logs = [file.read_text() for file in sorted(spec.folder.glob("rank-*.log"))]
            assert set(codes) == {0}, [log[-3000:] for log in logs]
            return {}
        assert 1 in codes
        said: dict[str, Any] = json.loads(left[0].read_text(encoding="utf-8"))
        return said


@pytest.fixture(scope="module")
def ranks() -> Iterator[Ranks]:
    environment = os.environ | {
        "DS_ACCELERATOR": "cpu", "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, str(_RANKS)], env=environment, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, text=True, cwd=_RANKS.parents[3],
    )  # fmt: skip
    yield Ranks(process)
    process.communicate()
    assert process.returncode == 0


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of 24 samples, a student with its own head, and a teacher."""
    folder = tmp_path_factory.mktemp("made")
    exported_corpus(folder / "data", 24)
    tiny_model(folder / "student", tie_word_embeddings=False)
    tiny_model(folder / "teacher", 1)
    return folder


Specs = Callable[..., StageSpec]


@pytest.fixture
def spec(made: Path, tmp_path: Path) -> Specs:
    """A stage of five steps with a checkpoint after each; sections are laid over the recipe."""

    def make(restart: bool = False, **sections: Any) -> StageSpec:
        made_recipe = recipe(made, tmp_path, **sections)
        corpus, tokens = tokenised_corpus(made_recipe)
        return stage_spec(made_recipe, made_recipe.stages[0], corpus, tokens, restart=restart)

    return make


def recipe(made: Path, folder: Path, **sections: Any) -> TrainRecipe:
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


def steps_of(spec: StageSpec) -> list[int]:
    records = read_metrics(spec.folder / "metrics.jsonl")
    return [record["step"] for record in records if record["kind"] == "step"]


def kept(spec: StageSpec) -> list[int]:
    return [each.step for each in whole_checkpoints(spec.folder / "checkpoints")]


def weights_of(spec: StageSpec) -> dict[str, torch.Tensor]:
    return load_file(spec.folder / "model" / "model.safetensors")


# ---- Not a number


def _poison(spec: StageSpec, made: Path, folder: Path) -> tuple[int, set[str]]:
    """A student for which one token is no number, one that no sample of the first step has.
    Returns the step (from 0) that meets it, and the samples there that have it."""
    corpus = TokenisedCorpus.open(spec.corpus)
    schedule = training_schedule(corpus, spec.recipe, spec.stage, 1)
    steps = [[corpus.example(n) for n in schedule.samples(step)] for step in range(schedule.steps)]
    seen: set[int] = set()
    for step, examples in enumerate(steps):
        prompts = [set(each.token_id_T[: each.row_N[0] + 1].tolist()) for each in examples]
        fresh = set().union(*prompts) - seen
        if step > 1 and fresh:
            token = min(fresh)
            break
        seen |= set().union(*(each.token_id_T.tolist() for each in examples))
    model = AutoModelForCausalLM.from_pretrained(made / "student")
    with torch.no_grad():
        model.get_input_embeddings().weight[token] = float("nan")
    model.save_pretrained(folder)
    names = {each.sample_id for each in examples if token in each.token_id_T.tolist()}
    return step, names


def test_a_loss_that_is_no_number_stops_at_its_samples_and_keeps_what_was_good(
    ranks: Ranks, spec: Specs, made: Path, tmp_path: Path
) -> None:
    poisoned = tmp_path / "poisoned"
    shutil.copytree(made / "student", poisoned)
    two = {"ranks": 2, "zero": 2, "tokens_per_micro_batch": 128}
    # Four samples a step, so that the first steps do not meet every token.
    stage = {"samples_per_step": 4, "epochs": 3, "max_steps": 12}
    sick = spec(student={"model": str(poisoned)}, engine=two, stage=stage)
    step, names = _poison(sick, made, poisoned)
    error = ranks.run(sick)
    assert error["code"] == "not_finite"
    assert f"loss of step {step + 1} is not finite" in error["what"]
    assert set(error["cause"].removeprefix("Samples: ").rstrip(".").split(", ")) == names
    assert f"last good checkpoint is of step {step}" in error["solution"]
    assert steps_of(sick) == list(range(1, step + 1))
    assert kept(sick) == [step - 1, step]
    assert not (sick.folder / "model").exists()

    # The same command goes on from there and stops at the same samples.
    again = ranks.run(sick)
    assert (again["what"], again["cause"]) == (error["what"], error["cause"])
    assert steps_of(sick) == list(range(1, step + 1))

    # Mended and begun anew, it trains.
    shutil.rmtree(poisoned)
    shutil.copytree(made / "student", poisoned)
    stage["max_steps"] = step + 1
    well = spec(student={"model": str(poisoned)}, engine=two, stage=stage, restart=True)
    assert ranks.run(well) == {}
    assert all(weight.isfinite().all() for weight in weights_of(well).values())


def test_an_absurd_learning_rate_stops_at_the_first_loss_that_is_no_number(
    ranks: Ranks, spec: Specs
) -> None:
    wild = spec(stage={"learning_rate": 1e30, "warmup": 0.0})
    error = ranks.run(wild)
    assert error["code"] == "not_finite"
    assert "of step 2 is not finite" in error["what"]
    assert "lower the learning rate" in error["solution"]
    assert (steps_of(wild), kept(wild)) == ([1], [1])


def test_a_model_spoilt_by_its_last_step_is_never_saved(ranks: Ranks, spec: Specs) -> None:
    wild = spec(stage={"learning_rate": 1e30, "warmup": 0.0, "max_steps": 1})
    error = ranks.run(wild)
    assert error["code"] == "not_finite"
    assert "validation loss" in error["what"]
    assert kept(wild) == []
    assert not (wild.folder / "model").exists()


# ---- Memory


def _wide(made: Path, folder: Path, width: int) -> dict[str, Any]:
    """A student that begins at random with layers of this width."""
    shutil.copytree(made / "student", folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"intermediate_size": width}))
    return {"model": str(folder), "random_init": True}


@pytest.mark.parametrize(
    ("width", "room"),
    [(10_000_000, 1 << 30), (60_000, 500 << 20)],
    ids=["the weights", "the activations"],
)
def test_out_of_memory_says_which_knob_to_turn(
    ranks: Ranks, spec: Specs, made: Path, tmp_path: Path, width: int, room: int
) -> None:
    large = spec(student=_wide(made, tmp_path / "wide", width))
    error = ranks.run(large, RLIMIT_DATA=room)
    assert error["code"] == "out_of_memory"
    assert "engine.tokens_per_micro_batch (now 512" in error["solution"]
    assert "student.gradient_checkpointing: true" in error["solution"]
    assert "allocate" in error["cause"]


# ---- Models and rows that only a rank opens


def test_weights_that_are_no_weights_are_refused(
    ranks: Ranks, spec: Specs, made: Path, tmp_path: Path
) -> None:
    shutil.copytree(made / "student", tmp_path / "broken")
    (tmp_path / "broken" / "model.safetensors").write_bytes(b"not weights" * 100)
    error = ranks.run(spec(student={"model": str(tmp_path / "broken")}))
    assert error["code"] == "model_refused"
    assert "broken" in error["what"]


def test_a_model_without_weights_is_refused_before_a_rank_starts(
    spec: Specs, made: Path, tmp_path: Path
) -> None:
    shutil.copytree(made / "student", tmp_path / "empty")
    (tmp_path / "empty" / "model.safetensors").unlink()
    with pytest.raises(ModelRefused, match="no checkpoint"):
        spec(student={"model": str(tmp_path / "empty")})


def test_corrupt_rows_stop_the_training_and_name_the_sample(
    ranks: Ranks, spec: Specs, made: Path, tmp_path: Path
) -> None:
    kd = {"name": "kd", "kind": "kd", "teachers": [{"teacher": "big"}]}
    distilled = recipe(made, tmp_path, stage=kd)
    _, tokens = tokenised_corpus(distilled)
    capture(distilled, tokens, "big")
    (shard,) = Path(distilled.capture.store).glob(f"*{SUFFIX}")
    raw = bytearray(shard.read_bytes())
    raw[len(raw) // 4] ^= 16
    shard.write_bytes(raw)
    error = ranks.run(spec(stage=kd))
    assert error["code"] == "rows_refused"
    assert "corrupt" in error["what"]
    assert any(tokens.example(n).sample_id in error["what"] for n in range(len(tokens)))
    assert not (tmp_path / "trained" / "tiny" / "kd" / "model").exists()


def test_another_number_of_ranks_is_refused(ranks: Ranks, spec: Specs) -> None:
    error = ranks.run(spec(engine={"ranks": 2}), ranks=1)
    assert error["code"] == "launch_failed"
    assert "1 ranks were started, not 2" in error["what"]


# ---- Checkpoints


@pytest.fixture(scope="module")
def finished(ranks: Ranks, made: Path, tmp_path_factory: pytest.TempPathFactory) -> StageSpec:
    """A whole run on one rank, ZeRO 1: five steps, the last two checkpoints."""
    whole = recipe(made, tmp_path_factory.mktemp("finished"), engine={"zero": 1})
    corpus, tokens = tokenised_corpus(whole)
    spec = stage_spec(whole, whole.stages[0], corpus, tokens)
    assert ranks.run(spec) == {}
    assert kept(spec) == [4, 5]
    return spec


@pytest.fixture
def stopped(finished: StageSpec, spec: Specs) -> StageSpec:
    """The same run as if it had been cut off between its last checkpoint and its model."""
    again = spec(engine={"zero": 1})
    assert again.identity == finished.identity
    shutil.copytree(finished.folder, again.folder, dirs_exist_ok=True)
    shutil.rmtree(again.folder / "model")
    return again


def _files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def _garble(folder: Path, pattern: str, keep: int) -> None:
    """What is left of the checkpoint's files of that name: their first bytes, or nothing."""
    files = list(folder.glob(pattern))
    assert files
    for file in files:
        raw = file.read_bytes()
        if keep:
            file.write_bytes(raw[: len(raw) // keep])
        else:
            file.write_bytes(b"garbage" * 100)


@pytest.mark.parametrize(
    ("pattern", "keep"),
    [("*model_states.pt", 0), ("*optim_states.pt", 2), ("random-*.pt", 2), (COMPLETE, 0)],
)
def test_a_garbled_checkpoint_is_refused_by_name(
    ranks: Ranks, stopped: StageSpec, pattern: str, keep: int
) -> None:
    newest = stopped.folder / "checkpoints" / "step-00000005"
    _garble(newest, pattern, keep)
    error = ranks.run(stopped)
    assert error["code"] == "checkpoint_refused"
    assert str(newest) in error["what"]
    assert "goes on from the one before" in error["solution"]


def test_without_the_garbled_checkpoint_the_one_before_leads_to_the_same_weights(
    ranks: Ranks, stopped: StageSpec, finished: StageSpec
) -> None:
    shutil.rmtree(stopped.folder / "checkpoints" / "step-00000005")
    assert ranks.run(stopped) == {}
    assert steps_of(stopped) == [1, 2, 3, 4, 5]
    expected = weights_of(finished)
    found = weights_of(stopped)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_a_checkpoint_without_its_mark_is_as_if_it_had_never_been(
    ranks: Ranks, stopped: StageSpec, finished: StageSpec
) -> None:
    newest = stopped.folder / "checkpoints" / "step-00000005"
    (newest / COMPLETE).unlink()
    _garble(newest, "*model_states.pt", 0)
    assert ranks.run(stopped) == {}
    assert kept(stopped) == [4, 5]
    assert torch.equal(
        weights_of(stopped)["lm_head.weight"], weights_of(finished)["lm_head.weight"]
    )


def test_a_full_disk_stops_the_training_and_leaves_the_last_checkpoint_whole(
    ranks: Ranks, stopped: StageSpec, finished: StageSpec
) -> None:
    checkpoints = stopped.folder / "checkpoints"
    shutil.rmtree(checkpoints / "step-00000005")
    before = _files(checkpoints / "step-00000004")
    largest = max(len(raw) for raw in before.values())
    error = ranks.run(stopped, RLIMIT_FSIZE=largest // 2)
    assert error["code"] == "checkpoint_refused"
    assert "cannot be written" in error["what"] and "disk space" in error["solution"]
    assert kept(stopped) == [4]
    assert _files(checkpoints / "step-00000004") == before
    # With room again the same command ends as if nothing had happened.
    assert ranks.run(stopped) == {}
    assert steps_of(stopped) == [1, 2, 3, 4, 5]
    assert torch.equal(
        weights_of(stopped)["lm_head.weight"], weights_of(finished)["lm_head.weight"]
    )
