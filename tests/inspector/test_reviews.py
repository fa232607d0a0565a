"""The review queue in a real browser: decided with the keyboard, undone, and never over another's
head; the next run carries it out.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from factory import assert_sound, one, rows, run
from inspecting import Served, shown
from playwright.sync_api import Browser, Page, expect


@pytest.fixture
def other(browser: Browser, site: Served) -> Iterator[Page]:
    """A second reviewer's browser."""
    context = browser.new_context(base_url=site.url)
    yield context.new_page()
    context.close()


def waiting(db: Path) -> list[dict[str, str]]:
    return rows(db, "SELECT * FROM review ORDER BY created_at")


def name_oneself(page: Page, name: str) -> None:
    page.locator("#reviewer").fill(name)
    page.keyboard.press("Escape")


def shown_sample(page: Page) -> str:
    found = re.search(r"/review/([0-9a-f]{32})", page.url)
    assert found, page.url
    return found[1]


def test_accepted_with_one_key_the_next_comes_and_the_name_is_remembered(
    page: Page, site: Served
) -> None:
    page.goto("/review")
    first = shown_sample(page)
    name_oneself(page, "森 Mori")
    page.keyboard.press("a")
    expect(page.get_by_role("status")).to_contain_text("to be accepted, says 森 Mori")
    assert shown_sample(page) != first
    expect(page.locator("#reviewer")).to_have_value("森 Mori")
    (row,) = waiting(site.db)
    assert (row["sample_id"], row["decision"], row["reviewer"]) == (first, "accept", "森 Mori")
    assert one(site.db, "SELECT status FROM sample WHERE id = ?", first) == "held"


def test_a_rejection_asks_for_its_reason_first(page: Page, site: Served) -> None:
    page.goto("/review")
    name_oneself(page, "Mori")
    page.keyboard.press("r")
    expect(page.locator("#note")).to_be_focused()
    assert waiting(site.db) == []
    page.keyboard.type("It names no author; a, r and n are only letters here.")
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("status")).to_contain_text("to be rejected")
    (row,) = waiting(site.db)
    assert row["note"] == "It names no author; a, r and n are only letters here."


def test_a_rejection_without_a_reason_is_refused_by_the_server_too(
    page: Page, site: Served
) -> None:
    page.goto("/review")
    page.locator("#reviewer").fill("Mori")
    page.get_by_role("button", name="Reject").click()
    assert "A rejection needs a reason" in shown(page)
    assert waiting(site.db) == []


def test_an_edit_is_kept_word_for_word(page: Page, site: Served) -> None:
    page.goto("/review")
    sample = shown_sample(page)
    name_oneself(page, "Mori")
    page.keyboard.press("e")
    expect(page.locator("#e-response")).to_be_focused()
    was = one(site.db, "SELECT response FROM sample WHERE id = ?", sample)
    expect(page.locator("#e-response")).to_have_value(was)
    edited = "一行目。\nSecond line with <b>signs</b> & 'quotes'."
    page.locator("#e-response").fill(edited)
    page.locator("#e-reviewer").fill("Mori")
    page.locator("#e-note").fill("Shorter.")
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("status")).to_contain_text("as edited")
    (row,) = waiting(site.db)
    assert (row["decision"], row["edited_response"]) == ("edit", edited)
    assert row["edited_instruction"] is None


def test_an_edit_that_changes_nothing_is_refused(page: Page, site: Served) -> None:
    page.goto("/review")
    page.keyboard.press("e")
    page.locator("#e-reviewer").fill("Mori")
    page.get_by_role("button", name="Save the edit").click()
    assert "Nothing was edited" in shown(page)
    assert waiting(site.db) == []


def test_the_last_decision_is_undone_with_one_key(page: Page, site: Served) -> None:
    page.goto("/review")
    sample = shown_sample(page)
    name_oneself(page, "Mori")
    page.keyboard.press("a")
    expect(page.get_by_role("button", name="Undo")).to_be_visible()
    page.keyboard.press("u")
    page.wait_for_url(f"**/review/{sample}")
    assert waiting(site.db) == []


def test_skipping_comes_round_to_the_same_sample_in_the_end(page: Page, site: Served) -> None:
    page.goto("/review")
    held = one(site.db, "SELECT count(*) FROM sample WHERE status = 'held'")
    seen = []
    for _ in range(held):
        seen.append(shown_sample(page))
        page.keyboard.press("n")
        page.wait_for_url(lambda url, last=seen[-1]: last not in url)
    assert len(set(seen)) == held
    assert shown_sample(page) == seen[0]


def test_of_two_who_see_the_same_sample_the_second_is_told(
    page: Page, other: Page, site: Served
) -> None:
    page.goto("/review")
    sample = shown_sample(page)
    other.goto(f"/review/{sample}")
    name_oneself(page, "Mori")
    page.keyboard.press("a")
    expect(page.get_by_role("status")).to_be_visible()
    other.locator("#reviewer").fill("Li")
    other.locator("#note").fill("Too long.")
    other.get_by_role("button", name="Reject").click()
    assert "Somebody else has decided" in shown(other)
    assert "Mori says accept" in shown(other)
    assert [row["reviewer"] for row in waiting(site.db)] == ["Mori"]
    other.goto(f"/review/{sample}")
    assert "by Mori" in shown(other)
    other.locator("#reviewer").fill("Li")
    other.locator("#note").fill("Too long.")
    other.get_by_role("button", name="Reject").click()
    expect(other.get_by_role("status")).to_contain_text("to be rejected, says Li")


def test_the_next_run_carries_decisions_out(page: Page, site: Served, made: Path) -> None:
    page.goto("/review")
    name_oneself(page, "Mori")
    held = one(site.db, "SELECT count(*) FROM sample WHERE status = 'held'")
    for _ in range(held):
        before = page.url
        page.keyboard.press("a")
        page.wait_for_url(lambda url, before=before: url != before)
    assert "have a decision" in shown(page)
    with ThreadPoolExecutor(1) as apart:
        recipe = made.parent / "recipe.yaml"
        apart.submit(lambda: asyncio.run(run(recipe, db=site.db))).result()
    assert one(site.db, "SELECT count(*) FROM sample WHERE reason = 'accepted_by_human'") == held
    page.goto("/review")
    assert "No sample is held" in shown(page)
    assert_sound(site.db)
