"""How the fused loss runs: chunks, memory, dtypes, validation, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from training.losses.fused import Accumulate, cut_workspace, fused_linear_loss
from training.losses.objective import Objective
from training.losses.targets import SparseTargets

GOAL = Objective("tail_bucket")
MIB = 2**20


def problem(
    rows: int, vocabulary: int, width: int, dtype: torch.dtype = torch.float32, k: int = 10
) -> tuple[Tensor, Tensor, Tensor, SparseTargets]:
    generator = torch.Generator().manual_seed(0)
    hidden_NH = torch.randn(rows, width, generator=generator).to(dtype).requires_grad_()
    weight_VH = torch.randn(vocabulary, width, generator=generator).to(dtype).requires_grad_()
    label_N = torch.randint(vocabulary, (rows,), generator=generator)
    log_p_NK = torch.randn(rows, k + 1, generator=generator).log_softmax(dim=1)
    first_N1 = torch.randint(vocabulary - k, (rows, 1), generator=generator)
    target = SparseTargets(
        id_NK=first_N1 + torch.arange(k),
        log_p_NK=log_p_NK[:, :k].contiguous(),
        log_tail_N=log_p_NK[:, k].contiguous(),
        weight_N=torch.ones(rows),
        log_z_N=torch.full((rows,), 2.0),
    )
    return hidden_NH, weight_VH, label_N, target


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_the_size_of_chunks_changes_nothing(dtype: torch.dtype) -> None:
    hidden_NH, weight_VH, label_N, target = problem(50, 200, 8, dtype)
    results = []
    for workspace in (1, 8000, 10 * MIB):
        loss, stats = fused_linear_loss(
            hidden_NH, weight_VH, label_N, [target], GOAL, workspace_bytes=workspace
        )
        gradients = torch.autograd.grad(loss, [hidden_NH, weight_VH])
        results.append([loss, *gradients, *(getattr(stats, f.name) for f in fields(stats))])
    assert cut_workspace(weight_VH, GOAL, 11, 1).chunk_rows == 1
    assert cut_workspace(weight_VH, GOAL, 11, 10 * MIB).chunk_rows > 50
    tolerance = 1e-12 if dtype == torch.float64 else 2**-7
    for result in results[:2]:
        for got, want in zip(result, results[2], strict=True):
            assert (got - want).norm() <= tolerance * want.norm()


@pytest.mark.parametrize("goal", [GOAL, Objective("jsd_tail", temperature=2.0), Objective("ce")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("k", [10, 512])
def test_memory_stays_in_the_workspace_and_is_flat_in_the_number_of_rows(
    goal: Objective, dtype: torch.dtype, k: int
) -> None:
    """By the allocator's own record, without what is returned, in the settings that nobody made."""
    workspace = 16 * MIB
    transients = [transient(rows, goal, dtype, workspace, k) for rows in (512, 2048)]
    assert max(transients) <= workspace + MIB
    # Per-row figures, float32: the loss, seven statistics, and a few of 8 bytes as they are made.
    assert transients[1] - transients[0] <= 2048 * 64


def test_a_16_bit_head_is_summed_in_its_own_bytes_and_in_float32_only_where_that_is_asked_for() -> (
    None
):
    """In four bytes per weight then, where two are returned."""
    by_default, as_it_is, wide = (
        transient(64, GOAL, torch.bfloat16, 8 * MIB, 10, width=64, **settings)
        for settings in ({}, {"accumulate": "weight"}, {"accumulate": "float32"})
    )
    assert by_default == as_it_is
    assert wide - as_it_is == pytest.approx(2 * 20_000 * 64, rel=0.1)


def transient(
    rows: int,
    goal: Objective,
    dtype: torch.dtype,
    workspace: int,
    k: int,
    *,
    width: int = 4,
    **settings: Any,
) -> int:
    """Most bytes held at once in a step, less what it returns."""
    hidden_NH, weight_VH, label_N, target = problem(rows, 20_000, width, dtype, k)
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as profiler:
        loss, _ = fused_linear_loss(
            hidden_NH, weight_VH, label_N, [target], goal, workspace_bytes=workspace, **settings
        )
        loss.backward()
    held = most = 0
    for event in profiler.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            most = max(most, held)
    assert most > workspace // 2
    return most - hidden_NH.nbytes - weight_VH.nbytes


@pytest.mark.parametrize("goal", [GOAL, Objective("ce"), Objective("reverse_tail", 0.5, 2.0)])
def test_validation_gives_the_same_loss_and_touches_no_gradient(goal: Objective) -> None:
    hidden_NH, weight_VH, label_N, target = problem(20, 100, 8)
    trained, _ = fused_linear_loss(
        hidden_NH, weight_VH, label_N, [target], goal, workspace_bytes=MIB
    )
    with torch.no_grad():
        loss, stats = fused_linear_loss(
            hidden_NH, weight_VH, label_N, [target], goal, workspace_bytes=MIB
        )
    assert loss == trained
    assert not loss.requires_grad
    assert not stats.ce.requires_grad


def test_gradients_follow_the_scale_of_what_is_differentiated() -> None:
    hidden_NH, weight_VH, label_N, target = problem(20, 100, 8)

    def gradients(scale: float) -> tuple[Tensor, ...]:
        loss, _ = fused_linear_loss(
            hidden_NH, weight_VH, label_N, [target], GOAL, workspace_bytes=MIB
        )
        return torch.autograd.grad(scale * loss, [hidden_NH, weight_VH])

    for one, four in zip(gradients(1.0), gradients(4.0), strict=True):
        assert torch.equal(4 * one, four)


def test_tied_weights_have_the_sum_of_both_gradients() -> None:
    _, weight_VH, label_N, target = problem(20, 100, 8, torch.float64)
    token_N = torch.arange(20)

    def total(loss: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        hidden_NH = torch.nn.functional.embedding(token_N, weight_VH).tanh()
        return torch.autograd.grad(loss(hidden_NH, weight_VH), [weight_VH])[0]

    got = total(
        lambda h, w: fused_linear_loss(
            h, w, label_N, [target], Objective("ce"), workspace_bytes=MIB
        )[0]
    )
    want = total(lambda h, w: torch.nn.functional.cross_entropy(h @ w.T, label_N, reduction="sum"))
    torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-12)


def test_a_bias_is_trained_with_the_rest() -> None:
    hidden_NH, weight_VH, label_N, _ = problem(20, 100, 8, torch.float64)
    bias_V = torch.linspace(-1, 1, 100, dtype=torch.float64, requires_grad=True)
    loss, _ = fused_linear_loss(
        hidden_NH, weight_VH, label_N, [], Objective("ce"), workspace_bytes=MIB, bias_V=bias_V
    )
    logits_NV = hidden_NH @ weight_VH.T + bias_V
    want = torch.nn.functional.cross_entropy(logits_NV, label_N, reduction="sum")
    torch.testing.assert_close(loss, want, rtol=1e-12, atol=0)
    (got_V,), (want_V,) = torch.autograd.grad(loss, [bias_V]), torch.autograd.grad(want, [bias_V])
    torch.testing.assert_close(got_V, want_V, rtol=1e-10, atol=1e-12)


def test_a_frozen_head_has_no_gradient_and_its_hidden_states_the_same_one() -> None:
    hidden_NH, weight_VH, label_N, target = problem(20, 100, 8)
    gradients = []
    for head in (weight_VH, weight_VH.detach()):
        loss, _ = fused_linear_loss(hidden_NH, head, label_N, [target], GOAL, workspace_bytes=MIB)
        gradients += torch.autograd.grad(loss, [hidden_NH])
    assert torch.equal(*gradients)


@pytest.mark.parametrize(("chunks", "more"), [(10, 1.1), (40, 1.4)])
def test_the_chunks_of_a_16_bit_head_add_little_to_what_its_logits_cost(
    chunks: int, more: float
) -> None:
    hidden_NH, weight_VH, label_N, target = problem(64 * chunks, 2000, 32, torch.bfloat16)
    wide = [x.detach().double().requires_grad_() for x in (hidden_NH, weight_VH)]
    loss, _ = fused_linear_loss(*wide, label_N, [target], GOAL, workspace_bytes=MIB)
    want = torch.autograd.grad(loss, [wide[1]])[0]
    workspace = 550 * 1024
    assert cut_workspace(weight_VH, GOAL, 11, workspace).chunk_rows == 64
    errors: dict[Accumulate, float] = {"float32": 0.0, "weight": 0.0}
    for accumulate in errors:
        loss, _ = fused_linear_loss(
            hidden_NH, weight_VH, label_N, [target], GOAL,
            workspace_bytes=workspace, accumulate=accumulate,
        )  # fmt: skip
        got = torch.autograd.grad(loss, [weight_VH])[0]
        assert got.dtype == torch.bfloat16
        errors[accumulate] = float((got.double() - want).norm() / want.norm())
    assert errors["float32"] <= 2**-6
    assert errors["float32"] < errors["weight"] <= more * errors["float32"]


def test_no_rows_lose_nothing() -> None:
    hidden_NH, weight_VH, label_N, target = problem(0, 100, 8)
    loss, stats = fused_linear_loss(
        hidden_NH, weight_VH, label_N, [target], GOAL, workspace_bytes=MIB
    )
    loss.backward()
    assert loss == 0
    assert stats.ce.shape == (0,)
    assert weight_VH.grad is not None
    assert weight_VH.grad.abs().sum() == 0


def test_differentiating_twice_is_refused() -> None:
    hidden_NH, weight_VH, label_N, target = problem(5, 100, 8)
    loss, _ = fused_linear_loss(hidden_NH, weight_VH, label_N, [target], GOAL, workspace_bytes=MIB)
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="already differentiated"):
        loss.backward()


def broken(target: SparseTargets, label_N: Tensor) -> dict[str, tuple[Any, Any]]:
    beyond, negative = target.id_NK.clone(), label_N.clone()
    beyond[3, 2], negative[0] = 100, -100
    return {
        "an id beyond the head": (label_N, [replace(target, id_NK=beyond)]),
        "a masked label": (negative, [target]),
        "rows that do not match": (label_N[:-1], [target]),
        "no teacher": (label_N, []),
    }


@pytest.mark.parametrize(
    "what", ["an id beyond the head", "a masked label", "rows that do not match", "no teacher"]
)
def test_what_does_not_fit_is_refused(what: str) -> None:
    hidden_NH, weight_VH, label_N, target = problem(20, 100, 8)
    labels, targets = broken(target, label_N)[what]
    with pytest.raises(ValueError, match=r"\[0, 100\)|do not fit|needs a teacher"):
        fused_linear_loss(hidden_NH, weight_VH, labels, targets, GOAL, workspace_bytes=MIB)


def test_targets_without_log_z_cannot_be_taken_to_another_temperature() -> None:
    hidden_NH, weight_VH, label_N, target = problem(5, 100, 8)
    with pytest.raises(ValueError, match="log Z"):
        fused_linear_loss(
            hidden_NH, weight_VH, label_N, [replace(target, log_z_N=None)],
            Objective("tail_bucket", temperature=2.0), workspace_bytes=MIB,
        )  # fmt: skip
