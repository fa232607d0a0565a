"""Runs untrusted queries in a process of their own that can be killed.

A query goes in, an `Outcome` comes out, whatever the query does: a statement that does not only
read is refused before it runs, the database stops one that takes too long, and a process that does
not answer in time is killed and replaced. One box runs one query at a time; it may be shared
between threads.
"""

from __future__ import annotations

import json
import selectors
import subprocess
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import Self

from evaluation.sql.ddl import Backend
from evaluation.sql.errors import SqlDatabaseError
from evaluation.sql.guard import one_statement, why_refused
from evaluation.sql.outcome import Failure, Limits, Outcome

_START_S = 60.0
_CHECKOUT = Path(__file__).resolve().parent.parent.parent


class Box:
    """Runs queries on one database; close it.

    Args:
        backend: which database.
        at: the SQLite file, or how PostgreSQL's reading role connects.
        limits: for every query.
    """

    def __init__(self, backend: Backend, at: str, limits: Limits | None = None) -> None:
        self.backend = backend
        self.limits = limits or Limits()
        self._at = at
        self._process: subprocess.Popen[bytes] | None = None
        self._heard = b""
        self._one_at_a_time = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self, query: str) -> Outcome:
        """What `query` comes to: rows or a failure.

        Raises:
            SqlDatabaseError: the process that runs queries does not start.
        """
        reason = why_refused(query)
        if reason is not None:
            return Outcome(failure=Failure.REFUSED, detail=reason)
        with self._one_at_a_time:
            process = self._started()
            began = time.monotonic()
            patience = self.limits.seconds + self.limits.grace_s
            line = self._asked(process, json.dumps(one_statement(query)), patience)
            if line is not None:
                return _outcome(line)
            seconds = time.monotonic() - began
            said = self._end()
        if seconds >= patience:
            failure, detail = Failure.TIMEOUT, "Its process was killed after the time limit."
        else:
            failure, detail = Failure.CRASHED, f"The process that ran it ended. {said}".strip()
        return Outcome(failure=failure, detail=detail, seconds=seconds)

    def close(self) -> None:
        """Ends the process."""
        with self._one_at_a_time:
            self._end()

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is None:
            return self._process
        self._end()
        self._heard = b""
        # In a session of its own: a person's Ctrl-C ends the evaluation, not the query under way.
        self._process = process = subprocess.Popen(
            [sys.executable, "-m", "evaluation.sql.worker"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            cwd=_CHECKOUT, start_new_session=True,
        )  # fmt: skip
        limits = asdict(self.limits)
        settings = {"backend": self.backend, "at": self._at, "limits": limits}
        if self._asked(process, json.dumps(settings), _START_S) != b"ready":
            said = self._end()
            raise SqlDatabaseError(
                f"The process that runs queries on {self.backend} does not start.",
                cause=said or "It ended without a word.",
                solution="Build the databases again; for PostgreSQL install the extra `postgres`.",
            )
        return process

    def _asked(
        self, process: subprocess.Popen[bytes], line: str, patience_s: float
    ) -> bytes | None:
        """The process's next line; None where it ends, or says nothing in time."""
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(line.encode() + b"\n")
            process.stdin.flush()
        except BrokenPipeError:
            return None
        until = time.monotonic() + patience_s
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._heard:
                if not selector.select(max(0.0, until - time.monotonic())):
                    return None
                piece = process.stdout.read1(1 << 20)  # type: ignore[attr-defined]
                if not piece:
                    return None
                self._heard += piece
        first, _, self._heard = self._heard.partition(b"\n")
        return first

    def _end(self) -> str:
        """Kills the process; the last line of what it complained about."""
        if self._process is None:
            return ""
        self._process.kill()
        _, said = self._process.communicate()
        self._process = None
        return said.decode(errors="replace").strip().rpartition("\n")[2]


def _outcome(line: bytes) -> Outcome:
    told = json.loads(line)
    failure = told["failure"]
    return Outcome(
        columns=tuple(told["columns"]),
        rows=tuple(tuple(row) for row in told["rows"]),
        failure=None if failure is None else Failure(failure),
        detail=told["detail"],
        seconds=told["seconds"],
    )
