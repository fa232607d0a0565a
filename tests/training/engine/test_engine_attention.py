"""Attention over packed documents, against a dense block-diagonal reference in float64."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, Qwen2Config

from training.data.batch import Batch, make_batch
from training.data.example import Example
from training.engine.attention import ATTENTION, packed_attention

LENGTHS = (5, 1, 9, 3)
BOUNDS = (0, 5, 6, 15, 18)
VOCABULARY = 50


def _allowed(bounds: tuple[int, ...], window: int | None) -> Tensor:
    """bool [T, T]: whether a token may see another."""
    total = bounds[-1]
    allowed = torch.zeros(total, total, dtype=torch.bool)
    for start, end in pairwise(bounds):
        for at in range(start, end):
            first = start if window is None else max(start, at - window + 1)
            allowed[at, first : at + 1] = True
    return allowed


def _dense(query: Tensor, key: Tensor, value: Tensor, window: int | None, scale: float) -> Tensor:
    """Softmax over a masked T×T matrix; the output is [1, T, heads, D] as the engine's is."""
    groups = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    scores = query @ key.transpose(2, 3) * scale
    scores = scores.masked_fill(~_allowed(BOUNDS, window), float("-inf"))
    return (scores.softmax(-1) @ value).transpose(1, 2)


def _inputs(kv_heads: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = ((1, 4, BOUNDS[-1], 8), (1, kv_heads, BOUNDS[-1], 8), (1, kv_heads, BOUNDS[-1], 8))
    return [
        torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()
        for shape in shapes
    ]


def _packed(inputs: list[Tensor], **settings: Any) -> Tensor:
    bounds_D1 = torch.tensor(BOUNDS, dtype=torch.int32, device=inputs[0].device)
    out, weights = packed_attention(
        torch.nn.Module(), *inputs, None, cu_length_D1=bounds_D1, longest=max(LENGTHS), **settings
    )
    assert weights is None
    return out


@pytest.mark.parametrize("scaling", [None, 0.3])
@pytest.mark.parametrize("window", [None, 1, 3, 9, 100])
@pytest.mark.parametrize("kv_heads", [4, 2, 1])
def test_packed_attention_is_the_dense_block_diagonal_one(
    kv_heads: int, window: int | None, scaling: float | None
) -> None:
    mine, dense = _inputs(kv_heads), _inputs(kv_heads)
    out = _packed(mine, sliding_window=window, scaling=scaling)
    expected = _dense(*dense, window, 8**-0.5 if scaling is None else scaling)
    torch.testing.assert_close(out, expected, rtol=1e-12, atol=1e-12)
    upstream = torch.randn(out.shape, generator=torch.Generator().manual_seed(1)).double()
    out.backward(upstream)
    expected.backward(upstream)
    for one, other in zip(mine, dense, strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-11, atol=1e-12)


ON_CUDA = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="the variable-length kernel runs on CUDA alone"
)
# Eight bits in bfloat16, eleven in float16; the kernel rounds the scores' softmax as well.
ROUNDING = {torch.bfloat16: 2e-2, torch.float16: 3e-3}


def _on_cuda(kv_heads: int, dtype: torch.dtype) -> tuple[list[Tensor], list[Tensor]]:
    """The same 16-bit numbers on the GPU, and in float64 for the reference."""
    rounded = [each.detach() for each in _inputs(kv_heads, dtype)]
    return (
        [each.cuda().requires_grad_() for each in rounded],
        [each.double().requires_grad_() for each in rounded],
    )


def _error(found: Tensor, expected: Tensor) -> float:
    return float((found.detach().cpu().double() - expected.detach()).norm() / expected.norm())


@ON_CUDA
@pytest.mark.parametrize("scaling", [None, 0.3])
@pytest.mark.parametrize("window", [None, 1, 3, 9, 100])
@pytest.mark.parametrize("kv_heads", [4, 2, 1])
@pytest.mark.parametrize("dtype", list(ROUNDING), ids=str)
def test_the_cuda_kernel_is_the_dense_block_diagonal_one(
    kv_heads: int, window: int | None, scaling: float | None, dtype: torch.dtype
) -> None:
    mine, dense = _on_cuda(kv_heads, dtype)
    out = _packed(mine, sliding_window=window, scaling=scaling)
    expected = _dense(*dense, window, 8**-0.5 if scaling is None else scaling)
    assert (out.dtype, out.shape) == (dtype, expected.shape)
    assert _error(out, expected) < ROUNDING[dtype]
    upstream = torch.randn(out.shape, generator=torch.Generator().manual_seed(1)).to(dtype)
    out.backward(upstream.cuda())
    expected.backward(upstream.double())
    for one, other in zip(mine, dense, strict=True):
        assert one.grad is not None and other.grad is not None
        # A window of one is its own value: neither query nor key has a gradient to compare.
        if other.grad.norm() > 1e-9:
            assert _error(one.grad, other.grad) < 2 * ROUNDING[dtype]
        else:
            assert one.grad.norm().item() < ROUNDING[dtype]


@ON_CUDA
@pytest.mark.parametrize("window", [None, 4])
def test_on_cuda_no_document_sees_another_bit_for_bit(window: int | None) -> None:
    inputs = [each.detach() for each in _on_cuda(2, torch.bfloat16)[0]]
    before = _packed(inputs, sliding_window=window)
    changed = [each.clone() for each in inputs]
    for each in changed:
        each[:, :, 6:15] += 1
    after = _packed(changed, sliding_window=window)
    assert torch.equal(before[:, :6], after[:, :6])
    assert torch.equal(before[:, 15:], after[:, 15:])
    assert not torch.isclose(before[:, 6:15], after[:, 6:15]).all()


def test_a_token_never_sees_what_comes_after_it() -> None:
    inputs = [each.detach() for each in _inputs(2)]
    before = _packed(inputs)
    changed = [each.clone() for each in inputs]
    changed[1][:, :, 10] += 1
    changed[2][:, :, 10] -= 1
    after = _packed(changed)
    assert torch.equal(before[:, :10], after[:, :10])
    assert not torch.equal(before[:, 10:15], after[:, 10:15])
    assert torch.equal(before[:, 15:], after[:, 15:])


@pytest.mark.parametrize("wrong", [{"attention_mask": torch.zeros(1)}, {"dropout": 0.1}])
def test_a_mask_or_dropout_is_refused(wrong: dict[str, Any]) -> None:
    query, key, value = _inputs(4)
    settings: dict[str, Any] = {"attention_mask": None, **wrong}
    mask = settings.pop("attention_mask")
    with pytest.raises(ValueError, match="neither a mask nor dropout"):
        packed_attention(
            torch.nn.Module(), query, key, value, mask,
            cu_length_D1=torch.tensor(BOUNDS, dtype=torch.int32), longest=9, **settings,
        )  # fmt: skip


def _model(
    window: int | None = None, dtype: torch.dtype = torch.float32, how: str = ATTENTION
) -> Any:
    """A Qwen2 of three layers and grouped queries, its weights large enough to matter."""
    sliding = {} if window is None else {
        "use_sliding_window": True, "sliding_window": window, "max_window_layers": 1,
    }  # fmt: skip
    config = Qwen2Config(
        vocab_size=VOCABULARY, hidden_size=32, intermediate_size=48, num_hidden_layers=3,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64,
        initializer_range=0.3, **sliding,
    )  # fmt: skip
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, attn_implementation=how)
    return model.to(dtype).train()


def _batch(*replaced: int) -> Batch:
    """The documents packed; those in `replaced` hold other tokens than at first."""
    examples = []
    for number, length in enumerate(LENGTHS):
        source = torch.Generator().manual_seed(number)
        tokens = torch.randint(VOCABULARY, (length,), generator=source)
        tokens = (tokens + 7 * (number in replaced)) % VOCABULARY
        trained = torch.ones(length, dtype=torch.bool)
        trained[0] = False
        examples.append(
            Example(str(number), str(number), str(number), tokens.int().numpy(), trained.numpy())
        )
    return make_batch(examples)


def _hidden(model: Any, batch: Batch) -> Tensor:
    return model.model(
        input_ids=batch.token_id_T[None],
        position_ids=batch.position_id_T[None],
        use_cache=False,
        cu_length_D1=batch.cu_length_D1,
        longest=batch.longest,
    ).last_hidden_state[0]


def _dense_hidden(model: Any, batch: Batch, window: int | None) -> Tensor:
    """The same model with transformers' eager attention and explicit masks in float64."""

    def mask(allowed_TT: Tensor) -> Tensor:
        return torch.zeros(allowed_TT.shape).double().masked_fill(~allowed_TT, -1e300)[None, None]

    masks = {
        "full_attention": mask(_allowed(BOUNDS, None)),
        "sliding_attention": mask(_allowed(BOUNDS, window)),
    }
    if window is None:
        masks = masks["full_attention"]
    return model.model(
        input_ids=batch.token_id_T[None],
        position_ids=batch.position_id_T[None],
        attention_mask=masks,
        use_cache=False,
    ).last_hidden_state[0]


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("window", [None, 4])
def test_a_whole_model_and_its_gradients_match_the_dense_reference(
    window: int | None, checkpointing: bool
) -> None:
    mine, dense = _model(window), _model(window, torch.float64, "eager")
    if checkpointing:
        mine.gradient_checkpointing_enable({"use_reentrant": False})
    batch = _batch()
    out, expected = _hidden(mine, batch), _dense_hidden(dense, batch, window)
    torch.testing.assert_close(out.double(), expected, rtol=2e-4, atol=2e-5)
    upstream = torch.randn(out.shape, generator=torch.Generator().manual_seed(1))
    out.backward(upstream)
    expected.backward(upstream.double())
    expected_by_name = dict(dense.model.named_parameters())
    for name, one in mine.model.named_parameters():
        other = expected_by_name[name]
        assert one.grad is not None and other.grad is not None, name
        error = (one.grad.double() - other.grad).norm() / other.grad.norm()
        assert error < 1e-4, (name, float(error))


@pytest.mark.parametrize("checkpointing", [False, True])
def test_no_document_sees_another_bit_for_bit(checkpointing: bool) -> None:
    model = _model()
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    before, after = _hidden(model, _batch()), _hidden(model, _batch(2))
    assert torch.equal(before[:6], after[:6])
    assert torch.equal(before[15:], after[15:])
    assert not torch.isclose(before[6:15], after[6:15]).all(dim=1).any()


def test_no_gradient_flows_into_another_document() -> None:
    model, batch = _model(), _batch()
    embedded = model.model.embed_tokens(batch.token_id_T[None]).detach().requires_grad_()
    hidden = model.model(
        inputs_embeds=embedded, position_ids=batch.position_id_T[None], use_cache=False,
        cu_length_D1=batch.cu_length_D1, longest=batch.longest,
    ).last_hidden_state  # fmt: skip
    hidden[0, 6:15].square().sum().backward()
    assert embedded.grad is not None
    touched = embedded.grad[0].abs().sum(dim=1) > 0
    assert touched.tolist() == [False] * 6 + [True] * 9 + [False] * 3


@pytest.mark.parametrize("window", [None, 4])
def test_a_packed_document_is_what_it_is_alone(window: int | None) -> None:
    model, batch = _model(window), _batch()
    packed = _hidden(model, batch)
    plain = _model(window, how="eager")
    plain.load_state_dict(model.state_dict())
    for start, end in pairwise(BOUNDS):
        alone = plain.model(
            input_ids=batch.token_id_T[None, start:end], use_cache=False
        ).last_hidden_state[0]
        torch.testing.assert_close(packed[start:end], alone, rtol=1e-4, atol=1e-5)


def test_positions_begin_anew_in_every_document() -> None:
    expected = [place for length in LENGTHS for place in range(length)]
    assert _batch().position_id_T.tolist() == expected
