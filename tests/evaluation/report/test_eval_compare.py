"""`stillhouse eval compare`: tables, JSON, pairs, and what is refused."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from evaluated_corpus import AFTER, said
from factory import cli, last_line, one


def compared(corpus: Path, *words: str) -> list[dict[str, Any]]:
    done = cli("eval", "compare", *words, "--db", str(corpus), "--json", cwd=corpus.parent)
    found: list[dict[str, Any]] = last_line(said(done))["comparisons"]
    return found


def test_models_are_compared_on_every_benchmark_that_they_share(corpus: Path) -> None:
    found = compared(corpus, "before", AFTER)
    assert [each["benchmark"] for each in found] == ["ifeval", "mt_bench", "alpaca_eval"]
    ifeval = found[0]
    strict = ifeval["figures"]["prompt_strict"]
    # `before` never ends as asked; `after` fails where it uses a comma.
    assert [each["value"] for each in strict["values"]] == [0.0, 75.0]
    gap = strict["differences"][1]
    assert gap["value"] == 75.0 and 50 < gap["low"] < 75 < gap["high"] < 100
    assert strict["differences"][0] is None
    moves = ifeval["moves"][1]
    assert moves["lost"] == [] and moves["same"] == 5
    assert moves["gained"] == [str(n) for n in range(20) if n % 4 != 1]


def test_the_same_command_gives_the_same_intervals(corpus: Path) -> None:
    assert compared(corpus, "before", AFTER) == compared(corpus, "before", AFTER)


def test_the_terminal_shows_figures_intervals_and_differences(corpus: Path) -> None:
    words = ("eval", "compare", "before", AFTER, "--benchmark", "ifeval", "--db", str(corpus))
    shown = said(cli(*words, cwd=corpus.parent))
    assert "ifeval: 20 items" in shown and "75.0" in shown and "+75.0" in shown
    assert "+15 −0" in shown
    assert "\x1b[" not in shown, "plain where it is no terminal"


def test_a_simulated_judge_is_said(corpus: Path) -> None:
    (found,) = compared(corpus, "before", AFTER, "--benchmark", "mt_bench")
    assert found["simulated"]
    shown = said(cli("eval", "compare", "before", AFTER, "--benchmark", "mt_bench",
                     "--db", str(corpus), cwd=corpus.parent))  # fmt: skip
    assert "SIMULATED" in shown


def test_other_item_sets_are_compared_on_what_they_share_and_it_is_said(corpus: Path) -> None:
    (found,) = compared(corpus, "short", AFTER, "--benchmark", "ifeval")
    assert found["items"] == 8
    assert any("the item sets differ (8 of short, 20 of" in note for note in found["notes"])
    assert [each["value"] for each in found["figures"]["prompt_strict"]["values"]] == [0.0, 75.0]


def test_evaluations_are_found_by_identifier(corpus: Path) -> None:
    query = "SELECT id FROM evaluation WHERE benchmark = 'ifeval' AND model = ?"
    first, second = (one(corpus, query, name) for name in ("before", AFTER))
    (found,) = compared(corpus, first[:8], second)
    assert [each["evaluation"] for each in found["evaluations"]] == [first, second]


@pytest.mark.parametrize(
    ("words", "cause"),
    [
        (("before", "nobody"), "No model and no identifier is so called."),
        (("short", "before", "--benchmark", "sql"), "No model and no identifier is so called."),
        (("before", AFTER, "--benchmark", "mmlu"), "The database holds no evaluation that ended."),
    ],
)
def test_what_is_not_there_is_refused_with_cause_and_command(
    corpus: Path, words: tuple[str, ...], cause: str
) -> None:
    done = cli("eval", "compare", *words, "--db", str(corpus), "--json", cwd=corpus.parent)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert cause in done.stderr and "stillhouse eval show" in done.stderr
    assert last_line(done.stdout) == {"comparisons": [], "error": "evaluation"}


def test_models_without_a_common_benchmark_are_refused(corpus: Path) -> None:
    sql = one(corpus, "SELECT id FROM evaluation WHERE benchmark = 'sql'")
    done = cli("eval", "compare", sql, AFTER, "--db", str(corpus), cwd=corpus.parent)
    assert done.returncode == 1
    assert "no benchmark that all of these were evaluated on" in done.stderr


def test_other_judges_grades_are_not_compared(corpus: Path, tmp_path: Path) -> None:
    copy = tmp_path / "corpus.db"
    with closing(sqlite3.connect(corpus)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
        target.execute(
            "UPDATE evaluation SET settings = json_set(settings, '$.roles.judge[1]', 'other')"
            " WHERE benchmark = 'mt_bench' AND model = 'before'"
        )
        target.commit()
    words = ("eval", "compare", "before", AFTER, "--benchmark", "mt_bench", "--db", str(copy))
    done = cli(*words, cwd=tmp_path)
    assert done.returncode == 1 and "they differ in judge" in done.stderr
    assert "answers that are in the corpus are not asked for again" in done.stderr


def test_a_missing_database_has_words(tmp_path: Path) -> None:
    done = cli("eval", "compare", "a", "b", "--db", "nowhere.db", cwd=tmp_path)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "Solution" in done.stderr
