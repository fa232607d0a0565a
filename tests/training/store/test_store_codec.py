"""Rows survive the codec: ids exactly, order always, probabilities as near as is promised."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from teacher_rows import QWEN_WIDTH, dense_rows, example_rows, log_sum

from training.errors import CaptureError
from training.store.bits import BitLayout
from training.store.codec import Codec, codec_error
from training.store.rows import TeacherRows
from training.store.scales import FAR

TEMPERATURE = 2.0


@dataclass
class Drawn:
    codec: Codec
    rows: TeacherRows

    @property
    def stored(self) -> TeacherRows:
        return self.codec.decode(self.codec.encode(self.rows))


@st.composite
def drawn_rows(draw: st.DrawFn) -> Drawn:
    """Rows with ties, cliffs, zeros, gaps at the end, tails from nothing to nearly everything."""
    vocab_size = draw(st.sampled_from([1, 2, 3, 12, 127, 128, 255, 256, 938, QWEN_WIDTH]))
    k = draw(st.integers(1, 12))
    drop = st.one_of(
        st.just(0.0), st.floats(0, 1e-3), st.floats(0, 3), st.floats(0, 40), st.just(np.inf)
    )
    n = draw(st.integers(1, 4))
    id_NK = np.full((n, k), -1, np.int32)
    log_w_NS = np.full((n, k + 1), -np.inf)
    kept_at_T = np.zeros(n)
    for row in range(n):
        filled = draw(st.integers(1, min(k, vocab_size)))
        ids = draw(
            st.lists(st.integers(0, vocab_size - 1), min_size=filled, max_size=filled, unique=True)
        )
        drops = [0.0, *draw(st.lists(drop, min_size=filled - 1, max_size=filled - 1))]
        id_NK[row, :filled] = ids
        log_w_NS[row, :filled] = -np.cumsum(drops)
        if filled < vocab_size:
            log_w_NS[row, k] = draw(st.one_of(st.just(-np.inf), st.floats(-38, 12)))
            kept_at_T[row] = draw(st.one_of(st.just(0.0), st.floats(-15, -1e-3)))
    log_p_NS = log_w_NS - log_sum(log_w_NS)[:, None]
    log_z = log_sum(log_p_NS[:, :k] / TEMPERATURE) - kept_at_T
    rows = TeacherRows(
        id_NK=id_NK,
        log_p_NK=log_p_NS[:, :k].astype(np.float32),
        log_tail_N=log_p_NS[:, k].astype(np.float32),
        log_z={TEMPERATURE: log_z.astype(np.float32)},
    )
    return Drawn(Codec(k, vocab_size, (TEMPERATURE,)), rows)


@given(drawn_rows())
def test_ids_come_back_exactly_and_absent_ones_stay_marked(drawn: Drawn) -> None:
    stored = drawn.stored
    assert stored.id_NK.dtype == np.int32
    np.testing.assert_array_equal(stored.id_NK, drawn.rows.id_NK)
    assert np.isneginf(stored.log_p_NK[stored.id_NK < 0]).all()


@given(drawn_rows())
def test_probabilities_come_back_in_order(drawn: Drawn) -> None:
    log_p_NK = drawn.stored.log_p_NK
    assert (log_p_NK[:, 1:] <= log_p_NK[:, :-1]).all()


@given(drawn_rows())
def test_masses_sum_to_one(drawn: Drawn) -> None:
    stored = drawn.stored
    total_N = np.exp(stored.log_p_NK.astype(float)).sum(axis=1) + np.exp(stored.log_tail_N)
    np.testing.assert_allclose(total_N, 1, atol=1e-6)


@given(drawn_rows())
def test_nothing_stays_nothing_and_something_stays_something(drawn: Drawn) -> None:
    stored = drawn.stored
    np.testing.assert_array_equal(np.isneginf(stored.log_p_NK), np.isneginf(drawn.rows.log_p_NK))
    np.testing.assert_array_equal(
        np.isneginf(stored.log_tail_N), np.isneginf(drawn.rows.log_tail_N)
    )


@settings(max_examples=300)
@given(drawn_rows())
def test_no_row_whatever_its_shape_is_off_by_more_than_the_bar_for_the_mean(drawn: Drawn) -> None:
    assert codec_error(drawn.rows, drawn.stored).max() <= 1e-4


@settings(max_examples=300)
@given(drawn_rows())
def test_no_log_probability_is_off_by_more_than_a_nat(drawn: Drawn) -> None:
    true_NK, stored_NK = drawn.rows.log_p_NK, drawn.stored.log_p_NK
    # What lies farther below the first id than one code reaches may take two codes to get there.
    near_NK = true_NK >= true_NK[:, :1] - FAR
    np.testing.assert_allclose(stored_NK[near_NK], true_NK[near_NK], rtol=0, atol=1.0)


@given(drawn_rows())
def test_log_z_leaves_no_tail_a_negative_mass(drawn: Drawn) -> None:
    stored = drawn.stored
    head_N = log_sum(stored.log_p_NK.astype(float) / TEMPERATURE)
    assert (head_N <= stored.log_z[TEMPERATURE] + 1e-5).all()


@given(drawn_rows())
def test_the_error_is_never_negative_and_nothing_between_equal_rows(drawn: Drawn) -> None:
    for temperature in (1.0, TEMPERATURE):
        assert (codec_error(drawn.rows, drawn.stored, temperature) >= 0).all()
        np.testing.assert_array_equal(codec_error(drawn.rows, drawn.rows, temperature), 0)


@given(drawn_rows())
def test_encoding_what_was_decoded_gives_the_same_ids_and_next_to_no_further_error(
    drawn: Drawn,
) -> None:
    once = drawn.stored
    twice = drawn.codec.decode(drawn.codec.encode(once))
    np.testing.assert_array_equal(once.id_NK, twice.id_NK)
    assert codec_error(once, twice).max() <= 1e-4


def test_the_error_is_the_kl_divergence() -> None:
    p, q = np.array([0.5, 0.2, 0.3]), np.array([0.45, 0.3, 0.25])
    ids = np.array([[4, 9]], np.int32)

    def rows(mass: np.ndarray) -> TeacherRows:
        log = np.log(mass).astype(np.float32)
        return TeacherRows(ids, log[None, :2], log[2:])

    expected = float((p * np.log(p / q)).sum())
    assert codec_error(rows(p), rows(q))[0] == pytest.approx(expected, rel=1e-6)


def test_mass_that_the_stored_row_lost_altogether_is_an_infinite_error() -> None:
    ids = np.array([[4, 9]], np.int32)
    none = np.array([-np.inf], np.float32)
    both = TeacherRows(ids, np.log(np.array([[0.5, 0.5]], np.float32)), none)
    one = TeacherRows(ids, np.array([[0.0, -np.inf]], np.float32), none)
    assert np.isinf(codec_error(both, one)[0])


def test_all_ids_of_a_vocabulary_may_be_kept() -> None:
    rows = dense_rows(np.random.default_rng(0).normal(0, 3, (50, 12)), 12)
    codec = Codec(12, 12)
    stored = codec.decode(codec.encode(rows))
    np.testing.assert_array_equal(np.sort(stored.id_NK), np.tile(np.arange(12), (50, 1)))
    assert np.isneginf(stored.log_tail_N).all()


def test_equal_probabilities_all_stay_and_stay_equal() -> None:
    rows = dense_rows(np.zeros((1, 10)), 10)
    codec = Codec(10, 10)
    stored = codec.decode(codec.encode(rows))
    np.testing.assert_array_equal(stored.id_NK[0], np.arange(10))
    np.testing.assert_allclose(stored.log_p_NK[0], np.log(0.1), rtol=1e-6)


def test_a_row_of_ten_qwen_ids_takes_32_bytes() -> None:
    assert Codec(10, QWEN_WIDTH, (1.0,)).row_bytes == 32


def test_the_number_of_rows_makes_no_difference_to_a_row() -> None:
    codec = Codec(10, QWEN_WIDTH)
    rows = example_rows(0, rows=30)
    packed = codec.encode(rows)
    alone = TeacherRows(rows.id_NK[7:8], rows.log_p_NK[7:8], rows.log_tail_N[7:8])
    np.testing.assert_array_equal(codec.encode(alone)[0], packed[7])


def test_no_rows_make_no_bytes() -> None:
    for codec in (Codec(10, 938, (2.0,)), Codec(10, 938, kind="sampled")):
        empty = codec.decode(np.empty((0, codec.row_bytes), np.uint8))
        assert len(empty) == 0 and empty.k == 10
        assert codec.encode(empty).shape == (0, codec.row_bytes)


@given(st.data())
def test_sampled_rows_come_back_exactly(data: st.DataObject) -> None:
    draws = data.draw(st.integers(1, 30))
    vocab_size = data.draw(st.sampled_from([3, 255, QWEN_WIDTH]))
    rows = [
        sorted(
            data.draw(
                st.lists(st.integers(0, vocab_size - 1), min_size=draws, max_size=draws)
            )
        )
        for _ in range(data.draw(st.integers(1, 4)))
    ]  # fmt: skip
    id_NK = np.full((len(rows), draws), -1, np.int32)
    count_NK = np.zeros((len(rows), draws))
    for n, drawn in enumerate(rows):
        ids, counts = np.unique(drawn, return_counts=True)
        order = np.argsort(-counts, kind="stable")
        id_NK[n, : len(ids)], count_NK[n, : len(ids)] = ids[order], counts[order]
    with np.errstate(divide="ignore"):
        log_p_NK = np.log(count_NK / draws).astype(np.float32)
    tail_N = np.full(len(rows), -np.inf, np.float32)
    true = TeacherRows(id_NK, log_p_NK, tail_N, kind="sampled")
    codec = Codec(draws, vocab_size, kind="sampled")
    stored = codec.decode(codec.encode(true))
    assert stored.kind == "sampled"
    np.testing.assert_array_equal(stored.id_NK, id_NK)
    np.testing.assert_array_equal(stored.log_p_NK, log_p_NK)
    np.testing.assert_array_equal(stored.log_tail_N, tail_N)
    np.testing.assert_array_equal(codec_error(true, stored), 0)


def test_rows_that_are_narrower_than_the_codec_are_filled_with_marked_entries() -> None:
    codec = Codec(10, QWEN_WIDTH)
    rows = example_rows(0, rows=5, k=4)
    stored = codec.decode(codec.encode(rows))
    np.testing.assert_array_equal(stored.id_NK[:, :4], rows.id_NK)
    assert (stored.id_NK[:, 4:] == -1).all()
    assert codec_error(rows, stored).max() <= 1e-4


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"id_NK": [[3, 3]]}, "one id twice"),
        ({"id_NK": [[3, 938]]}, "outside the vocabulary"),
        ({"id_NK": [[3, -2]]}, "outside the vocabulary"),
        ({"id_NK": [[-1, 3]]}, "no id at all"),
        ({"log_p_NK": [[0.2, 0.5]]}, "not in order"),
        ({"log_p_NK": [[0.5, 0.1]]}, "do not sum to one"),
        ({"log_p_NK": [[0.5, np.nan]]}, "no number"),
        ({"log_tail_N": [np.nan]}, "no number"),
        ({"id_NK": [[3, -1]]}, "a probability without an id"),
        ({"log_p_NK": [[0.0, 0.0]], "log_tail_N": [1.0]}, "gives its first id no probability"),
    ],
)
def test_what_is_no_distribution_in_order_is_refused(change: dict[str, list], said: str) -> None:
    given = {"id_NK": [[3, 7]], "log_p_NK": [[0.5, 0.2]], "log_tail_N": [0.3]} | change
    with np.errstate(divide="ignore"):
        rows = TeacherRows(
            np.array(given["id_NK"], np.int32),
            np.log(np.array(given["log_p_NK"], np.float32)),
            np.log(np.array(given["log_tail_N"], np.float32)),
        )
    with pytest.raises(CaptureError, match=said):
        Codec(2, 938).encode(rows)


def test_rows_of_another_form_are_refused() -> None:
    rows = example_rows(0)
    for codec in (
        Codec(9, QWEN_WIDTH),
        Codec(10, QWEN_WIDTH, (2.0,)),
        Codec(10, QWEN_WIDTH, kind="sampled"),
    ):
        with pytest.raises(CaptureError, match="do not fit"):
            codec.encode(rows)


def test_sampled_rows_of_another_number_of_draws_are_refused() -> None:
    rows = TeacherRows(
        np.array([[4, 9]], np.int32),
        np.log(np.array([[2 / 3, 1 / 3]], np.float32)),
        np.array([-np.inf], np.float32),
        kind="sampled",
    )
    with pytest.raises(CaptureError, match="do not hold 4 draws"):
        Codec(4, 938, kind="sampled").encode(rows)


def test_temperature_one_is_no_further_temperature() -> None:
    assert Codec(10, 938, (2.0, 1.0, 2.0, 0.5)).temperatures == (0.5, 2.0)
    assert dataclasses.replace(Codec(10, 938), temperatures=(1.0,)) == Codec(10, 938)


@given(st.data())
def test_packed_numbers_of_any_width_come_back(data: st.DataObject) -> None:
    widths = data.draw(st.lists(st.integers(1, 63), min_size=1, max_size=12))
    numbers = [
        data.draw(st.lists(st.integers(0, 2**width - 1), min_size=3, max_size=3))
        for width in widths
    ]
    layout = BitLayout(widths)
    number_FN = np.array(numbers, np.uint64)
    packed = layout.pack(number_FN)
    assert packed.shape == (3, -(-sum(widths) // 8))
    np.testing.assert_array_equal(layout.unpack(packed), number_FN)
