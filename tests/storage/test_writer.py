"""The writer: batches are invisible, units are whole, a killed process leaves a prefix."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from conftest import CorpusMaker
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from common.hashing import digest
from storage.database import Database
from storage.errors import StorageError, StorageFull
from storage.tables import Completion, Prompt, Sample, Seed, Verdict, utcnow
from storage.writer import Change, Writer, row_of


def prompt(name: str, text: str = "a", version: str = "1") -> dict[str, Any]:
    return row_of(Prompt(hash=digest(name), name=name, version=version, text=text))


def seed(ordinal: int, **columns: Any) -> dict[str, Any]:
    given = {
        "id": digest(ordinal), "recipe": "w", "family_id": digest(ordinal), "ordinal": ordinal,
        "source": "s", "row": ordinal, "source_shape": "alpaca", "instruction": f"Do {ordinal}.",
    }  # fmt: skip
    return row_of(Seed(**(given | columns)))


def prompts(database: Database) -> dict[str, tuple[str, str]]:
    """Name to version and text."""
    with database.read() as connection:
        rows = connection.execute(text("SELECT name, version, text FROM prompt"))
        return {name: (version, words) for name, version, words in rows}


async def write(database: Database, *units: Sequence[Change], one_batch: bool = True) -> None:
    async with Writer(database, linger_s=0.001) as writer:
        for unit in units:
            writer.submit(unit)
            if not one_batch:
                await writer.flush()


async def test_leaving_the_writer_commits_everything(database: Database) -> None:
    units = [[Change("insert", Prompt, prompt(str(n)))] for n in range(50)]
    await write(database, *units)
    assert prompts(database).keys() == {str(n) for n in range(50)}


async def test_what_is_flushed_is_there_while_the_writer_goes_on(database: Database) -> None:
    async with Writer(database, linger_s=0.001) as writer:
        writer.submit([Change("insert", Prompt, prompt("first"))])
        await writer.flush()
        assert prompts(database).keys() == {"first"}


async def test_flushing_an_idle_writer_returns(database: Database) -> None:
    async with Writer(database) as writer:
        await writer.flush()
        await writer.flush()
        assert writer.error is None


@pytest.mark.parametrize("one_batch", [True, False])
async def test_insert_leaves_an_existing_row_alone(database: Database, one_batch: bool) -> None:
    await write(
        database,
        [Change("insert", Prompt, prompt("p", "old"))],
        [Change("insert", Prompt, prompt("p", "new"))],
        one_batch=one_batch,
    )
    assert prompts(database) == {"p": ("1", "old")}


@pytest.mark.parametrize("one_batch", [True, False])
async def test_upsert_replaces_the_whole_row(database: Database, one_batch: bool) -> None:
    await write(
        database,
        [Change("insert", Prompt, prompt("p", "old", "1"))],
        [Change("upsert", Prompt, prompt("p", "new", "2"))],
        one_batch=one_batch,
    )
    assert prompts(database) == {"p": ("2", "new")}


@pytest.mark.parametrize("one_batch", [True, False])
async def test_patch_sets_only_the_columns_it_names(database: Database, one_batch: bool) -> None:
    await write(
        database,
        [Change("insert", Prompt, prompt("p", "old", "1"))],
        [Change("patch", Prompt, {"hash": digest("p"), "version": "2"})],
        one_batch=one_batch,
    )
    assert prompts(database) == {"p": ("2", "old")}


async def test_clear_takes_rows_away_before_its_batch_writes_new_ones(
    database: Database, corpus: CorpusMaker
) -> None:
    sample = corpus.sample(corpus.seed())
    other = corpus.sample(corpus.seed("Another."))
    anew = row_of(Verdict(sample_id=sample, name="length", kind="executable", label="pass"))
    await write(
        database,
        [Change("clear", Verdict, {"sample_id": sample}), Change("upsert", Verdict, anew)],
    )
    with database.read() as connection:
        rows = connection.execute(text("SELECT sample_id, name FROM verdict ORDER BY name"))
        assert [tuple(row) for row in rows] == [
            (other, "duplicate"), (other, "judge"), (sample, "length"),
        ]  # fmt: skip


async def test_an_upsert_keeps_the_time_at_which_a_row_was_made(database: Database) -> None:
    then = utcnow().replace(year=2001)
    await write(database, [Change("insert", Seed, seed(1, created_at=then))])
    await write(database, [Change("upsert", Seed, seed(1, instruction="Do it better."))])
    with database.read() as connection:
        row = connection.execute(text("SELECT instruction, created_at FROM seed")).one()
    assert row.instruction == "Do it better."
    assert "2001" in str(row.created_at)


async def test_a_patch_of_a_row_that_does_not_exist_makes_none(database: Database) -> None:
    await write(database, [Change("patch", Prompt, {"hash": digest("p"), "version": "2"})])
    assert prompts(database) == {}


operations = st.lists(
    st.tuples(
        st.sampled_from(["insert", "upsert", "patch"]),
        st.sampled_from(["p", "q"]),
        st.integers(0, 99),
    ),
    max_size=12,
)


@pytest.fixture(scope="module")
def one_corpus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    database = Database.open(str(tmp_path_factory.mktemp("w") / "corpus.db"), create=True)
    yield database
    database.close()


@given(operations)
@settings(max_examples=60, deadline=None)
def test_batching_any_changes_is_the_same_as_making_them_one_by_one(
    one_corpus: Database, changes: list[tuple[Any, str, int]]
) -> None:
    def outcome(one_batch: bool) -> dict[str, tuple[str, str]]:
        mark = uuid.uuid4().hex
        units = []
        for operation, name, number in changes:
            row = prompt(f"{mark}-{name}", f"text {number}", str(number))
            if operation == "patch":
                row = {"hash": row["hash"], "text": row["text"]}
            units.append([Change(operation, Prompt, row)])
        asyncio.run(write(one_corpus, *units, one_batch=one_batch))
        return {
            name.rpartition("-")[2]: row
            for name, row in prompts(one_corpus).items()
            if name.startswith(mark)
        }

    assert outcome(one_batch=True) == outcome(one_batch=False)


async def test_rows_of_one_unit_may_come_in_any_order_of_tables(
    database: Database, corpus: CorpusMaker
) -> None:
    sample = row_of(
        Sample(id=digest("s"), recipe="w", seed_id=digest(7), family_id=digest(7),
               run_id=corpus.run, origin="seed", instruction="Do 7.")
    )  # fmt: skip
    verdict = row_of(Verdict(sample_id=digest("s"), name="judge", kind="judge", label="pass"))
    await write(
        database,
        [
            Change("upsert", Verdict, verdict),
            Change("upsert", Sample, sample),
            Change("insert", Seed, seed(7)),
        ],
    )
    with database.read() as connection:
        assert connection.execute(text("SELECT count(*) FROM verdict")).scalar_one() == 1


async def test_a_refused_change_takes_its_whole_unit_with_it(database: Database) -> None:
    orphan = row_of(Verdict(sample_id="nobody", name="judge", kind="judge", label="pass"))
    async with Writer(database, linger_s=0.001) as writer:
        writer.submit([Change("insert", Prompt, prompt("before"))])
        await writer.flush()
        writer.submit(
            [Change("insert", Prompt, prompt("with it")), Change("upsert", Verdict, orphan)]
        )
        with pytest.raises(StorageError, match="refused a statement"):
            await writer.flush()
        await asyncio.wait_for(writer.failed.wait(), 10)
        with pytest.raises(StorageError, match="refused a statement"):
            writer.submit([Change("insert", Prompt, prompt("after"))])
        with pytest.raises(StorageError, match="refused a statement"):
            await writer.flush()
    assert prompts(database).keys() == {"before"}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_a_value_that_cannot_be_stored_stops_the_writer_with_an_error(
    database: Database,
) -> None:
    row = row_of(Completion(key="0" * 32, request={"messages": object()}, content="x"))
    async with Writer(database, linger_s=0.001) as writer:
        writer.submit([Change("insert", Completion, row)])
        with pytest.raises(StorageError):
            await writer.flush()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_a_fault_in_the_writer_itself_leaves_nobody_waiting(database: Database) -> None:
    async with Writer(database, linger_s=0.001) as writer:
        writer.submit([Change("upsert", Prompt, {"name": "a row without its key"})])
        with pytest.raises(StorageError, match="fault of its own"):
            await asyncio.wait_for(writer.flush(), 10)
        with pytest.raises(StorageError, match="fault of its own"):
            await asyncio.wait_for(writer.flush(), 10)
        assert writer.failed.is_set()


async def test_a_nul_character_in_a_text_does_not_stop_the_run(database: Database) -> None:
    await write(
        database,
        [Change("insert", Prompt, prompt("p", "a\0b"))],
        [Change("insert", Prompt, prompt("q", "whole"))],
        [Change("patch", Prompt, {"hash": digest("q"), "text": "\0"})],
    )
    assert prompts(database) == {"p": ("1", "a\ufffdb"), "q": ("1", "\ufffd")}


async def test_room_waits_until_a_writer_that_is_far_behind_has_caught_up(
    database: Database,
) -> None:
    # It gathers for so long that none of these are taken from its queue before the last is in.
    async with Writer(database, linger_s=2.0, high_water=10) as writer:
        for n in range(200):
            writer.submit([Change("insert", Prompt, prompt(str(n)))])
        await writer.room()
        assert len(prompts(database)) == 200


_WORKER = """
import asyncio, itertools, resource, sys
from common.errors import StillhouseError
from storage.database import Database
from storage.tables import Prompt, Seed
from storage.writer import Change, Writer
sys.path.insert(0, sys.argv[3])
from test_writer import prompt, seed

async def main():
    database = Database.open(sys.argv[1], create=True)
    if sys.argv[2] != "0":
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
    async with Writer(database, linger_s=0.002) as writer:
        try:
            for n in itertools.count():
                writer.submit([Change("insert", Prompt, prompt(str(n), "word " * 100)),
                               Change("insert", Seed, seed(n))])
                if n % 25 == 24:
                    await writer.flush()
                    print(n, flush=True)
                await asyncio.sleep(0)
        except StillhouseError as error:
            print(error.code, flush=True)

asyncio.run(main())
"""


def worker(url: str, limit: int = 0) -> subprocess.Popen[str]:
    """A process that submits numbered units of two rows for ever, and says what is flushed."""
    here = str(Path(__file__).parent)
    environment = os.environ | {"PYTHONPATH": str(Path(here).parent)}
    return subprocess.Popen(
        [sys.executable, "-c", _WORKER, url, str(limit), here],
        stdout=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip


def committed_units(database: Database) -> int:
    """How many units are in the database, all of them whole and none missing in between."""
    with database.read() as connection:
        ordinals = {n for (n,) in connection.execute(text("SELECT ordinal FROM seed"))}
        names = {int(name) for (name,) in connection.execute(text("SELECT name FROM prompt"))}
    assert ordinals == names == set(range(len(names)))
    return len(names)


@pytest.mark.parametrize("lines", [1, 4, 11])
def test_a_process_killed_at_any_moment_leaves_a_prefix_of_whole_units(
    database: Database, database_url: str, lines: int
) -> None:
    process = worker(database_url)
    assert process.stdout is not None
    flushed = [int(line) for line in itertools.islice(process.stdout, lines)][-1]
    os.kill(process.pid, signal.SIGKILL)
    process.wait(30)
    assert committed_units(database) > flushed


def assert_full_disk_keeps_what_was_committed(path: Path, process: subprocess.Popen[str]) -> None:
    said = process.communicate(timeout=120)[0].split()
    assert said[-1] == StorageFull.code
    database = Database.open(str(path))
    try:
        assert committed_units(database) > int(said[-2])
        with database.read() as connection:
            assert connection.execute(text("PRAGMA integrity_check")).scalar_one() == "ok"
    finally:
        database.close()


def test_a_file_that_may_not_grow_stops_the_writer_and_keeps_what_was_committed(
    tmp_path: Path,
) -> None:
    path = tmp_path / "corpus.db"
    Database.open(str(path), create=True).close()
    assert_full_disk_keeps_what_was_committed(path, worker(str(path), limit=600_000))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(mount, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("there is no mount command")
    if mounted.returncode != 0:
        pytest.skip(f"a small disk cannot be mounted: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_stops_the_writer_and_keeps_what_was_committed(small_disk: Path) -> None:
    path = small_disk / "corpus.db"
    Database.open(str(path), create=True).close()
    assert_full_disk_keeps_what_was_committed(path, worker(str(path)))
