"""From a model's score back to the samples it was trained on, in a real browser."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from contextlib import closing
from pathlib import Path

from factory import rows
from inspecting import Served, shown
from playwright.sync_api import Page, expect

from inspector.plain_values import in_words
from storage.evaluations import find_evaluation
from storage.trained import exported_rows, find_export


def test_a_score_leads_to_its_training_run_and_to_every_row_behind_it(
    page: Page, site: Served, exported: str
) -> None:
    page.goto("/evaluations")
    assert "小さなモデル" in shown(page)
    page.get_by_role("link", name="ifeval").click()
    assert "prompt_strict" in shown(page)
    page.get_by_role("link", name="sft").click()
    assert "name: small-student" in shown(page)
    page.get_by_role("link", name="rows of").click()
    accepted = {
        row["id"] for row in rows(site.db, "SELECT id FROM sample WHERE status = 'accepted'")
    }
    links = page.locator("table.samples a").all()
    assert {str(link.get_attribute("href")).rpartition("/")[2] for link in links} == accepted
    links[0].click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Sample")


def test_items_are_paged_and_each_tells_its_own_story(
    page: Page, site: Served, exported: str
) -> None:
    page.goto(f"/evaluations/{'d1' * 16}")
    expect(page.locator("tbody tr")).to_have_count(50)
    page.get_by_role("link", name="Next page").click()
    expect(page.locator("tbody tr")).to_have_count(10)
    page.get_by_role("link", name="item/59?").click()
    said = shown(page)
    assert "Response 59" in said
    assert "followed" in said


NESTED = {
    "tools": {"ifeval": "1.2", "langdetect": None},
    "roles": {"judge": {"teacher": "grader", "model": "教师", "greedy": True, "temperature": 0.1}},
    "followed": [True, False, True],
    "texts": ["<b onclick=alert(1)>bold</b>" + " word" * 30, "b\u202ec", {"deep": [{"er": []}]}],
    "answers": ["Yes, and no.", "No."],
    "long": [n % 3 == 0 for n in range(300)],
}


def test_nested_values_are_laid_out_and_not_shown_as_json(
    page: Page, site: Served, exported: str
) -> None:
    with closing(sqlite3.connect(site.db)) as connection:
        said = json.dumps(NESTED)
        connection.execute("UPDATE evaluation SET settings = ?, contamination = ?", (said, said))
        connection.execute("UPDATE evaluation_item SET verdict = ?", (said,))
        connection.commit()
    for path in (f"/evaluations/{'d1' * 16}", f"/evaluations/{'d1' * 16}/items?item=item/59%3F"):
        page.goto(path)
        facts = page.locator("main > dl.facts")
        said = facts.inner_text()
        for mark in ('{"', '":', "true", "false", "null", "[]"):
            assert mark not in said
        roles = facts.locator("> dt", has_text="roles").locator("+ dd")
        assert roles.locator("dd dt").all_inner_texts() == [
            "teacher", "model", "greedy", "temperature",
        ]  # fmt: skip
        assert roles.locator("dd dd").all_inner_texts() == ["grader", "教师", "yes", "0.1"]
        followed = facts.locator("> dt", has_text="followed").locator("+ dd")
        assert followed.inner_text() == "yes, no, yes"
        texts = facts.locator("> dt", has_text="texts").locator("+ dd").locator("> ol > li")
        expect(texts).to_have_count(3)
        assert "<b onclick=alert(1)>bold</b>" in texts.nth(0).inner_text()
        assert texts.nth(1).inner_text() == "b⟦U+202E⟧c"
        answers = facts.locator("> dt", has_text="answers").locator("+ dd").locator("> ol > li")
        assert answers.all_inner_texts() == ["Yes, and no.", "No."]
        long = facts.locator("> dt", has_text="long").locator("+ dd").locator("> details")
        assert long.locator("summary").inner_text() == "300 entries, 100 of them yes"
        expect(long.locator("li").first).to_be_hidden()
        long.locator("summary").click()
        assert long.locator("li").nth(1).inner_text() == "no"
    page.goto(f"/evaluations/{'d1' * 16}")
    cell = page.locator("tbody tr").first.locator("td").last.inner_text()
    assert cell.startswith("tools: (ifeval: 1.2; langdetect: none); roles: ")


def test_a_value_of_any_depth_is_a_line() -> None:
    deep: list[object] = []
    for _ in range(200):
        deep = [deep, 1]
    assert len(in_words(deep)) < 100
    assert in_words({"a": [1, [True, None]], "b": {}}) == "a: (1, (yes, none)); b: none"


def test_an_export_whose_file_is_gone_says_so(
    page: Page, site: Served, exported: str, tmp_path: Path
) -> None:
    (tmp_path / "out.jsonl").unlink()
    page.goto(f"/exports/{exported}")
    assert "cannot be read" in shown(page)


def test_an_export_whose_file_was_written_over_shows_no_rows(
    page: Page, site: Served, exported: str, tmp_path: Path
) -> None:
    page.goto(f"/exports/{exported}")
    assert page.locator("table.samples a").count() > 0
    file = tmp_path / "out.jsonl"
    file.write_text("".join(sorted(file.read_text().splitlines(keepends=True), reverse=True)[1:]))
    page.goto(f"/exports/{exported}")
    assert "was written over since" in shown(page)
    expect(page.locator("table.samples a")).to_have_count(0)


def test_an_export_in_whose_place_a_pipe_stands_is_not_waited_for(
    site: Served, exported: str, tmp_path: Path
) -> None:
    (tmp_path / "out.jsonl").unlink()
    os.mkfifo(tmp_path / "out.jsonl")
    answer = site.ask("GET", f"/exports/{exported}")
    assert "is no regular file" in answer.said  # type: ignore[attr-defined]


def test_a_row_of_any_length_is_one_row(site: Served, exported: str, tmp_path: Path) -> None:
    file = tmp_path / "out.jsonl"
    rows_of = [json.loads(line) for line in file.read_text().splitlines()]
    rows_of[0]["padding"] = "長" * 2_000_000
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows_of)
    file.write_text(text)
    with closing(sqlite3.connect(site.db)) as connection:
        sha256 = hashlib.sha256(text.encode()).hexdigest()
        connection.execute("UPDATE export SET content_hash = ?", (sha256,))
        connection.commit()
    answer = site.ask("GET", f"/exports/{exported}")
    said = str(answer.said)  # type: ignore[attr-defined]
    assert said.count('class="clip" href="/samples/') == len(rows_of)
    assert "No samples of this corpus" not in said


def test_an_exports_pages_hold_every_row_once(site: Served, exported: str) -> None:
    from storage.database import Database

    database = Database.open(str(site.db))
    with database.read() as connection:
        row = find_export(connection, exported[:8])
        at: int | None = 0
        found: list[str] = []
        while at is not None:
            part = exported_rows(connection, row, at, size=3)
            found += [sample["id"] for sample in part.samples]
            assert part.unknown == 0
            at = part.next_at
        assert find_evaluation(connection, "d1d1")["benchmark"] == "ifeval"
    database.close()
    file = Path(row["path"])
    assert found == [json.loads(line)["meta"]["id"] for line in file.read_text().splitlines()]
