"""The head that keeps the top k: exact beside float64, in ties, at the edges, and for draws."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from training.capture.head import BLOCK, RowHead, top_of

ROWS, HIDDEN = 24, 16


def problem(vocabulary: int, scale: float = 1.0, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(seed)
    hidden = torch.randn(ROWS, HIDDEN)
    return hidden, torch.randn(vocabulary, HIDDEN) * scale, torch.randint(vocabulary, (ROWS,))


def true_log_p(hidden: Tensor, weight: Tensor) -> Tensor:
    return (hidden.double() @ weight.double().T).log_softmax(-1)


@pytest.mark.parametrize("vocabulary", [1, 7, BLOCK, 1000, 5000])
@pytest.mark.parametrize("k", [1, 10])
def test_the_k_most_probable_ids_are_kept_with_their_log_probabilities(
    vocabulary: int, k: int
) -> None:
    hidden, weight, label = problem(vocabulary)
    scores = RowHead(weight, None, k=k).top_k(hidden, label)
    log_p, ids = true_log_p(hidden, weight).topk(min(k, vocabulary))
    assert torch.equal(scores.id_NK[:, :vocabulary].long(), ids)
    torch.testing.assert_close(scores.log_p_NK[:, :vocabulary].double(), log_p, atol=1e-5, rtol=0)


def test_a_bias_is_part_of_the_logits() -> None:
    hidden, weight, label = problem(300)
    bias = torch.randn(300) * 5
    scores = RowHead(weight, bias, k=3).top_k(hidden, label)
    truth = (hidden.double() @ weight.double().T + bias.double()).log_softmax(-1).topk(3)
    assert torch.equal(scores.id_NK.long(), truth.indices)


def test_ties_go_to_the_lowest_ids_and_lose_no_entry() -> None:
    torch.manual_seed(1)
    x = torch.randint(-2, 2, (50, 40 * BLOCK + 11)).float()
    x[:, ::7] = -0.0
    values, ids = top_of(x, 30)
    for row, found_values, found in zip(x.numpy(), values.numpy(), ids.numpy(), strict=True):
        expected = np.lexsort((np.arange(len(row)), -row))[:30]
        assert found.tolist() == expected.tolist()
        assert found_values.tolist() == row[expected].tolist()


def test_nothing_is_left_for_the_tail_where_k_is_the_vocabulary() -> None:
    hidden, weight, label = problem(10)
    scores = RowHead(weight, None, k=10).top_k(hidden, label)
    assert torch.isneginf(scores.log_tail_N).all()
    torch.testing.assert_close(scores.log_p_NK.exp().sum(1), torch.ones(ROWS))


def test_places_beyond_the_vocabulary_are_marked() -> None:
    hidden, weight, label = problem(4)
    scores = RowHead(weight, None, k=6).top_k(hidden, label)
    assert (scores.id_NK[:, 4:] == -1).all()
    assert torch.isneginf(scores.log_p_NK[:, 4:]).all()


def test_ids_of_probability_zero_are_marked_and_not_kept() -> None:
    bias = torch.full((100,), -torch.inf)
    bias[[3, 50]] = torch.tensor([1.0, 0.0])
    scores = RowHead(torch.zeros(100, HIDDEN), bias, k=4).top_k(*problem(100)[::2])
    assert scores.id_NK[0].tolist() == [3, 50, -1, -1]
    assert torch.isneginf(scores.log_tail_N).all()


def test_a_tail_of_a_trillionth_is_exact() -> None:
    bias = torch.zeros(2000, dtype=torch.float64)
    bias[5] = 35.0
    scores = RowHead(torch.zeros(2000, HIDDEN), bias.float(), k=1).top_k(*problem(2000)[::2])
    truth = bias.log_softmax(0)
    tail = truth[torch.arange(2000) != 5].logsumexp(0)
    assert tail < -25
    torch.testing.assert_close(scores.log_tail_N[0].double(), tail, atol=1e-5, rtol=0)


@pytest.mark.parametrize("lead", [90.0, 250.0, 2000.0])
def test_a_teacher_however_sure_leaves_a_tail(lead: float) -> None:
    """No float32 can hold e^-110, and at T = 10 the tail is what most of the mass is in."""
    generator = torch.Generator().manual_seed(0)
    bias = torch.randn(2000, generator=generator)
    bias[5] += lead
    head = RowHead(torch.zeros(2000, HIDDEN), bias, k=3, temperatures=(0.5, 10.0))
    scores = head.top_k(*problem(2000)[::2])
    truth = bias.double().log_softmax(0)
    tail = truth.scatter(0, truth.topk(3).indices, -torch.inf).logsumexp(0)
    torch.testing.assert_close(scores.log_tail_N[0].double(), tail, atol=0, rtol=1e-6)
    for temperature, log_z_N in zip((0.5, 10.0), scores.log_z_TN, strict=True):
        log_z = (truth / temperature).logsumexp(0)
        torch.testing.assert_close(log_z_N[0].double(), log_z, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("temperature", [0.5, 2.0, 8.0])
def test_log_z_is_the_whole_vocabularys(temperature: float) -> None:
    hidden, weight, label = problem(3000)
    scores = RowHead(weight, None, k=5, temperatures=(temperature,)).top_k(hidden, label)
    truth = (true_log_p(hidden, weight) / temperature).logsumexp(-1)
    torch.testing.assert_close(scores.log_z_TN[0].double(), truth, atol=1e-5, rtol=0)


def test_the_labels_likelihood_is_kept_wherever_the_label_ranks() -> None:
    hidden, weight, label = problem(3000)
    scores = RowHead(weight, None, k=5).top_k(hidden, label)
    truth = -true_log_p(hidden, weight)[torch.arange(ROWS), label]
    torch.testing.assert_close(scores.nll_N.double(), truth, atol=1e-5, rtol=0)


def test_bfloat16_weights_give_float32_logits() -> None:
    hidden, weight, label = problem(3000, scale=3.0)
    hidden, weight = hidden.bfloat16(), weight.bfloat16()
    scores = RowHead(weight, None, k=5).top_k(hidden, label)
    log_p, _ = true_log_p(hidden, weight).topk(5)
    torch.testing.assert_close(scores.log_p_NK.double(), log_p, atol=2e-5, rtol=0)


def test_the_size_of_chunks_changes_nothing() -> None:
    torch.manual_seed(0)
    vocabulary = 40_000
    hidden, label = torch.randn(40, HIDDEN), torch.randint(vocabulary, (40,))
    weight = torch.randn(vocabulary, HIDDEN)
    small = RowHead(weight, None, k=7, temperatures=(2.0,), workspace_mib=1)
    large = RowHead(weight, None, k=7, temperatures=(2.0,), workspace_mib=64)
    assert 1 < small.rows_per_chunk < 40 < large.rows_per_chunk
    one, other = small.top_k(hidden, label), large.top_k(hidden, label)
    assert torch.equal(one.id_NK, other.id_NK)
    for name in ("log_p_NK", "log_tail_N", "log_z_TN", "nll_N"):
        torch.testing.assert_close(getattr(one, name), getattr(other, name), atol=1e-5, rtol=0)


def test_logits_that_are_no_numbers_are_seen() -> None:
    hidden, weight, label = problem(300)
    hidden[2, 0], hidden[3, 0] = torch.nan, torch.inf
    scores = RowHead(weight, None, k=3).top_k(hidden, label)
    bad = ~torch.isfinite(scores.log_p_NK[:, 0])
    assert bad.nonzero().flatten().tolist() == [2, 3]


def test_shares_of_draws_are_unbiased() -> None:
    """Pearson's statistic of 20,000 draws a row over 130 ids: expectation 129, deviation 16."""
    vocabulary, draws = 130, 20_000
    hidden, weight, label = problem(vocabulary, scale=0.3)
    uniform = torch.from_numpy(np.random.default_rng(3).random((ROWS, draws)))
    scores = RowHead(weight, None, k=draws).draws(hidden, label, uniform)
    share = torch.zeros(ROWS, vocabulary + 1, dtype=torch.float64)
    share.scatter_add_(1, scores.id_NK.long() % (vocabulary + 1), scores.log_p_NK.double().exp())
    p = true_log_p(hidden, weight).exp()
    statistic = (draws * (share[:, :vocabulary] - p) ** 2 / p).sum(1)
    assert (statistic < 129 + 5 * 16).all()
    assert abs(statistic.mean() - 129) < 5 * 16 / ROWS**0.5


def test_draws_are_distinct_ids_by_share_whose_shares_sum_to_one() -> None:
    hidden, weight, label = problem(500, scale=1.0)
    uniform = torch.from_numpy(np.random.default_rng(0).random((ROWS, 64)))
    scores = RowHead(weight, None, k=64).draws(hidden, label, uniform)
    torch.testing.assert_close(scores.log_p_NK.exp().sum(1), torch.ones(ROWS))
    assert (scores.log_p_NK.diff(dim=1).nan_to_num(0) <= 0).all()
    for row in scores.id_NK.tolist():
        ids = [each for each in row if each >= 0]
        assert len(set(ids)) == len(ids) and row == ids + [-1] * (64 - len(ids))


def test_a_draw_never_falls_on_an_id_of_probability_zero() -> None:
    bias = torch.full((1000,), -torch.inf)
    bias[[70, 999]] = 0.0
    edges = torch.tensor([[0.0, 0.25, 0.5, 1 - 2**-32]], dtype=torch.float64)
    head = RowHead(torch.zeros(1000, HIDDEN), bias, k=4)
    scores = head.draws(torch.zeros(1, HIDDEN), torch.tensor([70]), edges)
    assert scores.id_NK.tolist() == [[70, 999, -1, -1]]
