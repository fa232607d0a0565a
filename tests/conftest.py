"""Fixtures that every room's tests share: a PostgreSQL server, a corpus on either engine, its rows.

`database` is an empty corpus, once on SQLite and once on PostgreSQL; `corpus` writes sound rows
into it, which a test then bends. PostgreSQL is Debian's own, started on a free loopback port for
as long as the tests run; where it is not installed its tests are skipped and say so.
"""

from __future__ import annotations

import ctypes
import importlib
import itertools
import os
import pwd
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

from common.hashing import digest
from storage.database import Database
from storage.tables import (
    AgentCall,
    Completion,
    Prompt,
    Run,
    Sample,
    Score,
    Seed,
    Verdict,
    table_of,
)


def pytest_configure() -> None:
    """Before anything of ours is imported.

    The console keeps the width that the environment gave when it was made; made without one, it
    follows what a test sets. Workers have a core each: with as many threads as the machine has
    cores in every one of them and in what they start, all of them mostly wait for each other.
    A job in a shell's background ignores Ctrl-C, and so would all that the tests start.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if "PYTEST_XDIST_WORKER" in os.environ:
        os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.pop("COLUMNS", None)
    importlib.import_module("cli.show")


def _postgres_programs() -> Path | None:
    """The folder with initdb and postgres: Debian keeps them off the PATH, one per version."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: int(p.parts[-3]))
    if found:
        return found[-1].parent
    on_path = shutil.which("initdb")
    return Path(on_path).resolve().parent if on_path else None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _unprivileged_user() -> str | None:
    """PostgreSQL refuses to run as root; Debian's package brings a user for it."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError:
            continue
    pytest.skip("PostgreSQL does not run as root, and there is no user 'postgres' or 'nobody'")


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """A server of this worker's own: the URL of its maintenance database."""
    programs = _postgres_programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    user = _unprivileged_user()
    # Not pytest's own folder: root alone may enter that one, and socket paths must stay short.
    folder = Path(tempfile.mkdtemp(prefix="stillhouse-pg-"))
    if user is not None:
        shutil.chown(folder, user)
    data, port = folder / "data", _free_port()
    log = (folder / "server.log").open("wb")
    run: dict[str, Any] = {"cwd": folder, "stdout": log, "stderr": subprocess.STDOUT}
    if user is not None:
        run |= {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []}
    initdb = [programs / "initdb", "--no-sync", "--auth=trust", "--username=stillhouse"]
    settings = {
        "listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": folder,
        "fsync": "off", "shared_buffers": "16MB", "max_connections": 40,
    }  # fmt: skip
    options = [f"--{name}={value}" for name, value in settings.items()]
    url = f"postgresql+psycopg://stillhouse@127.0.0.1:{port}/postgres"
    try:
        subprocess.run([*initdb, "-E", "UTF8", "-D", data], check=True, timeout=120, **run)
        # Not pg_ctl: a server that it starts would outlive tests that are killed.
        server = subprocess.Popen(
            [programs / "postgres", "-D", data, *options], preexec_fn=_end_with_parent, **run
        )
        try:
            _await_server(url, server, folder / "server.log")
            yield url
        finally:
            server.send_signal(signal.SIGQUIT)
            server.wait(60)
    finally:
        log.close()
        shutil.rmtree(folder, ignore_errors=True)


def _end_with_parent() -> None:
    """Asks Linux to end this process when the one that started it ends, however that ends."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGQUIT)


def _await_server(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    engine = create_engine(url)
    for _ in range(600):
        if server.poll() is not None:
            pytest.fail(f"PostgreSQL did not start: {log.read_text()[-2000:]}")
        try:
            engine.connect().close()
        except OperationalError:
            time.sleep(0.1)
        else:
            engine.dispose()
            return
    pytest.fail("PostgreSQL does not answer")


_database_numbers = itertools.count(1)


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """The URL of an empty PostgreSQL database that only this test uses."""
    name = f"corpus_{next(_database_numbers)}"
    server = create_engine(postgres_server, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    yield f"{postgres_server.rpartition('/')[0]}/{name}".replace("+psycopg", "")
    with server.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    server.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """What a user gives after `--db`, for a database that does not exist yet (or is empty)."""
    if request.param == "sqlite":
        return str(tmp_path / "corpus.db")
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """An empty corpus, on each engine."""
    opened = Database.open(database_url, create=True)
    yield opened
    opened.close()


class CorpusMaker:
    """Writes rows that belong together, as a run would; every method returns the row's id."""

    def __init__(self, database: Database, recipe: str = "tests") -> None:
        self.database = database
        self.recipe = recipe
        self._ordinals = itertools.count()
        self.run = self.add(
            Run, id=digest("run"), recipe=recipe, recipe_hash="0" * 32, recipe_text="name: tests",
            status="running",
        )  # fmt: skip
        self.add(Prompt, hash="ab" * 16, name="tests/prompt", version="1", text="Say it.")

    def add(self, model: type, /, **columns: Any) -> str:
        """One row; defaults are the model's own."""
        row = model(**columns)
        table = table_of(model)
        values = {column.name: getattr(row, column.name) for column in table.columns}
        with self.database.write() as connection:
            connection.execute(table.insert(), values)
        return str(values[next(iter(table.primary_key.columns)).name])

    def change(self, statement: str, **values: Any) -> None:
        """One SQL statement as someone might type it; what the schema forbids is forced."""
        if self.database.is_sqlite:
            # A connection of its own guards no foreign keys.
            with closing(sqlite3.connect(str(self.database.url.database))) as file:
                file.execute("PRAGMA ignore_check_constraints=ON")
                file.execute(statement, values)
                file.commit()
            return
        with self.database.write() as connection:
            connection.execute(text("SET LOCAL session_replication_role = replica"))
            for table in ("seed", "sample", "run"):
                connection.execute(text(f"ALTER TABLE {table} DROP CONSTRAINT IF EXISTS ck_status"))
            connection.execute(text(statement), values)

    def seed(self, instruction: str = "Add 2 and 3.", **columns: Any) -> str:
        """A seed that is done."""
        ordinal = next(self._ordinals)
        identifier = digest([self.recipe, instruction, ordinal])
        given = {
            "id": identifier, "recipe": self.recipe, "family_id": identifier, "ordinal": ordinal,
            "source": "seeds.jsonl", "row": ordinal + 1, "source_shape": "alpaca",
            "instruction": instruction, "category": "math", "language": "en",
            "status": "done", "reason": "expanded",
        }  # fmt: skip
        return self.add(Seed, **(given | columns))

    def call(self, seed: str, sample: str | None, agent: str, content: str, **columns: Any) -> str:
        """An answered call with its completion; returns the completion's key."""
        simulated = columns.pop("simulated", False)
        messages = [{"role": "user", "content": f"{agent}: {seed} {sample}"}]
        key = digest([agent, seed, sample, content, columns.get("round", 0)])
        self.add(
            Completion, key=key, request={"messages": messages, "schema": None}, content=content,
            finish_reason="stop", model="tiny", prompt_tokens=10, completion_tokens=5,
            simulated=simulated,
        )  # fmt: skip
        given = {
            "id": digest([seed, sample, agent, key]), "run_id": self.run, "recipe": self.recipe,
            "seed_id": seed, "sample_id": sample, "agent": agent, "prompt_name": f"{agent}/prompt",
            "prompt_version": "1", "prompt_hash": "ab" * 16, "teacher": "big", "model": "tiny",
            "endpoint": "http://127.0.0.1/v1", "parameters": {"temperature": 0.7},
            "request_key": key, "prompt_tokens": 10, "completion_tokens": 5, "cost_usd": 0.001,
            "latency_s": 0.5, "finish_reason": "stop",
        }  # fmt: skip
        self.add(AgentCall, **(given | columns))
        return key

    def sample(
        self,
        seed: str,
        variant: int = 0,
        round: int = 0,
        response: str | None = "5",
        **columns: Any,
    ) -> str:
        """An accepted, verified sample with all its calls, scores and verdicts."""
        identifier = digest([seed, variant, round])
        simulated = bool(columns.get("simulated", False))
        allows = columns.get("allows_training", "true")
        terms = {"teacher": "big", "model": "tiny", "licence": "apache-2.0", "note": None,
                 "allows_training": allows, "simulated": simulated}  # fmt: skip
        given = {
            "id": identifier, "recipe": self.recipe, "seed_id": seed, "family_id": seed,
            "run_id": self.run, "origin": "seed" if variant == 0 else "expansion",
            "variant": variant, "round": round, "category": "math", "language": "en",
            "instruction": f"Add 2 and 3, please. ({variant})", "response": response,
            "fingerprint": digest([seed, variant])[:16], "status": "accepted",
            "reason": "verified", "allows_training": allows, "terms": [terms],
            "shaped_by": {"respond": "r#1#2", "select": "s#1#2", "verify": "v#1#2"},
        }  # fmt: skip
        if columns.get("status", "accepted") == "accepted":
            given |= {"score_total": 16}
        if response is not None:
            given |= {"responder": "big", "response_prompt": "response/prompt#" + "ab" * 6}
        self.add(Sample, **(given | columns))
        if response is not None:
            self.call(seed, identifier, "response", response, round=round, simulated=simulated)
        if columns.get("status", "accepted") == "accepted":
            self.judged(seed, identifier, round)
        return identifier

    def judged(self, seed: str, sample: str, round: int = 0) -> None:
        """Scores and a passing verdict, with the calls they came from."""
        scored = self.call(seed, sample, "selection", "{}", round=round)
        self.add(
            Score, sample_id=sample, label="scored", informativeness=5, helpfulness=7,
            generalisation=4, rationale="It teaches.", request_key=scored,
        )  # fmt: skip
        verdict = self.call(seed, sample, "verification", "{}", round=round)
        self.verdict(sample, "duplicate", "gate", "pass", {"fingerprint": "0" * 16})
        evidence = {"correct": True, "consistent": True, "evidence": "2 + 3 = 5."}
        self.verdict(sample, "judge", "judge", "pass", evidence, verdict)

    def verdict(
        self, sample: str, name: str, kind: str, label: str,
        evidence: dict[str, Any] | None = None, request_key: str | None = None,
    ) -> None:  # fmt: skip
        """One verdict."""
        self.add(
            Verdict, sample_id=sample, name=name, kind=kind, label=label,
            evidence=evidence, request_key=request_key,
        )  # fmt: skip

    def end_run(self) -> None:
        """The run finishes, with its figures."""
        self.change(
            "UPDATE run SET status = 'finished', calls_made = (SELECT count(*) FROM agent_call "
            "WHERE error_type IS NULL AND NOT cached)"
        )


@pytest.fixture
def corpus(database: Database) -> CorpusMaker:
    """A maker of rows for `database`."""
    return CorpusMaker(database)
