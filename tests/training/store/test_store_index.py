"""The corpus's table of teacher rows follows the shards, also after a capture that was killed."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import CorpusMaker
from sqlalchemy import text
from teacher_rows import QWEN_WIDTH, SOURCE, example_rows
from teacher_rows import example as numbered

from storage.database import Database
from training.data.example import Example
from training.store.index import IndexResult, index_shards
from training.store.key import token_ids_hash
from training.store.store import RowStore
from training.store.writer import ShardWriter


@pytest.fixture
def examples(corpus: CorpusMaker) -> list[Example]:
    """Seven examples whose samples the corpus holds."""
    return [of_sample(n, corpus.sample(corpus.seed(f"Question {n}?"))) for n in range(7)]


def of_sample(number: int, sample: str) -> Example:
    one = numbered(number)
    return Example(sample, sample, one.family_id, one.token_id_T, one.trained_T)


def write(folder: Path, examples: list[Example], rows_per_shard: int = 60) -> RowStore:
    with ShardWriter(folder, SOURCE, QWEN_WIDTH, rows_per_shard=rows_per_shard) as writer:
        for number, one in enumerate(examples):
            writer.append(one, example_rows(number))
    return RowStore.open(folder)


def rows(database: Database) -> dict[str, dict[str, object]]:
    with database.read() as connection:
        found = connection.execute(text("SELECT * FROM teacher_logprobs")).mappings().all()
    return {str(row["key"]): dict(row) for row in found}


def test_every_entry_gets_a_row_that_says_where_it_lies_and_what_it_belongs_to(
    tmp_path: Path, database: Database, examples: list[Example]
) -> None:
    store = write(tmp_path, examples)
    assert len(store.shards) == 3
    assert index_shards(database, store.shards) == IndexResult(added=7)
    found = rows(database)
    assert found.keys() == {SOURCE.key(one) for one in examples}
    for one in examples:
        row = found[SOURCE.key(one)]
        assert row["sample_id"] == one.sample_id
        assert row["token_ids_hash"] == token_ids_hash(one)
        assert (row["teacher"], row["teacher_revision"]) == ("big-model", "a" * 40)
        assert (row["engine"], row["dtype"], row["top_k"]) == ("torch", "float32", 10)
        assert row["tokenizer_fingerprint"] == "b" * 32
        assert row["template_fingerprint"] == "c" * 32
        assert (tmp_path / str(row["shard"])).exists()
        assert row["length"] == 20 and row["offset"] in (0, 20, 40)


def test_indexing_again_changes_nothing(
    tmp_path: Path, database: Database, examples: list[Example]
) -> None:
    store = write(tmp_path, examples)
    index_shards(database, store.shards)
    before = rows(database)
    assert index_shards(database, store.shards) == IndexResult(known=7)
    assert rows(database) == before


def test_shards_without_rows_are_adopted(
    tmp_path: Path, database: Database, examples: list[Example]
) -> None:
    store = write(tmp_path, examples)
    index_shards(database, store.shards[:1])
    known = len(store.shards[0])
    assert index_shards(database, store.shards) == IndexResult(added=7 - known, known=known)
    assert len(rows(database)) == 7


def test_samples_that_the_database_lacks_are_reported_and_the_others_indexed(
    tmp_path: Path, database: Database, examples: list[Example]
) -> None:
    strangers = [of_sample(7, "f" * 32), of_sample(8, "e" * 32)]
    store = write(tmp_path, [*examples, *strangers])
    result = index_shards(database, store.shards)
    assert result == IndexResult(added=7, unknown_samples=("e" * 32, "f" * 32))
    assert len(rows(database)) == 7


def test_a_key_in_two_shards_keeps_one_row(
    tmp_path: Path, database: Database, examples: list[Example]
) -> None:
    write(tmp_path, examples[:3])
    store = write(tmp_path, examples[:4], rows_per_shard=1_000)
    assert len(store.shards) == 2
    assert index_shards(database, store.shards) == IndexResult(added=4, known=3)
    assert len(rows(database)) == 4


def test_a_row_whose_shard_is_gone_is_moved_to_the_one_that_holds_its_key_now(
    tmp_path: Path, database: Database, examples: list[Example]
) -> None:
    old = write(tmp_path / "old", examples)
    index_shards(database, old.shards)
    new = write(tmp_path / "new", examples, rows_per_shard=1_000)
    assert index_shards(database, new.shards) == IndexResult(moved=7)
    (shard,) = new.shards
    assert {row["shard"] for row in rows(database).values()} == {shard.name}
    assert sorted(str(row["offset"]) for row in rows(database).values()) == sorted(
        str(20 * n) for n in range(7)
    )
