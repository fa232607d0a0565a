"""The books of training: a row per stage trained, and nobody closes another folder's."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from factory import rows

from training.data.corpus import Corpus
from training.engine.ledger import Ledger
from training.engine.spec import StageSpec
from training.engine.stages import MODEL, stage_spec, tokenised_corpus
from training.errors import NotFinite
from training.recipe import TrainRecipe

BOOKS = "SELECT status, output, metrics FROM training_run ORDER BY started_at"

Run = tuple[StageSpec, Corpus, Path]
Runs = Callable[[str], Run]


@pytest.fixture
def run(recipe: Callable[..., TrainRecipe], tmp_path: Path) -> Runs:
    """A stage that keeps its books in the corpus's database, in the output folder of that name."""
    recipe()  # which makes the corpus

    def make(output: str) -> Run:
        made = recipe(corpus={"db": str(tmp_path / "data" / "corpus.db")}).model_copy(
            update={"output": str(tmp_path / output)}
        )
        corpus, tokens = tokenised_corpus(made)
        spec = stage_spec(made, made.stages[0], corpus, tokens)
        return spec, corpus, spec.folder / MODEL

    return make


def books(tmp_path: Path) -> list[dict[str, Any]]:
    return rows(tmp_path / "data" / "corpus.db", BOOKS)


def statuses(tmp_path: Path) -> list[str]:
    return [row["status"] for row in books(tmp_path)]


def test_a_row_says_from_its_beginning_where_the_model_will_be(run: Runs, tmp_path: Path) -> None:
    one = run("one")
    with Ledger.entry(*one):
        (row,) = books(tmp_path)
        assert (row["status"], row["output"]) == ("running", str(one[2]))
        (one[0].folder / "metrics.jsonl").write_text('{"kind":"step","step":7,"loss":1.5}\n')
    (row,) = books(tmp_path)
    assert (row["status"], row["output"]) == ("finished", str(one[2]))
    assert json.loads(row["metrics"])["step"]["loss"] == 1.5


def test_a_run_in_another_folder_is_left_open(run: Runs, tmp_path: Path) -> None:
    one, other = run("one"), run("other")
    with Ledger.entry(*one):
        Ledger.settle(other[0], other[2])
        assert statuses(tmp_path) == ["running"]
        with Ledger.entry(*other):
            assert statuses(tmp_path) == ["running", "running"]
        assert statuses(tmp_path) == ["running", "finished"]
    assert statuses(tmp_path) == ["finished", "finished"]


def _killed(run: Run) -> None:
    """A row as a kill leaves it: open."""
    with Ledger._open(run[0], run[2]) as entry:
        assert entry is not None
        entry._begin(run[1])


def test_a_killed_run_is_closed_by_the_next_one_there(run: Runs, tmp_path: Path) -> None:
    one = run("one")
    _killed(one)
    with Ledger.entry(*one):
        assert statuses(tmp_path) == ["interrupted", "running"]


def test_a_run_killed_after_its_model_was_whole_is_settled(run: Runs, tmp_path: Path) -> None:
    one = run("one")
    _killed(one)
    Ledger.settle(one[0], one[2])  # without metrics, which somebody may have moved away
    assert statuses(tmp_path) == ["finished"]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (NotFinite("W", cause="C", solution="S"), "failed: not_finite"),
        (KeyboardInterrupt(), "interrupted"),
        (ZeroDivisionError(), "failed"),
    ],
)
def test_a_run_that_ends_badly_is_booked_so(
    run: Runs, tmp_path: Path, error: BaseException, status: str
) -> None:
    with pytest.raises(type(error)), Ledger.entry(*run("one")):
        raise error
    assert statuses(tmp_path) == [status]
