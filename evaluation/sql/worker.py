"""The process that runs untrusted queries: `python -m evaluation.sql.worker`, started by `boxes`.

Its first line of input is a JSON object: the backend, the file or connection, the limits. Every
further line is one query as a JSON string; each is answered by one line with its outcome. The
process bounds its own memory and may be killed at any instant: it holds nothing.
"""

from __future__ import annotations

import json
import resource
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from evaluation.sql.outcome import Limits, Outcome
from evaluation.sql.sqlite_reader import SqliteReader


class Reader(Protocol):
    """Runs one query at a time."""

    def run(self, query: str) -> Outcome:
        """Its outcome."""
        ...


def main() -> None:
    """Answers until the input ends."""
    settings = json.loads(sys.stdin.readline())
    reader = open_reader(settings)
    _bound_memory(Limits(**settings["limits"]).megabytes)
    print("ready", flush=True)  # noqa: T201 - standard output is this process's answer
    for line in sys.stdin:
        outcome = reader.run(json.loads(line))
        print(json.dumps(asdict(outcome)), flush=True)  # noqa: T201


def open_reader(settings: dict[str, Any]) -> Reader:
    """The reader of `{"backend", "at", "limits"}`."""
    limits = Limits(**settings["limits"])
    if settings["backend"] == "sqlite":
        return SqliteReader(Path(settings["at"]), limits)
    # Only where it is needed: psycopg is an extra.
    from evaluation.sql.postgres_reader import PostgresReader

    return PostgresReader(settings["at"], limits)


def _bound_memory(megabytes: int) -> None:
    """From here on the process may grow by this much address space, and writes no core file.

    Elsewhere than on Linux SQLite's own bounds have to do."""
    if sys.platform != "linux":
        return
    in_use = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (in_use + megabytes * 1_000_000, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    main()
