"""Opening a corpus by its manifest: what is proved, and every way in which it is refused."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from conftest import CorpusMaker

from common.hashing import digest
from storage.database import Database
from storage.export import ExportOptions, ExportResult, export_samples
from training.data.corpus import read_corpus
from training.errors import CorpusRefused
from training.recipe import CorpusSettings


@pytest.fixture
def export(database: Database, corpus: CorpusMaker, tmp_path: Path) -> Any:
    """Exports three samples of two families."""
    seed = corpus.seed()
    corpus.sample(seed, 0, response="5")
    corpus.sample(seed, 1, response="五")
    corpus.sample(corpus.seed("Say it."), response="It.", language="zh")

    def exported(**options: Any) -> ExportResult:
        return export_samples(database, ExportOptions(out=str(tmp_path / "out.jsonl"), **options))

    return exported


def settings_of(result: ExportResult, **settings: Any) -> CorpusSettings:
    return CorpusSettings(manifest=str(result.manifest_path), **settings)


def rewrite_manifest(result: ExportResult, *, sound: bool = True, **changes: Any) -> None:
    """Changes a manifest; a sound one fits its own digest afterwards."""
    document = {**orjson.loads(result.manifest_path.read_bytes()), **changes}
    if sound:
        document["export"] = digest({k: v for k, v in document.items() if k != "export"})
    result.manifest_path.write_bytes(orjson.dumps(document))


def rewrite_file(result: ExportResult, lines: list[bytes]) -> None:
    """Another file, whose manifest has been brought to fit it."""
    raw = b"".join(lines)
    result.path.write_bytes(raw)
    rewrite_manifest(result, sha256=hashlib.sha256(raw).hexdigest(), rows=len(lines))


def refusal(result: ExportResult, **settings: Any) -> CorpusRefused:
    with pytest.raises(CorpusRefused) as refused:
        read_corpus(settings_of(result, **settings))
    return refused.value


@pytest.mark.parametrize("format", ["messages", "alpaca", "sharegpt"])
def test_a_sound_export_gives_its_records_in_order(export: Any, format: str) -> None:
    result = export(format=format)
    corpus = read_corpus(settings_of(result))
    records = list(corpus.records())
    assert [record.messages[-1]["content"] for record in records] == ["5", "五", "It."]
    assert records[0].family_id == records[1].family_id != records[2].family_id
    assert (len(corpus), corpus.export_id, corpus.sha256) == (3, result.id, result.sha256)
    assert corpus.statuses == {"accepted": 3}


def test_the_corpus_in_the_database_proves_the_export(export: Any, database_url: str) -> None:
    corpus = read_corpus(settings_of(export(), db=database_url))
    assert corpus.difficulty is not None
    assert corpus.difficulty.tolist() == [5, 5, 5]


def test_without_a_database_no_difficulty_is_known(export: Any) -> None:
    assert read_corpus(settings_of(export())).difficulty is None


def test_a_sample_without_a_score_has_no_difficulty(
    export: Any, corpus: CorpusMaker, database_url: str
) -> None:
    result = export()
    first = next(read_corpus(settings_of(result)).records()).id
    corpus.change("UPDATE score SET informativeness = NULL WHERE sample_id = :id", id=first)
    opened = read_corpus(settings_of(result, db=database_url))
    assert opened.difficulty is not None
    assert opened.difficulty.tolist() == [-1, 5, 5]


Change = Callable[[CorpusMaker, str], object]


@pytest.mark.parametrize(
    ("change", "gone", "new"),
    [
        (lambda m, id: m.change("UPDATE sample SET response = '6' WHERE id = :id", id=id), 1, 1),
        (lambda m, id: m.change("UPDATE sample SET status = 'rejected' WHERE id = :id", id=id),
         1, 0),
        (lambda m, id: m.sample(m.seed("A new one.")), 0, 1),
    ],
    ids=["edited", "rejected", "added"],
)  # fmt: skip
def test_a_corpus_that_went_on_since_the_export_is_refused_with_what_differs(
    export: Any, corpus: CorpusMaker, database_url: str, change: Change, gone: int, new: int
) -> None:
    result = export()
    first = next(read_corpus(settings_of(result)).records()).id
    change(corpus, first)
    refused = refusal(result, db=database_url)
    assert "no longer says" in refused.what
    assert f"{gone} exported rows are not in it as they were, {new} rows are new" in refused.cause
    assert (first in refused.cause) == bool(gone)
    assert len(read_corpus(settings_of(result))) == 3


def test_a_corpus_whose_samples_come_in_another_order_is_refused(
    export: Any, corpus: CorpusMaker, database_url: str
) -> None:
    result = export()
    corpus.change("UPDATE seed SET ordinal = 1 - ordinal")
    assert "in another order" in refusal(result, db=database_url).cause


def test_the_exports_own_filters_are_asked_again(
    export: Any, corpus: CorpusMaker, database_url: str
) -> None:
    corpus.sample(corpus.seed("Bad."), status="rejected", reason="low_score", response="Bad!")
    result = export(statuses=("accepted", "rejected"), recipe="tests", reasoning="drop")
    admitted = {"statuses": ("accepted", "rejected")}
    opened = read_corpus(settings_of(result, db=database_url, **admitted))
    assert opened.statuses == {"accepted": 3, "rejected": 1}


def test_samples_that_were_not_accepted_are_refused_unless_the_recipe_says_so(
    export: Any, corpus: CorpusMaker
) -> None:
    corpus.sample(corpus.seed("Bad."), status="rejected", reason="low_score", response="Bad!")
    result = export(statuses=("accepted", "rejected"), recipe="tests")
    assert "1 rejected" in refusal(result).what
    result = export(statuses=("rejected",), recipe="tests")
    assert "1 rejected" in refusal(result).what


def test_simulated_samples_are_refused_unless_the_recipe_lets_them_in(
    export: Any, corpus: CorpusMaker
) -> None:
    corpus.sample(corpus.seed("Rehearsed."), simulated=True)
    result = export(allow_simulated=True)
    assert "1 of the 4 samples" in refusal(result).what
    assert read_corpus(settings_of(result, allow_simulated=True)).simulated == 1


def test_a_missing_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusRefused, match="cannot be read") as refused:
        read_corpus(CorpusSettings(manifest=str(tmp_path / "none.manifest.json")))
    assert "No such file" in refused.value.cause


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"\x00\xff garbage", "It is no JSON"),
        (b"[1, 2]", "the whole document"),
        (b'{"export": "x"}', "file: Field required"),
    ],
)
def test_a_manifest_that_is_garbage_is_refused(export: Any, raw: bytes, why: str) -> None:
    result = export()
    result.manifest_path.write_bytes(raw)
    refused = refusal(result)
    assert "no manifest" in refused.what and why in refused.cause


@pytest.mark.parametrize("name", ["../out.jsonl", "/etc/passwd", "..", ""])
def test_a_manifest_names_a_file_beside_it_and_no_other(export: Any, name: str) -> None:
    result = export()
    rewrite_manifest(result, file=name)
    assert refusal(result).cause.startswith("file:")


def test_a_manifest_of_an_unknown_format_is_refused(export: Any) -> None:
    result = export()
    rewrite_manifest(result, format="csv")
    assert "does not know 'csv'" in refusal(result).cause


def test_a_manifest_changed_by_hand_is_refused(export: Any) -> None:
    result = export()
    rewrite_manifest(result, sound=False, rows=4)
    assert "was changed after it was written" in refusal(result).what


def test_another_export_version_is_refused(export: Any) -> None:
    result = export()
    rewrite_manifest(result, export_version=2)
    assert "export version 2" in refusal(result).what


def test_an_export_of_before_a_migration_is_read(
    export: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = export()
    document = orjson.loads(result.manifest_path.read_bytes())
    del document["export"], document["export_version"]
    old = {**document, "schema_version": "0001"}
    result.manifest_path.write_bytes(orjson.dumps({"export": digest(old), **old}))
    assert len(list(read_corpus(settings_of(result)).records())) == 3
    monkeypatch.setattr("training.data.manifest.EXPORT_VERSION", 2)
    assert "export version 1" in refusal(result).what


def test_a_missing_file_is_refused(export: Any) -> None:
    result = export()
    result.path.unlink()
    assert "No such file" in refusal(result).cause


def test_a_changed_file_is_refused(export: Any) -> None:
    result = export()
    result.path.write_bytes(result.path.read_bytes().replace("五".encode(), "六".encode()))
    assert "its hash differs" in refusal(result).cause


def test_a_cut_file_is_refused_with_the_line_that_broke(export: Any) -> None:
    result = export()
    result.path.write_bytes(result.path.read_bytes()[:-20])
    assert "Line 3: it is no JSON" in refusal(result).cause


def test_an_empty_export_is_refused(export: Any) -> None:
    result = export()
    rewrite_file(result, [])
    assert "holds no samples" in refusal(result).what


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda lines: [*lines, b"garbage\n"], "Line 4: it is no JSON"),
        (lambda lines: [*lines, lines[0]], "has come before"),
        (lambda lines: [lines[0].replace(b'"family_id"', b'"family"')], "no `family_id`"),
    ],
    ids=["garbage", "twice", "no family"],
)
def test_a_file_that_fits_its_manifest_and_is_no_export_is_refused(
    export: Any, spoil: Callable[[list[bytes]], list[bytes]], why: str
) -> None:
    result = export()
    rewrite_file(result, spoil(result.path.read_bytes().splitlines(keepends=True)))
    assert why in refusal(result).cause


@pytest.mark.parametrize("rows", [2, 4])
def test_a_file_of_another_number_of_rows_is_refused(export: Any, rows: int) -> None:
    result = export()
    rewrite_manifest(result, rows=rows)
    assert f"{rows}" in refusal(result).cause


def test_a_file_that_changes_after_it_was_opened_is_refused_by_its_end(export: Any) -> None:
    result = export()
    corpus = read_corpus(settings_of(result))
    result.path.write_bytes(result.path.read_bytes().replace(b"It.", b"IT."))
    with pytest.raises(CorpusRefused, match="no longer what its manifest says"):
        list(corpus.records())
