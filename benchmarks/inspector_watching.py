"""What watching costs: how much longer a run takes while somebody looks at its SQLite file.

The same run (a simulated teacher that answers after a realistic while) is made again and again in
four ways, taking turns: by itself (`unwatched`); with `stillhouse inspect` on its database and a
headless Chromium on this machine that keeps the run page open (`watched`); with one that clicks
through samples, too, a page a second (`browsed`); and with a plain HTTP client that asks for those
pages, which is what such a browser on another machine costs (`polled`). The bar is 3 % for
`watched`, and nothing may be told that the database is locked. Prints one JSON object: the ratios
of the runs' own times to the run by itself of the same round (geometric means, with the 95 %
interval of the rounds), how many seconds of processor time the inspector and Chromium took in a
run, and how many lines of any output speak of a locked database.

    python -m benchmarks.inspector_watching [--rounds N] [--seeds N]
"""

from __future__ import annotations

import argparse
import http.client
import json
import math
import os
import re
import shutil
import sqlite3
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psutil
from playwright.sync_api import BrowserType, Page, sync_playwright

from benchmarks.inspector_pages import cpu_s, inspecting
from benchmarks.support import STILLHOUSE
from storage.database import Database

BAR = 1.03
EVERY_S = 2.0
_RECIPE = """
name: watched
seeds: [seeds.jsonl]
teacher: rehearsal
teachers:
  rehearsal:
    kind: simulated
    limits: {max_concurrency: 128, initial_concurrency: 128}
    simulation: {wrong_math: 0.1, server_error: 0.02, latency_s: 0.5}
run: {seeds_in_flight: 128}
"""
Look = Callable[[Callable[[], bool]], int]

# Student's t for a two-sided 95 % interval, by degrees of freedom.
_T = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}


@dataclass(frozen=True, slots=True)
class Ran:
    """One run: how long it took by its own row, how much it was looked at, and the processor time
    of looking."""

    seconds: float
    calls: int
    looks: int
    inspector_s: float = 0.0
    browser_s: float = 0.0


def main(rounds: int, seeds: int) -> dict[str, Any]:
    """All rounds; in each the ways take turns at being the first."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
    if chromium is None:
        raise SystemExit("Chromium is not installed (Debian: apt-get install chromium).")
    ran: dict[str, list[Ran]] = {way: [] for way in ("unwatched", "watched", "browsed", "polled")}
    locked = 0
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = Path(name)
        _write_recipe(folder, seeds)
        for n in range(rounds + 1):
            ways = list(ran)
            turn = n % len(ways)
            for way in ways[turn:] + ways[:turn]:
                one = _once(folder, f"{n}-{way}", way, playwright.chromium, chromium)
                # The first round only warms up.
                if n:
                    ran[way].append(one)
        for log in folder.glob("*.log"):
            locked += len(re.findall(r"database is locked", log.read_text(errors="replace"), re.I))
    return _result(ran, locked, seeds)


def _once(folder: Path, name: str, way: str, chromium: BrowserType, program: str) -> Ran:
    """One run in one of the ways."""
    db = folder / f"{name}.db"
    Database.open(str(db), create=True).close()
    if way == "unwatched":
        return _run(folder, db, _look_away)
    with ExitStack() as stack:
        address, inspector = stack.enter_context(inspecting(str(db), folder / f"{name}.log"))
        if way == "polled":
            return _run(folder, db, partial(_poll, address), inspector)
        # Root has no sandbox in Chromium; these pages are ours.
        browser = chromium.launch(executable_path=program, args=["--no-sandbox"])
        stack.callback(browser.close)
        context = browser.new_context(base_url=f"http://{address}")
        look: Look = partial(_keep_open, context.new_page())
        if way == "browsed":
            look = partial(_browse, context.new_page(), context.new_page())
        shown = next(each for each in psutil.Process().children(recursive=True)
                     if each.name().startswith("chrom"))  # fmt: skip
        return _run(folder, db, look, inspector, shown)


def _result(ran: dict[str, list[Ran]], locked: int, seeds: int) -> dict[str, Any]:
    base = [one.seconds for one in ran["unwatched"]]
    ratios = {
        way: _interval([one.seconds / alone for one, alone in zip(ran[way], base, strict=True)])
        for way in ran
        if way != "unwatched"
    }
    return {
        "rounds": len(base), "seeds": seeds, "calls": ran["unwatched"][0].calls,
        "seconds": {way: [round(one.seconds, 2) for one in ones] for way, ones in ran.items()},
        "looks": {way: [one.looks for one in ones] for way, ones in ran.items()},
        "cores": os.cpu_count(), "load": [round(part, 1) for part in os.getloadavg()], "bar": BAR,
        "inspector_cpu_s": _means(ran, "inspector_s"), "browser_cpu_s": _means(ran, "browser_s"),
        **{f"{way}_over_unwatched": ratio for way, (ratio, *_) in ratios.items()},
        **{f"{way}_interval": interval for way, (_, *interval) in ratios.items()},
        "locked": locked,
    }  # fmt: skip


def _means(ran: dict[str, list[Ran]], what: str) -> dict[str, float]:
    """The mean of one of `Ran`'s figures, by way."""
    return {
        way: round(statistics.fmean(getattr(one, what) for one in ones), 2)
        for way, ones in ran.items()
        if way != "unwatched"
    }


def _interval(ratios: list[float]) -> list[float]:
    """The geometric mean, and the ends of its 95 % interval."""
    logs = [math.log(ratio) for ratio in ratios]
    mean, n = statistics.fmean(logs), len(logs)
    half = _T[n - 1] * statistics.stdev(logs) / math.sqrt(n)
    return [round(math.exp(end), 4) for end in (mean, mean - half, mean + half)]


def _write_recipe(folder: Path, seeds: int) -> None:
    with (folder / "seeds.jsonl").open("w") as file:
        for number in range(seeds):
            words = f"What is {number} + {number * 7 % 1009}?"
            row = {"instruction": words, "category": "math", "language": "en"}
            file.write(json.dumps(row) + "\n")
    (folder / "recipe.yaml").write_text(_RECIPE)


def _run(folder: Path, db: Path, look: Look, *lookers: psutil.Process) -> Ran:
    """One run from nothing, looked at by `look`, which is given whether it still goes on, by means
    of the inspector and a browser."""
    with (folder / f"{db.stem}.run.log").open("wb") as log:
        process = subprocess.Popen(
            [str(STILLHOUSE), "run", "recipe.yaml", "--db", str(db)],
            cwd=folder, stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip
        _until_begun(db, process)
        before = [cpu_s(looker) for looker in lookers]
        looks = look(lambda: process.poll() is None)
        spent = [cpu_s(looker) - then for looker, then in zip(lookers, before, strict=True)]
        if process.wait():
            raise SystemExit(f"the run failed; its output:\n{Path(log.name).read_text()[-2000:]}")
    with closing(sqlite3.connect(db)) as connection:
        seconds, calls = connection.execute(
            "SELECT 86400 * (julianday(ended_at) - julianday(started_at)), calls_made FROM run"
        ).fetchone()
    return Ran(seconds, calls, looks, *spent)


def _until_begun(db: Path, process: subprocess.Popen[bytes]) -> None:
    with closing(sqlite3.connect(db, timeout=30)) as connection:
        while process.poll() is None:
            if connection.execute("SELECT count(*) FROM seed").fetchone()[0]:
                return
            time.sleep(0.05)


def _look_away(_going: Callable[[], bool]) -> int:
    """Looks at nothing."""
    return 0


def _keep_open(run_page: Page, going: Callable[[], bool]) -> int:
    """Keeps the run page open, which asks by itself."""
    run_page.goto("/")
    while going():
        run_page.wait_for_timeout(1000 * EVERY_S / 2)
    return 1


def _browse(run_page: Page, samples: Page, going: Callable[[], bool]) -> int:
    """Keeps the run page open, which asks by itself, and clicks through samples beside it."""
    looks = 0
    run_page.goto("/")
    while going():
        samples.goto("/samples")
        for _ in range(3):
            if not going():
                break
            # `count` waits for nothing: early on there is no sample yet.
            link = samples.locator("table.samples a.clip").nth(looks % 20)
            if link.count():
                link.click()
                samples.wait_for_timeout(1000 * EVERY_S / 2)
                samples.go_back()
                looks += 1
            samples.wait_for_timeout(1000 * EVERY_S / 2)
    return looks


def _poll(address: str, going: Callable[[], bool]) -> int:
    """Asks for what the browser asks for: the run page anew, a list, one of its samples."""
    looks, version = 0, ""
    with closing(http.client.HTTPConnection(address, timeout=60)) as connection:
        while going():
            began = time.monotonic()
            headers = {"If-None-Match": version}
            connection.request("GET", "/", headers=headers if version else {})
            answer = connection.getresponse()
            answer.read()
            version = answer.headers["ETag"] or version
            connection.request("GET", "/samples")
            listed = re.findall(r'href="(/samples/\w+)"', connection.getresponse().read().decode())
            if listed:
                # The sample, and back to the list.
                for path in (listed[looks % 20 % len(listed)], "/samples"):
                    connection.request("GET", path)
                    connection.getresponse().read()
                looks += 1
            time.sleep(max(0.0, EVERY_S - (time.monotonic() - began)))
    return looks


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, choices=range(3, 11))
    parser.add_argument("--seeds", type=int, default=1500)
    asked = parser.parse_args()
    print(json.dumps(main(asked.rounds, asked.seeds)))
