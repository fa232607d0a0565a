"""Reads one sample's captured rows for people: each token that is there, and what else could be.

In: training recipes, and entries of the corpus's index. Out: `TeacherText`s. A shard holds what the
teacher would have said and a hash of the tokens, not the tokens: these are in the rendered corpus
beside the recipe's results, and the hash proves that they are the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from common.teacher_tokens import Choice, Stretch, TeacherText, TokenRow
from storage.teacher_rows import RowsEntry
from training.data.example import Example
from training.data.tokenised import META, TokenisedCorpus
from training.errors import RowsRefused, TrainingError
from training.recipe import TrainRecipe
from training.showing.spelling import Numbers, Spelling, Words
from training.store.key import token_ids_hash
from training.store.rows import TeacherRows
from training.store.shard import SUFFIX, Shard
from training.store.store import RowStore


class CapturedRows:
    """The rows in the stores of some training recipes.

    Tokenizers are read once and kept; shards and corpora are looked at anew for every sample, since
    a capture may be going on.
    """

    def __init__(self, recipes: Sequence[TrainRecipe]) -> None:
        self._recipes = tuple(recipes)
        self._spellings: dict[tuple[str, str | None, str], Words] = {}

    def read(self, entry: RowsEntry, most: int) -> TeacherText:
        """What one teacher says of the sample's first `most` tokens.

        Raises:
            RowsRefused: no store has the shard, it is broken, or its tokens cannot be found.
            CorpusRefused: a rendered corpus is damaged.
        """
        shard = Shard.open(self._find_shard(entry.shard))
        recipe, example = self._find_example(entry)
        store = RowStore(shard.path.parent, [shard])
        try:
            rows = store.read(example, shard.source)
        finally:
            store.close()
        spelling, unspelt = self._spelling(recipe, shard.source.tokenizer_fingerprint)
        teacher = shard.source.teacher
        return TeacherText(
            teacher=teacher.model,
            revision=teacher.revision,
            engine=teacher.engine,
            dtype=teacher.dtype,
            kind=rows.kind,
            k=shard.source.form.k,
            temperatures=_temperatures(rows),
            stretches=_stretches(example, rows, spelling, most),
            tokens=len(rows),
            unspelt=unspelt,
        )

    def _find_shard(self, name: str) -> Path:
        folders = [Path(recipe.capture.store) for recipe in self._recipes]
        if Path(name).name == name and name.endswith(SUFFIX):
            for folder in folders:
                if (folder / name).is_file():
                    return folder / name
        raise RowsRefused(
            f"The shard '{name}' is in none of the stores that were given.",
            cause=f"Looked at: {', '.join(map(str, dict.fromkeys(folders))) or 'none'}.",
            solution="Name the training recipe whose `capture.store` holds it; where it was "
            "deleted, capture again.",
            command="stillhouse inspect --rows RECIPE",
        )

    def _find_example(self, entry: RowsEntry) -> tuple[TrainRecipe, Example]:
        looked = []
        for recipe in self._recipes:
            folder = Path(recipe.output) / recipe.name / "corpus"
            looked.append(folder)
            for meta in sorted(folder.glob(f"*/{META}")):
                corpus = TokenisedCorpus.open(meta.parent)
                for number in corpus.sample_ids.places(entry.sample_id):
                    example = corpus.example(number)
                    if token_ids_hash(example) == entry.token_ids_hash:
                        return recipe, example
        raise RowsRefused(
            "Which tokens these rows belong to cannot be told any more.",
            cause="No rendered corpus has this sample with the same tokens; looked at: "
            f"{', '.join(map(str, dict.fromkeys(looked)))}.",
            solution="Capture again with the recipe: the corpus is rendered anew, and rows that "
            "are there are kept.",
            command="stillhouse capture RECIPE",
        )

    def _spelling(self, recipe: TrainRecipe, fingerprint: str) -> tuple[Spelling, str | None]:
        """How ids are read, and why not in words."""
        student = recipe.student
        known = (student.model, student.revision, fingerprint)
        try:
            if known not in self._spellings:
                self._spellings[known] = Words.open(student, fingerprint)
        except TrainingError as error:
            return Numbers(), f"{error.what} {error.cause}"
        return self._spellings[known], None


def _temperatures(rows: TeacherRows) -> tuple[float, ...]:
    return (1.0, *sorted(rows.log_z))


def _stretches(
    example: Example, rows: TeacherRows, spelling: Spelling, most: int
) -> tuple[Stretch, ...]:
    made: list[Stretch] = []
    label_N = example.label_N[:most]
    token_rows = _token_rows(label_N.tolist(), rows)
    breaks = np.flatnonzero(np.diff(example.row_N[:most]) != 1) + 1
    at = 0
    for part in np.split(label_N, breaks):
        start = at
        for words, count in spelling.together(part.tolist()):
            ids = label_N[at : at + count].tolist()
            spelt = [
                _spelt(row, ids[:place], spelling)
                for place, row in enumerate(token_rows[at : at + count])
            ]
            made.append(Stretch(words, tuple(spelt), gap=at == start and at > 0))
            at += count
    return tuple(made)


def _spelt(row: TokenRow, before: list[int], spelling: Spelling) -> TokenRow:
    choices = tuple(
        Choice(choice.id, spelling.words(before, choice.id), choice.chances)
        for choice in row.choices
    )
    return TokenRow(row.id, spelling.words(before, row.id), choices, row.place, row.rest)


def _token_rows(labels: list[int], rows: TeacherRows) -> list[TokenRow]:
    """The rows of these first labels, without words."""
    n = len(labels)
    log_p_NK = rows.log_p_NK[:n].astype(np.float64)
    chance_TNK = [np.exp(log_p_NK)]
    rest_TN = [np.exp(rows.log_tail_N[:n].astype(np.float64))]
    for temperature in _temperatures(rows)[1:]:
        log_z_N1 = rows.log_z[temperature][:n, None].astype(np.float64)
        chance_TNK.append(np.exp(log_p_NK / temperature - log_z_N1))
        rest_TN.append(np.clip(1 - chance_TNK[-1].sum(axis=1), 0, 1))
    chance_NKT = np.stack(chance_TNK, axis=-1).tolist()
    rest_NT = np.stack(rest_TN, axis=-1).tolist()
    made = []
    for label, ids, chances, rest in zip(
        labels, rows.id_NK[:n].tolist(), chance_NKT, rest_NT, strict=True
    ):
        choices = tuple(
            Choice(id, "", tuple(shares))
            for id, shares in zip(ids, chances, strict=True)
            if id >= 0
        )
        place = ids.index(label) if label in ids else None
        made.append(TokenRow(label, "", choices, place, tuple(rest)))
    return made
