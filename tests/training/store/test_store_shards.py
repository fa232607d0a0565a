"""A store gives back what was written, by key alone, and refuses what it cannot vouch for."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from teacher_rows import QWEN_WIDTH, SOURCE, example, example_rows

from training.errors import CaptureError, RowsRefused
from training.store.codec import codec_error
from training.store.key import CaptureForm, RowsSource, TeacherIdentity
from training.store.rows import TeacherRows
from training.store.shard import SUFFIX, Shard
from training.store.store import RowStore
from training.store.writer import ShardWriter


def write(
    folder: Path,
    numbers: range | list[int],
    *,
    rows_per_shard: int = 100,
    source: RowsSource = SOURCE,
) -> list[Shard]:
    """Stores these examples; five of twenty rows make a shard."""
    shards: list[Shard] = []
    with ShardWriter(
        folder, source, QWEN_WIDTH, rows_per_shard=rows_per_shard, on_shard=shards.append
    ) as writer:
        for number in numbers:
            writer.append(example(number), example_rows(number))
    return shards


def assert_reads(store: RowStore, number: int, source: RowsSource = SOURCE) -> None:
    true, stored = example_rows(number), store.read(example(number), source)
    np.testing.assert_array_equal(stored.id_NK, true.id_NK)
    assert codec_error(true, stored).max() <= 1e-4


def damage(path: Path, at: int) -> None:
    raw = bytearray(path.read_bytes())
    raw[at] ^= 1
    path.write_bytes(raw)


def test_rows_are_found_by_key_whatever_the_order_of_writing_and_reading(tmp_path: Path) -> None:
    write(tmp_path, [3, 11, 0, 7, 2, 9, 1, 10, 5, 4, 8, 6])
    store = RowStore.open(tmp_path)
    assert len(store.shards) == 3 and len(store) == 12
    for number in (5, 0, 11, 3, 5, 2, 1, 10, 9, 8, 7, 6, 4):
        assert_reads(store, number)
    store.close()


def test_the_store_says_what_is_missing(tmp_path: Path) -> None:
    write(tmp_path, [0, 2, 4])
    store = RowStore.open(tmp_path)
    keys = [SOURCE.key(example(number)) for number in range(6)]
    assert store.missing(keys) == [1, 3, 5]
    assert store.missing([]) == []


def test_a_folder_that_does_not_exist_holds_nothing(tmp_path: Path) -> None:
    store = RowStore.open(tmp_path / "none")
    assert store.missing([SOURCE.key(example(0))]) == [0]
    assert len(store) == 0 and not (tmp_path / "none").exists()


def test_keys_that_begin_or_end_in_zero_bytes_are_told_apart(tmp_path: Path) -> None:
    # One key in 256 ends in a zero byte, which NumPy's fixed-width text leaves off.
    numbers = list(range(1500))
    keys = {SOURCE.key(example(number, rows=1)): number for number in numbers}
    ending = [number for key, number in keys.items() if key.endswith("00")]
    beginning = [number for key, number in keys.items() if key.startswith("00")]
    assert ending and beginning
    chosen = [*ending, *beginning]
    with ShardWriter(tmp_path, SOURCE, QWEN_WIDTH) as writer:
        for number in chosen:
            writer.append(example(number, rows=1), example_rows(number, rows=1))
    store = RowStore.open(tmp_path)
    for number in chosen:
        stored = store.read(example(number, rows=1), SOURCE)
        np.testing.assert_array_equal(stored.id_NK, example_rows(number, rows=1).id_NK)
    assert set(store.missing(list(keys))) == set(numbers) - set(chosen)
    (shard,) = store.shards
    assert shard.keys() == [SOURCE.key(example(number, rows=1)) for number in chosen]


def test_a_key_in_two_shards_is_read_from_either(tmp_path: Path) -> None:
    write(tmp_path, [0, 1, 2])
    write(tmp_path, [2, 3])
    store = RowStore.open(tmp_path)
    assert len(store.shards) == 2
    for number in range(4):
        assert_reads(store, number)


def test_the_same_rows_make_the_same_file_under_the_same_name(tmp_path: Path) -> None:
    write(tmp_path / "a", range(5))
    write(tmp_path / "b", range(5))
    write(tmp_path / "b", range(5))
    one, other = (list((tmp_path / name).glob(f"*{SUFFIX}")) for name in "ab")
    assert len(one) == len(other) == 1
    assert one[0].name == other[0].name and one[0].read_bytes() == other[0].read_bytes()


def test_several_teachers_share_a_folder(tmp_path: Path) -> None:
    teacher = TeacherIdentity("bigger-model", "d" * 40, "vllm", "bfloat16")
    other = dataclasses.replace(SOURCE, teacher=teacher)
    write(tmp_path, [0, 1])
    write(tmp_path, [1, 2], source=other)
    store = RowStore.open(tmp_path)
    assert_reads(store, 1)
    assert_reads(store, 1, other)
    assert store.missing([other.key(example(number)) for number in range(3)]) == [0]


def test_sampled_rows_go_through_a_shard_unchanged(tmp_path: Path) -> None:
    source = dataclasses.replace(SOURCE, form=CaptureForm.sampled(4, seed=0))
    shares = np.array([[0.5, 0.25, 0.25], [1, 0, 0]])
    with np.errstate(divide="ignore"):
        rows = TeacherRows(
            np.array([[9, 4, 7], [3, -1, -1]], np.int32),
            np.log(shares).astype(np.float32),
            np.full(2, -np.inf, np.float32),
            kind="sampled",
        )
    with ShardWriter(tmp_path, source, QWEN_WIDTH) as writer:
        writer.append(example(0, rows=2), rows)
    stored = RowStore.open(tmp_path).read(example(0, rows=2), source)
    np.testing.assert_array_equal(stored.id_NK[:, :3], rows.id_NK)
    np.testing.assert_array_equal(stored.log_p_NK[:, :3], rows.log_p_NK)


def test_an_example_without_trained_tokens_has_no_rows_and_is_not_missing(tmp_path: Path) -> None:
    with ShardWriter(tmp_path, SOURCE, QWEN_WIDTH) as writer:
        writer.append(example(0, rows=0), example_rows(0, rows=0))
        writer.append(example(1), example_rows(1))
    store = RowStore.open(tmp_path)
    assert len(store.read(example(0, rows=0), SOURCE)) == 0
    assert_reads(store, 1)


def test_more_shards_than_are_mapped_at_once_can_be_read(tmp_path: Path) -> None:
    write(tmp_path, range(70), rows_per_shard=1)
    store = RowStore.open(tmp_path)
    assert len(store.shards) == 70
    for number in (*range(70), *range(70)):
        assert_reads(store, number)
    store.close()


def test_rows_that_do_not_match_the_example_are_refused_before_they_are_stored(
    tmp_path: Path,
) -> None:
    with (
        ShardWriter(tmp_path, SOURCE, QWEN_WIDTH) as writer,
        pytest.raises(CaptureError, match=example(0).sample_id),
    ):
        writer.append(example(0), example_rows(0, rows=19))
    assert len(RowStore.open(tmp_path)) == 0


def test_a_sample_that_was_never_captured_is_refused_by_name(tmp_path: Path) -> None:
    write(tmp_path, [0])
    with pytest.raises(RowsRefused, match=example(1).sample_id) as refused:
        RowStore.open(tmp_path).read(example(1), SOURCE)
    assert "never captured" in refused.value.cause


def test_rows_of_another_text_are_stale(tmp_path: Path) -> None:
    write(tmp_path, [0])
    one = example(0)
    edited = dataclasses.replace(one, token_id_T=one.token_id_T[::-1].copy())
    with pytest.raises(RowsRefused, match="stale") as refused:
        RowStore.open(tmp_path).read(edited, SOURCE)
    assert one.sample_id in refused.value.what
    assert "its text has changed" in refused.value.cause


def test_stale_rows_are_refused_with_what_has_changed(tmp_path: Path) -> None:
    write(tmp_path, [0])
    changed = dataclasses.replace(SOURCE, template_fingerprint="e" * 32)
    with pytest.raises(RowsRefused, match="stale") as refused:
        RowStore.open(tmp_path).read(example(0), changed)
    assert f"chat template {'c' * 32} instead of {'e' * 32}" in refused.value.cause


def test_a_flipped_bit_in_a_sample_s_rows_is_refused_by_its_name_and_no_other_sample_is(
    tmp_path: Path,
) -> None:
    (shard,) = write(tmp_path, [0, 1, 2])
    damage(shard.path, 8 + 25 * shard.codec.row_bytes)
    store = RowStore.open(tmp_path)
    with pytest.raises(RowsRefused, match=example(1).sample_id) as refused:
        store.read(example(1), SOURCE)
    assert shard.name in refused.value.cause
    assert_reads(store, 0)
    assert_reads(store, 2)


def test_a_flipped_bit_anywhere_else_is_refused_by_the_file_s_name(tmp_path: Path) -> None:
    (shard,) = write(tmp_path, [0, 1, 2])
    whole = shard.path.read_bytes()
    rows_end = 8 + 60 * shard.codec.row_bytes
    for at in (*range(8), *range(rows_end, len(whole))):
        shard.path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(RowsRefused, match=shard.name):
            RowStore.open(tmp_path)


def test_a_file_cut_short_anywhere_is_refused_by_its_name(tmp_path: Path) -> None:
    (shard,) = write(tmp_path, [0, 1, 2])
    whole = shard.path.read_bytes()
    for kept in range(len(whole)):
        shard.path.write_bytes(whole[:kept])
        with pytest.raises(RowsRefused, match=shard.name):
            RowStore.open(tmp_path)


def test_rows_cut_out_of_the_middle_of_a_file_are_noticed(tmp_path: Path) -> None:
    (shard,) = write(tmp_path, [0, 1, 2])
    whole = shard.path.read_bytes()
    shard.path.write_bytes(whole[:40] + whole[72:])
    with pytest.raises(RowsRefused, match="Rows are missing") as refused:
        RowStore.open(tmp_path)
    assert shard.name in refused.value.what


def test_a_shard_that_vanishes_under_an_open_store_is_refused(tmp_path: Path) -> None:
    (shard,) = write(tmp_path, [0])
    store = RowStore.open(tmp_path)
    shard.path.unlink()
    with pytest.raises(RowsRefused, match=shard.name):
        store.read(example(0), SOURCE)


def test_another_format_version_is_refused_as_such(tmp_path: Path) -> None:
    (shard,) = write(tmp_path, [0])
    raw = bytearray(shard.path.read_bytes())
    raw[-12:-8] = (99).to_bytes(4, "little")
    shard.path.write_bytes(raw)
    with pytest.raises(RowsRefused, match="format version 99"):
        RowStore.open(tmp_path)
