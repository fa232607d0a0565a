"""`kill -9` at random moments of a faulty run, resumed each time: nothing lost, nothing repeated.

The runs are real processes against a real server that keeps a journal of every answer it gave in
full. A completion's id names the request's body, so the journal says whether a call whose answer
was committed before a kill was ever asked again.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

SEEDS = 200
KILLS = 20
# A run needs about 1,500 answers; twenty kills of this many leave some for the last run.
MOST_ANSWERS = 30
STILLHOUSE = Path(sys.executable).with_name("stillhouse")
FAULTS = {
    "server_error": 0.10,
    "rate_limited": 0.05,
    "truncated_body": 0.03,
    "malformed_json": 0.02,
    "wrong_math": 0.10,
    "latency_s": 0.06,
}
RECIPE = """
name: killed
seeds: [seeds.jsonl]
teacher: local
teachers:
  local:
    kind: simulated
    base_url: {base_url}
    limits: {{initial_concurrency: 12, max_concurrency: 12}}
    retry: {{first_wait_s: 0.01, longest_wait_s: 0.05}}
agents:
  expansion: {{variants: 1}}
gates: {{duplicates: {gates}, quotas: {quotas}}}
"""


def write_seeds(path: Path) -> None:
    with path.open("w", encoding="utf-8") as file:
        for n in range(SEEDS):
            # One in ten repeats an earlier one, for the gates that depend on other samples.
            number = n - 9 if n % 10 == 9 else n
            kinds = [
                {"instruction": f"What is {number} + {number * 3}?", "category": "math"},
                {"instruction": f"Describe garden number {number}.", "category": "writing"},
                {"instruction": f"{number}と{number + 2}の和はいくつですか。", "category": "math"},
                {"instruction": f"请写两句话介绍第{number}号公园。", "category": "writing"},
            ]
            file.write(json.dumps(kinds[number % 4], ensure_ascii=False) + "\n")


@contextmanager
def journalled_server(folder: Path) -> Iterator[tuple[str, Path]]:
    journal = folder / "journal"
    command = [sys.executable, "-m", "teachers.simulated", "--port", "0", "--exit-with-stdin"]
    command += ["--settings-json", json.dumps(FAULTS), "--journal", str(journal)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())["base_url"], journal
        process.terminate()


def start(folder: Path, db: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [str(STILLHOUSE), "run", "recipe.yaml", "--db", db, "--json"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(folder: Path, db: str) -> dict[str, object]:
    process = start(folder, db)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    result: dict[str, object] = json.loads(out.strip().splitlines()[-1])
    return result


def committed(path: Path) -> set[str]:
    """The bodies whose completions are in the database."""
    if not path.exists():
        return set()
    with closing(sqlite3.connect(path)) as connection:
        tables = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'completion'")
        if tables.fetchone() is None:
            return set()
        rows = connection.execute("SELECT response_id FROM completion")
        return {response_id.rpartition("-")[2] for (response_id,) in rows}


def accepted(path: Path) -> set[tuple[str, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute(
            "SELECT id, instruction, response, coalesce(reasoning, ''), reason FROM sample"
            " WHERE status = 'accepted'"
        )
        return set(rows.fetchall())


@dataclass(frozen=True)
class Kill:
    """One kill: whether it hit a run at work, what was committed then, the journal's length."""

    hit: bool
    committed: set[str]
    journal_lines: int


def lines_in(journal: Path) -> list[str]:
    return journal.read_text().splitlines() if journal.exists() else []


def kill_once(folder: Path, db: str, journal: Path, answers: int, after_s: float) -> Kill:
    """Starts a run and kills it a while after the server has given it so many answers.

    Counted in answers and not in seconds from the start, a kill hits the same stage of a run
    however busy the machine is.
    """
    before = len(lines_in(journal))
    process = start(folder, db)
    while process.poll() is None and len(lines_in(journal)) < before + answers:
        time.sleep(0.005)
    time.sleep(after_s)
    hit = process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.communicate()
    in_database = committed(folder / db)
    # What the server still had in hand when its client died must not count as asked later.
    time.sleep(2 * FAULTS["latency_s"])
    return Kill(hit, in_database, len(lines_in(journal)))


def assert_adds_up(folder: Path, db: str, result: dict[str, object]) -> None:
    doctor = subprocess.run(
        [str(STILLHOUSE), "doctor", "--db", db], cwd=folder, capture_output=True, text=True
    )
    assert doctor.returncode == 0, doctor.stdout + doctor.stderr
    assert result["seeds"] == {"pending": 0, "done": SEEDS, "failed": 0}
    samples = result["samples"]
    assert isinstance(samples, dict)
    assert samples["pending"] == 0 and samples["failed"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("gates", [False, True], ids=["gates off", "gates on"])
def test_a_run_killed_at_twenty_moments_ends_like_an_unbroken_one(
    tmp_path: Path, gates: bool, record_property: Callable[[str, object], None]
) -> None:
    seed = int.from_bytes(os.urandom(4), "big")
    record_property("seed", seed)
    rng = random.Random(seed)
    write_seeds(tmp_path / "seeds.jsonl")
    quotas = "{writing: 60}" if gates else "{}"
    with journalled_server(tmp_path) as (base_url, journal):
        text = RECIPE.format(base_url=base_url, gates=str(gates).lower(), quotas=quotas)
        (tmp_path / "recipe.yaml").write_text(text)
        kills = [
            # One in four falls before any answer, on a run that starts or resumes.
            kill_once(tmp_path, "killed.db", journal, 0, rng.uniform(0.1, 1.5))
            if n % 4 == 0
            else kill_once(
                tmp_path, "killed.db", journal, rng.randint(1, MOST_ANSWERS), rng.uniform(0, 0.05)
            )
            for n in range(KILLS)
        ]
        result = finish(tmp_path, "killed.db")
        answers = lines_in(journal)
        whole = finish(tmp_path, "whole.db")

    assert all(kill.hit for kill in kills), "every kill must hit a run that had not finished"
    assert any(kill.committed for kill in kills), "some kill must come after an answer"
    for kill in kills:
        repeated = kill.committed.intersection(answers[kill.journal_lines :])
        assert not repeated, "a call whose answer was committed was asked again"
    assert_adds_up(tmp_path, "killed.db", result)
    assert_adds_up(tmp_path, "whole.db", whole)
    if not gates:
        assert accepted(tmp_path / "killed.db") == accepted(tmp_path / "whole.db")
        return
    with closing(sqlite3.connect(tmp_path / "killed.db")) as connection:
        twice = connection.execute(
            "SELECT fingerprint FROM sample WHERE status = 'accepted' AND parent_id IS NULL"
            " GROUP BY fingerprint HAVING count(*) > 1"
        ).fetchall()
        (writing,) = connection.execute(
            "SELECT count(*) FROM sample WHERE category = 'writing' AND status = 'accepted'"
        ).fetchone()
        (duplicates,) = connection.execute(
            "SELECT count(*) FROM sample WHERE reason = 'duplicate'"
        ).fetchone()
    assert twice == []
    assert writing <= 60
    assert duplicates > 0
