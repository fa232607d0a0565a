"""How long the inspector's pages take on a large corpus: a million samples, SQLite and PostgreSQL.

Makes the corpus by bulk SQL, starts `stillhouse inspect` as a user would, and asks for each page
again and again over one connection. The bar is 200 ms on 2 cores. Prints one JSON object: for each
engine how long filling and the first count took, each page's p50 and p95 in milliseconds, and how
much of both cores it took (`cpu_ms`: the inspector's and the database's, which tells more than the
clock where the machine has other work).

    python -m benchmarks.inspector_pages [--samples N] [--repeats N] [--engines sqlite,postgresql]
        [--kept FOLDER]

With --kept the corpora stay in that folder (about 7 GB an engine and million), and are used again.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import signal
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import psutil
from sqlalchemy import Connection

from benchmarks.inspector_corpus import RESPONSE_PROMPT, make_corpus
from benchmarks.own_postgres import own_postgres
from benchmarks.support import STILLHOUSE
from storage.database import Database
from storage.sample_list import SORTS

BAR_MS = 200.0
_DEEP = 20
# PostgreSQL's own default.
_SHARED_BUFFERS = "128MB"


def main(samples: int, repeats: int, engines: list[str], kept: Path | None) -> dict[str, Any]:
    """Measures every engine."""
    results = {}
    for engine in engines:
        with corpus_on(engine, kept) as db:
            results[engine] = measure(db, samples, repeats)
    slowest = max(page["p95_ms"] for r in results.values() for page in r["pages"].values())
    return {
        "samples": samples, "repeats": repeats, "cores": os.cpu_count(),
        "load": [round(part, 1) for part in os.getloadavg()], "bar_ms": BAR_MS,
        "slowest_p95_ms": slowest, "engines": results,
    }  # fmt: skip


@contextmanager
def corpus_on(engine: str, kept: Path | None) -> Iterator[str]:
    """A database to make a corpus in, or with one that was kept."""
    with ExitStack() as stack:
        if kept is not None:
            kept.mkdir(parents=True, exist_ok=True)
        if engine == "postgresql":
            folder = kept / "postgres" if kept else None
            yield stack.enter_context(own_postgres(folder, _SHARED_BUFFERS))
        else:
            folder = kept or Path(stack.enter_context(tempfile.TemporaryDirectory()))
            yield str(folder / "large.db")


def measure(db: str, samples: int, repeats: int) -> dict[str, Any]:
    """Fills one database, then times its pages."""
    began = time.monotonic()
    filled = make_corpus(db, samples)
    fill_s = round(time.monotonic() - began, 1) if filled else None
    database = Database.open(db)
    with database.read() as corpus:
        ids = [row[0] for row in corpus.exec_driver_sql(
            "SELECT id FROM sample WHERE status = 'held' ORDER BY id LIMIT 2")]  # fmt: skip
        servers = [] if database.is_sqlite else [postmaster(corpus)]
    database.close()
    with inspecting(db) as (address, inspector):
        connection = http.client.HTTPConnection(address, timeout=600)
        began, before = time.monotonic(), cpu_s(inspector, *servers)
        while _is_counting(connection, "/") or _is_counting(connection, "/prompts"):
            time.sleep(0.5)
        counted, took = time.monotonic() - began, cpu_s(inspector, *servers) - before
        pages = {
            name: timed(connection, path, repeats, [inspector, *servers])
            for name, path in paths(connection, ids).items()
        }
        memory = inspector.memory_info().rss
        connection.close()
    return {
        "fill_s": fill_s, "first_count_s": round(counted, 1), "first_count_cpu_s": round(took, 1),
        "inspector_mib": memory >> 20,
        "slowest_p95_ms": max(page["p95_ms"] for page in pages.values()), "pages": pages,
    }  # fmt: skip


def _is_counting(connection: http.client.HTTPConnection, path: str) -> bool:
    """Whether a page still waits for some of its figures."""
    _, text = ask(connection, path)
    return "Counting" in text or "still being counted" in text


def postmaster(connection: Connection) -> psutil.Process:
    """PostgreSQL's first process."""
    backend = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
    return psutil.Process(backend).parents()[0]


def cpu_s(*processes: psutil.Process) -> float:
    """Seconds of CPU that these processes and what they started have taken, ended ones included."""
    total = 0.0
    for process in processes:
        for each in (process, *process.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                # User and system, its own and that of its children that have ended.
                total += sum(each.cpu_times()[:4])
    return total


@contextmanager
def inspecting(db: str, log: Path | None = None) -> Iterator[tuple[str, psutil.Process]]:
    """The inspector on a database, as a process of its own: its host and port, and the process.
    What it says of errors goes into `log`, where there is one."""
    errors = None if log is None else log.open("wb")
    process = subprocess.Popen(
        [str(STILLHOUSE), "inspect", "--db", db, "--port", "0"],
        stdout=subprocess.PIPE, stderr=errors, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        found = re.search(r"http://\S+", process.stdout.readline())
        assert found, "the inspector says its address first"
        yield urlsplit(found[0]).netloc, psutil.Process(process.pid)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)
        if errors is not None:
            errors.close()


def ask(connection: http.client.HTTPConnection, path: str) -> tuple[int, str]:
    """One page."""
    connection.request("GET", path)
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def paths(connection: http.client.HTTPConnection, held: list[str]) -> dict[str, str]:
    """What is asked for, by name."""
    found = {"run": "/", "prompts": "/prompts", "prompt": "/prompts/rewriting/respond",
             "evaluations": "/evaluations", "sample": f"/samples/{held[0]}",
             "review": f"/review/{held[0]}", "samples": "/samples"}  # fmt: skip
    for sort in SORTS:
        found[f"by {sort}"] = f"/samples?sort={sort}&order=asc"
        found[f"by {sort}, page {_DEEP}"] = deep(connection, f"/samples?sort={sort}&order=desc")
    foreign = quote("灯台")
    filters = {
        "held": "status=held",
        "held by score": "status=held&sort=score",
        "rare": "status=failed",
        "reason": "status=rejected&reason=verification_failed",
        "category": "category=sql",
        "category and language by score": "category=sql&language=ja&sort=score",
        "no such pair": "status=failed&reason=verified",
        "second teacher": "teacher=second",
        "second teacher, held": "teacher=second&status=held&sort=score",
        "high score": "score_from=26",
        "made with another prompt": f"prompt={'0' * 32}",
        "made with a prompt": f"prompt={RESPONSE_PROMPT}",
        "common word": "words=harbour",
        "made with a prompt by score": f"prompt={RESPONSE_PROMPT}&sort=score",
        "rare word": "words=lighthouse",
        "no such word": f"words={foreign}",
        "no such word, held": f"words={foreign}&status=held",
    }
    return found | {name: f"/samples?{query}" for name, query in filters.items()}


def deep(connection: http.client.HTTPConnection, path: str) -> str:
    """The address of a page far into a list, reached as people reach it."""
    for _ in range(_DEEP - 1):
        _, text = ask(connection, path)
        following = re.search(r'rel="next" href="([^"]+)"', text)
        if not following:
            break
        path = following[1].replace("&amp;", "&")
    return path


def timed(
    connection: http.client.HTTPConnection,
    path: str,
    repeats: int,
    processes: list[psutil.Process],
) -> dict[str, float]:
    """Milliseconds from asking to the last byte, after one that is not counted."""
    status, _ = ask(connection, path)
    assert status == 200, (status, path)
    took, before = [], cpu_s(*processes)
    for _ in range(repeats):
        began = time.perf_counter()
        ask(connection, path)
        took.append(1000 * (time.perf_counter() - began))
    took.sort()
    return {
        "p50_ms": round(statistics.median(took), 1),
        "p95_ms": round(took[min(len(took) - 1, int(0.95 * len(took)))], 1),
        "cpu_ms": round(1000 * (cpu_s(*processes) - before) / repeats, 1),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--engines", default="sqlite,postgresql")
    parser.add_argument("--kept", type=Path, metavar="FOLDER")
    asked = parser.parse_args()
    print(json.dumps(main(asked.samples, asked.repeats, asked.engines.split(","), asked.kept)))
