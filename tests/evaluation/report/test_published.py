"""The published figures: sourced, and those that cannot be as printed are found by the rule."""

from __future__ import annotations

import json

import pytest
from evaluating import DATA, needs_data

from evaluation.report.content import Cell
from evaluation.report.published import (
    LOOSE,
    STRICT,
    Published,
    followed_in_failed,
    published,
)
from evaluation.report.tables import impossible_notes, published_table


def test_there_are_four_pairs_with_their_source() -> None:
    found = published()
    assert "2504.15027" in found.source and found.address.startswith("https://")
    assert [m.stage for m in found.models] == ["before", "after"] * 4
    assert [m.size for m in found.models[::2]] == [0.5e9, 1.5e9, 3e9, 7e9]
    assert all(set(m.scores) == set(found.columns) for m in found.models)


def test_exactly_three_figures_are_impossible() -> None:
    marked = [(m.model, sorted(m.impossible)) for m in published().models if m.impossible]
    assert marked == [
        ("DistilQwen2.5-1.5B-Instruct", [STRICT]),
        ("Qwen2.5-3B-Instruct", [STRICT]),
        ("DistilQwen2.5-3B-Instruct", [STRICT]),
    ]


def test_the_rule_looks_at_the_figures_and_not_at_the_names() -> None:
    assert not Published("x", 1e9, "after", {STRICT: 60.0, LOOSE: 60.0}).impossible
    assert Published("x", 1e9, "after", {STRICT: 60.1, LOOSE: 60.0}).impossible == {STRICT}
    assert not Published("x", 1e9, "after", {STRICT: 60.0}).impossible


def test_what_the_marked_figures_would_need_no_other_model_shows() -> None:
    shares = {
        m.model: followed_in_failed(m.scores[STRICT], m.scores[LOOSE]) for m in published().models
    }
    marked = [shares[m.model] for m in published().models if m.impossible]
    others = [shares[m.model] for m in published().models if not m.impossible]
    assert max(marked) < 0.1 < 0.25 < min(others)


@pytest.mark.parametrize(
    ("strict", "loose", "share"),
    # Nothing passed; all single ones passed (305 of 541), and nothing else; all but four of 834.
    [(0.0, 50.0, 0.5), (30500 / 541, 30500 / 834, 0.0), (100.0, 100.0, 1.0)],
)
def test_the_largest_share_followed_in_failed_prompts(
    strict: float, loose: float, share: float
) -> None:
    assert followed_in_failed(strict, loose) == pytest.approx(share, abs=1e-9)


@needs_data
def test_the_counts_behind_the_rule_are_the_benchmarks() -> None:
    from collections import Counter

    from evaluation.report.published import _PROMPTS

    lines = (DATA / "ifeval" / "en_input_data.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    assert Counter(len(row["instruction_id_list"]) for row in rows) == _PROMPTS


def test_the_table_shows_them_as_printed_and_marks_three() -> None:
    table = published_table(published())
    cells = [cell for row in table.rows for cell in row]
    assert [cell.text for cell in cells if cell.tone == "doubt"] == ["74.49", "74.58", "77.36"]
    assert Cell("61.10") in cells
    assert len(impossible_notes(published())) == 3
