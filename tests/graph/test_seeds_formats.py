"""Each file format gives the same seeds, whole, in order, with the right row numbers."""

from __future__ import annotations

import csv
import gzip
import json
import tracemalloc
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graph.seeds import BadRow, SeedOptions, SeedRecord, read_seeds

ROWS = [
    {"instruction": "Name a river.", "input": "", "output": "The Ebro."},
    {"instruction": "川の名前を一つ、\n挙げてください。", "input": "日本", "output": "信濃川"},
    {"instruction": "说出一条河，“加引号”。", "input": "中国", "output": "长江"},
]
EXPECTED = [(row["instruction"], row["input"], row["output"]) for row in ROWS]


def read(path: Path, **options: object) -> list[SeedRecord]:
    items = list(read_seeds(str(path), SeedOptions.model_validate(options)))
    assert all(isinstance(item, SeedRecord) for item in items), items
    return [item for item in items if isinstance(item, SeedRecord)]


def triples(seeds: list[SeedRecord]) -> list[tuple[str, str, str | None]]:
    return [(seed.instruction, seed.input, seed.reference) for seed in seeds]


def as_jsonl(rows: list[dict[str, str]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def as_csv(path: Path, delimiter: str = ",") -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(ROWS[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(ROWS)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", as_jsonl(ROWS)),
        ("a.ndjson", as_jsonl(ROWS)),
        ("lines-called.json", as_jsonl(ROWS)),
        ("a.jsonl.gz", gzip.compress(as_jsonl(ROWS))),
        ("array.json", json.dumps(ROWS, ensure_ascii=False, indent=1).encode()),
        ("array-on-one-line.json", json.dumps(ROWS).encode()),
        ("array-called.jsonl", json.dumps(ROWS, indent=1).encode()),
        ("array.json.gz", gzip.compress(json.dumps(ROWS).encode())),
        ("splits.json", json.dumps({"valid": [], "train": ROWS}).encode()),
        ("only-test.json", json.dumps({"version": 1, "test": ROWS}).encode()),
    ],
)
def test_every_json_layout_gives_the_same_seeds(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    seeds = read(path)
    assert triples(seeds) == EXPECTED
    assert [seed.row for seed in seeds] == [1, 2, 3]
    assert {seed.source for seed in seeds} == {str(path)}
    assert {seed.shape for seed in seeds} == {"alpaca"}


@pytest.mark.parametrize(("name", "delimiter"), [("a.csv", ","), ("a.tsv", "\t"), ("b.csv", ";")])
def test_csv_gives_the_same_seeds_with_each_delimiter(
    tmp_path: Path, name: str, delimiter: str
) -> None:
    path = tmp_path / name
    as_csv(path, delimiter)
    assert triples(read(path)) == EXPECTED


def test_gzipped_csv_gives_the_same_seeds(tmp_path: Path) -> None:
    as_csv(tmp_path / "a.csv")
    packed = tmp_path / "a.csv.gz"
    packed.write_bytes(gzip.compress((tmp_path / "a.csv").read_bytes()))
    assert triples(read(packed)) == EXPECTED


def test_parquet_gives_the_same_seeds_over_several_batches(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS * 200), path)
    seeds = read(path)
    assert triples(seeds) == EXPECTED * 200
    assert seeds[-1].row == 600


def test_parquet_reads_nested_conversations(tmp_path: Path) -> None:
    path = tmp_path / "chats.parquet"
    turns = [{"from": "human", "value": "Hello?"}, {"from": "gpt", "value": "Hello."}]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([{"conversations": turns}]), path)
    assert triples(read(path)) == [("Hello?", "", "Hello.")]


def test_a_local_folder_is_streamed_through_datasets(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_bytes(as_jsonl(ROWS))
    (tmp_path / "test.jsonl").write_bytes(as_jsonl(ROWS[:1]))
    source = f"hf:{tmp_path}"
    assert [seed.instruction for seed in read_seeds(source) if isinstance(seed, SeedRecord)] == [
        row["instruction"] for row in ROWS
    ]
    tested = list(read_seeds(f"{source}:test"))
    assert [(item.source, item.row) for item in tested] == [(f"{source}:test", 1)]
    assert len(list(read_seeds(source, SeedOptions(split="test")))) == 1


def test_a_split_is_chosen_by_name(tmp_path: Path) -> None:
    path = tmp_path / "splits.json"
    path.write_text(json.dumps({"train": ROWS[:1], "valid": ROWS[1:]}), encoding="utf-8")
    assert triples(read(path, split="valid")) == EXPECTED[1:]
    assert triples(read(path)) == EXPECTED[:1]


def test_a_json_file_of_one_object_is_one_seed(tmp_path: Path) -> None:
    path = tmp_path / "one.json"
    path.write_text(json.dumps({"prompt": "Who?", "tags": ["a"]}, indent=2), encoding="utf-8")
    assert triples(read(path)) == [("Who?", "", None)]


def test_a_byte_order_mark_and_windows_line_ends_are_no_part_of_the_text(tmp_path: Path) -> None:
    path = tmp_path / "windows.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + as_jsonl(ROWS).replace(b"\n", b"\r\n"))
    assert triples(read(path)) == EXPECTED
    table = tmp_path / "windows.csv"
    table.write_bytes(b"\xef\xbb\xbfinstruction,output\r\nOne?,1\r\nTwo?,2\r\n")
    assert triples(read(table)) == [("One?", "", "1"), ("Two?", "", "2")]
    array = tmp_path / "windows.json"
    array.write_bytes(b"\xef\xbb\xbf" + json.dumps(ROWS, indent=1).encode())
    assert triples(read(array)) == EXPECTED


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c"])
def test_a_unicode_line_separator_inside_a_string_splits_no_row(
    tmp_path: Path, separator: str
) -> None:
    text = f"above{separator}below"
    lines = tmp_path / "a.jsonl"
    lines.write_text(json.dumps({"instruction": text}, ensure_ascii=False) + "\n", encoding="utf-8")
    table = tmp_path / "a.csv"
    table.write_text(f"instruction\n{text}\n", encoding="utf-8")
    assert [seed.instruction for seed in read(lines)] == [text]
    assert [seed.instruction for seed in read(table)] == [text]


def test_blank_lines_are_skipped_and_line_numbers_stay_true(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('\n{"prompt": "One?"}\n\n   \n{"prompt": "Two?"}\n', encoding="utf-8")
    assert [(seed.row, seed.instruction) for seed in read(path)] == [(2, "One?"), (5, "Two?")]


def test_a_long_csv_field_is_read_whole(tmp_path: Path) -> None:
    long = "x" * 300_000
    path = tmp_path / "a.csv"
    path.write_text(f'instruction,output\n"{long}",y\n', encoding="utf-8")
    assert read(path)[0].instruction == long


def test_a_relative_path_starts_at_the_given_folder_and_is_reported_as_given(
    tmp_path: Path,
) -> None:
    (tmp_path / "a.jsonl").write_bytes(as_jsonl(ROWS))
    seeds = list(read_seeds("a.jsonl", folder=tmp_path))
    assert [seed.source for seed in seeds] == ["a.jsonl"] * 3


def test_the_limit_counts_seeds_and_not_bad_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"prompt": "1?"}\n{\n{"prompt": "2?"}\n{"prompt": "3?"}\n', encoding="utf-8")
    items = list(read_seeds(str(path), SeedOptions(limit=2)))
    assert [type(item) for item in items] == [SeedRecord, BadRow, SeedRecord]


@pytest.mark.parametrize("name", ["big.jsonl", "big.json", "big.csv", "big.parquet"])
def test_reading_holds_no_more_than_a_part_of_a_large_file(tmp_path: Path, name: str) -> None:
    count, text = 20_000, "How far is it? " * 40
    path = tmp_path / name
    if name.endswith("parquet"):
        table = pyarrow.table({"prompt": [f"{n} {text}" for n in range(count)]})
        pyarrow.parquet.write_table(table, path, row_group_size=1000, compression="none")
    else:
        with path.open("w", encoding="utf-8") as stream:
            stream.write({"big.json": "[", "big.csv": "prompt\n"}.get(name, ""))
            for n in range(count):
                row = f"{n} {text}" if name == "big.csv" else json.dumps({"prompt": f"{n} {text}"})
                stream.write(("," if n and name == "big.json" else "") + row + "\n")
            stream.write("]" if name == "big.json" else "")
    del text
    tracemalloc.start()
    read_count = sum(1 for _ in read_seeds(str(path)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert read_count == count
    assert path.stat().st_size > 10 << 20
    assert peak < 4 << 20


TEXTS = st.lists(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1).filter(
        lambda text: bool(text.strip())
    ),
    min_size=1,
    max_size=30,
)


@given(texts=TEXTS, escaped=st.booleans())
def test_instructions_written_as_json_read_back_equal(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], escaped: bool
) -> None:
    folder = tmp_path_factory.mktemp("round")
    rows = [{"instruction": text, "n": [{"]": '"'}]} for text in texts]
    lines, array = folder / "a.jsonl", folder / "a.json"
    lines.write_text(
        "\n".join(json.dumps(row, ensure_ascii=escaped) for row in rows), encoding="utf-8"
    )
    array.write_text(json.dumps({"x": {}, "train": rows}, ensure_ascii=escaped), encoding="utf-8")
    assert [seed.instruction for seed in read(lines)] == texts
    assert [seed.instruction for seed in read(array)] == texts
