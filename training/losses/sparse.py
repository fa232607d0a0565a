"""What an objective makes of one chunk's logits, once the vocabulary outside the table is a sum.

In: the logits at the table's ids and, for all other ids (the rest), the log of their summed
exponentials. Out: each row's loss and statistics, dL/dz at the table's ids, and the one factor per
row that turns exp(z) into dL/dz everywhere else. That this is enough is the general form

    dL/dz_v = 1[v in K] g_v - q_v (sum_k g_k + g_t) + 1[v not in K] g_t q_v / q_t

for any L(log q_K, log q_t) with g its derivatives. A tail's log q_t is the log-sum-exp of what lies
in it, never 1 - Q, so nothing cancels however nearly K covers either side.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from training.losses.objective import BUCKETED, Objective
from training.losses.table import ABSENT, RowTable

LOG_SMALLEST = math.log(2.0**-149)
"""Log of the smallest positive float32: what a reverse KL takes a teacher's zero for, since its
true value there is infinite."""


@dataclass(frozen=True, slots=True, eq=False)
class Rest:
    """The vocabulary outside the table: N rows, logits relative to each row's highest one.

    `max_N` is -inf where the table holds the whole vocabulary; `log_sum_N` is the log-sum-exp at
    T = 1, `tempered_N` the same of z/T (None where no tail at another temperature is asked for).
    """

    max_N: Tensor
    log_sum_N: Tensor
    tempered_N: Tensor | None = None


@dataclass(frozen=True, slots=True, eq=False)
class RowResult:
    """Per row: the loss, and what `fused.RowStats` tells of how it came about."""

    loss_N: Tensor
    ce_N: Tensor
    kd_N: Tensor
    student_mass_N: Tensor
    agree_N: Tensor
    kd_gradient_N: Tensor
    ce_gradient_N: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class RowGradient:
    """dL/dz: `value_NE` at the table's ids; elsewhere `factor_N` exp(z - the rest's maximum) +
    `tempered_factor_N` exp((z - the rest's maximum) / T)."""

    value_NE: Tensor
    factor_N: Tensor
    tempered_factor_N: Tensor | None


@dataclass(frozen=True, slots=True, eq=False)
class _Student:
    """log q at a temperature: at the table's ids, and of the rest together."""

    log_q_NE: Tensor
    log_rest_N: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """KD and dKD/du of one teacher or of all: at the table's ids, and summed over the rest."""

    kd_N: Tensor
    gradient_NE: Tensor
    rest_N: Tensor


def evaluate(
    objective: Objective, table: RowTable, logit_NE: Tensor, top_N: Tensor, rest: Rest
) -> tuple[RowResult, RowGradient]:
    """Loss and gradient of N rows.

    Args:
        logit_NE: logits at the table's ids; -inf where the id is -1.
        top_N: the row's highest logit.
        rest: everything else in the vocabulary, relative to that.
    """
    z_NE = logit_NE - top_N[:, None]
    student = _student(z_NE, rest.log_sum_N)
    q_NE = student.log_q_NE.exp()
    ce_N = -student.log_q_NE.gather(1, table.label_at_N[:, None])[:, 0]
    is_label_NE = _column(table.label_at_N, z_NE)
    ce, scale = objective.ce_factor, objective.kd_gradient_factor
    kd = _teachers(objective, table, logit_NE, z_NE, rest, student)
    rest_N, tempered_N = ce * student.log_rest_N.exp(), None
    if rest.tempered_N is None:
        rest_N = rest_N + scale * kd.rest_N
    else:
        peak_N = rest.max_N / objective.temperature
        tempered_N = scale * kd.rest_N * _share(peak_N, rest.tempered_N)
    top_N = z_NE.gather(1, table.first_at_N.clamp(min=0)[:, None])[:, 0]
    result = RowResult(
        loss_N=ce * ce_N + objective.kd_factor * kd.kd_N,
        ce_N=ce_N,
        kd_N=kd.kd_N,
        student_mass_N=_student_mass(table, q_NE),
        agree_N=((table.first_at_N >= 0) & (top_N >= 0)).to(z_NE.dtype),
        kd_gradient_N=scale * (kd.gradient_NE.abs().sum(dim=1) + kd.rest_N.abs()),
        ce_gradient_N=-2 * ce * torch.expm1(-ce_N),
    )
    value_NE = ce * torch.where(is_label_NE, student.log_q_NE.expm1(), q_NE)
    value_NE += scale * kd.gradient_NE
    return result, RowGradient(value_NE, rest_N * _share(rest.max_N, rest.log_sum_N), tempered_N)


def _student_mass(table: RowTable, q_NE: Tensor) -> Tensor:
    """Q on each teacher's K, averaged by the teachers' weights."""
    on_K_MN = torch.where(table.log_p_MNE != ABSENT, q_NE, 0.0).sum(dim=2)
    return (table.share_MN * on_K_MN).sum(dim=0)


def _teachers(
    objective: Objective,
    table: RowTable,
    logit_NE: Tensor,
    z_NE: Tensor,
    rest: Rest,
    student: _Student,
) -> _Part:
    """The weighted sum over all teachers; a row's teacher of weight 0 is not so much as read."""
    if objective.temperature != 1.0:
        log_rest_N = rest.log_sum_N if rest.tempered_N is None else rest.tempered_N
        student = _student(z_NE / objective.temperature, log_rest_N)
    kd_N, gradient_NE = torch.zeros_like(rest.max_N), torch.zeros_like(z_NE)
    rest_N = torch.zeros_like(kd_N)
    for m, weight_N in enumerate(table.weight_MN):
        part = _part(objective, table, m, logit_NE, student)
        silent_N = weight_N == 0
        kd_N += (weight_N * part.kd_N).masked_fill(silent_N, 0.0)
        rest_N += (weight_N * part.rest_N).masked_fill(silent_N, 0.0)
        gradient_NE += (weight_N[:, None] * part.gradient_NE).masked_fill(silent_N[:, None], 0.0)
    return _Part(kd_N, gradient_NE, rest_N)


def _part(
    objective: Objective, table: RowTable, m: int, logit_NE: Tensor, student: _Student
) -> _Part:
    in_K_NE = table.log_p_MNE[m] != ABSENT
    log_p_NE = table.log_p_MNE[m].masked_fill(~in_K_NE, -math.inf)
    if objective.name == "renorm":
        return _renorm(log_p_NE, logit_NE.masked_fill(~in_K_NE, -math.inf), objective.temperature)
    if objective.name in BUCKETED:
        return _bucketed(objective, table.log_tail_MN[m], in_K_NE, log_p_NE, student)
    outside_NE = torch.zeros_like(in_K_NE)
    if objective.name == "label_tail":
        outside_NE = _column(table.label_at_N, logit_NE) & ~in_K_NE
    return _weights(log_p_NE, outside_NE, student)


def _bucketed(
    objective: Objective, log_tail_N: Tensor, in_K_NE: Tensor, log_p_NE: Tensor, student: _Student
) -> _Part:
    """Distributions over B = E + 1 bins: K (ids outside it have no mass here), then the tail."""
    beside_NE = student.log_q_NE.masked_fill(in_K_NE, -math.inf)
    beside_NB = torch.cat([beside_NE, student.log_rest_N[:, None]], dim=1)
    log_q_tail_N1 = beside_NB.logsumexp(dim=1, keepdim=True)
    # An empty tail can hold nothing: what a teacher says of it is its codec's rounding.
    log_p_tail_N1 = log_tail_N[:, None].masked_fill(log_q_tail_N1 == -math.inf, -math.inf)
    log_q_NE = student.log_q_NE.masked_fill(~in_K_NE, -math.inf)
    log_q_NB = torch.cat([log_q_NE, log_q_tail_N1], dim=1)
    log_p_NB = torch.cat([log_p_NE, log_p_tail_N1], dim=1)
    if objective.name == "tail_bucket":
        kd_N = _divergence(log_p_NB, log_q_NB)
        on_K_NB = log_q_NB.exp() - log_p_NB.exp()
        tail_NB = beside_NB.exp() - log_p_tail_N1.exp() * _share(beside_NB, log_q_tail_N1)
    else:
        if objective.name == "reverse_tail":
            kd_N, slope_NB = _reverse(log_p_NB, log_q_NB)
        else:
            kd_N, slope_NB = _jensen_shannon(log_p_NB, log_q_NB, objective.beta)
        on_K_NB = log_q_NB.exp() * slope_NB
        tail_NB = beside_NB.exp() * slope_NB[:, -1:]
    gradient_NE = torch.where(in_K_NE, on_K_NB[:, :-1], tail_NB[:, :-1])
    return _Part(kd_N, gradient_NE, tail_NB[:, -1])


def _renorm(log_p_NE: Tensor, z_NE: Tensor, temperature: float) -> _Part:
    """Relative to K's own highest logit: where K is far below the rest, log q lost its digits."""
    highest_N1 = z_NE.amax(dim=1, keepdim=True)
    z_NE = (z_NE - highest_N1.masked_fill(highest_N1 == -math.inf, 0.0)) / temperature
    log_sum_N1 = z_NE.logsumexp(dim=1, keepdim=True)
    log_q_NE = z_NE - log_sum_N1.masked_fill(log_sum_N1 == -math.inf, 0.0)
    gradient_NE = log_q_NE.exp() - log_p_NE.exp()
    kd_N = _divergence(log_p_NE, log_q_NE)
    return _Part(kd_N, gradient_NE, torch.zeros_like(kd_N))


def _weights(log_w_NE: Tensor, outside_NE: Tensor, student: _Student) -> _Part:
    """Gradient q - w. Where w sums to one only on average (`label_tail`), that is the gradient of
    sum w (log w - log q) + (1 - sum w)(lse - sg(lse)), whose last term is always nought in value
    and nought in the mean in its gradient: a control variate. The label outside K has weight one:
    it falls there with probability 1 - P, so its mean is p_v, as it must be."""
    w_NE, log_q_NE = log_w_NE.exp(), student.log_q_NE
    gap_NE = torch.where(w_NE > 0, log_w_NE - log_q_NE, 0.0)
    kd_N = (w_NE * gap_NE).sum(dim=1) - torch.where(outside_NE, log_q_NE, 0.0).sum(dim=1)
    gradient_NE = torch.where(outside_NE, log_q_NE.expm1(), log_q_NE.exp() - w_NE)
    return _Part(kd_N, gradient_NE, student.log_rest_N.exp())


def _reverse(log_p_NB: Tensor, log_q_NB: Tensor) -> tuple[Tensor, Tensor]:
    gone_NB = log_q_NB == -math.inf
    log_p_NB = log_p_NB.clamp(min=LOG_SMALLEST).masked_fill(gone_NB, -math.inf)
    kd_N = _divergence(log_q_NB, log_p_NB)
    return kd_N, (log_q_NB - log_p_NB).masked_fill(gone_NB, 0.0) - kd_N[:, None]


def _jensen_shannon(log_p_NB: Tensor, log_q_NB: Tensor, beta: float) -> tuple[Tensor, Tensor]:
    log_m_NB = torch.logaddexp(log_p_NB + math.log(beta), log_q_NB + math.log1p(-beta))
    from_q_N = _divergence(log_q_NB, log_m_NB)
    kd_N = beta * _divergence(log_p_NB, log_m_NB) + (1 - beta) * from_q_N
    gap_NB = (log_q_NB - log_m_NB).masked_fill(log_q_NB == -math.inf, 0.0)
    return kd_N, (1 - beta) * (gap_NB - from_q_N[:, None])


def _divergence(log_a_NB: Tensor, log_b_NB: Tensor) -> Tensor:
    """KL(a, b) of two distributions over bins, as sum a d - a + b with d = log a - log b.

    Both sum to one, so the added terms do; but now each bin's term is at least nought, so rounding
    cannot make KL negative, and where a = b it is nought to the bit. Near there a d - a + b cancels
    and a (d + expm1(-d)) does not.
    """
    a_NB, b_NB = log_a_NB.exp(), log_b_NB.exp()
    d_NB = (log_a_NB - log_b_NB).masked_fill(log_a_NB == -math.inf, 0.0)
    near_NB = a_NB * (d_NB + torch.expm1(-d_NB.clamp(-1, 1)))
    far_NB = a_NB * d_NB + (b_NB - a_NB)
    term_NB = torch.where(d_NB.abs() < 1, near_NB, far_NB)
    return torch.where(a_NB > 0, term_NB, b_NB).clamp(min=0).sum(dim=1)


def _student(z_NE: Tensor, log_rest_N: Tensor) -> _Student:
    log_sum_N = torch.logaddexp(log_rest_N, z_NE.logsumexp(dim=1))
    return _Student(z_NE - log_sum_N[:, None], log_rest_N - log_sum_N)


def _share(log_part: Tensor, log_whole: Tensor) -> Tensor:
    """part / whole; nought where there is no part."""
    return (log_part - log_whole).masked_fill(log_part == -math.inf, -math.inf).exp()


def _column(at_N: Tensor, like_NE: Tensor) -> Tensor:
    return torch.arange(like_NE.shape[1], device=at_N.device) == at_N[:, None]
