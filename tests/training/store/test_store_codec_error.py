"""What storing costs, in nats and in bytes, on distributions of Qwen2.5's width (151,936 ids)."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from teacher_rows import QWEN_WIDTH, SOURCE, dense_rows, example, log_sum

from training.store.codec import Codec, codec_error
from training.store.key import CaptureForm
from training.store.report import store_report
from training.store.rows import TeacherRows
from training.store.store import RowStore
from training.store.writer import ShardWriter

TEMPERATURES = (0.5, 2.0, 4.0)
ROWS = 48


def logits(family: str) -> NDArray[np.float64]:
    """Float64 [ROWS, 151,936]."""
    maker = np.random.default_rng(len(family))
    noise_NV = maker.normal(0, 1, (ROWS, QWEN_WIDTH))
    if family == "zipf":
        exponent_N = maker.uniform(0.9, 4, (ROWS, 1))
        return -exponent_N * np.log(np.arange(1, QWEN_WIDTH + 1)) + noise_NV / 2
    if family == "near-deterministic":
        noise_NV[np.arange(ROWS), maker.integers(0, QWEN_WIDTH, ROWS)] += maker.uniform(
            15, 40, ROWS
        )
        return noise_NV
    if family == "flat":
        return noise_NV * maker.uniform(0.01, 2, (ROWS, 1))
    for logit_V in noise_NV:
        candidates = maker.integers(2, 40)
        logit_V[maker.choice(QWEN_WIDTH, candidates)] += maker.uniform(10, 20, candidates)
    return noise_NV


FAMILIES = ("zipf", "near-deterministic", "flat", "a few candidates")


@pytest.fixture(scope="module")
def rows_by_family() -> dict[str, TeacherRows]:
    return {family: dense_rows(logits(family), 10, TEMPERATURES) for family in FAMILIES}


@pytest.fixture(scope="module")
def stored_by_family(rows_by_family: dict[str, TeacherRows]) -> dict[str, TeacherRows]:
    codec = Codec(10, QWEN_WIDTH, TEMPERATURES)
    return {family: codec.decode(codec.encode(rows)) for family, rows in rows_by_family.items()}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_mean_error_is_a_tenth_of_the_bar(
    rows_by_family: dict[str, TeacherRows], stored_by_family: dict[str, TeacherRows], family: str
) -> None:
    error_N = codec_error(rows_by_family[family], stored_by_family[family])
    assert error_N.mean() <= 1e-5
    assert error_N.max() <= 1e-4


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("family", FAMILIES)
def test_the_distribution_at_another_temperature_is_within_the_bar(
    rows_by_family: dict[str, TeacherRows],
    stored_by_family: dict[str, TeacherRows],
    family: str,
    temperature: float,
) -> None:
    error_N = codec_error(rows_by_family[family], stored_by_family[family], temperature)
    assert error_N.mean() <= 2e-5
    assert error_N.max() <= 1e-4


def test_log_z_beside_the_stored_ids_would_miss_the_bar_even_in_full_precision(
    rows_by_family: dict[str, TeacherRows], stored_by_family: dict[str, TeacherRows]
) -> None:
    """Why the tail's mass at T is stored: ids that are off by a little, raised to 1/T = 2, may hold
    more than an exact log Z allows."""
    true, stored = rows_by_family["zipf"], stored_by_family["zipf"]
    head_N = log_sum(stored.log_p_NK.astype(float) / 0.5).astype(np.float32)
    assert (head_N > true.log_z[0.5]).mean() > 0.1
    with_log_z = dataclasses.replace(stored, log_z={0.5: np.maximum(true.log_z[0.5], head_N)})
    assert codec_error(true, with_log_z, 0.5).mean() > 1e-4
    assert codec_error(true, stored, 0.5).mean() <= 2e-5


@pytest.mark.parametrize("family", FAMILIES)
def test_log_z_is_off_by_hundredths_where_the_ids_hold_half_and_never_by_a_quarter(
    rows_by_family: dict[str, TeacherRows], stored_by_family: dict[str, TeacherRows], family: str
) -> None:
    true, stored = rows_by_family[family], stored_by_family[family]
    for temperature in TEMPERATURES:
        off_N = np.abs(true.log_z[temperature] - stored.log_z[temperature])
        head_N = log_sum(true.log_p_NK.astype(float) / temperature) - true.log_z[temperature]
        assert off_N.max() <= 0.25
        assert off_N[head_N > np.log(0.5)].max(initial=0) <= 0.02


def filled_shard(folder: Path, rows_by_family: dict[str, TeacherRows], form: CaptureForm) -> Path:
    """A shard of 10,000 rows in samples of 60 to 340: the families' rows in turn, with new ids."""
    source = dataclasses.replace(SOURCE, form=form)
    log_p_NK = np.concatenate([rows_by_family[family].log_p_NK for family in FAMILIES])
    log_tail_N = np.concatenate([rows_by_family[family].log_tail_N for family in FAMILIES])
    log_z = {
        t: np.concatenate([rows_by_family[family].log_z[t] for family in FAMILIES])
        for t in form.temperatures
    }
    maker = np.random.default_rng(0)
    with ShardWriter(folder, source, QWEN_WIDTH) as writer:
        for number in range(50):
            length = 60 + number % 8 * 40 if number < 48 else 200
            which_N = maker.integers(0, len(log_p_NK), length)
            id_NK = np.stack([maker.choice(QWEN_WIDTH, 10, replace=False) for _ in which_N])
            rows = TeacherRows(
                id_NK.astype(np.int32),
                log_p_NK[which_N],
                log_tail_N[which_N],
                {t: log_z_N[which_N] for t, log_z_N in log_z.items()},
            )
            writer.append(example(number, length), rows)
    (path,) = folder.glob("*.rows")
    return path


def test_a_shard_of_10_000_rows_takes_under_34_bytes_per_response_token_all_told(
    tmp_path: Path, rows_by_family: dict[str, TeacherRows]
) -> None:
    path = filled_shard(tmp_path, rows_by_family, CaptureForm.top_k(10, [1.0]))
    total = store_report(RowStore.open(tmp_path)).total
    assert total.rows == 10_000
    assert path.stat().st_size / total.rows <= 33
    assert total.bytes_per_row == path.stat().st_size / total.rows
    assert total.codec_error["1.0"].mean <= 1e-5


def test_each_further_temperature_costs_ten_bits_a_row() -> None:
    sizes = [Codec(10, QWEN_WIDTH, (2.0, 3.0, 4.0, 5.0)[:n]).row_bytes for n in range(5)]
    assert sizes == [32, 34, 35, 36, 37]
