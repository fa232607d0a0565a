"""Turns teacher rows into packed bytes and back: ids exactly, probabilities to about 5e-6 nats.

In: `TeacherRows`. Out: uint8 [N, row_bytes], and rows again. A `top_k` row of k ids holds, bit by
bit: k ids in order of probability; k − 1 drops in log-probability from one id to the next; the
log-odds of the tail at T = 1 and at every further temperature. The first id's probability is not
stored: what the tail leaves is shared out by the drops, so masses sum to one and the order of the
ids cannot change. At k = 10 and 151,936 ids that is 180 + 66 + 10 = 256 bits: 32 bytes.

log Z_T is stored as the tail's mass at T (log Z_T = logsumexp_K(log p / T) − log(1 − p_t,T)), in 10
bits that agree with the stored ids whatever their error. log Z_T itself, even as a float32, does
not: beside the stored ids it leaves some tails a negative mass at T < 1 and misses the bar.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from training.errors import CaptureError
from training.store.bits import BitLayout
from training.store.checks import check_rows
from training.store.rows import TeacherRows
from training.store.scales import Array, odds_scale, ratio_scale

Kind = Literal["top_k", "sampled"]

_TAIL_BITS = 10
# A drop's error weighs as much as the probability it starts from, at most 1/(i − 1) at id i.
_DROP_BITS = (9, 8, 7)


@dataclass(frozen=True)
class Codec:
    """How rows of one form become bytes.

    - `k`: ids of a row; for `sampled`, the draws.
    - `vocab_size`: ids lie in [0, vocab_size).
    - `temperatures`: those whose normaliser is kept; T = 1 needs none and is left out.
    - `kind`: `top_k` or `sampled`. A `sampled` row is its draws' ids, repeated as often as drawn.
    """

    k: int
    vocab_size: int
    temperatures: tuple[float, ...] = ()
    kind: Kind = "top_k"

    def __post_init__(self) -> None:
        extra = sorted({float(t) for t in self.temperatures} - {1.0})
        object.__setattr__(self, "temperatures", tuple(extra) if self.kind == "top_k" else ())

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return self._layout.row_bytes

    def as_dict(self) -> dict[str, Any]:
        """As JSON says it."""
        return asdict(self)

    def encode(self, rows: TeacherRows) -> NDArray[np.uint8]:
        """Bytes of the rows: uint8 [N, row_bytes].

        Raises:
            CaptureError: the rows are of another form, out of order, or no distribution.
        """
        rows = check_rows(rows, self.k, self.vocab_size, self.kind, self.temperatures)
        if self.kind == "sampled":
            return self._layout.pack(self._repeated(rows).T.astype(np.uint64))
        id_KN = np.ascontiguousarray(rows.id_NK.T)
        code_id_KN = np.where(id_KN < 0, self._no_id, id_KN).astype(np.uint64)
        log_p_KN = rows.log_p_NK.T.astype(np.float64)
        odds_SN = [rows.log_tail_N.astype(np.float64) - _log_sum(log_p_KN)]
        for temperature in self.temperatures:
            log_head_N = _log_sum(log_p_KN / temperature) - rows.log_z[temperature]
            odds_SN.append(_log_rest(log_head_N) - log_head_N)
        code_tail_SN = odds_scale(_TAIL_BITS).encode(np.stack(odds_SN))
        parts = [code_id_KN, self._encode_drops(log_p_KN, id_KN < 0), code_tail_SN]
        return self._layout.pack(np.concatenate(parts))

    def decode(self, byte_NB: NDArray[np.uint8]) -> TeacherRows:
        """The rows behind the bytes, `k` ids wide."""
        number_FN = self._layout.unpack(byte_NB)
        id_KN = number_FN[: self.k].astype(np.int32)
        if self.kind == "sampled":
            return _collapsed(np.ascontiguousarray(id_KN.T))
        id_KN[id_KN == self._no_id] = -1
        drop_KN = np.zeros(id_KN.shape)
        for i, number_N in enumerate(number_FN[self.k : 2 * self.k - 1], start=1):
            drop_KN[i] = ratio_scale(_drop_bits(i)).decode(number_N)
        log_w_KN = np.where(id_KN < 0, -np.inf, -np.cumsum(drop_KN, axis=0))
        odds_SN = odds_scale(_TAIL_BITS).decode(number_FN[2 * self.k - 1 :])
        # log p_t = −log(1 + e^−x) and log(1 − p_t) = −log(1 + e^x).
        log_tail_N, log_head_SN = -np.logaddexp(0, -odds_SN[0]), -np.logaddexp(0, odds_SN)
        log_p_KN = log_w_KN - _log_sum(log_w_KN) + log_head_SN[0]
        log_z = {
            temperature: (_log_sum(log_p_KN / temperature) - log_head_N).astype(np.float32)
            for temperature, log_head_N in zip(self.temperatures, log_head_SN[1:], strict=True)
        }
        return TeacherRows(
            id_NK=np.ascontiguousarray(id_KN.T),
            log_p_NK=np.ascontiguousarray(log_p_KN.T, dtype=np.float32),
            log_tail_N=log_tail_N.astype(np.float32),
            log_z=log_z,
        )

    @cached_property
    def _layout(self) -> BitLayout:
        ids = [self._id_bits] * self.k
        if self.kind == "sampled":
            return BitLayout(ids)
        drops = [_drop_bits(i) for i in range(1, self.k)]
        return BitLayout(ids + drops + [_TAIL_BITS] * (1 + len(self.temperatures)))

    @property
    def _id_bits(self) -> int:
        return self.vocab_size.bit_length()

    @property
    def _no_id(self) -> int:
        """All ones: at least `vocab_size`, so never an id."""
        return (1 << self._id_bits) - 1

    def _encode_drops(self, log_p_KN: Array, absent_KN: NDArray[np.bool_]) -> NDArray[np.uint64]:
        """Each drop is taken from the *stored* predecessor, so that errors never add up."""
        code_KN = np.zeros((self.k - 1, log_p_KN.shape[1]), np.uint64)
        stored_N = np.zeros(log_p_KN.shape[1])
        for i in range(1, self.k):
            scale = ratio_scale(_drop_bits(i))
            drop_N = np.maximum(stored_N - (log_p_KN[i] - log_p_KN[0]), 0)
            code_KN[i - 1] = scale.encode(drop_N)
            stored_N = stored_N - np.where(np.isinf(drop_N), 0, scale.decode(code_KN[i - 1]))
        code_KN[absent_KN[1:]] = 0
        return code_KN

    def _repeated(self, rows: TeacherRows) -> NDArray[np.int32]:
        """The draws' ids [N, draws], each as often as its share says."""
        share_NK = np.exp(rows.log_p_NK.astype(np.float64)) * self.k
        count_NK = np.rint(share_NK).astype(np.int64)
        whole = np.allclose(share_NK, count_NK, rtol=0, atol=0.01)
        if not (whole and (count_NK.sum(axis=1) == self.k).all()):
            raise CaptureError(
                f"Sampled rows do not hold {self.k} draws each.",
                cause="The shares of a row, times the draws, are no whole numbers of that sum.",
                solution="Give the number of draws that the rows were sampled with.",
            )
        return np.repeat(rows.id_NK.ravel(), count_NK.ravel()).reshape(len(rows), self.k)


def codec_error(
    true: TeacherRows, stored: TeacherRows, temperature: float = 1.0
) -> NDArray[np.float32]:
    """KL(true‖stored) in nats of each row, on K and the tail at `temperature`: float32 [N].

    Both sides are brought to a sum of one first. Both must hold the same ids in the same order;
    where one is wider, the rest of it is empty. At T ≠ 1 the tail's mass is what log Z_T leaves,
    known to a millionth (float32's step at log Z_T).
    """
    k = min(true.k, stored.k)
    log_p_NS, log_q_NS = _buckets(true, k, temperature), _buckets(stored, k, temperature)
    p_NS = np.exp(log_p_NS)
    with np.errstate(invalid="ignore", over="ignore"):
        ratio_NS = log_p_NS - log_q_NS
        # p log(p/q) − p + q: the same sum, but no term is negative, and none cancels another.
        term_NS = p_NS * (ratio_NS + np.expm1(-ratio_NS))
    term_NS = np.where(p_NS > 0, term_NS, np.exp(log_q_NS))
    return np.asarray(term_NS.sum(axis=1), dtype=np.float32)


def _buckets(rows: TeacherRows, k: int, temperature: float) -> Array:
    """Log-masses of k ids and, last, of the tail, summing to one: [N, k + 1]."""
    log_p_NK = rows.log_p_NK[:, :k].astype(np.float64) / temperature
    log_tail_N = rows.log_tail_N.astype(np.float64)
    if temperature != 1.0:
        log_head_N = _log_sum(log_p_NK.T) - rows.log_z[temperature]
        log_p_NK = log_p_NK - rows.log_z[temperature].astype(np.float64)[:, None]
        log_tail_N = np.log(np.maximum(-np.expm1(np.minimum(log_head_N, 0)), 1e-6))
    log_NS = np.concatenate([log_p_NK, log_tail_N[:, None]], axis=1)
    return log_NS - _log_sum(log_NS.T)[:, None]


def _drop_bits(i: int) -> int:
    return _DROP_BITS[min(i, len(_DROP_BITS)) - 1]


def _log_sum(log_KN: Array) -> Array:
    """Log-sum-exp over the first axis, which is ordered or holds a finite value first."""
    highest_N = log_KN.max(axis=0)
    return np.asarray(highest_N + np.log(np.exp(log_KN - highest_N).sum(axis=0)))


def _log_rest(log_head_N: Array) -> Array:
    """log(1 − e^x); −inf where rounding has x at zero or above."""
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(-np.expm1(np.minimum(log_head_N, 0))))


def _collapsed(drawn_ND: NDArray[np.int32]) -> TeacherRows:
    """Distinct ids and the log of their share of all draws; equal draws lie side by side."""
    rows, draws = drawn_ND.shape
    new_ND = np.ones(drawn_ND.shape, bool)
    new_ND[:, 1:] = drawn_ND[:, 1:] != drawn_ND[:, :-1]
    group_ND = np.cumsum(new_ND, axis=1) - 1 + np.arange(rows)[:, None] * draws
    count_ND = np.bincount(group_ND.ravel(), minlength=rows * draws).reshape(rows, draws)
    id_ND = np.full(rows * draws, -1, np.int32)
    id_ND[group_ND[new_ND]] = drawn_ND[new_ND]
    with np.errstate(divide="ignore"):
        log_p_ND = np.log(count_ND / draws).astype(np.float32)
    log_tail_N = np.full(rows, -np.inf, np.float32)
    return TeacherRows(id_ND.reshape(rows, draws), log_p_ND, log_tail_N, kind="sampled")
