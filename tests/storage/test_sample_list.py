"""A list of samples is complete, in order, and the same however it is cut into pages."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from conftest import CorpusMaker

from storage import sample_list
from storage.database import Database
from storage.keyset import BadCursor
from storage.sample_filters import SampleFilter
from storage.sample_list import SORTS, list_samples
from storage.tables import utcnow

STATUSES = ("accepted", "rejected", "held")
CATEGORIES = ("math", "code", None)
NOW = utcnow()


@pytest.fixture
def many(corpus: CorpusMaker) -> list[dict[str, Any]]:
    """Twenty samples; columns repeat, and some are null."""
    made = []
    seed = corpus.seed()
    for n in range(20):
        columns = {
            "status": STATUSES[n % 3], "reason": f"reason{n % 4}", "category": CATEGORIES[n % 3],
            "language": None if n % 5 == 0 else "ja", "score_total": None if n % 4 == 0 else n % 7,
            "responder": None if n % 6 == 0 else f"teacher{n % 2}",
            "response_prompt": None if n % 7 == 0 else f"a/p#{n % 3}",
            "instruction": f"Say {n}% of the tea_pot" if n % 2 else f"東京 {n}",
            "updated_at": NOW - timedelta(seconds=n % 8),
        }  # fmt: skip
        identifier = corpus.sample(seed, variant=n, response="Word" if n % 2 else "語", **columns)
        made.append({"id": identifier, "variant": n, "round": 0, **columns})
    return made


def paged(database: Database, wanted: SampleFilter, size: int, **options: Any) -> list[str]:
    """Every page's identifiers, one after another."""
    found: list[str] = []
    after = None
    with database.read() as connection:
        while True:
            page = list_samples(connection, wanted, after=after, size=size, **options)
            assert len(page.rows) <= size
            found += [row.id for row in page.rows]
            after = page.after
            if after is None:
                return found


COLUMNS = {
    "changed": "updated_at",
    "score": "score_total",
    "teacher": "responder",
    "prompt": "response_prompt",
}


@pytest.mark.parametrize("descending", [True, False])
@pytest.mark.parametrize("sort", SORTS)
def test_every_order_is_whole_and_puts_what_has_no_value_last(
    database: Database, many: list[dict[str, Any]], sort: str, descending: bool
) -> None:
    column = COLUMNS.get(sort, sort)
    having = [row for row in many if row[column] is not None]
    lacking = [row for row in many if row[column] is None]
    expected = [
        row["id"]
        for rows, key in ((having, lambda r: (r[column], r["id"])), (lacking, lambda r: r["id"]))
        for row in sorted(rows, key=key, reverse=descending)
    ]
    for size in (3, 7, 50):
        found = paged(database, SampleFilter(), size, sort=sort, descending=descending)
        assert found == expected


FILTERS: dict[str, tuple[SampleFilter, Any]] = {
    "status": (SampleFilter(status="held"), lambda r: r["status"] == "held"),
    "reason": (SampleFilter(reason="reason1"), lambda r: r["reason"] == "reason1"),
    "both": (
        SampleFilter(status="held", reason="reason1"),
        lambda r: (r["status"], r["reason"]) == ("held", "reason1"),
    ),
    "category": (SampleFilter(category="math"), lambda r: r["category"] == "math"),
    "language": (SampleFilter(language="ja"), lambda r: r["language"] == "ja"),
    "teacher": (SampleFilter(teacher="teacher1"), lambda r: r["responder"] == "teacher1"),
    "score": (
        SampleFilter(score_from=2, score_to=4),
        lambda r: r["score_total"] is not None and 2 <= r["score_total"] <= 4,
    ),
    "words": (SampleFilter(words="東京"), lambda r: "東京" in r["instruction"]),
    "case": (SampleFilter(words="wORD"), lambda r: r["variant"] % 2 == 1),
    "signs": (SampleFilter(words="% of the tea_p"), lambda r: r["variant"] % 2 == 1),
    "no pattern": (SampleFilter(words="S%y"), lambda r: False),
    "prompt": (SampleFilter(prompt_hash="ab" * 16), lambda r: True),
    "no such prompt": (SampleFilter(prompt_hash="cd" * 16), lambda r: False),
    "recipe": (SampleFilter(recipe="other"), lambda r: False),
}


@pytest.mark.parametrize("few", [True, False], ids=["by an index", "by walking"])
@pytest.mark.parametrize("name", FILTERS)
def test_a_filter_finds_what_it_says_by_either_way(
    database: Database,
    many: list[dict[str, Any]],
    name: str,
    few: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not few:
        monkeypatch.setattr(sample_list, "_FEW", -1)
    wanted, holds = FILTERS[name]
    expected = sorted(row["id"] for row in many if holds(row))
    assert sorted(paged(database, wanted, 4, sort="score")) == expected


def test_a_walk_that_finds_little_stops_and_goes_on_from_there(
    database: Database, many: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sample_list, "_FIRST_WINDOW", 3)
    wanted = SampleFilter(words="東京")
    with database.read() as connection:
        page = list_samples(connection, wanted, size=2, walk_s=0.0)
        assert page.looked_at == 3
        assert page.after is not None
    everything = paged(database, wanted, 2, walk_s=0.0)
    assert sorted(everything) == sorted(r["id"] for r in many if r["variant"] % 2 == 0)


@pytest.mark.parametrize("after", ["x", "W10", "WzEsIDJd", "bnVsbA", "W251bGwsIDFd", "é"])
def test_a_place_that_no_page_gave_is_refused(
    database: Database, corpus: CorpusMaker, after: str
) -> None:
    with database.read() as connection, pytest.raises(BadCursor):
        list_samples(connection, SampleFilter(), after=after)
