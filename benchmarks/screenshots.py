"""Pictures of the inspector's pages for README.md and docs/, from a corpus that is really made.

Makes the corpus of `benchmarks.screenshots_corpus`, serves it with `stillhouse inspect`, and takes
each page with the system's Chromium; the run page while another run goes on. Out: PNG files in
docs/pictures/, each 1280 pixels wide but for the narrow ones, with at most 256 colours where Pillow
is installed. Needs the inspector's extra and Playwright; what torch or vLLM would have to make is
left out, and said, where they are not installed. Prints one JSON object: each file's bytes.

    python -m benchmarks.screenshots [--out FOLDER] [--kept FOLDER] [--only NAME,…]

With --kept the corpus stays in that folder, and is used again.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from playwright.sync_api import Browser, Page, expect, sync_playwright

from benchmarks.screenshots_corpus import (
    DB,
    HELD,
    RECIPE,
    TRAINING,
    has_rows,
    make_corpus,
    prepare,
    sets,
)
from benchmarks.support import CHECKOUT, STILLHOUSE
from storage.database import Database

PICTURES = CHECKOUT / "docs" / "pictures"
WIDTH, HEIGHT, PHONE = 1280, 800, 390
_PATIENCE_MS = 120_000
_ANSWER_PROMPT = "rewriting/respond_with_steps"
_EDIT = (
    "small steps, each with its intermediate\nresult",
    "two to five short steps, each with\nits result",
)
_ANOTHER = "rehearsal-judge"
# Slow enough to be met half-way.
_GOING = (
    "teachers.rehearsal.simulation.latency_s=0.5",
    "teachers.rehearsal-judge.simulation.latency_s=0.5",
    "run.seeds_in_flight=8",
)


@dataclass(frozen=True, slots=True)
class Studio:
    """The inspector's address, its corpus and a browser; the pictures go into `out`."""

    browser: Browser
    url: str
    folder: Path
    out: Path

    @contextmanager
    def page(
        self, scheme: Literal["light", "dark"] = "light", width: int = WIDTH
    ) -> Iterator[Page]:
        """A page that looks the same each time."""
        context = self.browser.new_context(
            base_url=self.url, color_scheme=scheme, reduced_motion="reduce", locale="en-GB",
            viewport={"width": width, "height": HEIGHT}, device_scale_factor=1,
        )  # fmt: skip
        page = context.new_page()
        page.set_default_timeout(_PATIENCE_MS)
        yield page
        context.close()

    def take(self, page: Page, name: str, *, top: str = "body", height: int = HEIGHT) -> None:
        """What a window of this height shows, scrolled so far that `top` is uppermost."""
        width = page.viewport_size["width"] if page.viewport_size else WIDTH
        page.set_viewport_size({"width": width, "height": height})
        scroll = "e => scrollTo(0, e.getBoundingClientRect().top + scrollY - 12)"
        page.locator(top).first.evaluate(scroll)
        file = self.out / f"{name}.png"
        page.screenshot(path=file, animations="disabled")
        _shrink(file)

    def one(self, query: str) -> str:
        """One value of the corpus."""
        with closing(sqlite3.connect(self.folder / DB)) as connection:
            (value,) = connection.execute(query).fetchone()
        return str(value)


def run_page(studio: Studio) -> None:
    """The run page: a run that goes on, then a finished one on a phone."""
    db = studio.folder / "going.db"
    for file in studio.folder.glob("going.db*"):
        file.unlink()
    Database.open(str(db), create=True).close()
    command = [str(STILLHOUSE), "run", RECIPE, "--db", db.name, *sets([*HELD, *_GOING])]
    with (
        inspector(studio.folder, db.name) as url,
        replace(studio, url=url).page() as page,
        (studio.folder / "going.log").open("wb") as log,
    ):
        run = subprocess.Popen(command, cwd=studio.folder, stdout=log, stderr=log)
        try:
            while run.poll() is None and not _has_done(db, 40):
                time.sleep(0.2)
            _counted(page)
            studio.take(page, "run", height=1142)
        finally:
            run.send_signal(signal.SIGINT)
            run.wait(60)
    with studio.page(width=PHONE) as page:
        _counted(page)
        studio.take(page, "run-phone", height=844)


def _counted(page: Page) -> None:
    """The run page as soon as it has figures."""
    page.goto("/")
    expect(page.get_by_role("heading", name="Agents and teachers")).to_be_visible()


def _has_done(db: Path, seeds: int) -> bool:
    """Whether a run is through with so many seeds."""
    with closing(sqlite3.connect(db, timeout=30)) as connection:
        query = "SELECT count(*) FROM seed WHERE status = 'done'"
        done: int = connection.execute(query).fetchone()[0]
    return done >= seeds


def samples_page(studio: Studio) -> None:
    """The list of samples; in the dark with a filter."""
    with studio.page() as page:
        page.goto("/samples?language=en&sort=score&order=desc")
        studio.take(page, "samples")
    with studio.page("dark") as page:
        page.goto("/samples?status=rejected")
        studio.take(page, "samples-dark")


def sample_page(studio: Studio) -> None:
    """A sample that verification sent back once: its family, then the failed round's trace."""
    sample = second_round(studio)
    with studio.page() as page:
        page.goto(f"/samples/{sample}")
        studio.take(page, "sample")
        studio.take(page, "trace", top=".step:has(h3:text-is('response'))", height=1340)
    with studio.page(width=PHONE) as page:
        page.goto(f"/samples/{sample}")
        studio.take(page, "sample-phone", height=844)


def second_round(studio: Studio) -> str:
    """The first accepted second round whose first one failed verification."""
    return studio.one(
        "SELECT sample.id FROM sample JOIN sample AS before ON before.id = sample.parent_id "
        "JOIN seed ON seed.id = sample.seed_id WHERE sample.status = 'accepted' "
        "AND before.reason = 'verification_failed' AND sample.variant = 0 "
        "ORDER BY seed.ordinal LIMIT 1"
    )


def tokens_page(studio: Studio) -> None:
    """What the teacher says of a response's tokens, one of them chosen."""
    if not has_rows(studio.folder):
        return
    sample = studio.one(
        "SELECT sample_id FROM teacher_logprobs JOIN sample ON sample.id = sample_id "
        "WHERE sample.category = 'math' AND sample.language = 'en' AND sample.round = 1 "
        "ORDER BY sample_id LIMIT 1"
    )
    with studio.page() as page:
        page.goto(f"/samples/{sample}")
        page.locator(".tokens.box [data-rows]").nth(12).hover()
        studio.take(page, "tokens", top="#captured", height=640)


def fork_pages(studio: Studio) -> None:
    """The form with an edited prompt; then what another teacher says to the prompt as it was."""
    shutil.rmtree(studio.folder / f"{DB}.forks", ignore_errors=True)
    sample = second_round(studio)
    with studio.page() as page:
        page.goto(f"/samples/{sample}")
        page.get_by_role("link", name="Replay from here… (response)").last.click()
        page.get_by_label("Your name").fill("Ada")
        page.locator("#teacher").select_option(_ANOTHER)
        text = page.locator("#text")
        before = text.input_value()
        text.fill(before.replace(*_EDIT))
        text.blur()
        studio.take(page, "replay", height=1000)
        text.fill(before)
        page.get_by_role("button", name="Ask again").click()
        expect(page.get_by_text("Done. It is kept as a draft")).to_be_visible()
        studio.take(page, "fork", height=1000)


def prompt_pages(studio: Studio) -> None:
    """All prompts, and one whose file was edited since."""
    file = studio.folder / "prompts" / f"{_ANSWER_PROMPT}.md"
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace(*_EDIT), encoding="utf-8")
    with studio.page() as page:
        page.goto("/prompts")
        expect(page.get_by_role("heading", name="Stale")).to_be_visible()
        expect(page.get_by_text("still being counted")).to_have_count(0)
        studio.take(page, "prompts")
        page.goto(f"/prompts/{_ANSWER_PROMPT}")
        studio.take(page, "prompt")
    file.write_text(text, encoding="utf-8")


def review_page(studio: Studio) -> None:
    """The first held sample in Japanese."""
    held = studio.one(
        "SELECT id FROM sample WHERE status = 'held' ORDER BY language != 'ja', id LIMIT 1"
    )
    with studio.page() as page:
        page.goto(f"/review/{held}")
        studio.take(page, "review")


def evaluation_pages(studio: Studio) -> None:
    """From an evaluation to the rows behind its model, as far as there are any."""
    with studio.page() as page:
        page.goto("/evaluations")
        studio.take(page, "evaluations", height=640)
        page.get_by_role("link", name="ifeval").first.click()
        studio.take(page, "evaluation", height=1000)
        trained = page.get_by_role("link", name="sft")
        if trained.count():
            trained.first.click()
            studio.take(page, "training")
            page.get_by_role("link", name="rows of").click()
            studio.take(page, "export")


PAGES: dict[str, Callable[[Studio], None]] = {
    "run": run_page,
    "samples": samples_page,
    "sample": sample_page,
    "tokens": tokens_page,
    "fork": fork_pages,
    "prompts": prompt_pages,
    "review": review_page,
    "evaluations": evaluation_pages,
}


@contextmanager
def inspector(folder: Path, db: str, *options: str) -> Iterator[str]:
    """The inspector as a user starts it; its address."""
    process = subprocess.Popen(
        [str(STILLHOUSE), "inspect", "--db", db, "--port", "0", *options],
        cwd=folder, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        found = re.search(r"http://\S+", process.stdout.readline())
        assert found, "the inspector says its address first"
        yield found[0]
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


def _shrink(file: Path) -> None:
    """Text needs few colours: a palette is a third of the size."""
    if importlib.util.find_spec("PIL") is None:
        return
    from PIL import Image

    with Image.open(file) as picture:
        few = picture.convert("RGB").quantize(256, dither=Image.Dither.NONE)
    few.save(file, optimize=True)


def main(out: Path, kept: Path | None, only: list[str]) -> dict[str, int]:
    """Takes all pictures, or those of some pages."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
    if chromium is None:
        sys.exit("Chromium is not installed (Debian: apt-get install chromium).")
    out.mkdir(parents=True, exist_ok=True)
    expect.set_options(timeout=_PATIENCE_MS)
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = (kept or Path(name)).resolve()
        os.environ["STILLHOUSE_PROMPTS"] = str(folder / "prompts")
        prepare(folder)
        if not (folder / DB).exists():
            make_corpus(folder)
        # Root has no sandbox in Chromium; these pages are ours.
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox"] if os.geteuid() == 0 else []
        )
        rows = ("--rows", TRAINING) if has_rows(folder) else ()
        with inspector(folder, DB, *rows) as url:
            for page in only or list(PAGES):
                PAGES[page](Studio(browser, url, folder, out))
        browser.close()
    return {file.name: file.stat().st_size for file in sorted(out.glob("*.png"))}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=PICTURES)
    parser.add_argument("--kept", type=Path, metavar="FOLDER")
    parser.add_argument("--only", metavar="NAME,…", help=f"of {', '.join(PAGES)}")
    asked = parser.parse_args()
    print(json.dumps(main(asked.out, asked.kept, asked.only.split(",") if asked.only else [])))
