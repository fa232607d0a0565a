"""How the lists lie on screens of several widths."""

from __future__ import annotations

import pytest
from inspecting import Served
from playwright.sync_api import Page

from inspector.rendering import breakable


@pytest.mark.parametrize("width", [1280, 1024])
def test_every_column_of_the_samples_is_in_sight(page: Page, site: Served, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    page.goto("/samples")
    assert page.locator(".scroll").evaluate("e => e.scrollWidth - e.clientWidth") == 0
    last = page.locator("tbody tr").first.locator("td").last.bounding_box()
    assert last and last["x"] + last["width"] <= width


def test_a_reason_is_broken_between_its_words_only(page: Page, site: Served) -> None:
    page.set_viewport_size({"width": 1024, "height": 800})
    page.goto("/samples?status=rejected")
    lines = page.locator("td.break").first.evaluate(
        """cell => {
            const lines = new Map();
            const walk = document.createTreeWalker(cell, NodeFilter.SHOW_TEXT);
            for (let node = walk.nextNode(); node; node = walk.nextNode())
                for (let n = 0; n < node.length; n++) {
                    const range = document.createRange();
                    range.setStart(node, n);
                    range.setEnd(node, n + 1);
                    const top = Math.round(range.getBoundingClientRect().top);
                    lines.set(top, (lines.get(top) || "") + node.data[n]);
                }
            return [...lines.values()];
        }"""
    )
    assert "".join(lines) == "verification_failed"
    assert all(line.endswith("_") for line in lines[:-1])


def test_a_table_that_goes_on_shows_it_at_a_phones_width(page: Page, site: Served) -> None:
    page.set_viewport_size({"width": 390, "height": 800})
    page.goto("/")
    region = page.get_by_role("region", name="Agents and teachers")
    assert region.evaluate("e => e.scrollWidth > e.clientWidth")
    shadow = "e => getComputedStyle(e).backgroundAttachment.includes('local')"
    assert region.evaluate(shadow)
    page.set_viewport_size({"width": 1280, "height": 800})
    assert not region.evaluate(shadow)


def test_what_may_be_broken_is_escaped_and_made_visible() -> None:
    assert breakable("a_<b>\u202e_c") == "a_<wbr>&lt;b&gt;⟦U+202E⟧_<wbr>c"


def test_what_is_hidden_is_not_drawn(page: Page, site: Served) -> None:
    page.goto("/review")
    unseen = page.locator("main [hidden]")
    assert unseen.count() > 0
    assert [one.is_visible() for one in unseen.all()] == [False] * unseen.count()


@pytest.mark.parametrize("path", ["/", "/samples"])
def test_a_pages_heading_stands_below_the_name(page: Page, site: Served, path: str) -> None:
    page.set_viewport_size({"width": 1280, "height": 800})
    page.goto(path)
    name = page.locator("header.top strong").bounding_box()
    heading = page.locator("h1").bounding_box()
    assert name and heading and name["x"] == heading["x"]
