"""The queue's keyboard: nothing is decided by a key that was not meant to, in a real browser."""

from __future__ import annotations

from pathlib import Path

import pytest
from factory import rows
from inspecting import Served
from playwright.sync_api import Browser, Page, expect


def decided(db: Path) -> list[tuple[str, str]]:
    return [(row["decision"], row["note"] or "") for row in rows(db, "SELECT * FROM review")]


def settle(page: Page) -> None:
    """Waits until whatever a key began would have come to its end: the server has answered a
    later request."""
    page.wait_for_load_state()
    page.evaluate("fetch('/review').then(answer => answer.text())")


def test_enter_in_a_field_decides_nothing(page: Page, site: Served) -> None:
    page.goto("/review")
    page.locator("#reviewer").fill("Mori")
    page.locator("#reviewer").press("Enter")
    page.keyboard.press("Escape")
    page.keyboard.press("e")
    page.locator("#e-response").fill("Changed.")
    page.locator("#e-reviewer").press("Enter")
    settle(page)
    assert decided(site.db) == []


def test_without_scripts_enter_decides_nothing_either(browser: Browser, site: Served) -> None:
    context = browser.new_context(base_url=site.url, java_script_enabled=False)
    page = context.new_page()
    page.goto("/review")
    before = page.url
    page.locator("#reviewer").fill("Mori")
    page.locator("#reviewer").press("Enter")
    # A click after it is answered after it.
    page.get_by_role("button", name="Reject").click()
    page.wait_for_load_state()
    assert page.url.partition("?")[0] == before
    assert decided(site.db) == []
    context.close()


def test_ctrl_enter_on_a_reason_sends_only_what_was_chosen(page: Page, site: Served) -> None:
    page.goto("/review")
    page.locator("#reviewer").fill("Mori")
    page.locator("#note").fill("It invents facts.")
    page.locator("#note").press("Control+Enter")
    settle(page)
    assert decided(site.db) == []


def test_a_rejection_that_was_left_with_esc_is_not_sent_later(page: Page, site: Served) -> None:
    page.goto("/review")
    page.locator("#reviewer").fill("Mori")
    page.keyboard.press("Escape")
    page.keyboard.press("r")
    expect(page.locator("#note")).to_be_focused()
    page.keyboard.press("Escape")
    page.locator("#note").fill("Fine after all.")
    page.locator("#note").press("Control+Enter")
    settle(page)
    assert decided(site.db) == []


def test_capital_letters_are_the_same_keys(page: Page, site: Served) -> None:
    page.goto("/review")
    page.locator("#reviewer").fill("Mori")
    page.keyboard.press("Escape")
    page.keyboard.press("A")
    expect(page.get_by_role("status")).to_contain_text("to be accepted")
    assert decided(site.db) == [("accept", "")]


def test_letters_can_be_switched_off_and_stay_off(page: Page, site: Served) -> None:
    page.goto("/review")
    page.get_by_label("Single letters are keys").uncheck()
    page.locator("#reviewer").fill("Mori")
    page.keyboard.press("Escape")
    page.keyboard.press("a")
    settle(page)
    page.goto("/review")
    expect(page.get_by_label("Single letters are keys")).not_to_be_checked()
    page.locator("#reviewer").fill("Mori")
    page.keyboard.press("Escape")
    page.keyboard.press("a")
    settle(page)
    assert decided(site.db) == []
    page.get_by_label("Single letters are keys").check()
    page.keyboard.press("a")
    expect(page.get_by_role("status")).to_contain_text("to be accepted")


@pytest.mark.parametrize("key", ["Escape", "Enter"])
def test_keys_that_compose_a_word_are_not_ours(page: Page, site: Served, key: str) -> None:
    page.goto("/review")
    page.locator("#reviewer").fill("もり")
    page.keyboard.press("Escape")
    page.keyboard.press("r")
    page.evaluate(
        """key => document.activeElement.dispatchEvent(new KeyboardEvent("keydown",
            {key, ctrlKey: key === "Enter", bubbles: true, isComposing: true}))""",
        key,
    )
    expect(page.locator("#note")).to_be_focused()
    assert decided(site.db) == []


def test_one_name_is_enough_for_both_forms(page: Page, site: Served) -> None:
    page.goto("/review")
    page.locator("#reviewer").fill("森")
    page.keyboard.press("Escape")
    page.keyboard.press("e")
    expect(page.locator("#e-reviewer")).to_have_value("森")


def test_two_presses_are_one_decision(page: Page, site: Served) -> None:
    page.goto("/review")
    page.locator("#reviewer").fill("Mori")
    page.locator("#note").fill("Once.")
    # Both in one turn of the browser, before it can leave the page.
    page.evaluate("for (const _ of [1, 2]) document.querySelector('button[value=accept]').click()")
    expect(page.get_by_role("status")).to_contain_text("to be accepted")
    expect(page.get_by_role("alert")).to_have_count(0)
    assert decided(site.db) == [("accept", "Once.")]


def test_the_last_decision_can_be_undone_after_a_skip(page: Page, site: Served) -> None:
    page.goto("/review")
    page.locator("#reviewer").fill("Mori")
    page.keyboard.press("Escape")
    page.keyboard.press("a")
    expect(page.get_by_role("button", name="Undo")).to_be_visible()
    before = page.url.partition("?")[0]
    page.keyboard.press("n")
    page.wait_for_url(lambda url: not url.startswith(before))
    page.keyboard.press("u")
    expect(page.get_by_role("button", name="Undo")).to_have_count(0)
    assert decided(site.db) == []
