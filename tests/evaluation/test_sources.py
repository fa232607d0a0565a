"""Where a benchmark's data comes from: files of several shapes, the hub, and what is none."""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from evaluation.errors import DataMissing
from evaluation.sources import read_rows

ROWS = [{"a": "1", "b": "海\u2028辺"}, {"a": "2", "b": "空"}]


@pytest.mark.parametrize("name", ["x.jsonl", "x.json", "x.csv", "x.jsonl.gz", "x.json.gz"])
def test_a_file_of_any_shape_gives_the_same_rows(name: str, tmp_path: Path) -> None:
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)
    text = {
        "jsonl": lines,
        "json": json.dumps(ROWS),
        "csv": "a,b\n" + "".join(f"{row['a']},{row['b']}\n" for row in ROWS),
    }[name.split(".")[1]]
    raw = text.encode()
    (tmp_path / name).write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)
    read = read_rows(str(tmp_path / name), "rows")
    assert list(read.rows) == ROWS and read.source == name


def test_equal_rows_have_equal_hashes_wherever_they_lie(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(json.dumps(ROWS))
    (tmp_path / "y.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    one, other = (read_rows(str(tmp_path / name), "rows") for name in ("x.json", "y.jsonl"))
    assert one.hash == other.hash


@pytest.mark.parametrize(
    ("text", "said"),
    [("", "are none"), ('{"a": 1', "cannot be read"), ("[1]\n", "cannot be read")],
)
def test_what_holds_no_rows_is_refused(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text(text)
    with pytest.raises(DataMissing, match=said):
        read_rows(str(tmp_path / "x.jsonl"), "rows")


def test_a_dataset_of_the_hub_is_loaded_with_its_split(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load_dataset(name: str, split: str) -> list[dict[str, str]]:
        asked.append((name, split))
        return ROWS

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    assert list(read_rows("hf:owner/name:test", "rows").rows) == ROWS
    read_rows("hf:owner/name", "rows")
    assert asked == [("owner/name", "test"), ("owner/name", "train")]


def test_one_file_of_a_repository_is_fetched(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "rows.json").write_text(json.dumps(ROWS))

    def download(name: str, file: str, repo_type: str) -> str:
        assert (name, file, repo_type) == ("owner/name", "data/rows.json", "dataset")
        return str(tmp_path / "rows.json")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    assert list(read_rows("hf:owner/name/data/rows.json", "rows").rows) == ROWS


def test_a_hub_that_is_not_reached_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def load_dataset(name: str, split: str) -> None:
        raise ConnectionError("offline")

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    with pytest.raises(DataMissing, match="could not be had from the hub"):
        read_rows("hf:owner/name", "rows")


def test_a_long_field_and_its_line_ends_stay_as_they_are(tmp_path: Path) -> None:
    long = "1" * 200_000 + "\r\n2"
    (tmp_path / "x.csv").write_bytes(f'index\n"{long}"\n'.encode())
    assert read_rows(str(tmp_path / "x.csv"), "rows").rows == ({"index": long},)


def test_a_table_whose_quote_is_left_open_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text('index\n1\n"2\n3\n')
    with pytest.raises(DataMissing, match="cannot be read"):
        read_rows(str(tmp_path / "x.csv"), "rows")
