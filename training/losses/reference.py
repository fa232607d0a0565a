"""The objectives as they are defined, dense, row by row, in float64: what tests measure against.

In: logits or hidden states and weight, labels, targets. Out: the summed loss, differentiable by
autograd alone. Nothing here is shared with the implementation that trains, nothing is clever, and
the whole [N, V] is kept; only tests use it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from training.losses.objective import Objective
from training.losses.targets import SparseTargets

SMALLEST = 2.0**-149


def dense_linear_loss(
    hidden_NH: Tensor,
    weight_VH: Tensor,
    label_N: Tensor,
    targets: Sequence[SparseTargets],
    objective: Objective,
    *,
    bias_V: Tensor | None = None,
) -> Tensor:
    """The same as `fused_linear_loss`, by a full matrix of logits."""
    logits_NV = hidden_NH.double() @ weight_VH.double().T
    if bias_V is not None:
        logits_NV = logits_NV + bias_V.double()
    return dense_loss(logits_NV, label_N, targets, objective).sum()


def dense_loss(
    logits_NV: Tensor, label_N: Tensor, targets: Sequence[SparseTargets], objective: Objective
) -> Tensor:
    """Each row's loss: (1 - alpha) CE + alpha T^2 sum of weight x KD."""
    losses = []
    for n, z_V in enumerate(logits_NV.double()):
        label = int(label_N[n])
        loss = -log_softmax(z_V, dim=0)[label]
        if objective.name != "ce":
            loss = (1 - objective.alpha) * loss
            for target in targets:
                if float(target.weight_N[n]) > 0:
                    kd = dense_kd(z_V, label, target, n, objective)
                    kd = objective.alpha * objective.temperature**2 * kd
                    loss = loss + float(target.weight_N[n]) * kd
        losses.append(loss)
    return torch.stack(losses)


def dense_kd(
    z_V: Tensor, label: int, target: SparseTargets, n: int, objective: Objective
) -> Tensor:
    """One teacher's KD at row n, without alpha, T^2 or weight."""
    T = objective.temperature
    present_K = target.id_NK[n] >= 0
    id_K = target.id_NK[n][present_K]
    log_p_K = target.log_p_NK[n][present_K].double()
    log_q_V = log_softmax(z_V / T, dim=0)
    q_K = log_q_V.exp()[id_K]
    outside_V = torch.ones_like(z_V, dtype=torch.bool)
    outside_V[id_K] = False

    if objective.name == "renorm":
        p_K = (log_p_K / T).softmax(dim=0)
        return (p_K * (p_K.log() - (z_V[id_K] / T).log_softmax(dim=0))).sum()

    if objective.name == "sampled":
        w_V = torch.zeros_like(z_V)
        w_V[id_K] = log_p_K.exp()
        return _weighted(w_V, log_q_V, z_V, log_p_K.exp())

    p_K, p_tail = log_p_K.exp(), target.log_tail_N[n].double().exp()
    p_K, p_tail = p_K / (p_K.sum() + p_tail), p_tail / (p_K.sum() + p_tail)
    if objective.name == "label_tail":
        w_V = torch.zeros_like(z_V)
        w_V[id_K] = p_K
        if outside_V[label]:
            w_V[label] = 1.0
        return _weighted(w_V, log_q_V, z_V, p_K)

    if T != 1.0:
        p_K, p_tail = _tempered(log_p_K, target, n, T)
    p_B, q_B = p_K, q_K
    if outside_V.any():
        q_tail = (log_q_V[outside_V].logsumexp(dim=0)).exp()
        p_B, q_B = torch.cat([p_K, p_tail[None]]), torch.cat([q_K, q_tail[None]])
    if objective.name == "tail_bucket":
        return _kl(p_B, q_B)
    if objective.name == "reverse_tail":
        return _kl(q_B, p_B.clamp(min=SMALLEST))
    m_B = objective.beta * p_B + (1 - objective.beta) * q_B
    return objective.beta * _kl(p_B, m_B) + (1 - objective.beta) * _kl(q_B, m_B)


def _tempered(log_p_K: Tensor, target: SparseTargets, n: int, T: float) -> tuple[Tensor, Tensor]:
    """p^(1/T) / Z_T on K, and 1 less their sum for the tail as far as a float32 log Z can tell;
    within its error, a tail's sum of powers is not below (T > 1) or above (T < 1) the power of its
    sum."""
    assert target.log_z_N is not None
    z = target.log_z_N[n].double().exp()
    p_K = log_p_K.exp() ** (1 / T) / z
    bound = target.log_tail_N[n].double().exp() ** (1 / T) / z
    remainder = 1.0 - p_K.sum()
    told = bool(remainder >= 2.0**-22)
    if T > 1:
        known = remainder if told else torch.zeros_like(bound)
        p_tail = torch.maximum(known, torch.minimum(bound, known + 2.0**-22))
    else:
        p_tail = torch.minimum(remainder if told else torch.full_like(bound, 2.0**-22), bound)
    if target.log_tail_N[n] == -torch.inf:
        p_tail = torch.zeros_like(p_tail)
    return p_K / (p_K.sum() + p_tail), p_tail / (p_K.sum() + p_tail)


def _kl(a_B: Tensor, b_B: Tensor) -> Tensor:
    held_B = a_B > 0
    return (a_B[held_B] * (a_B[held_B].log() - b_B[held_B].log())).sum()


def _weighted(w_V: Tensor, log_q_V: Tensor, z_V: Tensor, p_K: Tensor) -> Tensor:
    """-sum w log q less the entropy on K, and a term of value nought that makes the gradient
    q - w where the weights of one draw do not sum to one."""
    normaliser = z_V.logsumexp(dim=0)
    entropy = (p_K[p_K > 0] * p_K[p_K > 0].log()).sum()
    control = (1 - w_V.sum()) * (normaliser - normaliser.detach())
    return entropy - (w_V * log_q_V).sum() + control
