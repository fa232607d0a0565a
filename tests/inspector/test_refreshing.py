"""A page that refreshes itself disturbs nobody who reads it, and says when it cannot."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from inspecting import Served, served
from playwright.sync_api import Browser, Page, expect
from visiting import Visitor, said

from storage.database import Database

TOKEN = "a-token-of-sufficient-length"
REGION = "Agents and teachers"


@pytest.fixture
def running(db: Path) -> Iterator[Path]:
    """The corpus as if its run still held it."""
    with closing(sqlite3.connect(db)) as connection:
        connection.execute("UPDATE run SET status = 'running', ended_at = NULL")
        connection.commit()
    database = Database.open(str(db))
    with database.run_lock():
        yield db
    database.close()


def opened(browser: Browser, site: Served, width: int = 390) -> Page:
    page = browser.new_context(
        base_url=site.url, viewport={"width": width, "height": 700}
    ).new_page()
    page.goto("/")
    expect(page.locator(".status.running")).to_be_visible()
    return page


def make_old(page: Page) -> None:
    """Writes into the table what the inspector would not, so that the next refresh shows."""
    page.evaluate(
        "name => document.querySelector(`[aria-label=\"${name}\"] td`).textContent = 'old'", REGION
    )


def expect_renewed(page: Page) -> None:
    expect(page.get_by_role("region", name=REGION).locator("td").first).not_to_have_text("old")


def test_a_table_that_was_clicked_is_refreshed_and_keeps_the_focus(
    browser: Browser, running: Path
) -> None:
    with served(running) as site:
        page = opened(browser, site)
        region = page.get_by_role("region", name=REGION)
        region.click(position={"x": 5, "y": 5})
        expect(region).to_be_focused()
        make_old(page)
        expect_renewed(page)
        expect(region).to_be_focused()
        page.context.close()


def test_a_link_in_a_table_keeps_the_focus(browser: Browser, running: Path) -> None:
    with served(running) as site:
        page = opened(browser, site)
        link = page.get_by_role("region", name="Task mix").get_by_role("link").first
        link.focus()
        page.evaluate(
            "document.activeElement.closest('tr').querySelector('td').textContent = 'old'"
        )
        cell = page.get_by_role("region", name="Task mix").locator("td").first
        expect(cell).not_to_have_text("old")
        expect(link).to_be_focused()
        page.context.close()


def test_a_table_stays_where_it_was_scrolled_to(browser: Browser, running: Path) -> None:
    with served(running) as site:
        page = opened(browser, site)
        region = page.get_by_role("region", name=REGION)
        region.evaluate("e => e.scrollLeft = 120")
        assert region.evaluate("e => e.scrollLeft") == 120
        make_old(page)
        expect_renewed(page)
        assert region.evaluate("e => e.scrollLeft") == 120
        page.context.close()


def test_a_page_says_when_the_inspector_is_gone(browser: Browser, running: Path) -> None:
    with served(running) as site:
        page = opened(browser, site)
        expect(page.locator("p.state")).to_have_text("")
    expect(page.locator("p.state")).to_contain_text("does not answer")
    expect(page.locator("p.state")).to_have_attribute("role", "status")
    page.context.close()


def test_a_page_says_when_it_was_signed_out(
    browser: Browser, running: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INSPECTOR_TOKEN", TOKEN)
    with served(running, token_env="INSPECTOR_TOKEN") as site:
        page = browser.new_context(base_url=site.url).new_page()
        page.goto("/")
        page.locator("#token").fill(TOKEN)
        page.locator("main").get_by_role("button").click()
        expect(page.locator(".status.running")).to_be_visible()
        page.context.clear_cookies()
        expect(page.locator("p.state")).to_contain_text("signed out")
        page.context.close()


def test_a_corpus_without_the_lock_is_not_refreshed(db: Path) -> None:
    with closing(sqlite3.connect(db)) as connection:
        connection.execute("UPDATE run SET status = 'running', ended_at = NULL")
        connection.commit()
    with served(db) as site:
        visitor = Visitor(site)
        while "<h1>Counting" in (text := said(visitor.open("/"))):
            pass
        assert 'data-live="off"' in text
        assert "interrupted" in text
