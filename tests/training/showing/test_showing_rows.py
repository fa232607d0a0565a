"""What is told of a teacher is what the teacher says: against its own probabilities in float64."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from captured import FEW, MANY, Captured, captured_corpus
from tiny_teachers import log_p_of, reference

from storage.database import Database
from storage.teacher_rows import RowsEntry, rows_entries
from training.data.tokenised import TokenisedCorpus
from training.errors import RowsRefused
from training.recipe import TrainRecipe
from training.showing.rows import CapturedRows


@pytest.fixture(scope="module")
def captured(tmp_path_factory: pytest.TempPathFactory) -> Captured:
    return captured_corpus(tmp_path_factory.mktemp("captured"))


def corpus_of(captured: Captured) -> TokenisedCorpus:
    (folder,) = (Path(captured.recipe.output) / captured.recipe.name / "corpus").glob("*/meta.json")
    return TokenisedCorpus.open(folder.parent)


def entries_of(captured: Captured, sample: str) -> dict[int, RowsEntry]:
    database = Database.open(str(captured.db))
    with database.read() as connection:
        found = rows_entries(connection, sample)
    database.close()
    return {entry.top_k: entry for entry in found}


@pytest.mark.slow
def test_every_probability_is_the_teachers_own(captured: Captured) -> None:
    corpus, reader, teacher = corpus_of(captured), CapturedRows([captured.recipe]), reference(
        captured.teacher
    )  # fmt: skip
    among = outside = 0
    for example in corpus.examples():
        text = reader.read(entries_of(captured, example.sample_id)[MANY], 1000)
        assert text.temperatures == (1.0, 2.0) and text.tokens == len(example.row_N)
        log_p_NV = log_p_of(teacher, example, teacher.config.vocab_size)
        told = [row for stretch in text.stretches for row in stretch.rows]
        assert [row.id for row in told] == example.label_N.tolist()
        for row, log_p_V in zip(told, log_p_NV, strict=True):
            for at, temperature in enumerate(text.temperatures):
                true_V = (log_p_V / temperature).softmax(-1)
                for choice in row.choices[:20]:
                    assert choice.chances[at] == pytest.approx(float(true_V[choice.id]), abs=5e-3)
                kept = sum(choice.chances[at] for choice in row.choices)
                assert kept + row.rest[at] == pytest.approx(1, abs=1e-4)
            if row.place is not None:
                assert row.choices[row.place].id == row.id
            else:
                assert row.id not in {choice.id for choice in row.choices}
        among += sum(row.place is not None for row in told)
        outside += sum(row.place is None for row in told)
    assert among > 0 and outside > 0


@pytest.mark.slow
def test_words_are_the_response_in_every_language(captured: Captured) -> None:
    reader = CapturedRows([captured.recipe])
    database = Database.open(str(captured.db))
    with database.read() as connection:
        said = connection.exec_driver_sql("SELECT id, response, language FROM sample").all()
    database.close()
    assert {language for _, _, language in said} == {"en", "ja", "zh"}
    for sample, response, _ in said:
        for entry in entries_of(captured, sample).values():
            text = reader.read(entry, 1000)
            words = "".join(stretch.words for stretch in text.stretches)
            assert words == response + "<|im_end|>"
            assert text.unspelt is None


@pytest.mark.slow
def test_no_more_tokens_are_told_than_were_asked_for(captured: Captured) -> None:
    example = corpus_of(captured).example(0)
    text = CapturedRows([captured.recipe]).read(entries_of(captured, example.sample_id)[FEW], 3)
    assert sum(len(stretch.rows) for stretch in text.stretches) == 3
    assert text.tokens == len(example.row_N) > 3


@pytest.mark.slow
def test_rows_of_other_tokens_are_refused(captured: Captured, tmp_path: Path) -> None:
    corpus = corpus_of(captured)
    first, second = corpus.example(0), corpus.example(1)
    entry = entries_of(captured, first.sample_id)[FEW]
    other = RowsEntry(entry.key, second.sample_id, entry.shard, "t", FEW, entry.token_ids_hash)
    with pytest.raises(RowsRefused, match="Which tokens"):
        CapturedRows([captured.recipe]).read(other, 10)
    elsewhere: TrainRecipe = captured.recipe.model_copy(update={"output": str(tmp_path)})
    with pytest.raises(RowsRefused, match="Which tokens"):
        CapturedRows([elsewhere]).read(entry, 10)


def test_reading_rows_imports_no_torch() -> None:
    told = "import sys, training.showing.rows; print([n for n in ('torch', 'transformers') if n in "
    done = subprocess.run(
        [sys.executable, "-c", f"{told}sys.modules])"], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
