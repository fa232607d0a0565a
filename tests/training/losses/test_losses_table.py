"""What the student is taught at a temperature beside the teacher's whole distribution there.

The loss has k log-probabilities, a tail and a float32 log Z of each row, fresh from the teacher or
back from the store. The measure is KL(true, taught) over the k ids and the tail, in nats, with the
true side worked out in float64 from all logits: nothing here knows how the table does it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from teacher_rows import dense_rows, log_sum

from training.capture.targets import rows_to_targets
from training.losses.objective import Objective
from training.losses.table import LOG_Z_ERROR, build_table
from training.store.codec import Codec
from training.store.rows import TeacherRows

Logits = NDArray[np.float64]
VOCABULARY, ROWS, K = 20_000, 16, 10
TEMPERATURES = (0.5, 2.0, 4.0, 10.0, 100.0)


def _noise() -> Logits:
    return np.random.default_rng(0).normal(0, 1, (ROWS, VOCABULARY))


def _zipf() -> Logits:
    exponent_N1 = np.random.default_rng(1).uniform(1, 4, (ROWS, 1))
    return -exponent_N1 * np.log(np.arange(1, VOCABULARY + 1)) + _noise() / 2


def _flat() -> Logits:
    return 2 * _noise()


def _a_few_candidates() -> Logits:
    logit_NV = _noise()
    logit_NV[:, :20] += np.random.default_rng(2).uniform(5, 20, (ROWS, 20))
    return logit_NV


def _sure(lead: float) -> Callable[[], Logits]:
    def made() -> Logits:
        logit_NV = _noise()
        logit_NV[:, 7] += lead
        return logit_NV

    return made


FAMILIES: dict[str, Callable[[], Logits]] = {
    "zipf": _zipf,
    "flat": _flat,
    "a few candidates": _a_few_candidates,
    "sure to e^-15": _sure(25.0),
    "sure to e^-240": _sure(250.0),
}


def _far_tail() -> Logits:
    """Ten ids, and a few others so far below that the store has less than their distance."""
    logit_NV = 2 * np.random.default_rng(3).normal(0, 1, (ROWS, 30))
    logit_NV[:, K:] -= 150
    return logit_NV


def kl(logit_NV: Logits, rows: TeacherRows, temperature: float) -> NDArray[np.float64]:
    """What the table of these rows loses of the distribution at T: float64 [N]."""
    log_p_NV = logit_NV / temperature
    log_p_NV -= log_sum(log_p_NV)[:, None]
    id_NK = rows.id_NK.astype(np.int64)
    tail_NV = log_p_NV.copy()
    np.put_along_axis(tail_NV, id_NK, -np.inf, axis=1)
    true_NB = np.c_[np.take_along_axis(log_p_NV, id_NK, axis=1), log_sum(tail_NV)]
    taught_NB = _taught(rows, logit_NV.shape[1], temperature)
    p_NB, d_NB = np.exp(true_NB), true_NB - taught_NB
    total: NDArray[np.float64] = (p_NB * (d_NB + np.expm1(-d_NB))).sum(axis=1)
    return total


def _taught(rows: TeacherRows, width: int, temperature: float) -> NDArray[np.float64]:
    target = rows_to_targets([rows], [len(rows)], [1.0], k=K, temperature=temperature, width=width)
    goal = Objective("tail_bucket", temperature=temperature)
    table = build_table(target.id_NK[:, 0], [target], goal, torch.float64)
    at_NKE = target.id_NK[:, :, None] == table.id_NE[:, None, :]
    assert bool((at_NKE.sum(dim=2) == 1).all())
    log_p_NK = table.log_p_MNE[0].gather(1, at_NKE.long().argmax(dim=2))
    return np.asarray(torch.cat([log_p_NK, table.log_tail_MN[0][:, None]], dim=1))


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("family", FAMILIES)
def test_fresh_rows_teach_the_distribution_at_any_temperature(
    family: str, temperature: float
) -> None:
    logit_NV = FAMILIES[family]()
    lost_N = kl(logit_NV, dense_rows(logit_NV, K, TEMPERATURES), temperature)
    # Below T = 1 a tail may become less than a float32 log Z can tell.
    assert lost_N.max() <= (1e-8 if temperature > 1 else LOG_Z_ERROR)


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("family", [name for name in FAMILIES if name != "sure to e^-240"])
def test_rows_from_the_store_teach_it_too(family: str, temperature: float) -> None:
    logit_NV = FAMILIES[family]()
    codec = Codec(K, VOCABULARY, TEMPERATURES)
    stored = codec.decode(codec.encode(dense_rows(logit_NV, K, TEMPERATURES)))
    assert kl(logit_NV, stored, temperature).mean() <= (1e-5 if temperature > 1 else 3e-5)


@pytest.mark.parametrize("temperature", [2.0, 4.0, 10.0, 100.0])
def test_a_tail_beyond_what_the_store_can_say_is_what_log_z_leaves(temperature: float) -> None:
    logit_NV = _far_tail()
    codec = Codec(K, logit_NV.shape[1], (temperature,))
    rows = dense_rows(logit_NV, K, [temperature])
    assert kl(logit_NV, rows, temperature).max() <= 1e-8
    stored = codec.decode(codec.encode(rows))
    assert stored.log_tail_N.min() > rows.log_tail_N.max() + 100
    assert kl(logit_NV, stored, temperature).mean() <= 1e-5
