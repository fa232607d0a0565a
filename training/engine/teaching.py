"""Which teacher speaks at which example, and its rows: the KD side of a stage's data.

In: a stage's rules and the corpus's columns. Out: a weight per teacher and example, written by the
parent process, read by every rank, and `SparseTargets` for a micro-batch. An example that no rule
is meant for, or whose rows are not in the store, is refused before training begins; so is a rule
that is meant for no example.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.capture.targets import rows_to_targets
from training.data.example import Example
from training.data.tokenised import TokenisedCorpus
from training.errors import RowsRefused
from training.losses.targets import SparseTargets
from training.recipe import StageSettings, TeacherRule
from training.store.key import RowsSource
from training.store.store import RowStore
from training.store.unsayable import read_unsayable

Columns = Mapping[str, str | int | None]
_NAMED = 20


def teachers_of(stage: StageSettings) -> list[str]:
    """The teachers that the stage's rules name, each once."""
    return list(dict.fromkeys(rule.teacher for rule in stage.teachers))


def weights_of(
    stage: StageSettings, columns: Callable[[int], Columns], examples: int
) -> NDArray[np.float32]:
    """What each of `teachers_of` counts at each example: float32 [teachers, examples].

    At every example the weights of the teachers that are meant for it sum to one. `columns` gives
    an example's columns by its number.

    Raises:
        RowsRefused: a rule is meant for no example, or some example for no teacher.
    """
    teachers = teachers_of(stage)
    rows = [teachers.index(rule.teacher) for rule in stage.teachers]
    weights = np.zeros((len(teachers), examples))
    idle = set(range(len(rows)))
    for number in range(examples):
        said = columns(number)
        for place, (row, rule) in enumerate(zip(rows, stage.teachers, strict=True)):
            if _meant(rule, said):
                weights[row, number] += rule.weight
                idle.discard(place)
    if idle:
        raise _idle_rule(stage, min(idle), map(columns, range(examples)))
    sums = weights.sum(axis=0)
    orphans = np.flatnonzero(sums == 0)
    if len(orphans):
        raise RowsRefused(
            f"{len(orphans)} of {examples} examples have no teacher in stage '{stage.name}'.",
            cause=f"No rule is meant for, say, {dict(columns(int(orphans[0])))}.",
            solution="Add a rule without `where`, or one for those values; without a teacher an "
            "example would fall back to plain loss, which KD never does.",
        )
    shares: NDArray[np.float32] = (weights / sums).astype(np.float32)
    return shares


def _idle_rule(stage: StageSettings, place: int, columns: Iterable[Columns]) -> RowsRefused:
    """A misspelt value would otherwise leave its teacher out without a word."""
    rule = stage.teachers[place]
    known: dict[str, set[str]] = {name: set() for name in rule.where}
    for said in columns:
        for name, values in known.items():
            values.add("none" if said.get(name) is None else repr(said[name]))
    wanted = "; ".join(f"{name}: {_listed(map(repr, rule.where[name]))}" for name in rule.where)
    there = "; ".join(f"{name}: {_listed(sorted(known[name]))}" for name in rule.where)
    return RowsRefused(
        f"Rule {place + 1} of stage '{stage.name}', for teacher '{rule.teacher}', is meant for no "
        "example.",
        cause=f"It asks for {wanted}. The corpus has {there}.",
        solution="Correct the values under `where`, or remove the rule.",
    )


def _listed(values: Iterable[str]) -> str:
    named = list(values)
    return ", ".join(named[:_NAMED]) + (" …" if len(named) > _NAMED else "")


def _taught(weight_TE: NDArray[np.float32]) -> NDArray[np.bool_]:
    return np.asarray((weight_TE > 0).any(axis=0))


def _meant(rule: TeacherRule, columns: Columns) -> bool:
    return all(columns.get(name) in values for name, values in rule.where.items())


@dataclass(frozen=True, slots=True, eq=False)
class Teaching:
    """The teachers of a stage: where their rows are, and their weights.

    `weight_TE` is float32 [teachers, examples]; `sources` are in the same order.
    """

    store: RowStore
    sources: tuple[RowsSource, ...]
    weight_TE: NDArray[np.float32]
    temperature: float
    width: int

    def targets(
        self, numbers: NDArray[np.int64], examples: Sequence[Example]
    ) -> tuple[SparseTargets, ...]:
        """One `SparseTargets` per teacher for a micro-batch of these examples, in their order.

        Raises:
            RowsRefused: rows are missing, stale or corrupt; the sample is named.
        """
        counts = [len(each.row_N) for each in examples]
        made = []
        for source, weight_E in zip(self.sources, self.weight_TE, strict=True):
            weights = [float(weight_E[number]) for number in numbers]
            rows = [
                self.store.read(each, source) if weight else None
                for each, weight in zip(examples, weights, strict=True)
            ]
            made.append(
                rows_to_targets(
                    rows,
                    counts,
                    weights,
                    k=source.form.k,
                    temperature=self.temperature,
                    width=self.width,
                )
            )
        return tuple(made)

    @property
    def taught_E(self) -> NDArray[np.bool_]:
        """Whether any teacher speaks at an example: bool [examples]."""
        return _taught(self.weight_TE)

    def without_unsayable(self, corpus: TokenisedCorpus) -> Teaching:
        """The same teaching where a teacher is silent at what its vocabulary cannot say; the others
        take its part, and where there is no other the example is not taught (nor trained on)."""
        weight_TE = self.weight_TE.astype(np.float64)
        for weight_E, source in zip(weight_TE, self.sources, strict=True):
            unsayable = read_unsayable(self.store.folder, source)
            if unsayable:
                for number in np.flatnonzero(weight_E):
                    if source.key(corpus.example(int(number))) in unsayable:
                        weight_E[number] = 0.0
        sums = weight_TE.sum(axis=0)
        weight_TE /= np.where(sums > 0, sums, 1.0)
        return replace(self, weight_TE=weight_TE.astype(np.float32))

    def check(self, corpus: TokenisedCorpus, names: Sequence[str]) -> None:
        """Finds out before training whether every row that will be needed is there.

        Raises:
            RowsRefused: some are not; says how many, and why for the first.
        """
        for name, source, weight_E in zip(names, self.sources, self.weight_TE, strict=True):
            wanted = np.flatnonzero(weight_E)
            keys = [source.key(corpus.example(int(number))) for number in wanted]
            missing = self.store.missing(keys)
            if not missing:
                continue
            try:
                self.store.read(corpus.example(int(wanted[missing[0]])), source)
            except RowsRefused as error:
                raise RowsRefused(
                    f"Teacher '{name}' has no rows for {len(missing)} of {len(wanted)} examples. "
                    f"{error.what}",
                    cause=error.cause,
                    solution=error.solution,
                    command=error.command,
                ) from error

    def write(self, folder: Path) -> Path:
        """Writes all of it for the ranks; returns the file."""
        file = folder / "teaching.json"
        weights = folder / "teaching.part.npy"
        np.save(weights, self.weight_TE)
        # By renaming: ranks that are running hold the old file mapped.
        weights.replace(file.with_suffix(".npy"))
        said: dict[str, Any] = {
            "store": str(self.store.folder),
            "sources": [source.as_dict() for source in self.sources],
            "temperature": self.temperature,
            "width": self.width,
        }
        part = folder / "teaching.part.json"
        part.write_text(json.dumps(said, indent=2, ensure_ascii=False), encoding="utf-8")
        part.replace(file)
        return file

    @staticmethod
    def taught_in(file: Path) -> NDArray[np.bool_]:
        """`taught_E` of what `write` wrote, without opening the store."""
        return _taught(np.load(file.with_suffix(".npy"), mmap_mode="r"))

    @classmethod
    def open(cls, file: Path) -> Teaching:
        """Reads what `write` wrote."""
        said = json.loads(file.read_text(encoding="utf-8"))
        return cls(
            store=RowStore.open(said["store"]),
            sources=tuple(RowsSource.from_dict(each) for each in said["sources"]),
            weight_TE=np.load(file.with_suffix(".npy"), mmap_mode="r"),
            temperature=said["temperature"],
            width=said["width"],
        )
