"""From a score back to seeds: every link of a small corpus with two captures, two bases, two runs.

Databases, exports, shards and recipes are real; what nobody needs to train for it are the models.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import CorpusMaker
from teacher_rows import QWEN_WIDTH, SOURCE, example, example_rows

from benchmarks.proving_ground.lineage import Link, trace_back
from benchmarks.proving_ground.recipes import training
from benchmarks.proving_ground.sections.ancestry import ancestry
from storage.database import Database
from storage.export import ExportOptions, export_samples
from storage.tables import TrainingRun
from training.recipe import TrainRecipe
from training.store.index import index_shards
from training.store.key import CaptureForm
from training.store.store import RowStore
from training.store.writer import ShardWriter

FAMILIES = ("units", "記録")


class World:
    """A folder of databases; `work` is where models would lie."""

    def __init__(self, work: Path) -> None:
        self.work = work
        self.exam, self.answers = work / "exam.db", work / "answers.db"
        self.lessons, self.school = work / "lessons.db", work / "school.db"
        self.corpora = [self.school, self.lessons, self.answers]

    def model(self, step: str) -> Path:
        return self.work / step / "trained" / step / "stage" / "model"

    def corpus(self, path: Path, rows: int, wrong: tuple[int, ...] = ()) -> list[str]:
        """Samples of both families by turns, on levels 1 to 3; those of `wrong` are rejected."""
        database = Database.open(str(path), create=True)
        maker = CorpusMaker(database)
        made = []
        for number in range(rows):
            family = FAMILIES[number % 2]
            seed = maker.seed(
                f"{path.stem} {family} {number}",
                meta={"family": family, "level": number // 2 % 3 + 1},
                source=str(self.work / "seeds.jsonl"),
            )
            status = "rejected" if number in wrong else "accepted"
            reason = "unverified" if number in wrong else "verified"
            made.append(
                maker.sample(seed, response=f"R {number}", status=status, reason=reason)
            )  # fmt: skip
            maker.verdict(made[-1], "reference", "executable", "fail" if wrong else "pass")
        if path != self.exam:
            export_samples(database, ExportOptions(str(path.with_suffix(".jsonl"))))
        database.close()
        return made

    def asked(self, path: Path, model: Path) -> None:
        """The factory's run in `path` had this model as its teacher."""
        database = Database.open(str(path))
        recipe = (
            f"name: exam\nteachers:\n  model:\n    server:\n      model: {model}\n      seed: 0\n"
        )
        CorpusMaker.change(_maker(database), "UPDATE run SET recipe_text = :recipe", recipe=recipe)
        database.close()

    def trained(
        self, step: str, path: Path, start: Path, status: str = "finished",
        teachers: Mapping[str, Path] | None = None, **capture: Any,
    ) -> None:  # fmt: skip
        """A training run in the books of `path`."""
        stage = {"name": "stage", "kind": "kd" if teachers else "sft", "max_steps": 10}
        if teachers:
            stage["teachers"] = [{"teacher": name} for name in teachers]
        document = training(
            step, manifest=path.with_suffix(".jsonl.manifest.json"), database=path,
            statuses=("accepted",), start=start, random_init=False, stage=stage,
            teachers=teachers or {}, capture=capture, output=self.work / step / "trained", ranks=1,
        )  # fmt: skip
        database = Database.open(str(path))
        maker = _maker(database)
        with database.read() as connection:
            export = connection.exec_driver_sql("SELECT id FROM export").scalar_one()
        maker.add(
            TrainingRun, id=f"{step}-{status}", export_id=export, stage=f"{step}/stage",
            recipe_text=TrainRecipe.model_validate(document).text(), recipe_hash="0" * 32,
            status=status, output=str(self.model(step)),
        )  # fmt: skip
        database.close()

    def captured(self, name: str, samples: list[str], k: int) -> dict[str, Any]:
        """Rows of the first k ids for every sample; what a stage that uses them says of them."""
        store = self.work / name
        source = replace(SOURCE, form=CaptureForm.top_k(k))
        with ShardWriter(store, source, QWEN_WIDTH) as writer:
            for number, sample in enumerate(samples):
                writer.append(replace(example(number), sample_id=sample), example_rows(number, k=k))
        database = Database.open(str(self.answers))
        index_shards(database, RowStore.open(store).shards)
        database.close()
        return {"store": str(store), "sources": [source.as_dict()]}


def _maker(database: Database) -> CorpusMaker:
    """A maker for a database that has its rows already."""
    maker = CorpusMaker.__new__(CorpusMaker)
    maker.database = database
    return maker


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> World:
    """KD with ten ids per row, after SFT, after a base model; beside it what came of other arms."""
    world = World(tmp_path_factory.mktemp("proving ground"))
    world.corpus(world.school, 12)
    world.corpus(world.lessons, 8)
    # Seven are wrong; of 記録 (odd numbers) on level 2 and 3 only number 3 is.
    world.corpus(world.exam, 12, wrong=(0, 2, 3, 4, 6, 8, 10))
    samples = world.corpus(world.answers, 10, wrong=(1, 2))
    world.asked(world.answers, world.model("teacher-l"))
    world.asked(world.exam, world.model("kd"))
    world.trained("teacher-l", world.school, world.work / "untrained")
    for base in ("base", "other-base"):
        world.trained(base, world.lessons, world.work / "untrained")
    world.trained("sft", world.answers, world.model("base"))
    world.trained("other-sft", world.answers, world.model("other-base"))
    accepted = [each for number, each in enumerate(samples) if number not in (1, 2)]
    told = world.captured("rows-10", accepted, 10)
    world.captured("rows-5", accepted, 5)
    teachers = {"l": world.model("teacher-l")}
    for status in ("interrupted", "finished"):
        world.trained("kd", world.answers, world.model("sft"), status, teachers, k=10,
                      store=told["store"])  # fmt: skip
    world.trained("kd-5", world.answers, world.model("sft"), teachers=teachers, k=5,
                  store=str(world.work / "rows-5"))  # fmt: skip
    beside = world.model("kd").parent
    beside.mkdir(parents=True)
    (beside / "teaching.json").write_text(json.dumps(told))
    return world


@pytest.fixture(scope="module")
def links(made: World) -> list[Link]:
    """The way back."""
    return trace_back(made.exam, made.corpora)


def test_it_begins_with_the_score_and_a_right_item_of_the_best_family(links: list[Link]) -> None:
    score, item = links[0].rows[0], links[1].rows[0]
    assert (score["problems"], score["correct"], score["accuracy"]) == (12, 5, 0.41667)
    # Numbers 3, 5, 9 and 11 are 記録 on level 2 or above, and 3 is wrong.
    assert (item["instruction"], item["level"]) == ("exam 記録 5", 3)
    assert (item["correct"], item["family_correct"]) == (1, 0.75)


def test_runs_lead_from_the_model_that_sat_to_its_own_base(links: list[Link]) -> None:
    assert links[2].rows[0]["id"] == "kd-finished"
    chain = [(run["database"], run["stage"]) for run in links[3].rows]
    assert chain == [("corpus", "kd/stage"), ("corpus", "sft/stage"), ("lessons", "base/stage")]
    assert {row["database"]: row["rows"] for row in links[4].rows} == {"corpus": 8, "lessons": 8}


def test_ancestors_are_the_exported_samples_of_the_family_with_this_run_s_rows(
    links: list[Link], made: World
) -> None:
    assert len(links[5].rows) == 8 and "same ids" in links[5].note
    ancestors = links[6].rows
    # 記録 are the odd numbers; 1 was rejected.
    assert [row["row"] for row in ancestors] == [4, 6, 8, 10]
    assert [row["instruction"] for row in ancestors][:2] == ["answers 記録 3", "answers 記録 5"]
    assert {row["top_k"] for row in ancestors} == {10}
    shards = {path.name for path in (made.work / "rows-10").glob("*.rows")}
    assert {row["shard"] for row in ancestors} == shards
    assert links[6].note == "4 of them with rows of the teacher"


def test_before_them_come_the_base_s_lessons_and_the_teacher_s_own_run(links: list[Link]) -> None:
    assert [row["instruction"] for row in links[7].rows] == [
        f"lessons 記録 {n}" for n in (1, 3, 5, 7)
    ]
    assert [row["stage"] for row in links[8].rows] == ["teacher-l/stage"]
    assert links[8].rows[0]["rows"] == 12


def test_the_report_shows_every_statement_and_no_path_above_the_work_folder(
    links: list[Link], made: World
) -> None:
    text = "\n".join(ancestry(links, made.work))
    assert all(link.query in text for link in links)
    assert str(made.work) not in text and '"source": "seeds.jsonl"' in text
    assert "4 rows, 4 of them with rows of the teacher; the first 2:" in text


def test_a_stage_that_no_rows_taught_has_ancestors_without_rows(made: World) -> None:
    told = made.model("kd").parent / "teaching.json"
    aside = told.rename(told.with_suffix(".aside"))
    try:
        ancestors = trace_back(made.exam, made.corpora)[6]
    finally:
        aside.rename(told)
    assert len(ancestors.rows) == 4 and {row["shard"] for row in ancestors.rows} == {None}


def test_an_exported_file_with_other_samples_is_noticed(made: World) -> None:
    file = made.answers.with_suffix(".jsonl")
    whole = file.read_bytes()
    try:
        file.write_bytes(b"".join(whole.splitlines(keepends=True)[:-1]))
        with pytest.raises(LookupError, match="holds 7 samples, SQL finds 8"):
            trace_back(made.exam, made.corpora)
    finally:
        file.write_bytes(whole)


def test_a_missing_link_is_named(made: World) -> None:
    with pytest.raises(LookupError, match="no corpus has the run behind a model"):
        trace_back(made.exam, [made.lessons, made.school])


def test_where_nothing_is_right_the_item_is_said_to_be_wrong(made: World, tmp_path: Path) -> None:
    failed = World(tmp_path)
    failed.corpus(failed.exam, 4, wrong=(0, 1, 2, 3))
    failed.asked(failed.exam, made.model("kd"))
    item = trace_back(failed.exam, made.corpora)[1]
    assert item.rows[0]["correct"] == 0 and item.note.startswith("a wrong one")
