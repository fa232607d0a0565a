"""axe finds nothing on any page, in light and in dark, wide and narrow; and keys suffice."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import urlencode

import pytest
from axe_playwright_python.sync_playwright import Axe
from factory import one
from inspecting import Served, served
from playwright.sync_api import Browser, Page, expect
from visiting import Visitor

from storage.database import Database


def pages(site: Served) -> list[str]:
    sample = one(site.db, "SELECT id FROM sample WHERE round = 1 LIMIT 1")
    seed = one(site.db, "SELECT id FROM seed LIMIT 1")
    return ["/", "/samples", "/samples?status=pending", f"/samples/{sample}", f"/seeds/{seed}",
            "/review", "/prompts", "/prompts/rewriting/respond", "/evaluations", "/nothing",
            "/login"]  # fmt: skip


def exported_pages(site: Served, exported: str) -> list[str]:
    evaluation = one(site.db, "SELECT id FROM evaluation")
    item = one(site.db, "SELECT item FROM evaluation_item LIMIT 1")
    return [f"/evaluations/{evaluation}", f"/exports/{exported}",
            f"/trainings/{one(site.db, 'SELECT id FROM training_run')}",
            f"/evaluations/{evaluation}/items?{urlencode({'item': item})}"]  # fmt: skip


def collide(page: Page, site: Served) -> None:
    """Opens the queue, and sends what somebody else has decided meanwhile."""
    page.goto("/review")
    sample = page.url.rpartition("/")[2].partition("?")[0]
    visitor = Visitor(site)
    visitor.open(f"/review/{sample}")
    visitor.send(f"/review/{sample}", {"decision": "accept", "reviewer": "Li"})
    page.locator("#reviewer").fill("Mori")
    page.get_by_role("button", name="Accept").first.click()
    expect(page.get_by_role("alert")).to_be_visible()


def found(page: Page) -> list[tuple[str, str, str]]:
    """What axe complains of."""
    return [
        (fault["impact"], fault["id"], fault["nodes"][0]["html"][:200])
        for fault in Axe().run(page).response["violations"]
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_on_a_page_that_has_lost_its_inspector(
    browser: Browser, db: Path, scheme: str
) -> None:
    with closing(sqlite3.connect(db)) as connection:
        connection.execute("UPDATE run SET status = 'running', ended_at = NULL")
        connection.commit()
    context = browser.new_context(color_scheme=scheme, bypass_csp=True)  # type: ignore[arg-type]
    page = context.new_page()
    database = Database.open(str(db))
    with database.run_lock(), served(db) as site:
        page.goto(f"{site.url}/")
        expect(page.locator(".status.running")).to_be_visible()
        assert found(page) == []
    expect(page.locator("p.state")).to_contain_text("does not answer")
    assert found(page) == []
    database.close()
    context.close()


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 1280), ("light", 390),
                                               ("dark", 390)])  # fmt: skip
def test_axe_finds_nothing_on_any_page(
    browser: Browser, site: Served, exported: str, scheme: str, width: int
) -> None:
    context = browser.new_context(
        base_url=site.url,
        viewport={"width": width, "height": 800},
        color_scheme=scheme,  # type: ignore[arg-type]
        # axe is put into the page as a script of its own, which the page's policy forbids.
        bypass_csp=True,
    )
    page = context.new_page()
    for path in [*pages(site), *exported_pages(site, exported)]:
        page.goto(path)
        page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
        assert found(page) == [], path
    collide(page, site)
    assert found(page) == []
    context.close()


def test_the_first_key_leads_past_the_navigation(page: Page) -> None:
    page.goto("/samples")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="To the content")).to_be_focused()
    page.keyboard.press("Enter")
    assert page.url.endswith("#main")
