"""Writers that are killed, run out of disk, or meet: nothing whole is lost, nothing half seen."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from teacher_rows import QWEN_WIDTH, SOURCE, example, example_rows

from training.errors import CaptureError
from training.store.shard import SUFFIX, Shard
from training.store.store import RowStore
from training.store.writer import ShardWriter

_SAMPLES = 60
_PER_SHARD = 5

_WORKER = """
import resource, sys
from teacher_rows import QWEN_WIDTH, SOURCE, example, example_rows
from training.errors import CaptureError
from training.store.writer import ShardWriter

folder, first, last, rows_per_shard, limit = sys.argv[1], *map(int, sys.argv[2:])
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    with ShardWriter(
        folder, SOURCE, QWEN_WIDTH, rows_per_shard=rows_per_shard,
        on_shard=lambda shard: print(shard.name, flush=True),
    ) as writer:
        for number in range(first, last):
            writer.append(example(number), example_rows(number))
        print("appended", flush=True)
        sys.stdin.readline()
except CaptureError as error:
    print(error.code, error.cause, flush=True)
"""


def worker(
    folder: Path, first: int, last: int, rows_per_shard: int, limit: int = 0
) -> subprocess.Popen[str]:
    """A process that appends examples, names each finished shard, and then waits for a line."""
    root = Path(__file__).parents[3]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(root), str(root / "tests")])}
    arguments = [str(each) for each in (folder, first, last, rows_per_shard, limit)]
    return subprocess.Popen(
        [sys.executable, "-c", _WORKER, *arguments],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip


def kill(process: subprocess.Popen[str]) -> None:
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    said = process.stdout.readline()
    assert said, "the process ended before it said it"
    return said.strip()


def there(folder: Path) -> set[int]:
    """Which examples the store holds; all of them are read."""
    store = RowStore.open(folder)
    keys = [SOURCE.key(example(number)) for number in range(_SAMPLES)]
    held = set(range(_SAMPLES)) - set(store.missing(keys))
    for number in held:
        rows = store.read(example(number), SOURCE)
        np.testing.assert_array_equal(rows.id_NK, example_rows(number).id_NK)
    return held


def test_a_killed_writer_loses_at_most_the_open_shard(tmp_path: Path) -> None:
    process = worker(tmp_path, 0, 12, rows_per_shard=_PER_SHARD * 20)
    while line(process) != "appended":
        pass
    kill(process)
    assert len(list(tmp_path.glob("*.tmp"))) == 1
    assert there(tmp_path) == set(range(10))


@pytest.mark.parametrize("lines", [1, 3, 8])
def test_a_writer_killed_at_any_moment_leaves_whole_shards_that_a_second_one_completes(
    tmp_path: Path, lines: int
) -> None:
    process = worker(tmp_path / "killed", 0, _SAMPLES, rows_per_shard=_PER_SHARD * 20)
    for _ in range(lines):
        line(process)
    kill(process)
    held = there(tmp_path / "killed")
    assert len(held) >= lines * _PER_SHARD and len(held) % _PER_SHARD == 0
    for folder, missing in (("killed", set(range(_SAMPLES)) - held), ("whole", range(_SAMPLES))):
        with ShardWriter(
            tmp_path / folder, SOURCE, QWEN_WIDTH, rows_per_shard=_PER_SHARD * 20
        ) as writer:
            for number in sorted(missing):
                writer.append(example(number), example_rows(number))
    assert there(tmp_path / "killed") == set(range(_SAMPLES))
    killed, whole = (
        {path.name: path.read_bytes() for path in (tmp_path / folder).glob("*.rows")}
        for folder in ("killed", "whole")
    )
    assert killed == whole


def test_the_next_writer_removes_what_a_killed_one_left(tmp_path: Path) -> None:
    process = worker(tmp_path, 0, 2, rows_per_shard=10_000)
    assert line(process) == "appended"
    kill(process)
    assert list(tmp_path.glob("*.tmp"))
    with ShardWriter(tmp_path, SOURCE, QWEN_WIDTH):
        assert not list(tmp_path.glob("*.tmp"))


@pytest.mark.parametrize("limit", [20_000, 1_500_000], ids=["at its end", "on the way"])
def test_a_full_disk_is_a_typed_error_that_leaves_the_earlier_shards_intact(
    tmp_path: Path, limit: int
) -> None:
    worker(tmp_path, 0, 10, rows_per_shard=100).communicate("\n", timeout=60)
    before = {path: path.read_bytes() for path in tmp_path.glob("*.rows")}
    # Twenty rows of 32 bytes each: 2,600 examples are more than either limit.
    samples = 2_600 if limit > 1_000_000 else 50
    full = worker(tmp_path, 10, 10 + samples, rows_per_shard=1_000_000, limit=limit)
    said, _ = full.communicate("\n", timeout=120)
    assert said.splitlines()[-1] == "capture The system says: File too large."
    assert {path: path.read_bytes() for path in tmp_path.glob("*.rows")} == before
    assert not list(tmp_path.glob("*.tmp"))
    assert there(tmp_path) == set(range(10))


def test_a_second_writer_is_refused_while_another_process_holds_the_folder(tmp_path: Path) -> None:
    other = worker(tmp_path, 0, 1, rows_per_shard=10_000)
    try:
        assert line(other) == "appended"
        with pytest.raises(CaptureError) as refused, ShardWriter(tmp_path, SOURCE, QWEN_WIDTH):
            pytest.fail("two writers in one folder")
        assert f"process {other.pid}" in refused.value.cause
        # The refused one must not take the other's open shard for a left-over.
        other.communicate("\n", timeout=60)
    finally:
        other.kill()
    assert there(tmp_path) == {0}


def test_a_reader_sees_nothing_of_an_open_shard(tmp_path: Path) -> None:
    with ShardWriter(tmp_path, SOURCE, QWEN_WIDTH) as writer:
        writer.append(example(0), example_rows(0))
        assert there(tmp_path) == set()
        writer.flush()
        assert there(tmp_path) == {0}


def test_an_exception_in_the_block_keeps_what_was_appended(tmp_path: Path) -> None:
    with (
        pytest.raises(KeyboardInterrupt),
        ShardWriter(tmp_path, SOURCE, QWEN_WIDTH) as writer,
    ):
        writer.append(example(0), example_rows(0))
        raise KeyboardInterrupt
    assert there(tmp_path) == {0}


@pytest.mark.parametrize("call", range(4))
@pytest.mark.parametrize("after", [False, True])
def test_an_interrupt_while_a_shard_is_closed_keeps_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int, after: bool
) -> None:
    calls: list[int] = []

    def interrupted(real: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any) -> Any:
            calls.append(len(calls))
            if calls[-1] == call and not after:
                raise KeyboardInterrupt
            said = real(*arguments)
            if calls[-1] == call and after:
                raise KeyboardInterrupt
            return said

        return run

    with pytest.raises(KeyboardInterrupt), ShardWriter(tmp_path, SOURCE, QWEN_WIDTH) as writer:
        for number in range(3):
            writer.append(example(number), example_rows(number))
        monkeypatch.setattr(os, "fsync", interrupted(os.fsync))
        monkeypatch.setattr(os, "replace", interrupted(os.replace))
        monkeypatch.setattr(Shard, "open", interrupted(Shard.open))
        writer.flush()
    assert there(tmp_path) == {0, 1, 2}
    assert [each.suffix for each in tmp_path.iterdir() if each.is_file()].count(SUFFIX) == 1


def test_rows_that_are_refused_leave_the_open_shard_usable(tmp_path: Path) -> None:
    with ShardWriter(tmp_path, SOURCE, QWEN_WIDTH) as writer:
        writer.append(example(0), example_rows(0))
        with pytest.raises(CaptureError):
            writer.append(example(1), example_rows(1, k=11))
        writer.append(example(2), example_rows(2))
    assert there(tmp_path) == {0, 2}


def test_a_folder_that_cannot_be_made_is_a_typed_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with (
        pytest.raises(CaptureError, match="cannot be written"),
        ShardWriter(tmp_path / "file" / "store", SOURCE, QWEN_WIDTH),
    ):
        pytest.fail("a store inside a file")
