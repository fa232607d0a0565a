"""A bad row costs its row and says where it is; a bad file is refused with cause and solution."""

from __future__ import annotations

import gzip
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from graph.seeds import (
    BadRow,
    MissingExtra,
    SeedError,
    SeedFileEmpty,
    SeedFileNotFound,
    SeedFileUnreadable,
    SeedFormatUnknown,
    SeedOptions,
    SeedRecord,
    SeedShapeUnknown,
    SeedSplitUnknown,
    read_seeds,
)
from graph.seeds.json_stream import JsonBroken, read_members

GOOD = b'{"prompt": "Q"}\n'


def read(path: Path | str, **options: object) -> list[SeedRecord | BadRow]:
    return list(read_seeds(str(path), SeedOptions.model_validate(options)))


def written(tmp_path: Path, name: str, content: bytes | str) -> Path:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def split(items: list[SeedRecord | BadRow]) -> tuple[list[int], list[int]]:
    """Row numbers of the seeds, and of the bad rows."""
    return (
        [item.row for item in items if isinstance(item, SeedRecord)],
        [item.row for item in items if isinstance(item, BadRow)],
    )


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b'{"prompt": "Q"', "not valid JSON: Expecting ',' delimiter at character 15"),
        (b'{"prompt": Q}', "not valid JSON"),
        (b'{"prompt": "Q"} {"prompt": "Q"}', "not valid JSON: Extra data"),
        (b'{"prompt": "\xff\xfe"}', "not valid UTF-8: byte 0xff at position 13"),
        ("これは JSON ではない".encode("shift-jis"), "not valid UTF-8"),
        (b"[" * 200_000, "nested too deeply"),
        (b'{"prompt": ' + b"9" * 5000 + b"}", "not valid JSON"),
        (b"null", "the row is null"),
        (b"{}", "no instruction: the row's columns are none"),
    ],
)
def test_a_malformed_line_is_reported_with_its_number_and_the_rest_goes_on(
    tmp_path: Path, line: bytes, problem: str
) -> None:
    path = written(tmp_path, "a.jsonl", GOOD + b"\n" + line + b"\n" + GOOD)
    items = read(path)
    assert split(items) == ([1, 4], [3])
    bad = next(item for item in items if isinstance(item, BadRow))
    assert problem in bad.problem
    assert bad.solution
    assert bad.source == str(path)


def test_numbers_that_are_not_finite_read_as_missing(tmp_path: Path) -> None:
    path = written(tmp_path, "a.jsonl", '{"prompt": "Q", "answer": NaN, "score": Infinity}\n')
    [seed] = read(path)
    assert isinstance(seed, SeedRecord)
    assert (seed.reference, seed.meta) == (None, None)


def test_a_malformed_element_of_an_array_costs_only_itself(tmp_path: Path) -> None:
    for bad in (
        '{"prompt": "Q",}',
        '{"prompt": Q}',
        "{'prompt': 'Q'}",
        '{"prompt": "never closed}',
        '{"prompt": "Q"} {"prompt": "Q"}',
        '{"prompt": "tail\\',
        "}",
    ):
        text = '[\n{"prompt": "1"},\n' + bad + '\n,\n{"prompt": "3]"}\n]'
        if bad.endswith(("closed}", "\\")):
            text = text.replace(bad, bad + "\n}")
        assert split(read(written(tmp_path, "a.json", text))) == ([1, 3], [2]), bad


def test_an_array_cut_short_keeps_the_elements_before_the_cut(tmp_path: Path) -> None:
    whole = json.dumps([{"prompt": f"Q{n}"} for n in range(9)])
    items = read(written(tmp_path, "a.json", whole[:-10]))
    assert split(items) == ([1, 2, 3, 4, 5, 6, 7, 8], [9])
    last = items[-1]
    assert isinstance(last, BadRow)
    assert "has no end" in last.problem


def test_an_array_cut_before_its_first_element_ends_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SeedFileUnreadable, match="not complete JSON"):
        read(written(tmp_path, "a.json", '[{"prompt": "Q'))
    with pytest.raises(SeedFileUnreadable, match="not closed"):
        read(written(tmp_path, "b.json", '{"train": [{"prompt": "Q"}'))


def test_no_damage_to_an_array_raises_anything_but_a_seed_error(tmp_path: Path) -> None:
    draw = random.Random(7)
    whole = json.dumps({"valid": [], "train": [{"prompt": 'a"]}{[,:\\é', "x": [1]}] * 6}).encode()
    outcomes = set()
    for _ in range(400):
        text = bytearray(whole)
        for _ in range(draw.randint(1, 4)):
            at = draw.randrange(len(text))
            text[at : at + draw.randint(0, 3)] = draw.choice(
                [b"", b'"', b"}", b"[", b"\n", b"\xff"]
            )
        path = written(tmp_path, "a.json", bytes(text))
        try:
            seeds, bad = split(read(path))
        except SeedError as error:
            outcomes.add(error.code)
        else:
            outcomes.add("read")
            assert seeds or bad
    assert {"read", "seed_file_unreadable"} <= outcomes


def test_csv_rows_with_broken_quotes_or_missing_fields_are_reported(tmp_path: Path) -> None:
    text = 'prompt,answer\nQ1,A\nQ2\n"Q3"x,A\nQ4,A,B\n\nQ5,A\n"two\nlines",A,B\n"Q7,A\n'
    items = read(written(tmp_path, "a.csv", text))
    assert split(items) == ([1, 5], [2, 3, 4, 6, 7])
    problems = [item.problem for item in items if isinstance(item, BadRow)]
    assert "1 fields where the header names 2 (line 3 of the file)" in problems[0]
    assert "not valid CSV" in problems[1]
    assert "(line 5 of the file)" in problems[2]
    assert "(line 8 to 9 of the file)" in problems[3]
    assert "unexpected end of data" in problems[4]


def test_a_csv_row_in_another_encoding_is_reported(tmp_path: Path) -> None:
    content = b"prompt\nQ1\n" + "質問".encode("shift-jis") + b"\nQ3\n"
    items = read(written(tmp_path, "a.csv", content))
    assert split(items) == ([1, 3], [2])
    assert isinstance(items[1], BadRow)
    assert "not UTF-8" in items[1].problem


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.parquet", "a.jsonl.gz"])
def test_an_empty_file_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(SeedFileEmpty, match="holds no rows"):
        read(written(tmp_path, name, b""))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", "\n \n\r\n"),
        ("a.json", "[]"),
        ("a.json", '{"train": [ ]}'),
        ("a.csv", "prompt,answer\n"),
        ("a.jsonl.gz", gzip.compress(b"", mtime=0)),
    ],
)
def test_a_file_without_rows_is_refused(tmp_path: Path, name: str, content: bytes | str) -> None:
    with pytest.raises(SeedFileEmpty):
        read(written(tmp_path, name, content))


def test_a_parquet_table_without_rows_is_refused(tmp_path: Path) -> None:
    pyarrow.parquet.write_table(
        pyarrow.table({"prompt": pyarrow.array([], "string")}), tmp_path / "a"
    )
    (tmp_path / "a").rename(tmp_path / "a.parquet")
    with pytest.raises(SeedFileEmpty):
        read(tmp_path / "a.parquet")


def test_a_missing_file_is_named_with_the_nearest_one(tmp_path: Path) -> None:
    written(tmp_path, "seeds.jsonl", GOOD)
    with pytest.raises(SeedFileNotFound) as raised:
        read(tmp_path / "seed.jsonl")
    assert "seeds.jsonl" in raised.value.solution
    with pytest.raises(SeedFileNotFound) as raised:
        read(tmp_path / "nowhere" / "seeds.jsonl")
    assert "no folder" in raised.value.cause


def test_a_folder_in_place_of_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SeedFileUnreadable, match="directory"):
        read(tmp_path)


def test_an_unknown_ending_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(SeedFormatUnknown) as raised:
        read(written(tmp_path, "seeds.xlsx", b"PK\x03\x04"))
    assert ".jsonl" in raised.value.cause


def test_a_file_that_is_not_what_its_name_says_is_refused(tmp_path: Path) -> None:
    prose = "It was a dark and stormy night.\n" * 150
    with pytest.raises(SeedFormatUnknown) as raised:
        read(written(tmp_path, "a.jsonl", prose))
    assert "None of its first 100 rows" in raised.value.cause
    with pytest.raises(SeedFileUnreadable):
        read(written(tmp_path, "a.parquet", prose))
    with pytest.raises(SeedFileUnreadable):
        read(written(tmp_path, "b.parquet", b"PAR1" + prose.encode()))


def test_a_short_file_of_malformed_lines_reports_each_line(tmp_path: Path) -> None:
    assert split(read(written(tmp_path, "a.jsonl", "{\n{\n"))) == ([], [1, 2])


def test_utf_16_is_refused_with_the_command_that_converts_it(tmp_path: Path) -> None:
    with pytest.raises(SeedFileUnreadable) as raised:
        read(written(tmp_path, "a.jsonl", GOOD.decode().encode("utf-16")))
    assert "iconv" in (raised.value.command or "")


def test_unknown_columns_are_named_with_the_known_shapes(tmp_path: Path) -> None:
    with pytest.raises(SeedShapeUnknown) as raised:
        read(written(tmp_path, "a.csv", "colour,size\nred,4\n"))
    assert "Columns found: colour, size" in raised.value.cause
    assert "alpaca (instruction, input, output)" in raised.value.solution


def test_a_mapped_column_the_file_lacks_is_named(tmp_path: Path) -> None:
    path = written(tmp_path, "a.jsonl", GOOD)
    with pytest.raises(SeedShapeUnknown) as raised:
        read(path, fields={"category": "catgory"})
    assert "maps category to 'catgory'" in raised.value.cause
    assert "Columns found: prompt" in raised.value.cause


@pytest.mark.parametrize(
    ("name", "content", "wanted", "cause"),
    [
        ("a.json", '{"train": [{"prompt": "Q"}]}', "test", "Its splits are: train"),
        ("a.json", '{"train": {"prompt": "Q"}}', None, "No key in it holds a list"),
        ("a.jsonl", '{"prompt": "Q"}', "train", "Only a JSON object"),
    ],
)
def test_a_split_that_is_not_there_is_refused(
    tmp_path: Path, name: str, content: str, wanted: str | None, cause: str
) -> None:
    with pytest.raises(SeedSplitUnknown) as raised:
        read(written(tmp_path, name, content), split=wanted)
    assert cause in raised.value.cause


def test_damaged_gzip_data_keeps_the_rows_before_the_damage(tmp_path: Path) -> None:
    draw = random.Random(3)
    lines = b"".join(b'{"prompt": "%d"}\n' % draw.getrandbits(400) for _ in range(3000))
    packed = gzip.compress(lines)
    items = read(written(tmp_path, "a.jsonl.gz", packed[: len(packed) // 2]))
    seeds, bad = split(items)
    assert seeds == list(range(1, len(seeds) + 1))
    assert len(seeds) > 500
    assert bad == [len(seeds) + 1]
    last = items[-1]
    assert isinstance(last, BadRow)
    assert "gzip data is damaged" in last.problem
    with pytest.raises(SeedFileUnreadable, match="gzip"):
        read(written(tmp_path, "b.jsonl.gz", packed[:12]))


def test_an_object_that_never_closes_is_told_apart_from_one_that_does(tmp_path: Path) -> None:
    with (
        written(tmp_path, "a.json", '{"a": [1, {"b": 2}').open("rb") as stream,
        pytest.raises(JsonBroken),
    ):
        read_members(stream)


@pytest.mark.parametrize(("package", "source"), [("datasets", "hf:o/n"), ("pyarrow", "a.parquet")])
def test_a_missing_package_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str, source: str
) -> None:
    written(tmp_path, "a.parquet", b"PAR1")
    monkeypatch.chdir(tmp_path)
    # None in sys.modules is Python's own way of making an import fail.
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtra) as raised:
        read(source)
    assert package in raised.value.what
    assert raised.value.command is not None
    assert "[eval]" in raised.value.command


@pytest.mark.parametrize("source", ["hf:", "hf:owner/", "hf:a/b/c/d"])
def test_a_hub_id_with_missing_or_too_many_parts_is_refused(source: str) -> None:
    with pytest.raises(SeedFormatUnknown, match="names no dataset"):
        read(source)


def test_an_unknown_split_of_a_dataset_names_those_there_are(tmp_path: Path) -> None:
    written(tmp_path, "train.jsonl", GOOD)
    with pytest.raises(SeedSplitUnknown) as raised:
        read(f"hf:{tmp_path}:valid")
    assert "train" in raised.value.cause


def test_a_dataset_that_cannot_be_reached_is_an_error_with_a_solution() -> None:
    script = (
        "from graph.seeds import read_seeds, SeedError\n"
        "try:\n    next(iter(read_seeds('hf:nobody/nothing')))\n"
        "except SeedError as error:\n    print(error.code, error.solution)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert done.stdout.split()[0] in ("seed_file_unreadable", "seed_file_not_found")
    assert "dataset" in done.stdout
