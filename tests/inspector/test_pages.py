"""Every page in a real browser, on a corpus from a real run: it shows what the corpus holds."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
import threading
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from factory import PROMPTS, one, rows
from inspecting import Served, served, shown
from playwright.sync_api import Browser, Page, expect

from graph.recipe import Recipe
from graph.stale import StaleState
from inspector import prompts_page
from storage.database import Database


def test_the_run_page_counts_what_the_corpus_holds(page: Page, site: Served) -> None:
    page.goto("/")
    expect(page.get_by_role("heading", level=1)).to_have_text("small")
    said = shown(page)
    for status in ("accepted", "rejected", "held"):
        n = one(site.db, "SELECT count(*) FROM sample WHERE status = ?", status)
        assert n > 0
        assert f"{n} {status}" in said
    calls = one(site.db, "SELECT count(*) FROM agent_call WHERE error_type IS NULL AND NOT cached")
    assert f"{calls} of 100,000" in said
    live = one(
        site.db,
        "SELECT count(*) FROM sample WHERE category = 'math' "
        "AND status IN ('accepted', 'pending', 'held')",
    )
    expect(page.get_by_role("row", name=re.compile("^math"))).to_contain_text(f"{live} of 30")
    for agent in ("expansion", "rewriting", "response", "selection", "verification"):
        expect(page.get_by_role("row", name=re.compile(f"^{agent}"))).to_be_visible()
    assert page.locator("svg.plot rect").count() > 0


def test_a_reason_leads_to_the_samples_that_have_it(page: Page, site: Served) -> None:
    page.goto("/")
    page.get_by_role("link", name="verification_failed").click()
    n = one(site.db, "SELECT count(*) FROM sample WHERE reason = 'verification_failed'")
    expect(page.locator("table.samples tbody tr")).to_have_count(n)


def test_the_run_page_keeps_itself_fresh_while_a_run_goes_on(page: Page, site: Served) -> None:
    write(site.db, "UPDATE run SET status = 'running', ended_at = NULL")
    database = Database.open(str(site.db))
    with database.run_lock():
        page.goto("/")
        before = one(site.db, "SELECT count(*) FROM sample WHERE status = 'accepted'")
        expect(page.get_by_text(f"{before} accepted", exact=True)).to_be_visible()
        now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
        write(
            site.db,
            f"UPDATE sample SET status = 'accepted', updated_at = '{now}' WHERE status = 'held'",
        )
        after = one(site.db, "SELECT count(*) FROM sample WHERE status = 'accepted'")
        assert after > before
        expect(page.get_by_text(f"{after} accepted", exact=True)).to_be_visible()
    database.close()


def test_filters_and_order_stand_in_the_address_and_give_the_same_list_again(
    page: Page, site: Served
) -> None:
    page.goto("/samples")
    page.get_by_label("State").select_option("accepted")
    page.get_by_label("Language").select_option("ja")
    page.get_by_label("Sorted by").select_option("score")
    page.get_by_role("button", name="Show").click()
    wanted = rows(
        site.db,
        "SELECT sample.id, informativeness + helpfulness + generalisation AS total FROM sample "
        "JOIN score ON sample_id = sample.id WHERE status = 'accepted' AND language = 'ja' "
        "ORDER BY total DESC, sample.id DESC",
    )
    assert wanted
    assert listed(page) == [row["id"] for row in wanted]
    asked = parse_qs(urlsplit(page.url).query)
    assert (asked["status"], asked["sort"]) == (["accepted"], ["score"])
    again = page.context.new_page()
    again.goto(page.url)
    assert listed(again) == listed(page)
    expect(again.get_by_label("Language")).to_have_value("ja")


def listed(page: Page) -> list[str]:
    page.wait_for_load_state()
    links = page.locator("table.samples td.texts a")
    return [str(link.get_attribute("href")).rpartition("/")[2] for link in links.all()]


def test_a_column_sorts_by_itself_and_the_other_way_round(page: Page, site: Served) -> None:
    page.goto("/samples?status=rejected")
    header = page.get_by_role("columnheader", name="category")
    header.get_by_role("link").click()
    first = [row.inner_text() for row in page.locator("tbody td:nth-child(4)").all()]
    assert first == sorted(first)
    expect(page.get_by_role("columnheader", name="category")).to_have_attribute(
        "aria-sort", "ascending"
    )
    page.get_by_role("columnheader", name="category").get_by_role("link").click()
    assert [row.inner_text() for row in page.locator("tbody td:nth-child(4)").all()] == first[::-1]


def test_words_are_found_and_an_identifier_opens_its_sample(page: Page, site: Served) -> None:
    page.goto("/samples")
    page.get_by_label("Words").fill("LIGHTHOUSE")
    page.get_by_role("button", name="Show").click()
    wanted = rows(
        site.db, "SELECT id FROM sample WHERE instruction || response LIKE '%lighthouse%'"
    )
    assert sorted(listed(page)) == sorted(row["id"] for row in wanted)
    page.get_by_label("Words").fill(wanted[0]["id"][:12])
    page.get_by_role("button", name="Show").click()
    assert page.url.endswith(f"/samples/{wanted[0]['id']}")


def test_a_samples_page_tells_its_whole_story(page: Page, site: Served) -> None:
    sample = rows(site.db, "SELECT * FROM sample WHERE round = 1 AND status = 'accepted'")[0]
    page.goto(f"/samples/{sample['id'][:10]}")
    assert page.url.endswith(sample["id"])
    said = shown(page)
    assert sample["response"].splitlines()[0] in said
    parent = rows(site.db, "SELECT * FROM sample WHERE id = ?", sample["parent_id"])[0]
    assert parent["detail"] in said
    expect(page.locator(".tree [aria-current]")).to_have_text("round 1")
    for call in rows(site.db, "SELECT * FROM agent_call WHERE sample_id = ? AND error_type IS NULL",
                     sample["id"]):  # fmt: skip
        label = f"{call['prompt_name']}@{call['prompt_version']}({call['prompt_hash'][:8]})"
        assert label in said
        assert call["teacher"] in said
    question = page.locator("details", has_text="Question").first
    question.locator("summary").first.click()
    request = one(
        site.db,
        "SELECT request FROM completion JOIN agent_call ON request_key = key WHERE seed_id = ? "
        "AND error_type IS NULL ORDER BY agent_call.created_at LIMIT 1",
        sample["seed_id"],
    )
    first_line = json.loads(request)["messages"][-1]["content"].strip().splitlines()[0]
    assert first_line in question.inner_text()
    page.get_by_role("link", name="seed", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Seed")


def test_tokens_are_marked_by_the_teachers_probability(page: Page, site: Served) -> None:
    key, sample = one_response(site.db)
    content = [
        {"token": "The", "logprob": -0.01, "top_logprobs": [{"token": "The", "logprob": -0.01}]},
        {"token": " <b>end</b>", "logprob": -4.0, "top_logprobs": [
            {"token": " sea", "logprob": -0.7}, {"token": " <b>end</b>", "logprob": -4.0}]},
    ]  # fmt: skip
    write(site.db, "UPDATE completion SET logprobs = ? WHERE key = ?",
          json.dumps({"content": content}), key)  # fmt: skip
    page.goto(f"/samples/{sample}")
    tokens = page.locator("div.tokens span")
    assert [token.inner_text() for token in tokens.all()] == ["The", " <b>end</b>"]
    expect(tokens.nth(0)).to_have_class("p5")
    expect(tokens.nth(1)).to_have_class("p0")
    panel = page.locator(".token-panel")
    expect(panel).to_be_hidden()
    tokens.nth(1).hover()
    expect(panel).to_contain_text("49.66 % ' sea'")
    page.locator("div.tokens").focus()
    page.keyboard.press("ArrowLeft")
    expect(panel).to_contain_text("99.00 % 'The'")
    expect(panel).not_to_contain_text("sea")


def one_response(db: Path) -> tuple[str, str]:
    row = rows(db, "SELECT request_key, sample_id FROM agent_call WHERE agent = 'response' "
               "AND error_type IS NULL LIMIT 1")[0]  # fmt: skip
    return row["request_key"], row["sample_id"]


def write(db: Path, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(db)) as connection:
        connection.execute(statement, values)
        connection.commit()


def test_an_edited_prompt_shows_its_difference_and_what_is_stale(
    db: Path, browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(PROMPTS, tmp_path / "prompts"))
    file = folder / "selection" / "score.md"
    file.write_text(file.read_text().rstrip() + "\nBe strict about <i>tone</i>.\n")
    monkeypatch.setenv("STILLHOUSE_PROMPTS", str(folder))
    n = one(db, "SELECT count(*) FROM sample WHERE shaped_by LIKE '%selection/score%'")
    with served(db) as site:
        page = browser.new_context(base_url=site.url).new_page()
        page.goto("/prompts")
        expect(page.get_by_role("row", name=re.compile("^selection.score"))).to_contain_text(
            "edited since"
        )
        expect(page.get_by_text(f"{n} samples are stale")).to_be_visible()
        page.get_by_role("link", name="selection/score").click()
        expect(page.locator(".diff .added")).to_have_text("Be strict about <i>tone</i>.")
        assert page.locator(".diff .removed").count() == 0
        sample = one(db, "SELECT sample_id FROM agent_call WHERE agent = 'selection' LIMIT 1")
        page.goto(f"/samples/{sample}")
        step = page.locator(".step", has_text="selection/score").first
        expect(step).to_contain_text("edited since")
        expect(page.locator("details.edited")).to_have_count(
            page.locator(".step", has_text="selection/score").count()
        )
        expect(step.locator(".diff")).to_be_hidden()
        step.get_by_text("What was edited since in selection/score").click()
        expect(step.locator(".diff .added")).to_have_text("Be strict about <i>tone</i>.")
        assert step.locator(".diff .removed").count() == 0
        page.context.close()


def test_an_edited_prompt_whose_earlier_text_is_lost_says_so(
    db: Path, browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(PROMPTS, tmp_path / "prompts"))
    file = folder / "selection" / "score.md"
    file.write_text(file.read_text().rstrip("\n"))
    monkeypatch.setenv("STILLHOUSE_PROMPTS", str(folder))
    sample = one(db, "SELECT sample_id FROM agent_call WHERE agent = 'selection' LIMIT 1")
    with served(db) as site:
        page = browser.new_context(base_url=site.url).new_page()
        page.goto(f"/samples/{sample}")
        page.locator("details.edited summary").first.click()
        expect(page.locator("details.edited").first).to_contain_text("Only line ends")
        write(db, "DELETE FROM prompt WHERE name = ?", "selection/score")
        page.reload()
        page.locator("details.edited summary").first.click()
        expect(page.locator("details.edited").first).to_contain_text("No run left the text")
        page.context.close()


def test_what_does_not_exist_is_said_with_what_to_do(page: Page) -> None:
    for path in ("/samples/ffff", "/nothing", "/prompts/no/such", "/samples?after=x",
                 "/samples?score_from=many", "/?recipe=other", "/evaluations/zz",
                 "/samples/%00", "/review/undo"):  # fmt: skip
        page.goto(path)
        said = shown(page)
        assert "Solution" in said, path
        assert "Traceback" not in said


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_is_wider_than_its_window(
    browser: Browser, site: Served, width: int, scheme: str
) -> None:
    sample = one(site.db, "SELECT id FROM sample WHERE round = 1 LIMIT 1")
    context = browser.new_context(
        base_url=site.url,
        viewport={"width": width, "height": 800},
        color_scheme=scheme,  # type: ignore[arg-type]
    )
    page = context.new_page()
    for path in ("/", "/samples", f"/samples/{sample}", "/review", "/prompts",
                 "/prompts/rewriting/respond", "/evaluations"):  # fmt: skip
        page.goto(path)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
    context.close()


def test_a_run_page_that_was_not_counted_anew_is_not_sent_again(
    site: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inspector.counting._SHORTEST_REST_S", 1e6)
    version = site.ask("GET", "/").headers["ETag"]
    again = site.ask("GET", "/", If_None_Match=version)
    assert (again.status, again.said) == (304, "")
    monkeypatch.setattr("inspector.counting._SHORTEST_REST_S", 0)
    monkeypatch.setattr("inspector.counting._REST", 0)
    assert site.ask("GET", "/", If_None_Match=version).status == 200


def test_prompts_are_shown_while_what_is_stale_is_still_being_counted(
    page: Page, site: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = threading.Event()
    find = prompts_page.find_stale

    def find_later(database: Database, recipe: Recipe) -> StaleState:
        assert counted.wait(60)
        return find(database, recipe)

    monkeypatch.setattr(prompts_page, "find_stale", find_later)
    monkeypatch.setattr("inspector.counting._FIRST_WAIT_S", 0.15)
    page.goto("/prompts")
    expect(page.get_by_role("link", name="rewriting/respond", exact=True)).to_be_visible()
    waiting = page.get_by_text("still being counted")
    expect(waiting).to_be_visible()
    counted.set()
    expect(page.get_by_text("Nothing is stale")).to_be_visible()
    expect(waiting).to_have_count(0)
