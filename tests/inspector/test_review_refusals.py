"""What the review queue refuses, and that nothing typed is lost by it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from factory import one, rows
from inspecting import Served, served, shown
from playwright.sync_api import Browser, Page, expect
from visiting import Visitor, said

from storage.database import Database
from storage.review import ReviewRefused, text_hash
from storage.reviewing import Choosing, Seen, decide_seen


@pytest.fixture
def other(browser: Browser, site: Served) -> Iterator[Page]:
    """A second reviewer's browser."""
    context = browser.new_context(base_url=site.url)
    yield context.new_page()
    context.close()


def reviews(db: Path) -> list[dict[str, str]]:
    return rows(db, "SELECT * FROM review ORDER BY created_at")


def held(db: Path) -> dict[str, str]:
    return rows(db, "SELECT * FROM sample WHERE status = 'held' ORDER BY id")[0]


@pytest.mark.parametrize("blank", ["", " ", "\r\n", "\u3000"])
def test_an_edit_that_leaves_no_words_is_refused_and_given_back(site: Served, blank: str) -> None:
    sample = held(site.db)
    visitor = Visitor(site)
    visitor.open(f"/review/{sample['id']}")
    fields = {"decision": "edit", "reviewer": "Mori", "response": blank,
              "instruction": "An instruction that I wrote anew."}  # fmt: skip
    answer = visitor.send(f"/review/{sample['id']}", fields)
    assert answer.status == 409
    assert "The edited response has no words." in said(answer)
    assert "An instruction that I wrote anew." in said(answer)
    assert reviews(site.db) == []


def test_the_corpus_itself_refuses_an_edit_without_words(db: Path) -> None:
    sample = held(db)
    seen = Seen(text_hash(sample["instruction"], sample["reasoning"], sample["response"]), None)
    database = Database.open(str(db))
    with pytest.raises(ReviewRefused, match="no words"):
        decide_seen(database, sample["id"], Choosing("edit", "Mori", response="\n"), seen)
    database.close()


def test_line_ends_alone_are_no_edit(db: Path) -> None:
    sample = held(db)
    with_ends = "one\rtwo\r\nthree\nfour"
    database = Database.open(str(db))
    with database.write() as connection:
        connection.exec_driver_sql("UPDATE sample SET response = ?", (with_ends,))
    database.close()
    with served(db) as site:
        visitor = Visitor(site)
        visitor.open(f"/review/{sample['id']}")
        fields = {"decision": "edit", "reviewer": "Mori",
                  "instruction": sample["instruction"].replace("\n", "\r\n"),
                  "response": "one\r\ntwo\r\nthree\r\nfour"}  # fmt: skip
        answer = visitor.send(f"/review/{sample['id']}", fields)
    assert "Nothing was edited" in said(answer)
    assert reviews(db) == []


def test_a_long_edit_in_japanese_is_taken_whole(site: Served) -> None:
    sample = held(site.db)
    visitor = Visitor(site)
    visitor.open(f"/review/{sample['id']}")
    long = "秋の公園を歩く。" * 25_000
    fields = {"decision": "edit", "reviewer": "森", "response": long}
    answer = visitor.send(f"/review/{sample['id']}", fields)
    assert answer.status == 303
    (row,) = reviews(site.db)
    assert row["edited_response"] == long


def test_who_collides_keeps_the_edit_and_sees_the_new_state(
    page: Page, other: Page, site: Served
) -> None:
    page.goto("/review")
    sample = page.url.rpartition("/")[2].partition("?")[0]
    other.goto(f"/review/{sample}")
    other.locator("#reviewer").fill("Li")
    other.get_by_role("button", name="Accept").click()
    expect(other.get_by_role("status")).to_contain_text("to be accepted")
    page.locator("#reviewer").fill("Mori")
    page.keyboard.press("Escape")
    page.keyboard.press("e")
    page.locator("#e-response").fill("書き直した長い文。")
    page.locator("#e-note").fill("Too short.")
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("alert")).to_contain_text("Somebody else has decided")
    assert "Decided: accept, by Li" in shown(page)
    expect(page.locator("#e-response")).to_be_visible()
    expect(page.locator("#e-response")).to_have_value("書き直した長い文。")
    expect(page.locator("#e-note")).to_have_value("Too short.")
    expect(page.locator("#e-reviewer")).to_have_value("Mori")
    # Having seen it, the second may decide otherwise.
    page.locator("#e-response").press("Control+Enter")
    expect(page.get_by_role("status")).to_contain_text("as edited, says Mori")


def test_what_was_typed_outlives_a_restart_of_the_inspector(db: Path) -> None:
    sample = held(db)
    with served(db) as site:
        visitor = Visitor(site)
        visitor.open(f"/review/{sample['id']}")
    with served(db) as again:
        visitor.site = again
        fields = {"decision": "edit", "reviewer": "Mori", "response": "A text of mine."}
        answer = visitor.send(f"/review/{sample['id']}", fields)
        assert answer.status == 400
        assert "This form cannot be taken" in said(answer)
        assert "A text of mine." in said(answer)
    assert reviews(db) == []


@pytest.mark.parametrize("change", ["DELETE FROM sample", "UPDATE sample SET status = 'accepted'"])
def test_what_was_typed_is_shown_where_the_sample_is_held_no_longer(
    site: Served, change: str
) -> None:
    sample = held(site.db)
    visitor = Visitor(site)
    visitor.open(f"/review/{sample['id']}")
    database = Database.open(str(site.db))
    with database.write() as connection:
        connection.exec_driver_sql("PRAGMA defer_foreign_keys=ON")
        connection.exec_driver_sql("PRAGMA ignore_check_constraints=ON")
        if change.startswith("DELETE"):
            for table in ("agent_call", "score", "verdict", "review"):
                connection.exec_driver_sql(f"DELETE FROM {table} WHERE sample_id IS NOT NULL")
            connection.exec_driver_sql("UPDATE sample SET parent_id = NULL")
        connection.exec_driver_sql(change)
    database.close()
    fields = {"decision": "edit", "reviewer": "Mori", "response": "A text of mine."}
    answer = visitor.send(f"/review/{sample['id']}", fields)
    assert answer.status in (404, 409)
    assert "A text of mine." in said(answer)


def test_the_same_decision_sent_twice_is_one(site: Served) -> None:
    sample = held(site.db)["id"]
    visitor = Visitor(site)
    visitor.open(f"/review/{sample}")
    fields = {"decision": "reject", "reviewer": "Mori", "note": "No source."}
    places = [visitor.send(f"/review/{sample}", fields).getheader("location") for _ in range(2)]
    assert places[0] == places[1]
    assert len(reviews(site.db)) == 1


def test_ones_own_other_decision_is_not_blamed_on_somebody_else(site: Served) -> None:
    sample = held(site.db)["id"]
    visitor = Visitor(site)
    visitor.open(f"/review/{sample}")
    visitor.send(f"/review/{sample}", {"decision": "accept", "reviewer": "Mori"})
    fields = {"decision": "reject", "reviewer": "Mori", "note": "On second thoughts."}
    answer = visitor.send(f"/review/{sample}", fields)
    assert answer.status == 409
    assert "decided under your name" in said(answer)
    assert "Somebody else" not in said(answer)
    assert len(reviews(site.db)) == 1


def begins_at(site: Served) -> str:
    return str(Visitor(site).ask("GET", "/review").getheader("location"))


def test_new_reviewers_begin_at_places_of_their_own(site: Served) -> None:
    assert int(one(site.db, "SELECT count(*) FROM sample WHERE status = 'held'")) > 1
    # By chance all of thirty agree less than once in a billion.
    assert len({begins_at(site) for _ in range(30)}) > 1


def test_who_has_met_somebody_goes_on_at_a_place_of_their_own(site: Served) -> None:
    sample = held(site.db)["id"]
    onwards = set()
    for name in ("Mori", "Li", "Kim"):
        visitor = Visitor(site)
        visitor.open(f"/review/{sample}")
        visitor.hidden["seen_review"] = "another"
        answer = visitor.send(f"/review/{sample}", {"decision": "accept", "reviewer": name})
        assert answer.status == 409
        onwards.add(re.search(r'href="/review\?after=(\w+)"', said(answer))[1])  # type: ignore[index]
    assert len(onwards) == 3


def test_a_refused_decision_remembers_the_name_too(site: Served) -> None:
    sample = held(site.db)["id"]
    visitor = Visitor(site)
    visitor.open(f"/review/{sample}")
    answer = visitor.send(f"/review/{sample}", {"decision": "reject", "reviewer": "Mori"})
    assert answer.status == 409
    assert 'value="Mori"' in said(visitor.open(f"/review/{sample}"))
