"""Contamination: what of a benchmark is in the training corpus, with the spans that agree."""

from __future__ import annotations

import asyncio
import hashlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from conftest import CorpusMaker
from evaluating import IFEVAL, recipe, run, write_lines

from evaluation.benchmark import Item
from evaluation.contamination import Text, find_contamination, match_items
from evaluation.errors import DataMissing
from evaluation.ifeval.benchmark import Ifeval, IfevalSettings
from evaluation.lineage import lineage_of
from evaluation.settings import ContaminationSettings
from storage.database import Database
from storage.tables import Export, TrainingRun

QUESTION = "How many apples are left when a farmer gives three of her twelve apples to a neighbour?"
SETTINGS = ContaminationSettings()


def look(prompt: str, *texts: str, gold: str | None = None) -> object:
    item = Item("q", prompt, gold=gold)
    found = match_items(
        [item], [Text(f"s{n}", "instruction", text) for n, text in enumerate(texts)], SETTINGS, "x"
    )
    return found.matches[0] if found.matches else None


@pytest.mark.parametrize(
    "text",
    [QUESTION, QUESTION.upper(), QUESTION.replace(" ", "  \n"), QUESTION.replace("?", " ！")],
)
def test_the_same_words_are_exact_whatever_their_case_spacing_and_signs(text: str) -> None:
    match = look(QUESTION, text)
    assert match.kind == "exact" and match.share == 1.0  # type: ignore[attr-defined]


def test_a_prompt_amid_other_words_is_inside() -> None:
    match = look(QUESTION, f"Please answer: {QUESTION} Think step by step.")
    assert match.kind == "inside"  # type: ignore[attr-defined]


def test_a_reworded_prompt_is_near_and_its_spans_are_what_agrees() -> None:
    changed = QUESTION.replace("to a neighbour", "to her sister").replace("How many", "Which")
    match = look(QUESTION, changed)
    assert match.kind == "near" and 0.6 <= match.share < 1  # type: ignore[attr-defined]
    (span,) = match.spans  # type: ignore[attr-defined]
    assert span == "apples are left when a farmer gives three of her twelve apples to"


def test_another_question_on_the_same_subject_is_not_found() -> None:
    assert look(QUESTION, "How many pears are left when she eats five of them?") is None


@pytest.mark.parametrize(
    ("prompt", "near"),
    [
        ("農夫がりんごを十二個持っています。三個あげたら何個残りますか。",
         "農夫がりんごを十二個持っています。三個あげたら、いくつでしょう。"),
        ("请计算农夫把十二个苹果中的三个送给邻居之后还剩下几个苹果。",
         "请计算农夫把十二个苹果中的三个送给邻居之后还剩多少。"),
    ],
)  # fmt: skip
def test_japanese_and_chinese_are_compared_by_character(prompt: str, near: str) -> None:
    assert look(prompt, f"問題：{prompt}").kind == "inside"  # type: ignore[attr-defined]
    assert look(prompt, near).kind == "near"  # type: ignore[attr-defined]


def test_a_short_prompt_matches_only_as_a_whole() -> None:
    assert look("Name a fruit.", "Name a fruit.").kind == "exact"  # type: ignore[attr-defined]
    assert look("Name a fruit.", "Name a vegetable.") is None


def test_a_gold_answer_in_a_response_is_found_too() -> None:
    gold = "SELECT name, price FROM products WHERE price > 10 ORDER BY name LIMIT 5"
    item = Item("q", "Something else entirely is asked for here.", gold=gold)
    texts = [Text("s", "response", f"```sql\n{gold};\n```")]
    (match,) = match_items([item], texts, SETTINGS, "x").matches
    assert (match.of, match.where, match.kind) == ("gold", "response", "inside")


def test_an_item_counts_once_by_its_worst_match() -> None:
    found = match_items(
        [Item("q", QUESTION), Item("r", "Nothing of this stands anywhere at all.")],
        [Text("a", "response", f"You asked: {QUESTION}"), Text("b", "instruction", QUESTION)],
        SETTINGS,
        "x",
    )
    assert (found.found, found.exact, found.inside, found.samples) == (1, 1, 0, 2)
    assert found.matches[0].sample == "b"


def test_accepted_samples_of_the_corpus_are_looked_through(
    database: Database, corpus: CorpusMaker
) -> None:
    kept = corpus.sample(corpus.seed(), instruction=QUESTION)
    corpus.sample(corpus.seed("Other"), instruction=QUESTION, status="rejected", reason="duplicate")
    found = find_contamination([Item("q", QUESTION)], database, SETTINGS, None)
    assert found.samples == 1 and found.matches[0].sample == kept


def test_a_model_with_a_training_run_is_compared_with_what_it_was_trained_on(
    database: Database, corpus: CorpusMaker, tmp_path: Path
) -> None:
    corpus.sample(corpus.seed("Mine"), instruction=QUESTION)
    corpus.recipe = "others"
    corpus.sample(corpus.seed("Theirs"), instruction=QUESTION)
    export = corpus.add(
        Export, id="e" * 32, recipe="others", path="x", format="messages", rows=1,
        content_hash="0", manifest={"filters": {"status": ["accepted"]}},
    )  # fmt: skip
    corpus.add(
        TrainingRun, id="f" * 32, export_id=export, stage="small/sft", recipe_text="",
        recipe_hash="0", status="finished", output=str(tmp_path),
    )  # fmt: skip
    with database.read() as connection:
        lineage = lineage_of(connection, tmp_path)
    assert lineage is not None and lineage.stage == "small/sft"
    found = find_contamination([Item("q", QUESTION)], database, SETTINGS, lineage)
    assert found.samples == 1


def exported(corpus: CorpusMaker, file: Path, name: str, *questions: str) -> str:
    """An export of these questions, as a file and as a row."""
    rows = [{"instruction": q, "output": "Nine.", "meta": {"id": q[:9]}} for q in questions]
    raw = Path(write_lines(file, rows)).read_bytes()
    return corpus.add(
        Export, id=name * 32, recipe="others", path=str(file), format="alpaca", rows=len(rows),
        content_hash=hashlib.sha256(raw).hexdigest(),
        manifest={"filters": {"status": ["accepted"]}},
    )  # fmt: skip


def trained(corpus: CorpusMaker, export: str | None, folder: Path, name: str, start: str) -> Path:
    folder.mkdir()
    recipe = yaml.safe_dump({"student": {"model": start}})
    corpus.add(
        TrainingRun, id=name * 32, export_id=export, stage=f"small/{name}", recipe_text=recipe,
        recipe_hash="0", status="finished", output=str(folder.resolve()),
    )  # fmt: skip
    return folder


def test_every_export_that_a_model_and_its_beginnings_saw_is_looked_through(
    database: Database, corpus: CorpusMaker, tmp_path: Path
) -> None:
    # What the samples are now does not matter: the files are what was trained on.
    corpus.sample(corpus.seed("Theirs"), instruction=QUESTION, status="rejected", reason="x")
    early = exported(corpus, tmp_path / "early.jsonl", "a", QUESTION)
    late = exported(corpus, tmp_path / "late.jsonl", "b", "Name a fruit.")
    first = trained(corpus, early, tmp_path / "first", "a", "hub/model")
    second = trained(corpus, late, tmp_path / "second", "b", str(first))
    with database.read() as connection:
        lineage = lineage_of(connection, second.resolve())
    items = [Item("q", QUESTION), Item("r", "Name a fruit.")]
    found = find_contamination(items, database, SETTINGS, lineage)
    assert (found.exact, found.samples) == (2, 2)
    assert lineage is not None and lineage.stage == "small/b"
    assert "early.jsonl" in found.corpus and "late.jsonl" in found.corpus


def test_a_stage_whose_export_is_not_known_is_named(
    database: Database, corpus: CorpusMaker, tmp_path: Path
) -> None:
    early = exported(corpus, tmp_path / "early.jsonl", "a", QUESTION)
    first = trained(corpus, early, tmp_path / "first", "a", "hub/model")
    second = trained(corpus, None, tmp_path / "second", "b", str(first))
    with database.read() as connection:
        lineage = lineage_of(connection, second.resolve())
    found = find_contamination([Item("q", QUESTION)], database, SETTINGS, lineage)
    assert found.exact == 1 and "not what small/b was trained on" in found.corpus


def test_an_export_that_was_changed_is_stood_in_for_by_samples_and_that_is_said(
    database: Database, corpus: CorpusMaker, tmp_path: Path
) -> None:
    corpus.recipe = "others"
    corpus.sample(corpus.seed("Theirs"), instruction=QUESTION)
    export = exported(corpus, tmp_path / "export.jsonl", "a", "Name a fruit.")
    folder = trained(corpus, export, tmp_path / "model", "a", "hub/model")
    (tmp_path / "export.jsonl").write_text("")
    with database.read() as connection:
        lineage = lineage_of(connection, folder.resolve())
    found = find_contamination([Item("q", QUESTION)], database, SETTINGS, lineage)
    assert (found.exact, found.samples) == (1, 1)
    assert "no longer there as it was" in found.corpus


def test_items_that_share_a_gold_are_all_found_with_it() -> None:
    gold = "SELECT name, price FROM products WHERE price > 10 ORDER BY name LIMIT 5"
    items = [Item(f"q@{n}", f"Question {n} of the user is this.", gold=gold) for n in range(3)]
    found = match_items(items, [Text("s", "response", gold)], SETTINGS, "x")
    assert {match.item for match in found.matches} == {"q@0", "q@1", "q@2"}


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [{"role": "user", "content": QUESTION}], "meta": {"id": "s1"}},
        {"instruction": QUESTION, "input": "", "output": "Nine.", "meta": {"id": "s1"}},
        {"conversations": [{"from": "human", "value": QUESTION}], "meta": {"id": "s1"}},
    ],
)
def test_an_exported_file_of_any_format_is_looked_through(
    row: dict[str, object], database: Database, tmp_path: Path
) -> None:
    file = write_lines(tmp_path / "corpus.jsonl", [row])
    settings = ContaminationSettings(files=[file])
    found = find_contamination([Item("q", QUESTION)], database, settings, None)
    assert found.exact == 1 and found.matches[0].sample == "s1"
    assert found.corpus == "corpus.jsonl"


def test_a_file_that_is_no_export_is_refused(database: Database, tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text("no json\n")
    settings = ContaminationSettings(files=[str(tmp_path / "x.jsonl")])
    with pytest.raises(DataMissing, match="cannot be looked through"):
        find_contamination([Item("q", QUESTION)], database, settings, None)


async def test_a_search_that_is_cancelled_ends_at_once(
    database: Database, corpus: CorpusMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("lm_eval")
    looked: list[str] = []
    began = threading.Event()

    def texts(*_: object) -> Iterator[Text]:
        for number in range(1000):
            looked.append(str(number))
            began.set()
            time.sleep(0.01)
            yield Text(str(number), "instruction", QUESTION)

    monkeypatch.setattr("evaluation.contamination._texts_of_corpus", texts)
    benchmark = Ifeval(IfevalSettings(data=write_lines(tmp_path / "prompts.jsonl", IFEVAL)))
    task = asyncio.create_task(run(benchmark, recipe(), database, tmp_path))
    await asyncio.to_thread(began.wait)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    ended = len(looked) + 1
    await asyncio.sleep(0.1)
    assert len(looked) <= ended < 900
