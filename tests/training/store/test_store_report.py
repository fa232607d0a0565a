"""The report's figures are those of the rows themselves."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from teacher_rows import QWEN_WIDTH, SOURCE, dense_rows, example, example_rows

from training.store.codec import codec_error
from training.store.key import CaptureForm, RowsSource
from training.store.report import source_report, store_report
from training.store.rows import TeacherRows
from training.store.statistics import KEPT_EDGES
from training.store.store import RowStore
from training.store.writer import ShardWriter

NUMBERS = range(12)


def write(folder: Path, source: RowsSource = SOURCE) -> RowStore:
    with ShardWriter(folder, source, QWEN_WIDTH, rows_per_shard=100) as writer:
        for number in NUMBERS:
            writer.append(example(number), example_rows(number), nll=float(number))
    return RowStore.open(folder)


def test_the_figures_of_the_whole_are_those_of_its_rows(tmp_path: Path) -> None:
    store = write(tmp_path)
    total = store_report(store).total
    assert (total.samples, total.rows) == (12, 240)
    size = sum(path.stat().st_size for path in tmp_path.glob("*.rows"))
    assert total.file_bytes == size and total.bytes_per_row == size / 240

    true = [example_rows(number) for number in NUMBERS]
    kept = np.concatenate([np.exp(rows.log_p_NK.astype(float)).sum(axis=1) for rows in true])
    kept = np.minimum(kept, 1)  # float32 rounds some a little above
    mass = total.kept_mass
    assert mass is not None
    assert mass.rows == tuple(np.histogram(kept, KEPT_EDGES)[0]) and sum(mass.rows) == 240
    assert mass.mean == pytest.approx(kept.mean())
    assert mass.least == pytest.approx(kept.min())
    assert mass.share_from_90 == pytest.approx((kept >= 0.9).mean())
    assert mass.share_from_99 == pytest.approx((kept >= 0.99).mean())

    errors = np.concatenate(
        [
            codec_error(rows, store.read(example(n), SOURCE))
            for n, rows in zip(NUMBERS, true, strict=True)
        ]
    )
    assert total.codec_error.keys() == {"1.0"}
    assert total.codec_error["1.0"].mean == pytest.approx(errors.mean(dtype=float))
    assert total.codec_error["1.0"].highest == pytest.approx(errors.max())
    assert total.nll == pytest.approx(sum(NUMBERS) / 240)


def test_the_shards_figures_add_up_to_the_whole(tmp_path: Path) -> None:
    report = store_report(write(tmp_path))
    assert len(report.shards) == 3
    assert sum(shard.rows for shard in report.shards) == report.total.rows
    assert sum(shard.file_bytes for shard in report.shards) == report.total.file_bytes
    assert {shard.teachers for shard in report.shards} == {("big-model",)}
    highest = max(shard.codec_error["1.0"].highest for shard in report.shards)
    assert report.total.codec_error["1.0"].highest == highest


def test_a_sources_figures_are_those_of_its_own_shards(tmp_path: Path) -> None:
    other = dataclasses.replace(SOURCE, form=CaptureForm.top_k(11))
    alone = store_report(write(tmp_path / "alone")).total
    write(tmp_path / "both")
    with ShardWriter(tmp_path / "both", other, QWEN_WIDTH) as writer:
        writer.append(example(0), example_rows(0), nll=1000.0)
    store = RowStore.open(tmp_path / "both")
    own = source_report(store, SOURCE)
    assert dataclasses.replace(own, name=alone.name) == alone
    assert source_report(store, other).rows == 20
    assert store_report(store).total.rows == alone.rows + 20
    strange = dataclasses.replace(SOURCE, template_fingerprint="e" * 32)
    assert source_report(store, strange).rows == 0


def test_the_report_is_plain_json(tmp_path: Path) -> None:
    said = json.loads(json.dumps(store_report(write(tmp_path)).as_dict()))
    assert said["total"]["rows"] == 240 and len(said["shards"]) == 3


def test_rows_that_keep_everything_count_in_the_last_bin(tmp_path: Path) -> None:
    source = dataclasses.replace(SOURCE, form=CaptureForm.top_k(5))
    with ShardWriter(tmp_path, source, 5) as writer:
        writer.append(example(0), dense_rows(np.random.default_rng(0).normal(0, 1, (20, 5)), 5))
    mass = store_report(RowStore.open(tmp_path)).total.kept_mass
    assert mass is not None
    assert mass.rows[-1] == 20 and mass.share_from_99 == 1


def test_the_error_is_reported_at_every_temperature(tmp_path: Path) -> None:
    source = dataclasses.replace(SOURCE, form=CaptureForm.top_k(5, [1.0, 0.5, 2.0]))
    rows = dense_rows(np.random.default_rng(0).normal(0, 3, (20, 40)), 5, [0.5, 2.0])
    with ShardWriter(tmp_path, source, 40) as writer:
        writer.append(example(0), rows)
    store = RowStore.open(tmp_path)
    errors = store_report(store).total.codec_error
    assert errors.keys() == {"0.5", "1.0", "2.0"}
    stored = store.read(example(0), source)
    for temperature in (0.5, 1.0, 2.0):
        error_N = codec_error(rows, stored, temperature)
        assert errors[str(temperature)].mean == pytest.approx(error_N.mean(dtype=float), rel=1e-5)


def test_sampled_rows_keep_no_mass_to_report(tmp_path: Path) -> None:
    source = dataclasses.replace(SOURCE, form=CaptureForm.sampled(2, seed=0))
    one = TeacherRows(
        np.array([[4, 9]], np.int32),
        np.log(np.array([[0.5, 0.5]], np.float32)),
        np.array([-np.inf], np.float32),
        kind="sampled",
    )
    with ShardWriter(tmp_path, source, QWEN_WIDTH) as writer:
        writer.append(example(0, rows=1), one)
    total = store_report(RowStore.open(tmp_path)).total
    assert total.kept_mass is None and total.rows == 1 and total.nll is None
    assert total.codec_error["1.0"].highest == 0


def test_sampled_shards_do_not_water_down_the_kept_mass(tmp_path: Path) -> None:
    test_sampled_rows_keep_no_mass_to_report(tmp_path)
    mass = store_report(write(tmp_path)).total.kept_mass
    assert mass is not None and sum(mass.rows) == 240


def test_an_empty_store_has_an_empty_report(tmp_path: Path) -> None:
    report = store_report(RowStore.open(tmp_path))
    assert report.total.rows == 0 and report.total.bytes_per_row == 0
    assert report.total.kept_mass is None and report.shards == ()
