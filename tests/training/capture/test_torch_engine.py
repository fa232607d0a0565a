"""The torch engine beside a plain float64 forward of the same checkpoint, one sample at a time."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from tiny_teachers import log_p_of, make_examples, reference
from transformers import (
    CohereConfig,
    CohereForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from training.capture.engine import Scored
from training.capture.torch_engine import TorchEngine, load_teacher
from training.data.example import Example
from training.errors import CaptureError, ModelRefused, OutOfMemory, TokenizerRefused
from training.recipe import TeacherModelSettings
from training.store.key import CaptureForm, TeacherIdentity

TOP_5 = CaptureForm.top_k(5, [1.0, 0.5, 2.0])


def engine(
    folder: Path, form: CaptureForm = TOP_5, vocabulary: int = 938, **options: Any
) -> TorchEngine:
    settings = TeacherModelSettings(model=str(folder), dtype="float32", device="cpu")
    identity = TeacherIdentity(folder.name, "r", "torch", "float32")
    return TorchEngine(load_teacher(settings), identity, form, vocabulary=vocabulary, **options)


def scores_of(ready: TorchEngine, examples: list[Example]) -> list[Scored]:
    with ready:
        found = dict(ready.score(examples))
    return [found[index] for index in range(len(examples))]


def test_rows_are_those_of_a_plain_forward(tiny: Path, examples: list[Example]) -> None:
    model = reference(tiny)
    for example, scored in zip(examples, scores_of(engine(tiny), examples), strict=True):
        truth = log_p_of(model, example, 938)
        top, ids = truth.topk(5)
        rows = scored.rows
        assert rows.id_NK.tolist() == ids.tolist()
        np.testing.assert_allclose(rows.log_p_NK, top, atol=1e-5, rtol=0)
        tail = truth.scatter(1, ids, -torch.inf).logsumexp(1)
        np.testing.assert_allclose(rows.log_tail_N, tail, atol=1e-5, rtol=0)
        for temperature in (0.5, 2.0):
            log_z = (truth / temperature).logsumexp(1)
            np.testing.assert_allclose(rows.log_z[temperature], log_z, atol=2e-5, rtol=0)
        nll = -truth[torch.arange(len(rows)), torch.from_numpy(example.label_N.astype(np.int64))]
        np.testing.assert_allclose(scored.nll_N, nll, atol=1e-5, rtol=0)


def test_an_example_gets_the_same_rows_whatever_it_is_packed_with(
    tiny: Path, examples: list[Example]
) -> None:
    packed = scores_of(engine(tiny, tokens_per_batch=10_000), examples)
    alone = scores_of(engine(tiny, tokens_per_batch=2), examples)
    for one, other in zip(packed, alone, strict=True):
        assert one.rows.id_NK.tolist() == other.rows.id_NK.tolist()
        np.testing.assert_allclose(one.rows.log_p_NK, other.rows.log_p_NK, atol=1e-5, rtol=0)
        np.testing.assert_allclose(one.nll_N, other.nll_N, atol=1e-5, rtol=0)


def test_an_example_without_trained_tokens_has_no_rows(tiny: Path) -> None:
    [example] = make_examples([9], 938)
    [scored] = scores_of(engine(tiny), [replace(example, trained_T=np.zeros(9, bool))])
    assert len(scored.rows) == len(scored.nll_N) == 0


def wide_model(width: int, head_VH: torch.Tensor, folder: Path) -> Path:
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=width,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        tie_word_embeddings=False,
    )
    model = Qwen2ForCausalLM(config)
    with torch.no_grad():
        torch.manual_seed(1)
        model.get_input_embeddings().weight[: len(head_VH)].normal_()
        model.get_output_embeddings().weight.fill_(9.0)
        model.get_output_embeddings().weight[: len(head_VH)] = head_VH
        for name, weight in model.model.layers.named_parameters():
            torch.manual_seed(len(name))
            weight.normal_(std=0.3)
    model.save_pretrained(folder)
    return folder


def test_padded_ids_have_no_probability_whatever_the_width(tmp_path: Path) -> None:
    vocabulary = 151_665
    torch.manual_seed(2)
    head_VH = torch.randn(vocabulary, 16)
    examples = make_examples([12, 30], vocabulary)
    found = [
        scores_of(
            engine(wide_model(width, head_VH, tmp_path / str(width)), TOP_5, vocabulary), examples
        )
        for width in (151_936, 152_064)
    ]
    for narrow, wide in zip(*found, strict=True):
        assert narrow.rows.id_NK.max() < vocabulary
        assert narrow.rows.id_NK.tolist() == wide.rows.id_NK.tolist()
        np.testing.assert_allclose(narrow.rows.log_p_NK, wide.rows.log_p_NK, atol=1e-5, rtol=0)
        mass = np.exp(narrow.rows.log_p_NK).sum(1) + np.exp(narrow.rows.log_tail_N)
        np.testing.assert_allclose(mass, 1, atol=1e-5)


def test_draws_are_decided_by_the_seed_and_the_sample_alone(
    tiny: Path, examples: list[Example]
) -> None:
    form = CaptureForm.sampled(32, seed=5)
    packed = scores_of(engine(tiny, form), examples)
    alone = scores_of(engine(tiny, form, tokens_per_batch=2), list(reversed(examples)))
    other = scores_of(engine(tiny, CaptureForm.sampled(32, seed=6)), examples)
    ids = [scored.rows.id_NK.tolist() for scored in packed]
    assert ids == [scored.rows.id_NK.tolist() for scored in reversed(alone)]
    assert ids != [scored.rows.id_NK.tolist() for scored in other]
    assert {scored.rows.kind for scored in packed} == {"sampled"}


def test_logits_that_are_no_numbers_name_the_sample(tiny: Path, tmp_path: Path) -> None:
    model = Qwen2ForCausalLM.from_pretrained(tiny)
    with torch.no_grad():
        model.get_input_embeddings().weight[900] = torch.nan
    model.config.tie_word_embeddings = False
    model.lm_head.weight = torch.nn.Parameter(torch.randn(938, 128))
    model.save_pretrained(tmp_path / "broken")
    examples = make_examples([8, 9, 10], vocabulary=900)
    examples[1].token_id_T[3] = 900
    with pytest.raises(CaptureError, match="sample-1 at position 3"):
        scores_of(engine(tmp_path / "broken"), examples)


def test_a_sample_longer_than_the_teachers_context_is_named(tiny: Path) -> None:
    examples = make_examples([5, 8193], 938)
    with pytest.raises(CaptureError, match="sample-1 has 8193 tokens"):
        scores_of(engine(tiny), examples)


def test_an_id_that_the_teacher_does_not_have_is_named(tiny: Path) -> None:
    examples = make_examples([5], 938)
    examples[0].token_id_T[2] = 940
    with pytest.raises(TokenizerRefused, match="sample-0 has the token id 940"):
        scores_of(engine(tiny), examples)


def test_a_head_narrower_than_the_tokenizer_is_refused(tiny: Path) -> None:
    with pytest.raises(TokenizerRefused, match="has 1000 tokens, its head 938 rows"):
        engine(tiny, vocabulary=1000)


def test_a_model_that_scales_its_logits_is_refused(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = CohereConfig(
        vocab_size=50,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        logit_scale=0.0625,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    model = CohereForCausalLM(config)
    with torch.no_grad():
        model.get_input_embeddings().weight.mul_(50)
    model.save_pretrained(tmp_path / "scaled")
    with pytest.raises(ModelRefused, match="cannot be captured by the torch engine"):
        engine(tmp_path / "scaled", vocabulary=50)


@pytest.fixture
def little_memory() -> Iterator[Callable[[], None]]:
    """A function that leaves this process 300 MiB beyond what it has."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)

    def limit() -> None:
        resource.setrlimit(
            resource.RLIMIT_AS, (psutil.Process().memory_info().vms + 300 * 2**20, hard)
        )

    yield limit
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def test_memory_that_does_not_suffice_names_the_setting(
    tmp_path: Path, little_memory: Callable[[], None]
) -> None:
    width = 151_936
    folder = wide_model(width, torch.randn(width, 16), tmp_path / "wide")
    ready = engine(folder, TOP_5, width, workspace_mib=4096)
    little_memory()
    with pytest.raises(OutOfMemory) as caught:
        scores_of(ready, make_examples([1500], width))
    assert "capture.tokens_per_batch" in caught.value.solution


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelRefused, match="cannot be loaded"):
        engine(tmp_path)


@pytest.mark.parametrize("device", ["gpu", "cuda:99"])
def test_a_device_that_is_not_there_is_refused(tiny: Path, device: str) -> None:
    settings = TeacherModelSettings(model=str(tiny), device=device)
    with pytest.raises(ModelRefused, match=f"no device '{device}'"):
        load_teacher(settings)
