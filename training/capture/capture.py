"""Scores a corpus with a teacher and stores the rows: `stillhouse capture RECIPE`.

In: a recipe, the rendered corpus, which of the recipe's teachers, and perhaps the database that
keeps the index. Out: shards in the recipe's store, index rows, a `CaptureReport`. Examples whose
rows are there already, under the same key, are left alone, so a capture that was stopped or killed
goes on where its last whole shard ends, and one that is repeated does nothing. Training and
held-out examples are both captured.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from storage.database import Database
from training.capture.engine import Engine
from training.capture.engines import open_engine
from training.capture.identity import find_teacher
from training.capture.sources import rows_source, vocabulary_map
from training.data.example import Example
from training.data.tokenised import TokenisedCorpus
from training.errors import CaptureError
from training.recipe import TeacherModelSettings, TrainRecipe
from training.store.index import index_shards
from training.store.key import RowsSource, TeacherIdentity
from training.store.report import ShardReport, StoreReport, source_report, store_report
from training.store.shard import Shard
from training.store.store import RowStore
from training.store.unsayable import add_unsayable, read_unsayable
from training.store.writer import ShardWriter
from training.vocabulary import Coverage, VocabularyMap

_BATCHES_PER_WINDOW = 64


@dataclass(frozen=True, slots=True)
class CaptureProgress:
    """How far a capture is. Tokens are those of whole sequences, prompts included."""

    examples: int
    examples_total: int
    tokens: int
    tokens_total: int


@dataclass(frozen=True, slots=True)
class CaptureReport:
    """What a capture did.

    - `examples`: of the corpus, training and held-out ones: `known` + `captured` + `unmapped`.
    - `known`: those that had rows already, or say the same as another.
    - `captured`, `rows`, `tokens`: examples scored now, their rows (response tokens) and all their
      tokens, in `seconds` of scoring and storing (loading the teacher not included).
    - `unmapped`: the samples of those that have no rows, because they cannot be said in the
      teacher's vocabulary, or a row of theirs in the student's.
    - `coverage`: how much of the corpus the teacher's vocabulary covers.
    - `own`: what the store holds now of this teacher in this form, whatever captured it.
    - `store`: the whole of it, other teachers' rows included.
    """

    teacher: TeacherIdentity
    examples: int
    known: int
    captured: int
    rows: int
    tokens: int
    seconds: float
    unmapped: tuple[str, ...]
    coverage: Coverage
    own: ShardReport
    store: StoreReport

    def as_dict(self) -> dict[str, Any]:
        """As JSON says it."""
        return asdict(self)


def capture(
    recipe: TrainRecipe,
    corpus: TokenisedCorpus,
    teacher: str,
    *,
    database: Database | None = None,
    on_progress: Callable[[CaptureProgress], None] | None = None,
) -> CaptureReport:
    """Scores what the recipe's store lacks of this corpus with one of the recipe's teachers.

    Raises:
        CaptureError: no such teacher, a sample it cannot be asked about, logits that are no
            numbers, or a store that cannot be written.
        TokenizerRefused: the vocabularies differ too much (`capture.vocabulary_coverage`).
        ModelRefused, OutOfMemory: the teacher cannot be loaded or run.
        RowsRefused: a shard in the store is broken.
        StorageError: the database cannot be written.
    """
    settings = _teacher(recipe, teacher)
    files = find_teacher(settings)
    vocabulary = vocabulary_map(recipe, corpus, files)
    least = recipe.capture.vocabulary_coverage
    coverage = vocabulary.require(corpus.examples(), least, teacher)
    source = rows_source(recipe, teacher, corpus)
    store = RowStore.open(recipe.capture.store)
    if database is not None:
        # A capture that was killed between a shard and its index rows left this undone.
        index_shards(database, store.shards)
    keys = [source.key(example) for example in corpus.examples()]
    unsayable = read_unsayable(recipe.capture.store, source)
    missing = _missing(store, keys, unsayable)
    done = _Done()
    if missing:
        job = _Job(recipe, corpus, settings, source, vocabulary, database, on_progress)
        done = job.run(missing)
    # The list is the store's, of whatever was captured into it; what counts here is this corpus.
    unsayable = {**unsayable, **done.unsayable}
    unmapped = [number for number, key in enumerate(keys) if key in unsayable]
    store = RowStore.open(recipe.capture.store)
    return CaptureReport(
        teacher=files.identity,
        examples=len(corpus),
        known=len(corpus) - done.examples - len(unmapped),
        captured=done.examples,
        rows=done.rows,
        tokens=done.tokens,
        seconds=done.seconds,
        unmapped=tuple(corpus.sample_ids[number] for number in unmapped),
        coverage=coverage,
        own=source_report(store, source),
        store=store_report(store),
    )


def _teacher(recipe: TrainRecipe, name: str) -> TeacherModelSettings:
    if name not in recipe.teachers:
        raise CaptureError(
            f"The recipe '{recipe.name}' has no teacher '{name}'.",
            cause=f"Its teachers are: {', '.join(sorted(recipe.teachers)) or 'none'}.",
            solution="Name one of them, or add it under `teachers`.",
        )
    return recipe.teachers[name]


def _missing(store: RowStore, keys: Sequence[str], unsayable: Mapping[str, str]) -> list[int]:
    """Numbers of examples that lack rows and may get some; of equal ones the first stands in."""
    number_by_key: dict[str, int] = {}
    for number, key in enumerate(keys):
        if key not in unsayable:
            number_by_key.setdefault(key, number)
    wanted = list(number_by_key)
    return sorted(number_by_key[wanted[at]] for at in store.missing(wanted))


@dataclass(slots=True)
class _Done:
    examples: int = 0
    rows: int = 0
    tokens: int = 0
    seconds: float = 0.0
    unsayable: dict[str, str] = field(default_factory=dict)

    def leave(self, example: Example, source: RowsSource) -> None:
        """Notes an example that the teacher can say nothing of."""
        self.unsayable[source.key(example)] = example.sample_id


@dataclass(frozen=True, slots=True)
class _Job:
    """The scoring of what is missing."""

    recipe: TrainRecipe
    corpus: TokenisedCorpus
    settings: TeacherModelSettings
    source: RowsSource
    vocabulary: VocabularyMap
    database: Database | None
    on_progress: Callable[[CaptureProgress], None] | None

    def run(self, missing: Sequence[int]) -> _Done:
        """Scores the examples of these numbers and stores their rows."""
        wanted = self.recipe.capture
        done = _Done()
        total = sum(int(self.corpus.lengths[number]) for number in missing)
        # The folder's lock comes first: a second capture should not load a teacher for nothing.
        with (
            ShardWriter(
                wanted.store,
                self.source,
                self.vocabulary.student_size,
                rows_per_shard=wanted.rows_per_shard,
                on_shard=self._index,
            ) as writer,
            open_engine(
                self.settings,
                self.source.teacher,
                self.source.form,
                vocabulary=self.vocabulary.teacher_size,
                tokens_per_batch=wanted.tokens_per_batch,
            ) as engine,
        ):
            began = time.monotonic()
            for example in self._scored(missing, engine, writer, done):
                done.examples += 1
                done.rows += len(example.row_N)
                done.tokens += len(example)
                self._tell(CaptureProgress(done.examples, len(missing), done.tokens, total))
            writer.flush()
            add_unsayable(wanted.store, self.source, done.unsayable)
            done.seconds = time.monotonic() - began
        return done

    def _scored(
        self, missing: Sequence[int], engine: Engine, writer: ShardWriter, done: _Done
    ) -> Iterator[Example]:
        """The examples, each when its rows are with the writer."""
        for numbers in self._windows(missing):
            examples, asked = [], []
            for number in numbers:
                example = self.corpus.example(number)
                in_teachers_ids = self.vocabulary.to_teacher(example)
                if in_teachers_ids is None:
                    done.leave(example, self.source)
                else:
                    examples.append(example)
                    asked.append(in_teachers_ids)
            for index, scored in engine.score(asked):
                example, rows = examples[index], self.vocabulary.to_student(scored.rows)
                if (rows.id_NK[:, 0] < 0).any():
                    done.leave(example, self.source)
                    continue
                writer.append(example, rows, float(scored.nll_N.sum(dtype=float)))
                yield example

    def _windows(self, missing: Sequence[int]) -> Iterator[list[int]]:
        """Numbers in windows that memory holds with ease, the longest first: what does not fit the
        teacher or the device shows at once."""
        lengths = self.corpus.lengths
        window: list[int] = []
        room = self.recipe.capture.tokens_per_batch * _BATCHES_PER_WINDOW
        tokens = 0
        for number in sorted(missing, key=lambda number: (-int(lengths[number]), number)):
            if tokens >= room:
                yield window
                window, tokens = [], 0
            window.append(number)
            tokens += int(lengths[number])
        yield window

    def _index(self, shard: Shard) -> None:
        if self.database is not None:
            index_shards(self.database, [shard])

    def _tell(self, progress: CaptureProgress) -> None:
        if self.on_progress is not None:
            self.on_progress(progress)
