"""What each objective promises: never negative, nought at the teacher, unbiased, told truly."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from training.losses.fused import Backend, RowStats, fused_linear_loss
from training.losses.objective import BUCKETED, Objective
from training.losses.reference import dense_kd, dense_loss
from training.losses.table import LOG_Z_ERROR
from training.losses.targets import SparseTargets

DIVERGENCES = [
    Objective(name, alpha=1.0, temperature=temperature)  # type: ignore[arg-type]
    for name in sorted(BUCKETED | {"renorm"})
    for temperature in (0.5, 1.0, 2.0)
]


def identity_of(goal: Objective) -> str:
    return f"{goal.name}-T{goal.temperature}"


def gradient_of(
    logits_NV: Tensor,
    label_N: Tensor,
    targets: list[SparseTargets],
    goal: Objective,
    backend: Backend = "torch",
) -> tuple[Tensor, RowStats]:
    """dL/dz: the head is the identity."""
    hidden_NV = logits_NV.clone().requires_grad_()
    eye_VV = torch.eye(logits_NV.shape[1], dtype=logits_NV.dtype, device=logits_NV.device)
    loss, stats = fused_linear_loss(
        hidden_NV, eye_VV, label_N, targets, goal, workspace_bytes=1 << 20, backend=backend
    )
    return torch.autograd.grad(loss, [hidden_NV])[0], stats


def without_tail(log_p_NV: Tensor) -> SparseTargets:
    """The whole distribution, as draws or as K."""
    return SparseTargets(
        id_NK=torch.arange(log_p_NV.shape[1]).expand_as(log_p_NV).contiguous(),
        log_p_NK=log_p_NV,
        log_tail_N=torch.full((len(log_p_NV),), -math.inf),
        weight_N=torch.ones(len(log_p_NV)),
    ).to(log_p_NV.device)


@pytest.mark.parametrize("goal", DIVERGENCES, ids=identity_of)
def test_a_divergence_is_never_negative_whatever_a_codec_did_to_the_targets(
    goal: Objective, situation: str, make_rows: Callable[..., Any], backend: Backend
) -> None:
    for seed in range(5 if backend == "torch" else 1):
        rows = make_rows(situation, goal, seed)
        targets = [replace(t, log_p_NK=t.log_p_NK.bfloat16().float()) for t in rows.targets]
        _, stats = gradient_of(rows.logits_NV, rows.label_N, targets, goal, backend)
        assert torch.isfinite(stats.kd).all()
        assert stats.kd.min() >= 0


@pytest.mark.parametrize("goal", DIVERGENCES, ids=identity_of)
def test_it_is_nought_where_the_student_is_the_teacher(
    goal: Objective, top_k: Callable[..., SparseTargets], backend: Backend, device: str
) -> None:
    logits_NV = 3 * torch.randn(20, 40, generator=torch.Generator().manual_seed(0))
    logits_NV, label_N = logits_NV.to(device), torch.zeros(20, dtype=torch.int64, device=device)
    targets = [top_k(logits_NV, 6, goal)]
    gradient_NV, stats = gradient_of(logits_NV, label_N, targets, goal, backend)
    # A log-probability of float32 is off by 1e-7 of itself, and KL goes with the square of that;
    # but a tail that T < 1 made smaller than log Z can tell is off by as much as that.
    assert stats.kd.max() <= (1e-11 if goal.temperature >= 1 else 2 * LOG_Z_ERROR)
    assert gradient_NV.abs().max() <= 3e-6


def test_tail_bucket_is_at_rest_where_q_is_p_on_k_however_the_tail_lies(
    top_k: Callable[..., SparseTargets],
) -> None:
    goal = Objective("tail_bucket", alpha=1.0)
    logits_NV = 2 * torch.randn(8, 30, generator=torch.Generator().manual_seed(0)).double()
    target = top_k(logits_NV, 5, goal)
    log_p_NV = logits_NV.log_softmax(dim=1)
    tail_NV = torch.randn(8, 30, generator=torch.Generator().manual_seed(1)).double()
    tail_NV = tail_NV.scatter(1, target.id_NK, -math.inf).log_softmax(dim=1)
    mass_N1 = (-log_p_NV.gather(1, target.id_NK).logsumexp(dim=1, keepdim=True).expm1()).log()
    student_NV = (tail_NV + mass_N1).scatter(1, target.id_NK, log_p_NV.gather(1, target.id_NK))
    gradient_NV, stats = gradient_of(student_NV, torch.zeros(8, dtype=torch.int64), [target], goal)
    assert stats.kd.max() <= 1e-12
    assert gradient_NV.abs().max() <= 1e-6  # the targets themselves are float32


def test_label_tail_is_unbiased_over_the_labels_that_the_teacher_draws(
    top_k: Callable[..., SparseTargets],
) -> None:
    goal = Objective("label_tail", alpha=1.0)
    generator = torch.Generator().manual_seed(0)
    teacher_V, student_V = 2 * torch.randn(2, 25, generator=generator).double()
    log_p_V = teacher_V.log_softmax(dim=0)
    rows_VV = teacher_V.expand(25, 25).contiguous()  # one row per possible label
    gradient_VV, _ = gradient_of(
        student_V.expand(25, 25), torch.arange(25), [top_k(rows_VV, 4, goal)], goal
    )
    mean_V = log_p_V.exp() @ gradient_VV
    want_V = student_V.softmax(dim=0) - log_p_V.exp()
    torch.testing.assert_close(mean_V, want_V, rtol=0, atol=1e-7)


def test_sampled_is_unbiased_over_all_draws() -> None:
    goal = Objective("sampled", alpha=1.0)
    generator = torch.Generator().manual_seed(0)
    teacher_V, student_V = 2 * torch.randn(2, 4, generator=generator).double()
    p_V = teacher_V.softmax(dim=0)
    draws_N3 = torch.tensor(list(itertools.product(range(4), repeat=3)))
    share_NV = torch.stack([(draws_N3 == v).double().mean(dim=1) for v in range(4)], dim=1)
    targets = without_tail(share_NV.log().float())
    targets.id_NK[share_NV == 0] = -1
    rows_NV = student_V.expand(len(draws_N3), 4)
    label_N = torch.zeros(len(draws_N3), dtype=torch.int64)
    gradient_NV, stats = gradient_of(rows_NV, label_N, [targets], goal)
    mean_V = p_V[draws_N3].prod(dim=1) @ gradient_NV
    torch.testing.assert_close(mean_V, student_V.softmax(dim=0) - p_V, rtol=0, atol=1e-7)
    assert stats.kd.min() >= 0


def test_the_draws_of_one_teacher_and_its_whole_distribution_teach_the_same(
    backend: Backend, device: str
) -> None:
    generator = torch.Generator().manual_seed(0)
    teacher_NV, student_NV = torch.randn(2, 5, 12, generator=generator).to(device)
    targets = [without_tail(teacher_NV.log_softmax(dim=1))]
    label_N = torch.arange(5, device=device)
    drawn_NV, _ = gradient_of(student_NV, label_N, targets, Objective("sampled"), backend)
    exact_NV, _ = gradient_of(student_NV, label_N, targets, Objective("tail_bucket"), backend)
    torch.testing.assert_close(drawn_NV, exact_NV, rtol=1e-5, atol=1e-7)


def test_a_teacher_that_is_sure_to_the_last_bit_leaves_all_divergences_finite(
    backend: Backend, device: str
) -> None:
    logits_NV, label_N = torch.zeros(1, 6, device=device), torch.tensor([2], device=device)
    sure = SparseTargets(
        id_NK=torch.tensor([[2, 4]]),
        log_p_NK=torch.tensor([[0.0, -math.inf]]),
        log_tail_N=torch.tensor([-math.inf]),
        weight_N=torch.ones(1),
        log_z_N=torch.zeros(1),
    ).to(torch.device(device))
    for goal in DIVERGENCES:
        gradient_NV, stats = gradient_of(logits_NV, label_N, [sure], goal, backend)
        assert torch.isfinite(gradient_NV).all(), goal
        assert torch.isfinite(stats.kd).all(), goal
        assert gradient_NV[0, 2] <= 0, goal


@pytest.mark.parametrize("situation", ["ordinary", "several_teachers", "padding"])
@pytest.mark.parametrize(
    "goal",
    [Objective("tail_bucket"), Objective("reverse_tail", 0.6, 2.0), Objective("jsd_tail", 0.6),
     Objective("label_tail"), Objective("renorm", 0.5, 0.5), Objective("sampled")],
    ids=identity_of,
)  # fmt: skip
def test_statistics_are_those_of_the_dense_distributions(
    goal: Objective, situation: str, make_rows: Callable[..., Any], backend: Backend, device: str
) -> None:
    rows = make_rows(situation, goal)
    eye_VV = torch.eye(rows.logits_NV.shape[1], device=device)
    _, stats = fused_linear_loss(
        rows.logits_NV, eye_VV, rows.label_N, rows.targets, goal,
        workspace_bytes=1 << 20, backend=backend,
    )  # fmt: skip
    for n, z_V in enumerate(rows.logits_NV.double()):
        want = dense_statistics(z_V, n, rows, goal)
        for name, value in want.items():
            got = float(getattr(stats, name)[n])
            assert got == pytest.approx(value, rel=1e-5, abs=1e-7), (name, n)


def dense_statistics(z_V: Tensor, n: int, rows: Any, goal: Objective) -> dict[str, float]:
    z_V = z_V.clone().requires_grad_()
    label_1 = rows.label_N[n : n + 1]
    ce = dense_loss(z_V[None], label_1, [], Objective("ce"))[0]
    heard = [t for t in rows.targets if t.weight_N[n] > 0]
    total = sum(float(t.weight_N[n]) for t in heard)
    kd = torch.zeros((), dtype=torch.float64)
    mass = student = 0.0
    for target in heard:
        weight = float(target.weight_N[n])
        kd = kd + weight * dense_kd(z_V, int(label_1), target, n, goal)
        id_K = target.id_NK[n][target.id_NK[n] >= 0]
        mass_K = target.log_p_NK[n].double().exp().sum()
        tail = target.log_tail_N[n].double().exp()
        whole = 1.0 if goal.name == "sampled" else mass_K + tail
        mass += weight / total * float(mass_K / whole)
        student += weight / total * float(z_V.softmax(dim=0)[id_K].sum())
    heaviest = max(heard, key=lambda t: float(t.weight_N[n]))
    ce_gradient = torch.autograd.grad(ce, z_V, retain_graph=True)[0].abs().sum()
    kd_gradient = torch.autograd.grad(kd, z_V)[0].abs().sum()
    return {
        "ce": float(ce),
        "kd": float(kd),
        "teacher_mass": mass,
        "student_mass": student,
        "agree": float(z_V.argmax() == heaviest.id_NK[n, 0]),
        "ce_gradient": (1 - goal.alpha) * float(ce_gradient),
        "kd_gradient": goal.alpha * goal.temperature**2 * float(kd_gradient),
    }


@pytest.mark.parametrize(
    "settings",
    [
        {"name": "truncated"},
        {"alpha": 1.5},
        {"temperature": 0.0},
        {"temperature": math.inf},
        {"beta": 1.0},
        {"name": "label_tail", "temperature": 2.0},
        {"name": "sampled", "temperature": 2.0},
    ],
)
def test_an_objective_that_cannot_be_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"no objective|alpha|temperature|beta|no meaning"):
        Objective(**settings)
