"""Ids beyond the tokenizer, in the student's softmax: what each objective does to their mass.

docs/distillation.md argues from these. `PADDED` of the `WIDTH` ids are no tokens; ε is the mass
that the student gives them. One row at a time, so that the gradient of a bias is dL/dz.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from training.losses.fused import fused_linear_loss
from training.losses.objective import Objective, ObjectiveName
from training.losses.targets import SparseTargets

WIDTH, PADDED, K = 24, 5, 6
TOKENS = WIDTH - PADDED
ALPHA = 0.7


def teacher(seed: int) -> Tensor:
    """A distribution over the tokens: float64 [TOKENS]."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(TOKENS, generator=generator, dtype=torch.float64).mul(2).softmax(dim=0)


def kept(p_V: Tensor) -> SparseTargets:
    """What a capture keeps of it."""
    p_K, id_K = p_V.topk(K)
    return SparseTargets(
        id_NK=id_K[None],
        log_p_NK=p_K.log().float()[None],
        log_tail_N=(1 - p_K.sum()).log().float()[None],
        weight_N=torch.ones(1),
    )


def loss_at(
    z_V: Tensor, label: int, targets: SparseTargets, goal: Objective
) -> tuple[float, Tensor]:
    """Loss and dL/dz of one row with logits `z_V`, by the loss that trains."""
    width = len(z_V)
    bias_V = z_V.float().requires_grad_()
    loss, _ = fused_linear_loss(
        torch.zeros(1, 4), torch.zeros(width, 4), torch.tensor([label]), (targets,), goal,
        workspace_bytes=2**20, bias_V=bias_V,
    )  # fmt: skip
    loss.backward()
    assert bias_V.grad is not None
    return loss.item(), bias_V.grad


def logits(seed: int) -> Tensor:
    """A student's logits that give about a fifth of their mass to padded ids."""
    generator = torch.Generator().manual_seed(100 + seed)
    return torch.randn(WIDTH, generator=generator, dtype=torch.float64)


def objective(name: ObjectiveName, alpha: float = ALPHA) -> Objective:
    return Objective(name, alpha)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("name", ["ce", "label_tail"])
def test_the_whole_softmax_costs_what_its_tokens_cost_and_the_padded_mass(
    name: ObjectiveName, seed: int
) -> None:
    """So a loss over the tokens alone would hide -log(1 - ε), which serving pays."""
    z_V, p_V = logits(seed), teacher(seed)
    targets = kept(p_V)
    label = int(targets.id_NK[0, seed % K])
    epsilon = float(z_V.softmax(dim=0)[TOKENS:].sum())
    assert 0.05 < epsilon < 0.6
    whole, _ = loss_at(z_V, label, targets, objective(name))
    tokens, _ = loss_at(z_V[:TOKENS], label, targets, objective(name))
    kept_mass = float(targets.log_p_NK.exp().sum())
    weight = 1.0 if name == "ce" else 1 - ALPHA + ALPHA * kept_mass
    assert whole == pytest.approx(tokens - weight * math.log(1 - epsilon), rel=1e-5)


def pushed_down(name: str, q_t: float, p_t: float) -> float:
    """dL/dz of a padded id, over its q: as docs/distillation.md has it."""
    if name in ("ce", "label_tail", "sampled"):
        return 1.0
    if name == "renorm":
        return 1 - ALPHA
    assert name == "tail_bucket"
    return 1 - ALPHA * p_t / q_t


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("name", ["ce", "label_tail", "sampled", "renorm", "tail_bucket"])
def test_padded_ids_are_pushed_down_at_the_rate_that_the_objective_gives(
    name: ObjectiveName, seed: int
) -> None:
    z_V, p_V = logits(seed), teacher(seed)
    targets = kept(p_V)
    q_V = z_V.softmax(dim=0)
    q_t = 1 - float(q_V[targets.id_NK[0]].sum())
    p_t = float(targets.log_tail_N.exp())
    _, gradient_V = loss_at(z_V, int(targets.id_NK[0, 0]), targets, objective(name))
    wanted_V = pushed_down(name, q_t, p_t) * q_V[TOKENS:]
    torch.testing.assert_close(gradient_V[TOKENS:].double(), wanted_V, rtol=1e-4, atol=1e-7)


def student_at(p_V: Tensor, tail: float) -> Tensor:
    """Logits of a student that has the teacher's proportions on K, `tail` outside of it, and half
    of that on padded ids."""
    q_V = torch.zeros(WIDTH, dtype=torch.float64)
    ids = p_V.topk(K).indices
    q_V[:TOKENS] = p_V
    outside_V = torch.ones(TOKENS, dtype=torch.bool)
    outside_V[ids] = False
    rest_V = p_V * outside_V
    q_V[:TOKENS] = p_V * ~outside_V / p_V[ids].sum() * (1 - tail) + rest_V / rest_V.sum() * tail / 2
    q_V[TOKENS:] = tail / 2 / PADDED
    return q_V.log()


@pytest.mark.parametrize("name", ["tail_bucket", "reverse_tail", "jsd_tail"])
def test_a_bucket_alone_holds_no_padded_id_down_at_its_optimum(name: ObjectiveName) -> None:
    p_V = teacher(0)
    targets = kept(p_V)
    z_V = student_at(p_V, float(targets.log_tail_N.exp()))
    loss, gradient_V = loss_at(z_V, 0, targets, objective(name, alpha=1.0))
    assert abs(loss) < 1e-6
    assert float(gradient_V.abs().max()) < 1e-6


@pytest.mark.parametrize("outside", [0.05, 0.3])
def test_where_all_of_the_loss_is_at_rest_only_labels_outside_k_push_padded_ids_down(
    outside: float,
) -> None:
    """With labels that fall outside K with probability d_t, the sum over the tail rests at
    q_t = α p_t + (1 - α) d_t, and each padded id is pushed down by (1 - α) d_t q_v / q_t."""
    p_V = teacher(1)
    targets, goal = kept(p_V), objective("tail_bucket")
    p_t = float(targets.log_tail_N.exp())
    q_t = ALPHA * p_t + (1 - ALPHA) * outside
    z_V = student_at(p_V, q_t)
    order = p_V.argsort(descending=True).tolist()
    d_V = torch.zeros(TOKENS, dtype=torch.float64)
    d_V[order[:K]] = p_V[order[:K]] / p_V[order[:K]].sum() * (1 - outside)
    d_V[order[K:]] = p_V[order[K:]] / p_V[order[K:]].sum() * outside
    gradients = [loss_at(z_V, label, targets, goal)[1].double() for label in range(TOKENS)]
    mean_V = sum(d * each for d, each in zip(d_V, gradients, strict=True))
    assert isinstance(mean_V, Tensor)
    outside_K = order[K:] + list(range(TOKENS, WIDTH))
    assert abs(float(mean_V[outside_K].sum())) < 1e-6
    wanted_V = (1 - ALPHA) * outside * z_V.softmax(dim=0)[TOKENS:] / q_t
    torch.testing.assert_close(mean_V[TOKENS:], wanted_V, rtol=1e-3, atol=1e-8)
