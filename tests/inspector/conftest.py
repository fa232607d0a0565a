"""Fixtures of the inspector's tests: one corpus from a real run, a copy of it served, a browser."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from factory import cli, one
from inspecting import CHROMIUM, Served, chromium, make_corpus, served
from playwright.sync_api import Browser, Page, expect

NOW = "2026-01-01 00:00:00.000000"
# On a machine that is busy with other tests, five seconds are soon over.
expect.set_options(timeout=60_000)


@pytest.fixture(autouse=True)
def counted_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages wait for figures, and these are counted anew soon, however busy the machine is."""
    monkeypatch.setattr("inspector.counting._FIRST_WAIT_S", 60)
    monkeypatch.setattr("inspector.counting._REST", 1)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The corpus of a run, not to be written to."""
    return make_corpus(tmp_path_factory.mktemp("inspected"))


@pytest.fixture
def db(made: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copy(made, tmp_path / "corpus.db"))


@pytest.fixture
def site(db: Path) -> Iterator[Served]:
    """The inspector on that copy."""
    with served(db) as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium; closed after each file, since meanwhile no asynchronous test can run."""
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed (Debian: apt-get install chromium)")
    with chromium() as started:
        yield started


@pytest.fixture
def page(browser: Browser, site: Served) -> Iterator[Page]:
    """A page that knows the inspector's address; what it reports as an error fails the test."""
    context = browser.new_context(base_url=site.url, viewport={"width": 1280, "height": 900})
    opened = context.new_page()
    faults: list[str] = []
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.on(
        "console",
        lambda message: (
            faults.append(message.text)
            if message.type == "error" and "the server responded with a status" not in message.text
            else None
        ),
    )
    yield opened
    context.close()
    assert faults == []


@pytest.fixture
def exported(site: Served, tmp_path: Path) -> str:
    """The corpus's own export, a model trained on it, and that model's evaluation."""
    done = cli("export", "out.jsonl", "--db", site.db, "--allow-simulated", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    export = str(one(site.db, "SELECT id FROM export"))
    with closing(sqlite3.connect(site.db)) as connection:
        # The command noted the path as it was given.
        connection.execute("UPDATE export SET path = ?", (str(tmp_path / "out.jsonl"),))
        connection.execute(
            "INSERT INTO training_run (id, export_id, stage, recipe_text, recipe_hash, status, "
            "output, metrics, started_at) VALUES (?, ?, 'sft', 'name: small-student', '', "
            "'finished', 'out/sft/model', ?, ?)",
            ("a1" * 16, export, json.dumps({"loss": 1.25, "steps": 30}), NOW),
        )
        connection.execute(
            "INSERT INTO evaluation (id, training_run_id, benchmark, model, endpoint, served, "
            "settings, status, metrics, simulated, created_at) VALUES (?, ?, 'ifeval', "
            "'小さなモデル', 'vllm', 'student', '{}', 'finished', ?, 0, ?)",
            ("d1" * 16, "a1" * 16, json.dumps({"prompt_strict": 0.5}), NOW),
        )
        for n in range(60):
            connection.execute(
                "INSERT INTO evaluation_item (evaluation_id, item, ordinal, prompt, response, "
                "verdict, status, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?, 'done', ?, ?)",
                ("d1" * 16, f"item/{n}?", n, f"Prompt {n}", f"Response {n}",
                 json.dumps({"followed": n % 2 == 0}), NOW, NOW),
            )  # fmt: skip
        connection.commit()
    return export
