"""The steps of the proving ground: what each one asks `stillhouse` for, and what it needs before.

In: a `Scale` and the folder of results. Out: `Step`s. Everything goes through the command line as a
user's work would: problems come in by a recorded teacher, teachers are trained by `train sft`, a
real vLLM server answers for `stillhouse run`, executable checks verify, `export`, `capture` and
`train kd` follow, and a student sits its exam as the factory's responding teacher.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.proving_ground.commands import python, stillhouse, write_recipe
from benchmarks.proving_ground.materials import (
    EXAM,
    SCHOOL,
    SEEDS,
    UNTRAINED,
    fingerprint,
    write_matched,
    write_materials,
    write_subset,
)
from benchmarks.proving_ground.recipes import Document, asked, recorded, training
from benchmarks.proving_ground.scales import Scale
from benchmarks.proving_ground.steps import Step
from common.hashing import digest_text

CORPUS, EXAM_CORPUS, RESULT = "corpus.db", "exam.db", "result.json"
VERIFIED, FIRST_ANSWERS = "verified.jsonl", "first-answers.jsonl"
EXPORTS: dict[str, tuple[str, ...]] = {
    VERIFIED: ("accepted",),
    FIRST_ANSWERS: ("accepted", "rejected"),
}
"""What the teacher said and was found right; what it said first, whether or not it was."""

_MARKS = Path(__file__).with_name("marks.py")
_SOME = Path("…")
"""Stands for a path where a recipe's content shapes a step."""


@dataclass(frozen=True)
class Pupil:
    """A model after a step: which one, and the folder of its weights below the step's."""

    step: Step
    weights: str


class Pipeline:
    """Makes steps for one scale."""

    def __init__(self, scale: Scale, work: Path) -> None:
        self.scale, self.work = scale, work.resolve()
        self.materials = self._materials()

    def path(self, step: Step, *parts: str) -> Path:
        """A file or folder that a step leaves."""
        return step.folder(self.work).joinpath(*parts)

    def _materials(self) -> Step:
        scale = self.scale
        counts: dict[str, Any] = {
            "school": scale.school,
            "seeds": scale.seeds,
            "exam": scale.exam,
            "vocabulary": scale.vocabulary,
            "seed": scale.world_seed,
            "families": list(scale.families),
            "levels": list(scale.levels),
        }
        sizes = {name: [size.hidden, size.layers] for name, size in scale.sizes.items()}
        world = fingerprint(
            scale.world_seed, scale.families, scale.levels, next(iter(scale.sizes.values()))
        )

        def work(folder: Path) -> None:
            write_materials(folder, **counts, sizes=scale.sizes)

        return Step("materials", {**counts, "sizes": sizes, "world": world}, work)

    def lessons(self, limit: int) -> Step:
        """A corpus of the world's own responses: the first `limit` of the school."""

        def work(folder: Path) -> None:
            recipe = recorded("school", self.path(self.materials, SCHOOL), limit)
            self._corpus(folder, recipe)

        shape = {"limit": limit, "recipe": recorded("school", _SOME, limit)}
        return Step("lessons", shape, work, (self.materials,))

    def answers(self, teacher: Pupil, limit: int) -> Step:
        """A corpus of what `teacher`, sampled at T = 1 from a vLLM server, said to the seeds."""

        def work(folder: Path) -> None:
            weights = self.path(teacher.step, teacher.weights)
            seeds = self.path(self.materials, SEEDS)
            self._corpus(folder, self._asked("distil", seeds, limit, weights, 1.0))

        recipe = self._asked("distil", _SOME, limit, _SOME, 1.0)
        shape = {"limit": limit, "weights": teacher.weights, "recipe": recipe}
        return Step("answers", shape, work, (self.materials, teacher.step))

    def _asked(
        self, name: str, seeds: Path, limit: int, weights: Path, temperature: float
    ) -> Document:
        return asked(name, seeds, limit, weights, temperature, on_gpu=self.scale.on_gpu)

    def subset(self, corpus: Step, limit: int) -> Step:
        """The verified answers to the first `limit` seeds, brought in anew as they stand."""

        def work(folder: Path) -> None:
            rows = folder / "rows.jsonl"
            write_subset(self.path(corpus, CORPUS), rows, limit)
            self._corpus(folder, recorded("subset", rows, limit))

        return Step("subset", {"limit": limit}, work, (corpus,))

    def matched(self, corpus: Step) -> Step:
        """First answers, right or wrong, in the mix and number of the verified ones."""

        def work(folder: Path) -> None:
            rows = folder / "rows.jsonl"
            write_matched(self.path(corpus, CORPUS), rows)
            self._corpus(folder, recorded("matched", rows, self.scale.seeds))

        return Step("matched", {}, work, (corpus,))

    def _corpus(self, folder: Path, recipe: Document) -> None:
        """Runs the factory; exports what was accepted, and all first answers."""
        file, log, db = folder / "recipe.yaml", folder / "log.txt", folder / CORPUS
        stillhouse("run", write_recipe(recipe, file), "--db", db, "--json", log=log)
        stillhouse("doctor", "--db", db, log=log)
        for name, statuses in EXPORTS.items():
            asked_for = [word for status in statuses for word in ("--status", status)]
            stillhouse("export", folder / name, "--db", db, *asked_for, log=log)

    def untrained(self, name: str) -> Pupil:
        """A model that the next stage begins at random."""
        return Pupil(self.materials, f"{UNTRAINED}/{name}")

    def captured(
        self,
        corpus: Step,
        student: Pupil,
        teachers: Mapping[str, Pupil],
        capture: Mapping[str, Any],
    ) -> Step:
        """The teachers' rows for a corpus; they fit every student with the same tokenizer."""

        def work(folder: Path) -> None:
            objective = "sampled" if capture.get("sampled") else "tail_bucket"
            stage = {"name": "kd", "kind": "kd", "objective": objective}
            settings = {**capture, "store": str(folder / "rows")}
            recipe = self._training(
                folder, "capture", corpus, VERIFIED, student, stage, teachers, settings
            )
            stillhouse("capture", recipe, log=folder / "log.txt")

        needs = (corpus, student.step, *(each.step for each in teachers.values()))
        return Step("capture", {"capture": dict(capture)}, work, needs)

    def trained(
        self,
        name: str,
        corpus: Step,
        start: Pupil,
        stage: Mapping[str, Any],
        *,
        export: str = VERIFIED,
        rows: Step | None = None,
        teachers: Mapping[str, Pupil] | None = None,
        capture: Mapping[str, Any] | None = None,
        ranks: int = 1,
    ) -> Pupil:
        """A model after one stage; with `rows`, a KD stage. Every rank computes with one thread."""
        taught = dict(teachers or {})

        def work(folder: Path) -> None:
            captures = dict(capture or {})
            if rows is not None:
                captures["store"] = str(self.path(rows, "rows"))
            recipe = self._training(
                folder, name, corpus, export, start, stage, taught, captures, ranks
            )
            stillhouse("train", stage["kind"], recipe, log=folder / "log.txt")

        needs = [corpus, start.step, *([rows] if rows else []), *(t.step for t in taught.values())]
        shape = {"stage": dict(stage), "start": start.weights, "export": export,
                 "capture": dict(capture or {}), "ranks": ranks}  # fmt: skip
        step = Step(name, shape, work, tuple(needs), ranks)
        return Pupil(step, f"trained/{name}/{stage['name']}/model")

    def _training(
        self, folder: Path, name: str, corpus: Step, export: str, start: Pupil,
        stage: Mapping[str, Any], teachers: Mapping[str, Pupil], capture: Mapping[str, Any],
        ranks: int = 1,
    ) -> Path:  # fmt: skip
        rules = [{"teacher": each} for each in teachers]
        document = training(
            name,
            manifest=self.path(corpus, f"{export}.manifest.json"),
            database=self.path(corpus, CORPUS),
            statuses=EXPORTS[export],
            start=self.path(start.step, start.weights),
            random_init=start.step is self.materials,
            stage={**stage, "teachers": rules} if stage["kind"] == "kd" else stage,
            teachers={each: self.path(p.step, p.weights) for each, p in teachers.items()},
            capture=capture,
            output=folder / "trained",
            ranks=ranks,
        )
        return write_recipe(document, folder / "recipe.yaml")

    def exam(self, pupil: Pupil) -> Step:
        """A model's marks: what it answered to the exam, and how sure it is of the world's own
        answers. Answering is a step of its own, which better marks need not ask for again."""
        sat = self._sat(pupil)

        def work(folder: Path) -> None:
            exam, weights = self.path(self.materials, EXAM), self.path(pupil.step, pupil.weights)
            python(
                "benchmarks.proving_ground.marks", weights, exam, self.path(sat, EXAM_CORPUS),
                folder / RESULT, log=folder / "log.txt",
            )  # fmt: skip

        shape = {"weights": pupil.weights, "marks": digest_text(_MARKS.read_text(encoding="utf-8"))}
        needs = (self.materials, pupil.step, sat)
        return Step(f"marks-{pupil.step.name}", shape, work, needs)

    def exam_database(self, marks: Step) -> Path:
        """Where the answers lie that were marked."""
        return self.path(marks.needs[-1], EXAM_CORPUS)

    def _sat(self, pupil: Pupil) -> Step:
        def work(folder: Path) -> None:
            exam, weights = self.path(self.materials, EXAM), self.path(pupil.step, pupil.weights)
            recipe = self._asked("exam", exam, self.scale.exam, weights, 0.0)
            file = write_recipe(recipe, folder / "recipe.yaml")
            stillhouse("run", file, "--db", folder / EXAM_CORPUS, "--json", log=folder / "log.txt")

        recipe = self._asked("exam", _SOME, self.scale.exam, _SOME, 0.0)
        shape = {"weights": pupil.weights, "recipe": recipe}
        return Step(f"exam-{pupil.step.name}", shape, work, (self.materials, pupil.step))
