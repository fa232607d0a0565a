"""Whatever seeds and models write is only ever words: nothing runs, loads, or hides.

A real corpus gets hostile text into every text column of every table; a real browser then opens
every page and presses what can be pressed.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from factory import one, rows
from inspecting import Served, served, shown
from playwright.sync_api import Browser, Page

from inspector.rendering import render
from inspector.visible import visible

MARK = "pwned"
ATTACKS = (
    f"<script>document.title='{MARK}'</script>",
    f"</script><script>document.title='{MARK}'</script>",
    f"<img src=x onerror=\"document.title='{MARK}'\">",
    f"<svg onload=\"document.title='{MARK}'\"><animate onbegin=\"document.title='{MARK}'\"/></svg>",
    f"<svg><script href=\"data:text/javascript,document.title='{MARK}'\"/></svg>",
    f"<a href=\"javascript:document.title='{MARK}'\">click</a>",
    f"[click](javascript:document.title='{MARK}')",
    f"<iframe srcdoc=\"<script>parent.document.title='{MARK}'</script>\"></iframe>",
    f"<details open ontoggle=\"document.title='{MARK}'\">",
    f"<style>body{{display:none}}</style><p style=\"position:fixed;inset:0\">{MARK}",
    "<link rel=stylesheet href=//evil.example/x.css><base href=//evil.example/>",
    "<meta http-equiv=refresh content=\"0;url=//evil.example\">",
    "<form action=//evil.example><button>go</button></form>",
    f"\"><img src=x onerror=\"document.title='{MARK}'\">' onfocus='document.title=1' autofocus x='",
    f"</textarea></pre></title></style><script>document.title='{MARK}'</script>",
    f"--><script>document.title='{MARK}'</script><!--",
    "{{ 7*7 }}{% raw %}${7*7}<%= 7*7 %>",
    "user\u202egpj.exe\u202c \u2066hidden\u2069 \u200bzero\u200dwidth\ufeff \u00adsoft",
    "tags\U000e0041\U000e0042 selectors\ufe0e\ufe0f\ufe0f filler\u3164 line\u2028end",
    "\x1b[31mred\x00 \x85\x9b31m\u061c\u180e",
    "W" * 600,
)  # fmt: skip
HOSTILE = "\n".join(ATTACKS)
# Names that a page sorts, links or puts into attributes.
NAME = f"x\"'><img src=x onerror=\"document.title='{MARK}'\">\u202e"
_KEEP = ("status", "id", "hash", "key", "recipe_text", "origin", "label", "kind", "round")


@pytest.fixture
def poisoned(db: Path) -> Path:
    """The corpus with hostile text wherever text can stand."""
    with closing(sqlite3.connect(db)) as connection:
        connection.execute("PRAGMA ignore_check_constraints=ON")
        poison(connection)
        connection.commit()
    return db


def poison(connection: sqlite3.Connection) -> None:
    long = {
        "seed": ("instruction", "input", "system", "reference"),
        "sample": ("instruction", "original_instruction", "input", "system", "reasoning",
                   "response", "detail"),
        "completion": ("reasoning", "refusal"),
        "score": ("rationale",),
        "agent_call": ("error_detail",),
        "prompt": ("text",),
    }  # fmt: skip
    short = {
        "seed": ("source", "source_shape", "category", "language", "licence", "reason"),
        "sample": ("reason", "category", "language"),
        "agent_call": ("agent", "teacher", "model", "revision", "finish_reason", "prompt_version"),
        "verdict": (),
        "run": ("reason",),
    }
    for tables, value in ((long, HOSTILE), (short, NAME)):
        for table, columns in tables.items():
            for column in columns:
                connection.execute(f"UPDATE {table} SET {column} = ?", (value,))
    said = json.dumps({NAME: HOSTILE, "evidence": [HOSTILE]})
    nested = json.dumps({NAME: {NAME: [HOSTILE, {NAME: HOSTILE}], "W" * 600: ["W" * 600]}})
    connection.execute("UPDATE verdict SET evidence = ?", (said,))
    terms = json.dumps([{"teacher": NAME, "model": NAME, "licence": NAME, "note": HOSTILE,
                         "allows_training": NAME}])  # fmt: skip
    connection.execute("UPDATE sample SET terms = ?", (terms,))
    request = json.dumps({"messages": [{"role": NAME, "content": HOSTILE}], "schema": NAME})
    tokens = json.dumps({"content": [{"token": HOSTILE, "logprob": -1, "top_logprobs": [
        {"token": HOSTILE, "logprob": -2}]}]})  # fmt: skip
    connection.execute("UPDATE completion SET request = ?, logprobs = ?", (request, tokens))
    # Half the answers are JSON, half are not.
    connection.execute("UPDATE completion SET content = ? WHERE key < '8'", (HOSTILE,))
    connection.execute("UPDATE completion SET content = ? WHERE key >= '8'", (said,))
    connection.execute("UPDATE agent_call SET parameters = ?", (json.dumps({NAME: HOSTILE}),))
    now = "2026-01-01 00:00:00.000000"
    held = connection.execute("SELECT id FROM sample WHERE status = 'held' LIMIT 1").fetchone()[0]
    connection.execute(
        "INSERT INTO review (id, sample_id, decision, reviewer, note, edited_response, created_at) "
        "VALUES (?, ?, 'edit', ?, ?, ?, ?)", ("r" * 32, held, NAME, HOSTILE, HOSTILE, now),
    )  # fmt: skip
    connection.execute(
        "INSERT INTO export (id, path, format, rows, content_hash, manifest, created_at) "
        "VALUES (?, ?, ?, 1, ?, ?, ?)", ("e" * 32, NAME, NAME, NAME, said, now),
    )  # fmt: skip
    connection.execute(
        "INSERT INTO training_run (id, export_id, stage, recipe_text, recipe_hash, status, output, "
        "metrics, started_at) VALUES (?, ?, ?, ?, '', ?, ?, ?, ?)",
        ("a" * 32, "e" * 32, NAME, HOSTILE, NAME, NAME, json.dumps({NAME: 1.5}), now),
    )
    connection.execute(
        "INSERT INTO evaluation (id, training_run_id, benchmark, model, endpoint, served, "
        "settings, status, metrics, notes, simulated, created_at) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, 'finished', ?, ?, 0, ?)",
        ("d" * 32, "a" * 32, NAME, NAME, NAME, NAME, nested, json.dumps({NAME: 2}),
         json.dumps([HOSTILE]), now),
    )  # fmt: skip
    connection.execute(
        "INSERT INTO evaluation_item (evaluation_id, item, ordinal, category, prompt, response, "
        "verdict, status, created_at, updated_at) VALUES (?, ?, 0, ?, ?, ?, ?, 'done', ?, ?)",
        ("d" * 32, NAME, NAME, HOSTILE, HOSTILE, nested, now, now),
    )
    # A sample that is nothing but one long word.
    connection.execute("UPDATE sample SET instruction = ?, response = ? WHERE id < '4'",
                       ("W" * 600, "長" * 600 + "W" * 600))  # fmt: skip


@pytest.fixture
def hostile(browser: Browser, poisoned: Path) -> Iterator[tuple[Page, Served, list[str]]]:
    """A page on the poisoned corpus, and everything suspicious that happened on it."""
    happened: list[str] = []
    with served(poisoned) as site:
        context = browser.new_context(base_url=site.url)
        page = context.new_page()
        page.on("dialog", lambda dialog: (happened.append(f"dialog {dialog.message}"),
                                          dialog.dismiss()))  # fmt: skip
        page.on("pageerror", lambda error: happened.append(f"error {error}"))
        page.on("console", lambda message: happened.append(message.text)
                if "Content Security" in message.text else None)  # fmt: skip
        page.on("request", lambda request: happened.append(f"fetched {request.url}")
                if not request.url.startswith(site.url) else None)  # fmt: skip
        yield page, site, happened
        context.close()


def every_page(site: Served) -> list[str]:
    def some(query: str) -> list[dict[str, Any]]:
        return rows(site.db, query)

    samples = some("SELECT id FROM sample ORDER BY round DESC, id LIMIT 6")
    held = some("SELECT id FROM sample WHERE status = 'held' LIMIT 3")
    reviewed = some("SELECT sample_id AS id FROM review")
    prompts = {row["prompt_name"] for row in some("SELECT prompt_name FROM agent_call")}
    return [
        "/", "/samples", "/samples?sort=teacher&order=asc", "/prompts", "/evaluations",
        f"/evaluations/{'d' * 32}", f"/evaluations/{'d' * 32}/items?{urlencode({'item': NAME})}",
        f"/trainings/{'a' * 32}", f"/exports/{'e' * 32}",
        *(f"/samples/{row['id']}" for row in samples),
        f"/seeds/{some('SELECT id FROM seed LIMIT 1')[0]['id']}",
        *(f"/review/{row['id']}" for row in [*held, *reviewed]),
        f"/review?done={'r' * 32}", *(f"/prompts/{name}" for name in prompts),
    ]  # fmt: skip


def test_nothing_from_the_corpus_runs_or_loads_on_any_page(
    hostile: tuple[Page, Served, list[str]],
) -> None:
    page, site, happened = hostile
    for path in every_page(site):
        page.goto(path)
        assert page.title() != MARK, path
        assert page.title().endswith("Stillhouse"), path
        page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
        foreign = page.locator(
            "main script, main style, main iframe, main img, main a[href^='javascript'], "
            "main base, main link, main meta, main [style], main animate, main [onload], "
            "main [onerror], main [onfocus], main [onbegin], main [ontoggle]"
        )
        assert foreign.count() == 0, (path, foreign.first.evaluate("e => e.outerHTML"))
        assert page.url.startswith(site.url), path
    page.wait_for_timeout(200)
    assert happened == []


def test_hostile_words_are_read_as_they_are_and_what_hides_is_named(
    hostile: tuple[Page, Served, list[str]],
) -> None:
    page, site, _ = hostile
    page.goto(f"/samples/{one(site.db, 'SELECT id FROM sample LIMIT 1')}")
    said = shown(page)
    for words in (ATTACKS[0], ATTACKS[5], ATTACKS[12]):
        assert words in said
    for hidden in ("\u202e", "\u2066", "\u200b", "\ufeff", "\u00ad", "\U000e0041", "\u2028",
                   "\x1b", "\x00", "\u3164", "\u061c"):  # fmt: skip
        assert hidden not in page.content(), f"U+{ord(hidden):04X}"
    assert "user⟦U+202E⟧gpj.exe" in said
    assert "zero⟦U+200D⟧width⟦U+FEFF⟧" in said


WIDEST = """width => [...document.querySelectorAll("main *")]
    .filter(e => !e.closest(".scroll") && e.getBoundingClientRect().right > width)
    .map(e => `${e.tagName}.${e.className}: ${e.textContent.slice(0, 60)}`).slice(-3)"""


@pytest.mark.parametrize("width", [390, 768])
def test_no_word_is_so_long_that_a_page_must_be_moved_sideways(
    hostile: tuple[Page, Served, list[str]], width: int
) -> None:
    page, site, _ = hostile
    page.set_viewport_size({"width": width, "height": 800})
    wide = []
    for path in every_page(site):
        page.goto(path)
        page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
        if page.evaluate(
            "[document.documentElement, ...document.querySelectorAll('.scroll:has(.samples)')]"
            ".some(e => e.scrollWidth > e.clientWidth)"
        ):
            wide.append((path, page.evaluate(WIDEST, width)))
    assert wide == []


def test_links_made_of_hostile_names_stay_within_the_list(
    hostile: tuple[Page, Served, list[str]],
) -> None:
    page, site, happened = hostile
    page.goto("/")
    page.locator("main table a").first.click()
    assert page.url.startswith(f"{site.url}/samples?")
    assert page.locator("table.samples tbody tr").count() > 1
    page.locator("th a").first.click()
    assert page.locator("table.samples tbody tr").count() > 1
    assert happened == []


def test_a_hostile_address_is_answered_with_words(page: Page, site: Served) -> None:
    for path in (f"/samples?words={NAME}", f"/samples?status={NAME}", f"/samples?sort={NAME}",
                 f"/?recipe={NAME}", f"/samples/{NAME}", f"/{NAME}", f"/review/x?done={NAME}",
                 f"/samples?after={NAME}", f"/login?onwards={NAME}"):  # fmt: skip
        page.goto(path)
        assert page.title() != MARK
        assert page.locator("main img").count() == 0


NATURAL = (
    "plain", "日本語と中文、한국어", "👩\u200d👩\u200d👧 👍🏽 ❤\ufe0f", "葛\U000e0100城",
    "می\u200cخواهم", "क्\u200dष", "tab\tand\nlines", "é à ü",
)  # fmt: skip


@pytest.mark.parametrize("text", NATURAL)
def test_what_belongs_to_a_script_stays_as_it_is(text: str) -> None:
    assert visible(text) == text


@pytest.mark.parametrize(("text", "said"), [
    ("a\u202eb", "a⟦U+202E⟧b"), ("a\u200db", "a⟦U+200D⟧b"), ("x\u200cy", "x⟦U+200C⟧y"),
    ("a\r\nb\rc", "a\nb⟦U+000D⟧c"), ("\ud800", "⟦U+D800⟧"), ("a\U000e0061", "a⟦U+E0061⟧"),
    ("v\ufe00\ufe01\ufe02", "v\ufe00⟦U+FE01⟧⟦U+FE02⟧"),
])  # fmt: skip
def test_what_hides_is_named_by_its_code_point(text: str, said: str) -> None:
    assert visible(text) == said


def test_no_template_lets_text_through_unescaped() -> None:
    folder = Path(render.__globals__["_HERE"]) / "templates"
    for path in folder.glob("*.jinja"):
        text = path.read_text(encoding="utf-8")
        for forbidden in ("| safe", "|safe", "autoescape", "Markup", "style=", "<script>"):
            assert forbidden not in text, (path.name, forbidden)
