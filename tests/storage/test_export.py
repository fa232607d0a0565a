"""Exports: what goes in, in which form and order, what stays out, and that files appear whole."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import CorpusMaker
from sqlalchemy import text

from storage.database import Database
from storage.errors import NotFound, StorageFull
from storage.export import ExportOptions, ExportRefused, ExportResult, export_samples


@pytest.fixture
def export(database: Database, tmp_path: Path) -> Any:
    """Exports `database` and reads the file back."""

    def exported(**options: Any) -> tuple[ExportResult, list[dict[str, Any]]]:
        options.setdefault("out", str(tmp_path / "out.jsonl"))
        result = export_samples(database, ExportOptions(**options))
        lines = result.path.read_text(encoding="utf-8").splitlines()
        return result, [json.loads(line) for line in lines]

    return exported


@pytest.fixture
def reasoned(corpus: CorpusMaker) -> str:
    """A sample with everything that a format has a place for."""
    return corpus.sample(
        corpus.seed(), system="Be brief.", instruction="Add them.", input="2 and 3",
        reasoning="Two and three make five.", response="Final answer: 5",
    )  # fmt: skip


def test_messages_hold_system_user_and_assistant(export: Any, reasoned: str) -> None:
    _, (line,) = export()
    assert line["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Add them.\n\n2 and 3"},
        {"role": "assistant", "content": "Two and three make five.\n\nFinal answer: 5"},
    ]


def test_alpaca_keeps_instruction_and_input_apart(export: Any, reasoned: str) -> None:
    _, (line,) = export(format="alpaca")
    del line["meta"]
    assert line == {
        "instruction": "Add them.",
        "input": "2 and 3",
        "output": "Two and three make five.\n\nFinal answer: 5",
        "system": "Be brief.",
    }


def test_sharegpt_names_human_and_gpt(export: Any, reasoned: str) -> None:
    _, (line,) = export(format="sharegpt", reasoning="drop")
    assert line["conversations"] == [
        {"from": "system", "value": "Be brief."},
        {"from": "human", "value": "Add them.\n\n2 and 3"},
        {"from": "gpt", "value": "Final answer: 5"},
    ]


@pytest.mark.parametrize(
    ("reasoning", "answer"),
    [
        ("inline", "Two and three make five.\n\nFinal answer: 5"),
        ("think", "<think>\nTwo and three make five.\n</think>\n\nFinal answer: 5"),
        ("drop", "Final answer: 5"),
    ],
)
def test_reasoning_is_treated_as_asked(
    export: Any, reasoned: str, reasoning: str, answer: str
) -> None:
    _, (line,) = export(reasoning=reasoning)
    assert line["messages"][-1]["content"] == answer


@pytest.mark.parametrize("reasoning", ["inline", "think", "drop"])
def test_a_sample_without_reasoning_is_its_response(
    export: Any, corpus: CorpusMaker, reasoning: str
) -> None:
    corpus.sample(corpus.seed(), response="Just five.")
    _, (line,) = export(reasoning=reasoning)
    assert line["messages"][-1]["content"] == "Just five."


def test_a_sample_without_system_or_input_has_no_empty_parts(
    export: Any, corpus: CorpusMaker
) -> None:
    corpus.sample(corpus.seed(), instruction="Add 2 and 3.")
    _, (line,) = export()
    assert [m["role"] for m in line["messages"]] == ["user", "assistant"]
    assert line["messages"][0]["content"] == "Add 2 and 3."


def test_every_line_leads_back_to_its_row_and_its_terms(export: Any, corpus: CorpusMaker) -> None:
    seed = corpus.seed()
    sample = corpus.sample(seed, language="ja", response="五です。")
    _, (line,) = export()
    meta = line["meta"]
    assert (meta["id"], meta["family_id"], meta["category"]) == (sample, seed, "math")
    assert (meta["language"], meta["allows_training"]) == ("ja", "true")
    assert meta["terms"][0]["licence"] == "apache-2.0"
    assert line["messages"][-1]["content"] == "五です。"


def test_only_accepted_samples_go_in_unless_others_are_asked_for(
    export: Any, corpus: CorpusMaker
) -> None:
    seed = corpus.seed()
    corpus.sample(seed, 0)
    corpus.sample(seed, 1, status="rejected", reason="low_score")
    corpus.sample(seed, 2, status="held", reason="human_review")
    _, lines = export()
    assert [line["meta"]["status"] for line in lines] == ["accepted"]
    _, lines = export(statuses=("rejected", "held"))
    assert [line["meta"]["status"] for line in lines] == ["rejected", "held"]


def test_rows_are_in_the_order_of_seeds_variants_and_rounds(
    export: Any, corpus: CorpusMaker
) -> None:
    seeds = [corpus.seed(f"S{n}") for n in range(3)]
    expected = {}
    for ordinal, seed in reversed(list(enumerate(seeds))):
        for variant in (2, 0, 1):
            expected[ordinal, variant] = corpus.sample(seed, variant)
    _, lines = export()
    assert [line["meta"]["id"] for line in lines] == [expected[key] for key in sorted(expected)]


def test_the_same_corpus_gives_the_same_bytes(
    database: Database, corpus: CorpusMaker, tmp_path: Path
) -> None:
    for n in range(5):
        corpus.sample(corpus.seed(f"S{n}"))
    files = []
    for folder in ("a", "b"):
        out = tmp_path / folder / "out.jsonl"
        result = export_samples(database, ExportOptions(out=str(out)))
        files.append((result.path.read_bytes(), result.manifest_path.read_bytes()))
    assert files[0] == files[1]


def test_the_manifest_says_what_is_in_the_file_and_its_hash(
    export: Any, corpus: CorpusMaker
) -> None:
    corpus.sample(corpus.seed(), language="zh")
    corpus.sample(corpus.seed("Rehearsed."), simulated=True)
    result, lines = export(allow_simulated=True)
    manifest = json.loads(result.manifest_path.read_text(encoding="utf-8"))
    assert manifest == result.manifest
    assert result.manifest_path.name == "out.jsonl.manifest.json"
    assert manifest["rows"] == len(lines) == 2
    assert manifest["sha256"] == hashlib.sha256(result.path.read_bytes()).hexdigest()
    assert manifest["languages"] == {"en": 1, "zh": 1}
    assert manifest["categories"] == {"math": 2}
    assert manifest["teachers"] == {"big": 2}
    assert manifest["recipes"] == {"tests": 2}
    assert manifest["simulated"] == 1
    assert manifest["filters"]["status"] == ["accepted"]
    assert [(term["simulated"], term["rows"]) for term in manifest["terms"]] == [
        (False, 1), (True, 1),
    ]  # fmt: skip


def test_the_corpus_remembers_an_export_with_its_manifest(
    export: Any, database: Database, corpus: CorpusMaker
) -> None:
    corpus.sample(corpus.seed())
    result, _ = export()
    with database.read() as connection:
        row = connection.execute(text("SELECT * FROM export")).mappings().one()
    assert (row["id"], row["rows"], row["format"]) == (result.id, 1, "messages")
    assert (row["content_hash"], row["path"]) == (result.sha256, str(result.path))


def test_the_same_export_made_again_is_the_same_row(
    export: Any, database: Database, corpus: CorpusMaker, tmp_path: Path
) -> None:
    corpus.sample(corpus.seed())
    first, _ = export()
    again, _ = export(out=str(tmp_path / "elsewhere" / "out.jsonl"))
    assert first.id == again.id
    with database.read() as connection:
        (path,) = connection.execute(text("SELECT path FROM export")).scalars()
    assert path == str(again.path)


def test_simulated_samples_stay_out_and_are_counted(export: Any, corpus: CorpusMaker) -> None:
    real = corpus.sample(corpus.seed())
    corpus.sample(corpus.seed("Rehearsed."), simulated=True)
    result, lines = export()
    assert [line["meta"]["id"] for line in lines] == [real]
    assert result.left_out == {"simulated": 1} == result.manifest["left_out"]


@pytest.mark.parametrize(
    ("terms", "admitted", "left_out"),
    [
        ("permitted", {"true"}, {"forbidden": 1, "unknown": 1}),
        ("unknown", {"true", "unknown"}, {"forbidden": 1}),
        ("any", {"true", "unknown", "false"}, {}),
    ],
)
def test_teachers_terms_decide_what_goes_in(
    export: Any, corpus: CorpusMaker, terms: str, admitted: set[str], left_out: dict[str, int]
) -> None:
    for permission in ("true", "unknown", "false"):
        corpus.sample(corpus.seed(permission), allows_training=permission)
    result, lines = export(terms=terms)
    assert {line["meta"]["allows_training"] for line in lines} == admitted
    assert result.left_out == left_out


def test_a_rehearsal_is_let_in_whatever_the_simulated_teachers_own_terms_say(
    export: Any, corpus: CorpusMaker
) -> None:
    corpus.sample(corpus.seed(), simulated=True, allows_training="false")
    _, (line,) = export(allow_simulated=True, terms="permitted")
    assert line["meta"]["simulated"] is True


def test_a_rehearsal_in_which_a_real_teacher_forbids_training_stays_out(
    export: Any, corpus: CorpusMaker
) -> None:
    corpus.sample(corpus.seed())
    contribution = {"teacher": "t", "model": "m", "licence": None, "note": None}
    terms = [
        contribution | {"allows_training": "true", "simulated": True},
        contribution | {"allows_training": "false", "simulated": False},
    ]
    seed = corpus.seed("Mixed.")
    corpus.sample(seed, simulated=True, allows_training="false", terms=terms)
    result, lines = export(allow_simulated=True)
    assert len(lines) == 1 and result.left_out == {"forbidden": 1}


def test_samples_without_a_response_stay_out(export: Any, corpus: CorpusMaker) -> None:
    seed = corpus.seed()
    corpus.sample(seed, 0, status="rejected", reason="low_score")
    corpus.sample(seed, 1, response=None, status="rejected", reason="duplicate")
    result, lines = export(statuses=("rejected",))
    assert len(lines) == 1 and result.left_out == {"no_response": 1}


def test_one_recipes_samples_can_be_asked_for(export: Any, corpus: CorpusMaker) -> None:
    corpus.sample(corpus.seed())
    corpus.recipe = "other"
    wanted = corpus.sample(corpus.seed("Elsewhere."))
    _, lines = export(recipe="other")
    assert [line["meta"]["id"] for line in lines] == [wanted]


def test_nothing_to_export_is_an_error_that_counts_what_there_is(
    export: Any, corpus: CorpusMaker, tmp_path: Path
) -> None:
    seed = corpus.seed()
    corpus.sample(seed, 0, status="rejected", reason="low_score")
    corpus.sample(seed, 1, simulated=True)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ExportRefused, match="nothing to export") as refused:
        export()
    assert "1 rejected (low_score)" in refused.value.cause
    assert "1 simulated (use --allow-simulated)" in refused.value.cause
    assert sorted(tmp_path.iterdir()) == before


def test_an_unknown_recipe_names_those_that_are_there(export: Any, corpus: CorpusMaker) -> None:
    corpus.sample(corpus.seed())
    with pytest.raises(NotFound, match="'quickstart'") as missing:
        export(recipe="quickstart")
    assert "tests" in missing.value.cause


@pytest.mark.parametrize(
    "wrong",
    [{"format": "csv"}, {"reasoning": "hide"}, {"terms": "none"}, {"statuses": ("good",)}],
)
def test_an_unknown_word_names_the_known_ones(wrong: dict[str, Any]) -> None:
    with pytest.raises(ExportRefused, match="does not know") as refused:
        ExportOptions(out="x.jsonl", **wrong)
    assert "Give one of" in refused.value.solution


def test_a_folder_gets_a_file_named_after_what_is_in_it(
    export: Any, corpus: CorpusMaker, tmp_path: Path
) -> None:
    corpus.sample(corpus.seed())
    folder = tmp_path / "exports"
    folder.mkdir()
    result, _ = export(out=str(folder))
    assert result.path == folder / "corpus.messages.jsonl"
    result, _ = export(out=f"{tmp_path}/new/", recipe="tests", format="alpaca")
    assert result.path == tmp_path / "new" / "tests.alpaca.jsonl"


def test_an_earlier_export_is_replaced_and_nothing_else_is_left(
    export: Any, corpus: CorpusMaker, tmp_path: Path
) -> None:
    corpus.sample(corpus.seed())
    out = tmp_path / "exports" / "out.jsonl"
    out.parent.mkdir()
    out.write_text("old\n" * 1000)
    _, lines = export(out=str(out))
    assert len(lines) == 1
    assert sorted(p.name for p in out.parent.iterdir()) == ["out.jsonl", "out.jsonl.manifest.json"]


def test_the_corpus_itself_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "corpus.db"
    database = Database.open(str(path), create=True)
    corpus = CorpusMaker(database)
    corpus.sample(corpus.seed())
    (tmp_path / "link.jsonl").symlink_to(path)
    for name in ("corpus.db", "corpus.db-wal", "link.jsonl"):
        with pytest.raises(ExportRefused, match="cannot be replaced"):
            export_samples(database, ExportOptions(out=str(tmp_path / name)))
    assert path.read_bytes().startswith(b"SQLite format 3")
    database.close()


def test_a_device_is_never_replaced_by_a_file(export: Any, corpus: CorpusMaker) -> None:
    corpus.sample(corpus.seed())
    with pytest.raises(ExportRefused, match="cannot be replaced"):
        export(out="/dev/null")
    assert not Path("/dev/null").is_file()


def test_a_place_that_cannot_be_written_is_an_error_and_leaves_no_row(
    export: Any, database: Database, corpus: CorpusMaker, tmp_path: Path
) -> None:
    corpus.sample(corpus.seed())
    (tmp_path / "file").touch()
    with pytest.raises(ExportRefused, match="cannot be written"):
        export(out=str(tmp_path / "file" / "out.jsonl"))
    with database.read() as connection:
        assert connection.execute(text("SELECT count(*) FROM export")).scalar_one() == 0


def test_an_export_that_fills_the_disk_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path, out = tmp_path / "corpus.db", tmp_path / "exports" / "out.jsonl"
    database = Database.open(str(path), create=True)
    corpus = CorpusMaker(database)
    for n in range(10):
        corpus.sample(corpus.seed(f"S{n}"), response="word " * 2000)
    database.close()
    out.parent.mkdir()
    out.write_text("old\n")
    program = (
        "import resource, sys\n"
        "from cli.main import main\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, resource.RLIM_INFINITY))\n"
        "main(['export', sys.argv[1], '--db', sys.argv[2]])\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program, str(out), str(path)], capture_output=True, text=True
    )
    assert ended.returncode == StorageFull.exit_code
    assert "cannot be written" in ended.stderr and "Free some disk space" in ended.stderr
    assert [p.name for p in out.parent.iterdir()] == ["out.jsonl"]
    assert out.read_text() == "old\n"


def test_an_export_works_while_a_run_holds_the_corpus(
    export: Any, database: Database, corpus: CorpusMaker
) -> None:
    corpus.sample(corpus.seed())
    with database.run_lock():
        _, lines = export()
    assert len(lines) == 1


def test_a_killed_export_leaves_the_old_file_as_it_was(
    database: Database, database_url: str, corpus: CorpusMaker, tmp_path: Path
) -> None:
    corpus.sample(corpus.seed())
    out = tmp_path / "out.jsonl"
    out.write_text("old\n")
    program = (
        "import os, sys; from pathlib import Path; import storage.export as e\n"
        "from storage.database import Database\n"
        "e._record = lambda *arguments: os.kill(os.getpid(), 9)\n"
        "e.export_samples(Database.open(sys.argv[1]), e.ExportOptions(out=sys.argv[2]))\n"
    )
    killed = subprocess.run([sys.executable, "-c", program, database_url, str(out)])
    assert killed.returncode == -9
    assert out.read_text() == "old\n"
    assert not out.with_name("out.jsonl.manifest.json").exists()
