"""Captured teacher rows on a sample's page: really captured, told as they are, never trusted."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from captured import FEW, MANY, Captured, captured_corpus
from factory import one, rows
from inspecting import served, shown
from playwright.sync_api import Browser, Page, expect

from inspector.visible import visible
from training.showing.rows import CapturedRows
from training.store.shard import MAGIC, Shard

pytestmark = pytest.mark.slow

# Characters that the tiny tokenizer has never seen, so that it cuts them; and what must stay words.
HOSTILE = (
    "鬱蒼とした葡萄畑、龘。\n<script>document.title='pwned'</script>\n"
    "<img src=x onerror=\"document.title='pwned'\"> user\u202egpj.exe \u200bend"
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Captured:
    return captured_corpus(tmp_path_factory.mktemp("captured"), response=HOSTILE)


@pytest.fixture
def captured(made: Captured, tmp_path: Path) -> Captured:
    """A copy, to be damaged."""
    root = Path(shutil.copytree(made.db.parents[1], tmp_path / "copy"))
    capture = made.recipe.capture.model_copy(update={"store": str(root / "rows")})
    student = made.recipe.student.model_copy(update={"model": str(root / "student")})
    recipe = made.recipe.model_copy(
        update={"capture": capture, "student": student, "output": str(root / "out")}
    )
    return replace(made, db=root / "data" / "corpus.db", recipe=recipe)


@pytest.fixture
def page(browser: Browser, captured: Captured) -> Iterator[Page]:
    with served(captured.db, CapturedRows([captured.recipe])) as site:
        context = browser.new_context(
            base_url=site.url, has_touch=True, bypass_csp=True,
            viewport={"width": 1000, "height": 800},
        )  # fmt: skip
        opened = context.new_page()
        opened.goto(f"/samples/{sample_of(captured)}")
        yield opened
        context.close()


def sample_of(captured: Captured) -> str:
    found = one(captured.db, "SELECT sample_id FROM teacher_logprobs ORDER BY sample_id LIMIT 1")
    return str(found)


def test_the_tokens_on_the_page_are_the_response_and_the_end_of_the_turn(page: Page) -> None:
    boxes = page.locator("details.captured .tokens.box")
    assert boxes.count() == 2
    said = "".join(boxes.first.locator("[data-rows]").all_text_contents())
    assert said.replace("↵", "") == visible(HOSTILE) + "<|im_end|>"
    assert page.title() != "pwned"
    assert page.locator("main script, main img").count() == 0
    assert "\u202e" not in page.content() and "\u200b" not in page.content()
    assert page.locator(".captured .warning").count() == 0


def test_a_character_of_several_tokens_is_one_mark_with_a_row_for_each(page: Page) -> None:
    mark = page.locator(".captured").first.locator("[data-rows]", has_text="龘")
    assert int(str(mark.get_attribute("data-rows"))) > 1
    mark.hover()
    panel = page.locator(".token-panel").first
    expect(panel.locator("tbody tr")).to_have_count(int(str(mark.get_attribute("data-rows"))))
    assert "'龘'" in panel.inner_text()
    assert "part of a character" in panel.inner_text()
    assert "\ufffd" not in page.content()


def test_keys_and_touch_show_what_pointing_shows(page: Page) -> None:
    box = page.locator(".tokens.box").first
    tokens = box.locator("[data-rows]")
    panel = page.locator(".token-panel").first
    expect(panel).to_be_hidden()
    tokens.nth(2).tap()
    touched = panel.inner_text()
    assert touched
    box.focus()
    page.keyboard.press("Home")
    expect(tokens.nth(0)).to_have_attribute("aria-selected", "true")
    assert panel.inner_text() != touched
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect(box).to_have_attribute("aria-activedescendant", str(tokens.nth(2).get_attribute("id")))
    assert panel.inner_text() == touched
    page.keyboard.press("End")
    expect(panel).to_contain_text("'<|im_end|>'")


def test_each_capture_tells_its_teacher_and_its_temperatures(page: Page) -> None:
    summaries = page.locator("details.captured > summary").all_text_contents()
    assert sorted(text.split(" (")[0] for text in summaries) == [
        f"teacher, top {FEW}", f"teacher, top {MANY}",
    ]  # fmt: skip
    many = page.locator("details.captured", has_text=f"top {MANY}")
    heads = many.locator("thead").first.locator("th").all_text_contents()
    assert heads == ["token", "T = 1", "T = 2", "the likeliest (T = 1 · T = 2)", "all others"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_axe_finds_nothing_and_the_page_fits(page: Page, scheme: str, width: int) -> None:
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    page.set_viewport_size({"width": width, "height": 800})
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    page.locator(".tokens.box").first.focus()
    found = Axe().run(page)
    told = [
        (fault["id"], fault["nodes"][0]["html"][:200]) for fault in found.response["violations"]
    ]
    assert told == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_without_a_recipe_the_page_says_where_the_rows_are(
    browser: Browser, captured: Captured
) -> None:
    said = page_of(browser, captured, None)
    assert "--rows RECIPE" in said
    assert one(captured.db, "SELECT shard FROM teacher_logprobs LIMIT 1")[:12] in said


def page_of(browser: Browser, captured: Captured, reader: CapturedRows | None) -> str:
    """What the page says; the sample's own words are always among it."""
    with served(captured.db, reader) as site:
        context = browser.new_context(base_url=site.url)
        page = context.new_page()
        answer = page.goto(f"/samples/{sample_of(captured)}")
        assert answer is not None and answer.ok
        page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
        said = shown(page)
        context.close()
    assert "鬱蒼とした葡萄畑、龘。" in said
    return said


def change(captured: Captured, statement: str, *values: str) -> None:
    with closing(sqlite3.connect(captured.db)) as connection:
        connection.execute(statement, values)
        connection.commit()


def shards(captured: Captured) -> list[Path]:
    return sorted(Path(captured.recipe.capture.store).glob("*.rows"))


def test_shards_that_are_gone_are_said_so(browser: Browser, captured: Captured) -> None:
    for shard in shards(captured):
        shard.unlink()
    said = page_of(browser, captured, CapturedRows([captured.recipe]))
    assert "in none of the stores that were given" in said
    assert captured.recipe.capture.store in said


@pytest.mark.parametrize("damage", ["cut", "changed"])
def test_a_damaged_shard_costs_itself_only(
    browser: Browser, captured: Captured, damage: str
) -> None:
    broken, *_ = shards(captured)
    shard = Shard.open(broken)
    raw = bytearray(broken.read_bytes())
    if damage == "cut":
        del raw[-20:]
    else:
        packed = int(shard.length_M.sum()) * shard.codec.row_bytes
        raw[len(MAGIC) : len(MAGIC) + packed] = bytes(packed)
    broken.write_bytes(raw)
    said = page_of(browser, captured, CapturedRows([captured.recipe]))
    assert ("no readable shard" if damage == "cut" else "are corrupt") in said
    assert "Marked by the teacher's probability" in said


def test_tokens_that_are_gone_are_said_so(browser: Browser, captured: Captured) -> None:
    shutil.rmtree(Path(captured.recipe.output))
    said = page_of(browser, captured, CapturedRows([captured.recipe]))
    assert "Which tokens these rows belong to cannot be told any more" in said


@pytest.mark.parametrize("fault", ["gone", "another"])
def test_without_its_tokenizer_tokens_are_numbers_and_the_page_says_why(
    browser: Browser, captured: Captured, fault: str
) -> None:
    file = Path(captured.recipe.student.model) / "tokenizer.json"
    if fault == "gone":
        file.unlink()
    else:
        document = json.loads(file.read_text(encoding="utf-8"))
        vocab = document["model"]["vocab"]
        vocab["A"], vocab["B"] = vocab["B"], vocab["A"]
        file.write_text(json.dumps(document), encoding="utf-8")
    said = page_of(browser, captured, CapturedRows([captured.recipe]))
    assert "Tokens are shown as numbers" in said
    assert ("no readable tokenizer.json" if fault == "gone" else "another fingerprint") in said
    assert "#" in said


def test_words_that_changed_since_are_said_to_be_the_earlier_ones(
    browser: Browser, captured: Captured
) -> None:
    change(captured, "UPDATE sample SET response = '鬱蒼とした葡萄畑、龘。 Another.'")
    said = page_of(browser, captured, CapturedRows([captured.recipe]))
    assert "these are its earlier words" in said


@pytest.mark.parametrize("name", ["../data/corpus.db", "/etc/passwd", "x.rows", ""])
def test_a_shards_name_from_the_corpus_leads_to_no_other_file(
    browser: Browser, captured: Captured, name: str
) -> None:
    change(captured, "UPDATE teacher_logprobs SET shard = ?", name)
    said = page_of(browser, captured, CapturedRows([captured.recipe]))
    assert "in none of the stores that were given" in said
    assert rows(captured.db, "SELECT shard FROM teacher_logprobs")[0]["shard"] == name
