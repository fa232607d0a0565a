"""The fused loss against the dense float64 reference: values and gradients.

Relative error is by norm, |got - want| / |want|, of the summed loss and of each whole gradient.
Where float32 is judged, the head is the identity: then both sides have the same logits to the bit,
and what is measured is the loss's own arithmetic and not how a matrix product rounds (a logit of
100 is known to 4e-6 after one, which moves q by as much). Products are judged in float64.
Reverse KL multiplies q by how far the student's log q is from the teacher's log p, and so also the
rounding of q: where a teacher is sure to 1e-9 and beyond, twice the bar is its due.
With alpha = 1 the gradient vanishes where student and teacher meet; what is left is a difference of
terms of order one, known to their last digit, so it is measured against cross-entropy's gradient.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from training.losses.fused import fused_linear_loss
from training.losses.objective import BUCKETED, NAMES, Objective
from training.losses.reference import dense_linear_loss

BUDGET = 1 << 20
SURE = ("sure_teacher", "surer_teacher", "surest_teacher")
OBJECTIVES = [
    Objective(name, alpha, temperature, beta=0.3)  # type: ignore[arg-type]
    for name in NAMES
    for temperature in ((0.5, 1.0, 2.0, 3.0) if name in BUCKETED | {"renorm"} else (1.0,))
    for alpha in (0.7,)
] + [Objective("tail_bucket", alpha=1.0), Objective("jsd_tail", alpha=1.0, temperature=2.0)]
HOT = [
    Objective(name, 0.7, temperature, beta=0.3)  # type: ignore[arg-type]
    for name in sorted(BUCKETED | {"renorm"})
    for temperature in (10.0, 100.0)
]


def identity_of(goal: Objective) -> str:
    return f"{goal.name}-T{goal.temperature}-a{goal.alpha}"


def both(
    hidden_NH: Tensor, weight_VH: Tensor, rows: Any, goal: Objective, **settings: Any
) -> list[float]:
    """Relative errors of the loss and of both gradients."""
    leaves = [x.clone().requires_grad_() for x in (hidden_NH, weight_VH)]
    settings.setdefault("workspace_bytes", BUDGET)
    loss, _ = fused_linear_loss(*leaves, rows.label_N, rows.targets, goal, **settings)
    got = [loss.detach(), *torch.autograd.grad(loss, leaves)]
    want = dense(hidden_NH, weight_VH, rows, goal)
    scales = [x.norm() for x in want]
    if goal.alpha == 1:
        plain = dense(hidden_NH, weight_VH, rows, Objective("ce"))
        scales = [max(a, b.norm()) for a, b in zip(scales, plain, strict=True)]
    return [
        float((g.double() - w).norm() / scale)
        for g, w, scale in zip(got, want, scales, strict=True)
    ]


def dense(hidden_NH: Tensor, weight_VH: Tensor, rows: Any, goal: Objective) -> list[Tensor]:
    leaves = [x.double().requires_grad_() for x in (hidden_NH, weight_VH)]
    loss = dense_linear_loss(*leaves, rows.label_N, rows.targets, goal)
    return [loss.detach(), *torch.autograd.grad(loss, leaves)]


@pytest.mark.parametrize("goal", OBJECTIVES, ids=identity_of)
def test_float32_is_within_a_millionth_of_the_dense_reference(
    goal: Objective, situation: str, make_rows: Callable[..., Any], backend: str
) -> None:
    for seed in range(2 if backend == "torch" else 1):
        rows = make_rows(situation, goal, seed)
        eye_VV = torch.eye(rows.logits_NV.shape[1], device=rows.logits_NV.device)
        loss, hidden, weight = both(rows.logits_NV, eye_VV, rows, goal, backend=backend)
        sure = goal.name == "reverse_tail" and situation in SURE
        assert loss <= 1e-6
        assert hidden <= (2e-6 if sure else 1e-6)
        assert weight <= (2.5e-6 if sure else 1e-6)


@pytest.mark.parametrize("goal", OBJECTIVES, ids=identity_of)
def test_float32_is_within_a_millionth_at_any_number_of_rows_ids_and_ids_kept(
    goal: Objective, random_rows: Callable[..., Any], backend: str
) -> None:
    for seed in range(8 if backend == "torch" else 2):
        rows = random_rows(goal, seed)
        eye_VV = torch.eye(rows.logits_NV.shape[1], device=rows.logits_NV.device)
        assert max(both(rows.logits_NV, eye_VV, rows, goal, backend=backend)) <= 1e-6, seed


@pytest.mark.parametrize("goal", [*OBJECTIVES, *HOT], ids=identity_of)
def test_float32_is_within_a_millionth_over_a_vocabulary_of_qwens_width(
    goal: Objective, top_k: Callable[..., Any], backend: str, device: str
) -> None:
    generator = torch.Generator().manual_seed(0)
    teacher_NV, student_NV = 4.0 * torch.randn(2, 3, 151_936, generator=generator)
    target = top_k(teacher_NV.to(device), 10, goal)
    rows = SimpleNamespace(label_N=target.id_NK[:, 4].clone(), targets=[target])
    # A head whose weight is the logits' transpose gives the identity those logits to the bit, and
    # gets dL/dz as its gradient; that of the identity is a product over the whole vocabulary.
    weight_VN = student_NV.T.contiguous().to(device)
    settings = {"backend": backend, "workspace_bytes": 64 << 20}
    loss, _, weight = both(torch.eye(3, device=device), weight_VN, rows, goal, **settings)
    assert max(loss, weight) <= in_float32(goal, backend)


@pytest.mark.parametrize("situation", ["sure_student", "student_sure_of_k", "near_the_teacher"])
@pytest.mark.parametrize("goal", HOT, ids=identity_of)
def test_a_student_however_sure_is_taught_right_at_high_temperatures(
    goal: Objective, situation: str, make_rows: Callable[..., Any], backend: str
) -> None:
    rows = make_rows(situation, goal)
    eye_VV = torch.eye(rows.logits_NV.shape[1], device=rows.logits_NV.device)
    errors = both(rows.logits_NV, eye_VV, rows, goal, backend=backend)
    assert max(errors) <= in_float32(goal, backend)


def in_float32(goal: Objective, backend: str) -> float:
    """The bar. The gradient has a factor of T before q - p, which the kernel knows to a float32's
    last digit and the torch path, in float64 beyond the sums, to those sums' own."""
    return 1e-6 * max(1.0, goal.temperature / 3 if backend == "triton" else 1.0)


@pytest.mark.parametrize("goal", OBJECTIVES, ids=identity_of)
def test_products_and_all_are_right_in_float64(
    goal: Objective, situation: str, make_rows: Callable[..., Any]
) -> None:
    rows = make_rows(situation, goal)
    generator = torch.Generator().manual_seed(1)
    weight_VH = torch.randn(rows.logits_NV.shape[1], 8, generator=generator).double()
    hidden_NH = rows.logits_NV.double() @ torch.linalg.pinv(weight_VH).T
    assert max(both(hidden_NH, weight_VH, rows, goal)) <= 1e-9


@pytest.mark.parametrize("goal", [*OBJECTIVES, *HOT], ids=identity_of)
def test_bfloat16_logits_lose_nothing_in_the_loss_and_one_rounding_or_two_in_the_gradient(
    goal: Objective, make_rows: Callable[..., Any], backend: str
) -> None:
    rows = make_rows("several_teachers", goal)
    logits_NV = rows.logits_NV.bfloat16()
    eye_VV = torch.eye(logits_NV.shape[1], device=logits_NV.device).bfloat16()
    loss, hidden, weight = both(logits_NV, eye_VV, rows, goal, backend=backend)
    assert loss <= 1e-6
    # Hardware rounds, by 2^-9 at most; Triton's interpreter cuts off, by twice that.
    assert hidden <= 2**-7
    assert weight <= 2**-7


@pytest.mark.parametrize("goal", OBJECTIVES, ids=identity_of)
def test_a_row_without_targets_or_weight_has_its_cross_entropy_alone(
    goal: Objective, make_rows: Callable[..., Any], backend: str
) -> None:
    rows = make_rows("ordinary", goal)
    for target in rows.targets:
        target.id_NK.fill_(-1)
        target.log_p_NK.fill_(-math.inf)
        target.log_tail_N.fill_(-math.inf)
        target.weight_N.zero_()
    hidden_NV = rows.logits_NV.requires_grad_()
    eye_VV = torch.eye(hidden_NV.shape[1], device=hidden_NV.device)
    loss, stats = fused_linear_loss(
        hidden_NV, eye_VV, rows.label_N, rows.targets, goal,
        workspace_bytes=BUDGET, backend=backend,  # type: ignore[arg-type]
    )  # fmt: skip
    (gradient,) = torch.autograd.grad(loss, [hidden_NV])
    want = torch.nn.functional.cross_entropy(hidden_NV, rows.label_N, reduction="sum")
    (want_gradient,) = torch.autograd.grad(want, [hidden_NV])
    share = goal.ce_factor
    torch.testing.assert_close(loss, share * want, rtol=1e-6, atol=1e-12)
    torch.testing.assert_close(gradient, share * want_gradient, rtol=1e-5, atol=1e-7)
    assert stats.kd.abs().max() == 0
    assert stats.agree.sum() == 0
