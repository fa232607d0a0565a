"""Seeds come into the corpus once each, whatever file they stand in, and every row is counted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from factory import MATHS, WRITING_JA, rows, sums, write_seeds

from graph.intake import BATCH, Intake, take_in
from graph.seeds import SeedSource
from graph.seeds.errors import SeedFileEmpty, SeedFileNotFound
from storage.database import Database
from storage.writer import Writer


async def taken(
    db: Path, *sources: Path | SeedSource, recipe: str = "tests", limit: int | None = None
) -> Intake:
    database = Database.open(str(db), create=True)
    try:
        async with Writer(database) as writer:
            listed = [s if isinstance(s, SeedSource) else SeedSource(path=str(s)) for s in sources]
            return await take_in(database, writer, recipe, listed, limit)
    finally:
        database.close()


def seeds(db: Path) -> list[dict[str, Any]]:
    return rows(db, "SELECT * FROM seed ORDER BY recipe, ordinal")


async def test_every_seed_is_committed_in_the_order_of_its_file(tmp_path: Path) -> None:
    db, file = tmp_path / "c.db", write_seeds(tmp_path / "s.jsonl", [*sums(3), WRITING_JA])
    intake = await taken(db, file)
    found = seeds(db)
    assert (intake.new, intake.known, intake.bad_rows) == (4, 0, 0)
    assert [s["instruction"] for s in found][-1] == WRITING_JA["instruction"]
    assert [s["ordinal"] for s in found] == [0, 1, 2, 3]
    assert [s["row"] for s in found] == [1, 2, 3, 4]
    assert {s["status"] for s in found} == {"pending"}
    assert {s["source"] for s in found} == {str(file)}
    assert found[-1]["language"] == "ja"


async def test_the_same_file_again_brings_nothing_new(tmp_path: Path) -> None:
    db, file = tmp_path / "c.db", write_seeds(tmp_path / "s.jsonl", sums(3))
    await taken(db, file)
    before = seeds(db)
    intake = await taken(db, file)
    assert (intake.new, intake.known) == (0, 3)
    assert seeds(db) == before


async def test_a_moved_and_extended_file_brings_only_what_is_new(tmp_path: Path) -> None:
    db = tmp_path / "c.db"
    await taken(db, write_seeds(tmp_path / "s.jsonl", sums(3)))
    extended = write_seeds(tmp_path / "moved.jsonl", [MATHS, *sums(5)])
    intake = await taken(db, extended)
    assert (intake.new, intake.known) == (3, 3)
    found = seeds(db)
    assert len({s["id"] for s in found}) == len(found) == 6
    assert [s["ordinal"] for s in found] == list(range(6))


async def test_repeated_words_are_seeds_of_their_own_in_one_family(tmp_path: Path) -> None:
    db, file = tmp_path / "c.db", write_seeds(tmp_path / "s.jsonl", [MATHS, *sums(1), MATHS, MATHS])
    assert (await taken(db, file)).new == 4
    found = seeds(db)
    assert len({s["id"] for s in found}) == 4
    assert len({s["family_id"] for s in found}) == 2
    assert found[0]["family_id"] == found[2]["family_id"] == found[3]["family_id"]
    assert (await taken(db, file)).known == 4


async def test_words_repeated_in_another_source_are_the_second_of_their_family(
    tmp_path: Path,
) -> None:
    db = tmp_path / "c.db"
    one = write_seeds(tmp_path / "one.jsonl", [MATHS])
    two = write_seeds(tmp_path / "two.jsonl", [MATHS])
    assert (await taken(db, one, two)).new == 2
    assert len({s["family_id"] for s in seeds(db)}) == 1


async def test_another_recipe_has_seeds_of_its_own_in_the_same_families(tmp_path: Path) -> None:
    db, file = tmp_path / "c.db", write_seeds(tmp_path / "s.jsonl", sums(2))
    await taken(db, file, recipe="one")
    assert (await taken(db, file, recipe="two")).new == 2
    found = seeds(db)
    assert len({s["id"] for s in found}) == 4
    assert len({s["family_id"] for s in found}) == 2
    assert [s["ordinal"] for s in found] == [0, 1, 0, 1]


@pytest.mark.parametrize("column", ["input", "output", "system"])
async def test_what_comes_with_an_instruction_makes_it_another_seed(
    tmp_path: Path, column: str
) -> None:
    db = tmp_path / "c.db"
    file = write_seeds(tmp_path / "s.jsonl", [MATHS, {**MATHS, column: "something else"}])
    await taken(db, file)
    found = seeds(db)
    assert len({s["id"] for s in found}) == 2
    assert len({s["family_id"] for s in found}) == (2 if column == "input" else 1)


async def test_a_limit_bounds_the_seeds_of_all_sources_together(tmp_path: Path) -> None:
    db = tmp_path / "c.db"
    one = write_seeds(tmp_path / "one.jsonl", sums(3))
    two = write_seeds(tmp_path / "two.jsonl", sums(3, 100))
    assert (await taken(db, one, two, limit=4)).new == 4
    assert (await taken(db, one, two, limit=5)).new == 1
    assert (await taken(db, one, two)).new == 1
    assert len(seeds(db)) == 6


async def test_bad_rows_are_counted_and_the_rest_comes_in(tmp_path: Path) -> None:
    db = tmp_path / "c.db"
    lines: list[Any] = [*sums(2), '{"instruction": ', *sums(2, 50), '{"instruction": ""}']
    intake = await taken(db, write_seeds(tmp_path / "s.jsonl", lines))
    assert (intake.new, intake.bad_rows) == (4, 2)
    assert "row 3" in intake.report.summary
    assert "row 6" in intake.report.summary
    assert [s["row"] for s in seeds(db)] == [1, 2, 4, 5]


async def test_more_than_one_batch_comes_in_whole(tmp_path: Path) -> None:
    db = tmp_path / "c.db"
    file = write_seeds(tmp_path / "s.jsonl", sums(2 * BATCH + 1))
    assert (await taken(db, file)).new == 2 * BATCH + 1
    assert [s["ordinal"] for s in seeds(db)] == list(range(2 * BATCH + 1))


async def test_the_categories_words_are_ours_and_unknown_ones_are_left_open(
    tmp_path: Path,
) -> None:
    db = tmp_path / "c.db"
    categories = ["Mathematics", "open QA", "no such thing", None]
    listed = [{"instruction": f"Question {n}?", "category": c} for n, c in enumerate(categories)]
    await taken(db, write_seeds(tmp_path / "s.jsonl", listed))
    assert [s["category"] for s in seeds(db)] == ["math", "qa", None, None]


async def test_a_sources_defaults_serve_rows_that_do_not_say(tmp_path: Path) -> None:
    db = tmp_path / "c.db"
    write_seeds(tmp_path / "s.jsonl", [{"instruction": "足し算をしてください。"}])
    source = SeedSource(
        path=str(tmp_path / "s.jsonl"), category="math", language="ja", licence="CC0-1.0"
    )
    await taken(db, source)
    (seed,) = seeds(db)
    assert (seed["category"], seed["language"], seed["licence"]) == ("math", "ja", "CC0-1.0")


async def test_an_empty_or_missing_file_is_an_error_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(SeedFileEmpty, match=r"empty\.jsonl"):
        await taken(tmp_path / "c.db", tmp_path / "empty.jsonl")
    with pytest.raises(SeedFileNotFound, match=r"nowhere\.jsonl"):
        await taken(tmp_path / "c.db", tmp_path / "nowhere.jsonl")


async def test_what_no_database_can_store_costs_its_row_and_not_the_run(tmp_path: Path) -> None:
    db = tmp_path / "c.db"
    lines: list[Any] = [
        *sums(1),
        '{"instruction": "half a pair: \\ud83d"}',
        '{"instruction": "nul: \\u0000"}',
    ]
    intake = await taken(db, write_seeds(tmp_path / "s.jsonl", lines))
    assert intake.new + intake.bad_rows == 3
    assert all("\x00" not in s["instruction"] for s in seeds(db))
