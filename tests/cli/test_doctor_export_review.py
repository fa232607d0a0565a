"""`doctor`, `export`, `review` and `db upgrade` as a person types them: words, exit codes, JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from conftest import CorpusMaker
from sqlalchemy import text

from cli.main import main
from storage.database import Database
from storage.schema import SCHEMA_VERSION


class Said(NamedTuple):
    """What a command said and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out.splitlines()[-1])


Type = Callable[..., Said]


@pytest.fixture
def type_(
    database_url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Type:
    """Types a command on `database`."""
    monkeypatch.setenv("COLUMNS", "200")

    def typed(*words: str) -> Said:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([*words, "--db", database_url])
        out, err = capsys.readouterr()
        return Said(int(ended.value.code or 0), out, err)

    return typed


def test_doctor_says_that_a_sound_corpus_is_sound(type_: Type, corpus: CorpusMaker) -> None:
    corpus.sample(corpus.seed())
    corpus.end_run()
    said = type_("doctor")
    assert said.code == 0
    assert "every accepted sample has a response" in said.out
    assert "Sound: all" in said.out and "1 done" in said.out


def test_doctor_ends_with_code_1_and_names_the_rows_of_a_broken_one(
    type_: Type, corpus: CorpusMaker
) -> None:
    sample = corpus.sample(corpus.seed())
    corpus.end_run()
    corpus.change("UPDATE sample SET response = NULL")
    said = type_("doctor")
    assert said.code == 1
    assert "1 violations" in said.out and sample in said.out
    assert "Not sound: 1 of" in said.out


def test_doctors_json_is_one_object_on_the_last_line(type_: Type, corpus: CorpusMaker) -> None:
    sample = corpus.sample(corpus.seed())
    corpus.change("UPDATE sample SET response = NULL")
    said = type_("doctor", "--json")
    assert (said.code, said.json["ok"]) == (1, False)
    checks = {check["name"]: check for check in said.json["checks"]}
    assert checks["accepted_responses"]["examples"] == [sample]
    assert checks["accepted_responses"]["violations"] == 1
    assert checks["end_reasons"]["ok"] is True
    assert said.json["samples"] == {"accepted": 1}


def test_doctor_tells_of_a_run_that_was_cut_off(type_: Type, corpus: CorpusMaker) -> None:
    corpus.seed(status="pending", reason=None)
    said = type_("doctor")
    assert said.code == 0
    assert "was cut off" in said.out and "stillhouse run" in said.out


def test_doctor_does_not_let_the_corpus_write_to_the_terminal(
    type_: Type, corpus: CorpusMaker
) -> None:
    corpus.seed(id="[red]\x1b[2J\x07evil")
    corpus.change("UPDATE seed SET reason = NULL")
    said = type_("doctor")
    assert "[red]evil" in said.out
    assert "\x1b[2J" not in said.out and "\x07" not in said.out


def test_export_says_what_it_wrote_and_what_stayed_out(
    type_: Type, corpus: CorpusMaker, tmp_path: Path
) -> None:
    corpus.sample(corpus.seed())
    corpus.sample(corpus.seed("Rehearsed."), simulated=True)
    out = tmp_path / "out.jsonl"
    said = type_("export", str(out))
    assert said.code == 0
    assert "1 simulated (use --allow-simulated)" in said.out
    assert str(out) in said.out and len(out.read_text().splitlines()) == 1


def test_exports_json_is_its_manifest(type_: Type, corpus: CorpusMaker, tmp_path: Path) -> None:
    corpus.sample(corpus.seed(), simulated=True)
    out = tmp_path / "out.jsonl"
    options = ("--format", "sharegpt", "--reasoning", "think", "--allow-simulated", "--json")
    said = type_("export", str(out), *options)
    assert said.code == 0
    assert said.json["rows"] == said.json["simulated"] == 1
    assert (said.json["format"], said.json["reasoning"]) == ("sharegpt", "think")
    assert said.json["path"] == str(out)


def test_export_of_several_states_and_one_recipe(
    type_: Type, corpus: CorpusMaker, tmp_path: Path
) -> None:
    seed = corpus.seed()
    corpus.sample(seed)
    corpus.sample(seed, 1, status="held", reason="human_review")
    words = ("--status", "accepted", "--status", "held", "--recipe", "tests", "--json")
    said = type_("export", str(tmp_path / "out.jsonl"), *words)
    assert said.json["statuses"] == {"accepted": 1, "held": 1}


def test_export_takes_a_recipes_folder_for_its_name(
    type_: Type, corpus: CorpusMaker, tmp_path: Path
) -> None:
    corpus.sample(corpus.seed())
    (tmp_path / "recipe.yaml").write_text(
        "name: tests\nseeds: []\nteacher: t\nteachers: {t: {kind: simulated}}\n"
    )
    said = type_("export", str(tmp_path / "out.jsonl"), "--recipe", str(tmp_path), "--json")
    assert said.json["recipes"] == {"tests": 1}


def test_export_of_nothing_is_an_error_with_the_way_on(
    type_: Type, corpus: CorpusMaker, tmp_path: Path
) -> None:
    corpus.sample(corpus.seed(), simulated=True)
    said = type_("export", str(tmp_path / "out.jsonl"))
    assert said.code == 1 and said.out == ""
    assert "nothing to export" in said.err and "--allow-simulated" in said.err
    assert not (tmp_path / "out.jsonl").exists()


def test_export_refuses_an_unknown_format(type_: Type, tmp_path: Path, database: Database) -> None:
    said = type_("export", str(tmp_path / "out.csv"), "--format", "csv")
    assert said.code == 1
    assert "messages, alpaca, sharegpt" in said.err


def held(corpus: CorpusMaker, **columns: Any) -> str:
    given: dict[str, Any] = {"status": "held", "reason": "human_review"}
    return corpus.sample(corpus.seed(), **(given | columns))


def test_review_lists_the_queue_and_says_how_to_decide(type_: Type, corpus: CorpusMaker) -> None:
    sample = held(corpus, instruction="2 と 3 を足す。", response="五です。")
    said = type_("review")
    assert said.code == 0
    assert sample[:12] in said.out and "2 と 3 を足す。" in said.out and "五です。" in said.out
    assert "1 held, 1 of them still to be decided" in said.out
    assert "stillhouse review ID accept" in said.out


def test_review_of_an_empty_queue_says_so(type_: Type, corpus: CorpusMaker) -> None:
    assert "No sample is held" in type_("review").out


def test_review_shows_the_whole_of_one_sample(type_: Type, corpus: CorpusMaker) -> None:
    sample = held(corpus, response="word " * 200 + "the end")
    held(corpus, variant=1, response="Another.")
    assert "the end" not in type_("review").out
    said = type_("review", sample[:10])
    assert "the end" in said.out and "Another." not in said.out


def test_review_of_a_sample_that_is_not_held_is_an_error(type_: Type, corpus: CorpusMaker) -> None:
    said = type_("review", corpus.sample(corpus.seed())[:10])
    assert said.code == 1 and "No held sample" in said.err


def test_a_decision_is_confirmed_and_shown_in_the_queue(type_: Type, corpus: CorpusMaker) -> None:
    sample = held(corpus)
    said = type_("review", sample[:10], "accept", "--reviewer", "Ada", "--note", "Right.")
    assert said.code == 0
    assert f"Sample {sample[:12]} is to be accepted, says Ada." in said.out
    listed = type_("review").out
    assert "decided: accept, by Ada" in listed and "0 of them still to be decided" in listed
    said = type_("review", sample[:10], "reject", "--reviewer", "Bo")
    assert "is to be rejected (in place of: accept), says Bo." in said.out


def test_an_unknown_decision_is_an_error(type_: Type, corpus: CorpusMaker) -> None:
    said = type_("review", held(corpus)[:10], "perhaps", "--reviewer", "Ada")
    assert said.code == 1 and "Say accept or reject" in said.err


def test_review_does_not_let_a_sample_write_to_the_terminal(
    type_: Type, corpus: CorpusMaker
) -> None:
    sample = held(
        corpus,
        instruction="[bold]\x1b]0;title\x07Add\x1b[1A",
        response="five\u202eevif\x9b2J",
    )
    corpus.verdict(sample, "judge", "judge", "unscored", {"problem": "\x1b[31mno JSON"})
    for words in (("review",), ("review", sample[:10])):
        said = type_(*words)
        assert "[bold]Add" in said.out and "no JSON" in said.out
        assert not set(said.out) & set("\x1b\x07\x9b\u202e")


def test_db_upgrade_of_a_current_corpus_has_nothing_to_do(type_: Type, database: Database) -> None:
    said = type_("db", "upgrade")
    assert said.code == 0 and SCHEMA_VERSION in said.out and "nothing to do" in said.out


@pytest.mark.parametrize("words", [("doctor",), ("review",), ("export", "out.jsonl")])
def test_a_corpus_of_another_version_is_refused_by_every_command(
    type_: Type, database: Database, words: tuple[str, ...]
) -> None:
    with database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    said = type_(*words)
    assert said.code == 1
    assert "schema version 9999" in said.err and "Solution" in said.err


def test_a_narrow_terminal_loses_nothing(
    type_: Type, corpus: CorpusMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    sample = held(corpus, response="word " * 20 + "the end", reason="human_review")
    corpus.sample(corpus.seed("Accepted."))
    corpus.change("UPDATE sample SET reason = NULL WHERE id = :id", id=sample)
    out = tmp_path / ("a_long_folder_name_" * 5) / "out.jsonl"
    for words, kept in (
        (("export", str(out)), str(out)),
        (("doctor",), sample),
        (("review", sample[:10]), "the end"),
    ):
        assert kept in "".join(line.strip() for line in type_(*words).out.splitlines())
