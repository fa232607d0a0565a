"""JSON that pages show to people: manifests, evidence and answers are laid out, and stay words."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from typing import Any

from factory import one
from inspecting import Served
from playwright.sync_api import Locator, Page, expect

from inspector.rendering import counted

LONG = "<i>word</i> " * 100
HELD: dict[str, Any] = {
    "correct": False,
    "teacher": "教師\u202e",
    "<script>document.title='pwned'</script>": {"wanted": ["a b", None], "share": 0.5},
    "said": LONG,
}


def put(site: Served, statement: str) -> None:
    with closing(sqlite3.connect(site.db)) as connection:
        connection.execute(statement, (json.dumps(HELD),))
        connection.commit()


def is_laid_out(facts: Locator) -> None:
    """Names beside values, none of JSON's marks, and the long text behind its beginning."""
    said = facts.inner_text()
    for mark in ('{"', '":', "true", "false", "null"):
        assert mark not in said
    terms = facts.locator("> dt")
    assert terms.all_inner_texts() == [
        "correct", "teacher", "<script>document.title='pwned'</script>", "said",
    ]  # fmt: skip
    values = facts.locator("> dd")
    assert values.nth(0).inner_text() == "no"
    assert values.nth(1).inner_text() == "教師⟦U+202E⟧"
    assert values.nth(2).locator("dt").all_inner_texts() == ["wanted", "share"]
    assert values.nth(2).locator("li").all_inner_texts() == ["a b", "none"]
    summary = values.nth(3).locator("summary")
    assert summary.inner_text().startswith(LONG[:40])
    whole = values.nth(3).locator(".words")
    expect(whole).to_be_hidden()
    summary.click()
    assert whole.inner_text().strip() == LONG.strip()


def test_evidence_is_laid_out_where_a_sample_is_read_and_where_it_is_decided(
    page: Page, site: Served
) -> None:
    put(site, "UPDATE verdict SET evidence = ?")
    held = one(site.db, "SELECT id FROM sample WHERE status = 'held' LIMIT 1")
    for path in (f"/samples/{held}", f"/review/{held}"):
        page.goto(path)
        is_laid_out(page.locator(".verdicts > li > dl").last)
        assert page.title().endswith("Stillhouse")


def test_an_exports_manifest_is_laid_out(page: Page, site: Served, exported: str) -> None:
    put(site, "UPDATE export SET manifest = ?")
    page.goto(f"/exports/{exported}")
    page.get_by_text("Manifest", exact=True).click()
    is_laid_out(page.locator("main > details > dl"))


def test_an_answer_in_json_is_laid_out_and_its_texts_are_not_folded(
    page: Page, site: Served
) -> None:
    put(site, "UPDATE completion SET content = ?")
    page.goto(f"/seeds/{one(site.db, 'SELECT id FROM seed LIMIT 1')}")
    facts = page.locator(".step > dl.facts").first
    assert facts.locator("> dd").nth(0).inner_text() == "no"
    assert facts.locator("> dd").nth(2).locator("li").all_inner_texts() == ["a b", "none"]
    assert facts.locator("> dd").nth(3).inner_text().strip() == LONG.strip()


def test_one_of_something_is_not_called_several() -> None:
    assert [counted(n, "seed") for n in (0, 1, 2000)] == ["0 seeds", "1 seed", "2,000 seeds"]
