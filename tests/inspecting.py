"""What tests of the inspector share: a corpus from a real run, a server on it, a real browser.

In: a folder. Out: a corpus that the simulated teacher made (accepted, rejected, held samples), the
inspector serving it on a free loopback port, and Chromium as the system has it.
"""

from __future__ import annotations

import asyncio
import http.client
import shutil
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import uvicorn
from factory import SEEDS, corpus_of, run, simulated, sums, write_recipe
from playwright.sync_api import Browser, Page, sync_playwright

from inspector.app import make_app
from inspector.captures import RowsReader
from inspector.serving import _listen
from inspector.settings import Settings, read_settings
from storage.database import Database

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))),
                None)  # fmt: skip
HELD_CATEGORY = "writing"


def make_corpus(folder: Path) -> Path:
    """A finished run: sums that the teacher gets wrong now and then, writing that people decide."""
    recipe = write_recipe(
        folder,
        [*SEEDS, *sums(4)],
        teachers={"local": simulated(wrong_math=0.4, server_error=0.1)},
        agents={"verification": {"human": {"categories": [HELD_CATEGORY]}, "max_rounds": 1}},
        gates={"quotas": {"math": 30}},
        budget={"calls": 100_000},
    )
    # Playwright keeps an event loop in the tests' own thread.
    with ThreadPoolExecutor(1) as apart:
        result = apart.submit(lambda: asyncio.run(run(recipe))).result()
    assert result.status == "finished"
    return corpus_of(recipe)


@dataclass(frozen=True, slots=True)
class Served:
    """A running inspector: its address and its database's file."""

    url: str
    db: Path

    def ask(
        self, method: str, path: str, body: str | None = None, **headers: str
    ) -> http.client.HTTPResponse:
        """One request as it is written, with any Host; the answer's body is in `said`."""
        parts = urlsplit(self.url)
        assert parts.hostname
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=20)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, sent)
        answer = connection.getresponse()
        answer.said = answer.read().decode()  # type: ignore[attr-defined]
        connection.close()
        return answer


@contextmanager
def served(db: Path | str, rows: RowsReader | None = None, **options: Any) -> Iterator[Served]:
    """Serves a corpus; `options` are those of `read_settings`."""
    given: Mapping[str, Any] = {"host": "127.0.0.1", "port": 0, "token_env": None, **options}
    settings: Settings = read_settings(**given)
    listening = _listen(settings)
    settings = replace(settings, port=listening.getsockname()[1])
    app = make_app(Database.open(str(db)), settings, rows)
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    deadline = time.monotonic() + 20
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.01)
    assert server.started
    try:
        yield Served(settings.url.rstrip("/"), Path(str(db)))
    finally:
        server.should_exit = True
        thread.join(20)


@contextmanager
def chromium() -> Iterator[Browser]:
    """A headless browser of this machine's own."""
    with sync_playwright() as playwright:
        # Root has no sandbox in Chromium; these pages are ours.
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


def shown(page: Page) -> str:
    """Everything that the page says in its main part."""
    return page.locator("main").inner_text()
