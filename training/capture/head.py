"""From hidden states to what a capture keeps, without ever holding [tokens, vocabulary].

In: hidden states of predicting rows, and their labels. Out: per row the k most probable ids, the
tail mass, log Z at other temperatures and the label's negative log-likelihood, or draws. Rows go
through the head in chunks as large as a workspace allows; logits are float32 whatever the weights
are, and everything after the product works in place on them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

BLOCK = 64
MIB = 2**20
_onednn_linear: Any = getattr(torch.ops.mkldnn, "_linear_pointwise", None)


@dataclass(frozen=True, slots=True, eq=False)
class RowScores:
    """What is kept of N rows, on the device that computed it.

    - `id_NK`: int32, ordered by log-probability and, where equal, by id; -1 where fewer exist.
    - `log_p_NK`: float32 natural logarithms at T = 1 (of a draw: of its share of all draws).
    - `log_tail_N`: float32, log of the mass outside; -inf where nothing is left.
    - `log_z_TN`: float32, log of the sum of p^(1/T) over the vocabulary, per other temperature.
    - `nll_N`: float32, minus the label's log-probability. NaN or infinite logits make it NaN.
    """

    id_NK: Tensor
    log_p_NK: Tensor
    log_tail_N: Tensor
    log_z_TN: Tensor
    nll_N: Tensor


class RowHead:
    """An output head that is asked for what a capture keeps instead of for its logits.

    Args:
        weight_VH: the head's weight, cut to the ids that the tokenizer has: padded ids have
            probability zero.
        bias_V: its bias, or None.
        k: ids to keep per row.
        temperatures: those other than 1 whose normalisers are wanted.
        workspace_mib: memory for a chunk's logits; it decides how many rows go at once.
    """

    def __init__(
        self,
        weight_VH: Tensor,
        bias_V: Tensor | None,
        *,
        k: int,
        temperatures: tuple[float, ...] = (),
        workspace_mib: int = 256,
    ) -> None:
        # There is no product of bfloat16 into float32 on a CPU, and bfloat16 logits would be off
        # by up to 2^-9 of their size: 0.06 nats at a logit of 30.
        on_cpu = weight_VH.device.type == "cpu"
        self._weight_VH = weight_VH.float() if on_cpu else weight_VH
        self._bias_V = None if bias_V is None else bias_V.float()
        self._k, self._temperatures = k, temperatures
        self.size = weight_VH.shape[0]
        copies = 2 if temperatures else 1
        self.rows_per_chunk = max(1, workspace_mib * MIB // (4 * self.size * copies))

    def _chunks(self, hidden_NH: Tensor) -> list[slice]:
        rows = self.rows_per_chunk
        return [slice(begin, begin + rows) for begin in range(0, max(len(hidden_NH), 1), rows)]

    def logits(self, hidden_CH: Tensor) -> Tensor:
        """The rows' logits: float32 [C, V], a fresh tensor."""
        weight_VH = self._weight_VH
        if weight_VH.dtype is not torch.float32:
            x_CV = torch.mm(hidden_CH, weight_VH.T, out_dtype=torch.float32)
        elif weight_VH.is_cuda or _onednn_linear is None:
            x_CV = torch.mm(hidden_CH, weight_VH.T)
        else:
            # What torch calls for a float32 product, MKL, is half as fast as oneDNN on an AMD CPU:
            # 188 against 343 GFLOP/s on two cores with AVX-512 at a hidden size of 896.
            x_CV = _onednn_linear(hidden_CH.float(), weight_VH, None, "none", [], "")
        return x_CV if self._bias_V is None else x_CV.add_(self._bias_V)

    def top_k(self, hidden_NH: Tensor, label_N: Tensor) -> RowScores:
        """The k most probable ids of every row, with tail, normalisers and the labels' NLL."""
        return _joined([self._top_k(hidden_NH[c], label_N[c]) for c in self._chunks(hidden_NH)])

    def _top_k(self, hidden_CH: Tensor, label_C: Tensor) -> RowScores:
        x_CV = self.logits(hidden_CH)
        kept = min(self._k, self.size)
        # One more than is kept: the tail's largest, or itself -inf where nothing is left.
        best_CL, id_CL = top_of(x_CV, min(kept + 1, self.size))
        label_C = x_CV.gather(1, label_C[:, None])[:, 0]
        largest_C1, id_CK = best_CL[:, :1].clone(), id_CL[:, :kept]
        peak_C1 = pad(best_CL, (0, 1), value=-torch.inf)[:, kept : kept + 1]
        # With the head's entries gone the tail is a sum, not a small difference of large ones; and
        # relative to its own largest it is nought at no temperature, however sure the teacher is.
        x_CV.scatter_(1, id_CK, -torch.inf).sub_(peak_C1.masked_fill(peak_C1 == -torch.inf, 0.0))
        top_CK = (best_CL[:, :kept] - largest_C1).double()
        drop_C = (peak_C1.double() - largest_C1)[:, 0]
        log_z = [_log_sum(x_CV, top_CK, drop_C, t) for t in self._temperatures]
        tail_C = x_CV.exp_().sum(1).double().log() + drop_C
        log_s_C = torch.logaddexp(top_CK.exp().sum(1).log(), tail_C)
        log_p_CK = top_CK - log_s_C[:, None]
        z_TC = [z_C - log_s_C / t for z_C, t in zip(log_z, self._temperatures, strict=True)]
        return RowScores(
            id_NK=_padded(id_CK.masked_fill(log_p_CK == -torch.inf, -1), self._k, -1).int(),
            log_p_NK=_padded(log_p_CK, self._k, -torch.inf).float(),
            log_tail_N=(tail_C - log_s_C).float(),
            log_z_TN=torch.stack(z_TC).float() if z_TC else log_s_C.new_empty((0, len(log_s_C))),
            nll_N=(log_s_C - (label_C - largest_C1[:, 0]).double()).float(),
        )

    def draws(self, hidden_NH: Tensor, label_N: Tensor, uniform_ND: Tensor) -> RowScores:
        """Draws from the distribution itself (arXiv 2503.16870, with the proposal at T = 1).

        Args:
            uniform_ND: float64 numbers in [0, 1) that decide the D draws of every row.

        The share of draws that fell on an id is an unbiased estimate of its probability. Distinct
        ids are ordered by share and then by id, and there are as many columns as draws.
        """
        return _joined(
            [
                self._draws(hidden_NH[chunk], label_N[chunk], uniform_ND[chunk])
                for chunk in self._chunks(hidden_NH)
            ]
        )

    def _draws(self, hidden_CH: Tensor, label_C: Tensor, uniform_CD: Tensor) -> RowScores:
        x_CV = self.logits(hidden_CH)
        x_CV.sub_(x_CV.amax(1, keepdim=True))
        label_C = x_CV.gather(1, label_C[:, None])[:, 0].double()
        p_CBE = pad(x_CV.exp_(), (0, -self.size % BLOCK)).view(
            len(x_CV), -(-self.size // BLOCK), BLOCK
        )
        # By block first: the running sum over 152 k entries would need float64 throughout.
        below_CB = p_CBE.sum(2).double().cumsum(1)
        total_C1 = below_CB[:, -1:]
        id_CD = _inverse(p_CBE, below_CB, uniform_CD * total_C1)
        id_CK, count_CK = _counted(id_CD)
        log_p_CK = count_CK.double().log() - math.log(id_CD.shape[1])
        return RowScores(
            id_NK=id_CK.int(),
            log_p_NK=log_p_CK.float(),
            log_tail_N=torch.full_like(total_C1[:, 0], -torch.inf).float(),
            log_z_TN=total_C1.new_empty((0, len(id_CK))),
            nll_N=(total_C1[:, 0].log() - label_C).float(),
        )


def _log_sum(x_CV: Tensor, top_CK: Tensor, drop_C: Tensor, temperature: float) -> Tensor:
    """log of the sum of exp(x/T) over the tail, `drop_C` below the row's largest, and over the
    head's entries; float64 [C]."""
    tail_C = (x_CV / temperature).exp_().sum(1).double().log() + drop_C / temperature
    return torch.logaddexp((top_CK / temperature).exp().sum(1).log(), tail_C)


def top_of(x_CV: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest of each row and their positions; of equal ones the lowest position first.

    The k largest lie in the k blocks with the largest maxima (ordered by maximum, then position:
    an entry outside them has k entries before it) or in what is too short for a block. So one pass
    over the logits suffices, and the selection works on a few thousand numbers per row.
    """
    blocks = x_CV.shape[1] // BLOCK
    x_CBE = x_CV[:, : blocks * BLOCK].view(len(x_CV), blocks, BLOCK)
    place_V = torch.arange(x_CV.shape[1], device=x_CV.device)
    chosen_Cb = _order(x_CBE.amax(2), place_V[:blocks], min(k, blocks))
    inside_CbE = x_CBE.gather(1, chosen_Cb[:, :, None].expand(-1, -1, BLOCK))
    place_CbE = chosen_Cb[:, :, None] * BLOCK + place_V[:BLOCK]
    rest_CE = place_V[blocks * BLOCK :].expand(len(x_CV), -1)
    value_CE = torch.cat([inside_CbE.flatten(1), x_CV[:, blocks * BLOCK :]], dim=1)
    place_CE = torch.cat([place_CbE.flatten(1), rest_CE], dim=1)
    best_CK = _order(value_CE, place_CE, k)
    return value_CE.gather(1, best_CK), place_CE.gather(1, best_CK)


def _order(value_CE: Tensor, position_CE: Tensor, k: int) -> Tensor:
    """Indices of the k largest values, equal ones by position: sorted as one integer each."""
    # Adding zero makes -0.0 the 0.0 that it equals; the bits of negative floats count downwards.
    bits_CE = (value_CE + 0.0).view(torch.int32)
    rank_CE = torch.where(bits_CE < 0, bits_CE ^ 0x7FFFFFFF, bits_CE).long()
    return (rank_CE * 2**32 - position_CE).topk(k, dim=1).indices


def _inverse(p_CBE: Tensor, below_CB: Tensor, target_CD: Tensor) -> Tensor:
    """The ids at which the running sum of p passes each target: int64 [C, D]."""
    last = below_CB.shape[1] - 1
    block_CD = torch.searchsorted(below_CB, target_CD, right=True).clamp_(max=last)
    before_CD = (below_CB - p_CBE.sum(2).double()).gather(1, block_CD)
    inside_CDE = p_CBE.gather(1, block_CD[:, :, None].expand(-1, -1, BLOCK)).double()
    passed_CDE = inside_CDE.cumsum(2) <= (target_CD - before_CD).clamp_(min=0)[:, :, None]
    # Rounding may leave a target just above its block's sum: the last id with any mass takes it.
    top_CD = torch.where(inside_CDE > 0, torch.arange(BLOCK, device=p_CBE.device), 0).amax(2)
    return block_CD * BLOCK + torch.minimum(passed_CDE.sum(2), top_CD)


def _counted(id_CD: Tensor) -> tuple[Tensor, Tensor]:
    """Distinct ids and how often each was drawn, by count and then by id; -1 and 0 beyond."""
    sorted_CD = id_CD.sort(1).values
    draws = id_CD.shape[1]
    first_CD = torch.ones_like(sorted_CD, dtype=torch.bool)
    first_CD[:, 1:] = sorted_CD[:, 1:] != sorted_CD[:, :-1]
    slot_CD = first_CD.long().cumsum(1) - 1
    count_CD = torch.zeros_like(sorted_CD).scatter_add_(1, slot_CD, torch.ones_like(sorted_CD))
    ids_CD = torch.full_like(sorted_CD, -1).scatter_(1, slot_CD, sorted_CD)
    order_CD = (count_CD * 2**32 - ids_CD).topk(draws, dim=1).indices
    return ids_CD.gather(1, order_CD), count_CD.gather(1, order_CD)


def _padded(values_CK: Tensor, k: int, filler: float) -> Tensor:
    missing = k - values_CK.shape[1]
    return pad(values_CK, (0, missing), value=filler) if missing else values_CK


def _joined(parts: list[RowScores]) -> RowScores:
    return RowScores(
        id_NK=torch.cat([part.id_NK for part in parts]),
        log_p_NK=torch.cat([part.log_p_NK for part in parts]),
        log_tail_N=torch.cat([part.log_tail_N for part in parts]),
        log_z_TN=torch.cat([part.log_z_TN for part in parts], dim=1),
        nll_N=torch.cat([part.nll_N for part in parts]),
    )
