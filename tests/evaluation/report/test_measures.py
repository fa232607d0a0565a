"""Figures made again from the stored items are the stored figures; groups add up to them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from evaluation.report.comparing import compare
from evaluation.report.content import tone_of
from evaluation.report.groups import by_group
from evaluation.report.measures import MEASURES, bounded, figure, measures_of
from evaluation.report.resampling import Interval, Ratio, value_of
from evaluation.report.stored import Stored, ended, load
from storage.database import Database


@pytest.fixture(scope="module")
def evaluations(corpus: Path) -> Iterator[list[Stored]]:
    database = Database.open(str(corpus))
    with database.read() as connection:
        yield [load(connection, row) for row in ended(connection)]
    database.close()


def test_every_figure_made_of_items_is_the_stored_one(evaluations: list[Stored]) -> None:
    assert {each.benchmark for each in evaluations} == {"ifeval", "mt_bench", "alpaca_eval", "sql"}
    checked = set()
    for each in evaluations:
        for measure in measures_of(each.benchmark):
            made = figure(each, measure, each.items)
            if made is None:
                continue
            # The leaderboard cuts the fraction of an average length.
            error = 1.0 if measure.name == "avg_length" else 1e-9
            stored = each.metrics[measure.name]
            assert value_of(made) == pytest.approx(stored, abs=error), (each.benchmark, measure)
            checked.add(measure.name)
    assert checked >= {"prompt_strict", "instruction_loose", "score", "turn_2", "win_rate",
                       "pass_at_1", "latency_p95_s"}  # fmt: skip


def test_the_length_controlled_rate_has_the_librarys_standard_error(
    evaluations: list[Stored],
) -> None:
    each = next(e for e in evaluations if e.benchmark == "alpaca_eval")
    made = bounded(each, measures_of("alpaca_eval")[0])
    error = each.metrics["lc_standard_error"]
    assert made is not None and error and made.high is not None
    assert made.high - made.value == pytest.approx(1.96 * error, rel=1e-4)


def test_families_of_instructions_are_named_without_their_language(
    evaluations: list[Stored],
) -> None:
    each = next(e for e in evaluations if e.model == "before" and e.benchmark == "ifeval")
    groups = by_group(each, each.items)
    assert set(groups) == {"punctuation", "startend"}
    assert groups["punctuation"].value == 50.0 and groups["startend"].value == 0.0
    assert groups["startend"].ends is None, "all alike"


def _ifeval(verdicts: dict[str, Any], **metrics: Any) -> Stored:
    items = {
        key: {"item": key, "status": "done" if verdict else "failed", "verdict": verdict,
              "prompt": key, "category": None, "response": None}
        for key, verdict in verdicts.items()
    }  # fmt: skip
    row = {"id": "0" * 32, "benchmark": "ifeval", "model": "m", "status": "finished",
           "settings": {}, "metrics": metrics, "simulated": False}  # fmt: skip
    return Stored(row, items, None)


def test_an_unanswered_prompt_follows_none_of_its_instructions() -> None:
    verdict = {"instructions": ["en:a:b", "en:c:d"], "strict": [True, False], "loose": [True, True]}
    stored = _ifeval({"1": verdict, "2": None}, instructions=5)
    measures = {measure.name: measure for measure in measures_of("ifeval")}
    # One of five instructions strictly: two of the answered prompt, three of the other.
    strict = figure(stored, measures["instruction_strict"], stored.items)
    assert strict is not None and value_of(strict) == pytest.approx(20.0)
    prompts = figure(stored, measures["prompt_loose"], stored.items)
    assert prompts is not None and value_of(prompts) == 50.0


def test_a_pair_that_the_judge_failed_on_is_no_loss() -> None:
    def pair(status: str, keys: list[str], preference: float | None = None) -> dict[str, Any]:
        verdict = {"preference": preference} if status == "done" else None
        return {"status": status, "request_keys": keys, "verdict": verdict, "response": None,
                "prompt": "p", "category": "c"}  # fmt: skip

    items = {
        "won": pair("done", ["a", "b"], 2.0), "drawn": pair("done", ["a", "b"], 0.0),
        "open": pair("done", ["a", "b"]), "unjudged": pair("failed", ["a"]),
        "unanswered": pair("failed", []),
    }  # fmt: skip
    row = {"id": "0" * 32, "benchmark": "alpaca_eval", "model": "m", "metrics": {}, "settings": {}}
    stored = Stored(row, items, None)
    win_rate = next(m for m in measures_of("alpaca_eval") if m.name == "win_rate")
    made = figure(stored, win_rate, items)
    # Won, drawn and lost: 100, 50 and 0.
    assert made is not None and value_of(made) == pytest.approx(50.0)
    assert by_group(stored, items)["c"].value == pytest.approx(50.0)


def test_the_cuts_of_a_sql_row_are_one_unit(evaluations: list[Stored]) -> None:
    each = next(e for e in evaluations if e.benchmark == "sql")
    made = figure(each, measures_of("sql")[0], each.items)
    assert isinstance(made, Ratio) and made.units == 2 < len(each.items)


def test_an_adoption_rate_is_that_of_its_rows_replays() -> None:
    items = {key: {"prompt": key, "status": "done", "verdict": {}} for key in ("a@1", "a@9", "b@2")}
    details = {"keystrokes_by_row": {"b": [30, 0, 0], "a": [50, 40, 20]}}
    row = {"id": "0" * 32, "benchmark": "sql", "model": "m", "metrics": {}, "details": details}
    stored = Stored(row, items, None)
    rates = {m.name: figure(stored, m, items) for m in measures_of("sql")[1:3]}
    assert {name: made and value_of(made) for name, made in rates.items()} == {
        "adoption_rate": 50.0, "adoption_rate_strict": 25.0,
    }  # fmt: skip
    assert figure(stored, measures_of("sql")[1], ["a@1"]) is None, "half a row has no replay"
    older = Stored({**row, "details": {}, "metrics": {"adoption_rate": 7.0}}, items, None)
    made = bounded(older, measures_of("sql")[1])
    assert made is not None and made.value == 7.0 and made.ends is None


def test_a_difference_is_good_or_bad_or_neither() -> None:
    sure, unsure = Interval(-2.0, -3.0, -1.0), Interval(-2.0, -5.0, 1.0)
    by_name = {m.name: m for each in MEASURES.values() for m in each}
    assert tone_of(sure, by_name["pass_at_1"]) == "worse"
    assert tone_of(sure, by_name["latency_p50_s"]) == "better"
    assert tone_of(sure, by_name["avg_length"]) == ""
    assert tone_of(unsure, by_name["pass_at_1"]) == ""


def test_one_evaluation_alone_is_its_own_table(evaluations: list[Stored]) -> None:
    made = compare(evaluations[:1])
    assert made.names == ("before",) and made.moves == (None,)
    assert all(line.gaps == (None,) for line in made.lines)
