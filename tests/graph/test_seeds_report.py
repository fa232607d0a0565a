"""What a recipe may write under `seeds:`, and what the report says of what was read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from graph.seeds import BadRow, SeedRecord, SeedReport, SeedSource, read_seeds


def test_a_bare_path_is_a_source() -> None:
    [short, long] = TypeAdapter(list[SeedSource]).validate_python(
        ["seeds.jsonl", {"path": "hf:openai/gsm8k/main:train", "limit": 5, "category": "maths"}]
    )
    assert short == SeedSource(path="seeds.jsonl")
    assert (long.limit, long.category) == (5, "math")


@pytest.mark.parametrize(
    ("source", "word"),
    [
        ({"path": "a", "limt": 3}, "limt"),
        ({"path": "a", "limit": 0}, "limit"),
        ({"path": ""}, "path"),
        ({"path": "a", "shape": "vicuna"}, "alpaca"),
        ({"path": "a", "category": "cooking"}, "unknown category 'cooking'"),
        ({"path": "a", "language": "the usual"}, "unknown language"),
        ({"path": "a", "fields": {"answer": "x"}}, "reference"),
        ({"limit": 1}, "path"),
    ],
)
def test_a_source_with_an_unknown_key_or_word_is_refused(
    source: dict[str, object], word: str
) -> None:
    with pytest.raises(ValidationError, match=word):
        SeedSource.model_validate(source)


def test_a_source_is_read_with_its_own_options(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("q\nOne?\nTwo?\n", encoding="utf-8")
    source = SeedSource(path="a.csv", fields={"instruction": "q"}, limit=1, licence="MIT")
    [seed] = read_seeds(source.path, source, folder=tmp_path)
    assert isinstance(seed, SeedRecord)
    assert (seed.source, seed.instruction, seed.licence) == ("a.csv", "One?", "MIT")


def test_the_report_counts_everything_and_keeps_the_first_twenty_bad_rows(tmp_path: Path) -> None:
    good = json.dumps({"conversations": [{"from": "human", "value": "Q"}] * 3})
    (tmp_path / "chats.jsonl").write_text(
        "\n".join([good] * 1200 + ["{"] * 31 + [good]), encoding="utf-8"
    )
    (tmp_path / "other.jsonl").write_text('{"prompt": "Q"}', encoding="utf-8")
    report = SeedReport()
    seeds = [
        seed
        for name in ("chats.jsonl", "other.jsonl")
        for seed in report.watch(read_seeds(name, folder=tmp_path))
    ]
    assert all(isinstance(seed, SeedRecord) for seed in seeds)
    assert (len(seeds), report.seeds, report.bad) == (1202, 1202, 31)
    chats = report.sources["chats.jsonl"]
    assert (chats.rows, chats.seeds, chats.bad, chats.shape) == (1232, 1201, 31, "sharegpt")
    assert [bad.row for bad in chats.bad_rows] == list(range(1201, 1221))
    lines = report.summary.splitlines()
    assert lines[0] == (
        "chats.jsonl: 1,201 seeds from 1,232 rows, shape sharegpt, 31 bad rows, "
        "2,402 later turns not used"
    )
    assert lines[1].startswith("  chats.jsonl, row 1201: not valid JSON")
    assert lines[-2] == "  … and 11 more bad rows"
    assert lines[-1] == "other.jsonl: 1 seed from 1 row, shape plain"


def test_the_report_of_a_source_with_only_bad_rows_names_no_shape() -> None:
    report = SeedReport()
    report.add(BadRow("a.jsonl", 4, "not valid JSON", "Correct it."))
    assert report.summary.splitlines() == [
        "a.jsonl: 0 seeds from 1 row, 1 bad row",
        "  a.jsonl, row 4: not valid JSON. Correct it.",
    ]
