"""What goes wrong while ranks train: a typed error, the last good checkpoint kept, no wrong model.

Ranks are real worker processes with DeepSpeed over gloo, forked from one that has imported it all.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from ranks import Ranks, five_steps, kept, steps_of, weights_of

from training.capture.capture import capture
from training.engine.checkpoints import COMPLETE
from training.engine.spec import StageSpec
from training.engine.stages import stage_spec, tokenised_corpus
from training.errors import ModelRefused
from training.store.shard import SUFFIX

pytestmark = pytest.mark.slow

Specs = Callable[..., StageSpec]


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
    distilled = five_steps(made, tmp_path, stage=kd)
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
    whole = five_steps(made, tmp_path_factory.mktemp("finished"), engine={"zero": 1})
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
