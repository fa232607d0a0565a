"""A run is watched and reviewed in the SQLite file that it writes; neither disturbs the other."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from conftest import CorpusMaker
from factory import (
    WRITING,
    WRITING_JA,
    assert_sound,
    end,
    environment,
    one,
    simulated,
    start_cli,
    sums,
    until_in,
    write_recipe,
)
from inspecting import served, shown
from playwright.sync_api import Browser, Page, expect

from inspector.tally import Tally
from storage.corpus import run_t
from storage.database import Database
from storage.tables import Run


@pytest.fixture
def watching(browser: Browser) -> Iterator[Page]:
    """A page of a browser; it is told where to go once there is something to see."""
    context = browser.new_context()
    yield context.new_page()
    context.close()


def stop(process: subprocess.Popen[str], db: Path) -> None:
    """Lets the run stand still, with no transaction of its own open, until it is told to go on."""
    with closing(sqlite3.connect(db, isolation_level=None, timeout=60)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
    assert process.poll() is None


def test_a_run_is_watched_to_its_end_while_people_decide(tmp_path: Path, watching: Page) -> None:
    # The writing comes first, so that something is held early on.
    recipe = write_recipe(
        tmp_path,
        [WRITING, WRITING_JA, *sums(60)],
        teachers={"local": simulated(latency_s=0.03)},
        agents={"verification": {"human": {"categories": ["writing"]}}},
        run={"seeds_in_flight": 4},
    )
    db = tmp_path / "live.db"
    process = start_cli("run", recipe, "--db", db, cwd=tmp_path, env=environment())
    try:
        until_in(db, "SELECT count(*) FROM sample WHERE status = 'held'", process)
        stop(process, db)
        with served(db) as site:
            watching.goto(f"{site.url}/")
            expect(watching.locator(".status.running")).to_be_visible()
            assert "Time left" in shown(watching)
            reviewer = watching.context.new_page()
            reviewer.goto(f"{site.url}/review")
            reviewer.locator("#reviewer").fill("Mori")
            reviewer.get_by_role("button", name="Accept").click()
            expect(reviewer.get_by_role("status")).to_contain_text("to be accepted")
            process.send_signal(signal.SIGCONT)
            expect(watching.locator(".status.finished")).to_be_visible(timeout=90_000)
            out, err = process.communicate(timeout=30)
            assert process.returncode == 0, err
            assert "locked" not in out + err
            n = one(db, "SELECT count(*) FROM sample WHERE status = 'accepted'")
            expect(watching.get_by_text(f"{n} accepted", exact=True)).to_be_visible(timeout=15_000)
    finally:
        end(process)
    assert one(db, "SELECT count(*) FROM review") == 1
    assert_sound(db)


def test_a_run_that_was_killed_is_shown_as_interrupted(tmp_path: Path, watching: Page) -> None:
    recipe = write_recipe(
        tmp_path, sums(200), teachers={"local": simulated(latency_s=0.05)},
        run={"seeds_in_flight": 2},
    )  # fmt: skip
    db = tmp_path / "killed.db"
    process = start_cli("run", recipe, "--db", db, cwd=tmp_path, env=environment())
    try:
        until_in(db, "SELECT count(*) FROM sample WHERE status = 'accepted'", process)
    finally:
        end(process)
    with served(db) as site:
        watching.goto(f"{site.url}/")
        expect(watching.locator("[data-live]")).to_have_attribute("data-live", "off")
        said = shown(watching)
        assert "interrupted; the same command resumes it" in said
        assert "Time left" not in said
        assert "until its last call" in said
        first = took(watching)
        watching.reload()
        assert took(watching) == first


def took(page: Page) -> str:
    return page.locator("dl.cards > div", has_text="Took").inner_text()


def test_of_two_recipes_only_the_one_that_began_last_can_be_running(
    database: Database, corpus: CorpusMaker
) -> None:
    for name, hour in (("killed", 1), ("at work", 2)):
        corpus.seed(recipe=name)
        row = Run(id=name, recipe=name, recipe_text="", recipe_hash="", status="running",
                  started_at=datetime(2031, 1, 1, hour, tzinfo=UTC))  # fmt: skip
        with database.write() as connection:
            values = {column.name: getattr(row, column.name) for column in run_t.c}
            connection.execute(run_t.insert(), values)
    tally = Tally(database)
    now = datetime(2031, 1, 2, tzinfo=UTC)
    found = tally.recipes(now)
    assert found["killed"].interrupted
    assert not found["at work"].interrupted
    found = tally.recipes(now, at_work=False)
    assert found["at work"].interrupted
    assert all(one.pace and one.pace.left_s is None for one in found.values())
