"""What a tokenizer's ids mean, and how one tokenizer's ids are said in another's.

In: a folder with `tokenizer.json`, or a loaded fast tokenizer. Out: a fingerprint that is equal
where ids mean the same, and a `VocabularyMap` between a teacher's and a student's vocabulary.
Width is not identity: Qwen2.5's tokenizer has 151,665 tokens, its embeddings 151,936 or 152,064
rows. No torch is needed, and none is imported.

What splits text into tokens (normaliser, pre-tokeniser) is left out of the fingerprint: rows are
keyed by token ids, so another split is another key anyway, and transformers 5 rebuilds both from
the model's type while it loads, so that a folder would differ from its own loaded tokenizer.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from common.hashing import digest
from training.data.example import Example
from training.errors import TokenizerRefused
from training.store.rows import TeacherRows


class _Serialisable(Protocol):
    def to_str(self, pretty: bool = False) -> str: ...


class FastTokenizer(Protocol):
    """What is asked of a loaded tokenizer: its Rust backend, which can say all that it is."""

    @property
    def backend_tokenizer(self) -> _Serialisable: ...


@dataclass(frozen=True, slots=True, eq=False)
class Vocabulary:
    """A tokenizer's tokens by their string. `size` is its highest id plus one, not a width."""

    id_by_token: Mapping[str, int]
    fingerprint: str

    @property
    def size(self) -> int:
        """The highest id plus one."""
        return max(self.id_by_token.values(), default=-1) + 1


def read_vocabulary(source: str | Path | FastTokenizer) -> Vocabulary:
    """Reads what ids mean from a folder (`tokenizer.json`, `tokenizer_config.json`) or a tokenizer.

    Raises:
        TokenizerRefused: there is no `tokenizer.json`, or it is none.
    """
    document = _document(source)
    try:
        model = document["model"]
        ids = _base_tokens(model["vocab"])
        merges = [_pair(merge) for merge in model.get("merges") or ()]
        added = {str(token["content"]): int(token["id"]) for token in document["added_tokens"]}
    except (KeyError, TypeError, ValueError) as error:
        raise TokenizerRefused(
            f"The tokenizer of '{_name(source)}' cannot be understood.",
            cause=f"Its tokenizer.json lacks what a vocabulary needs ({error}).",
            solution="Save it again with a current version of `transformers`.",
        ) from error
    ids.update(added)
    return Vocabulary(ids, digest({"tokens": ids, "merges": merges, "added": added}))


def tokenizer_fingerprint(source: str | Path | FastTokenizer) -> str:
    """A digest of vocabulary, merges and added tokens, as 32 hexadecimal digits.

    Equal for a folder and the tokenizer loaded from it; blind to the chat template, padding,
    truncation, and to which of the added tokens are called special.

    Raises:
        TokenizerRefused: there is no `tokenizer.json`, or it is none.
    """
    return read_vocabulary(source).fingerprint


def _name(source: str | Path | FastTokenizer) -> str:
    return str(source) if isinstance(source, str | Path) else type(source).__name__


def _document(source: str | Path | FastTokenizer) -> dict[str, Any]:
    if not isinstance(source, str | Path):
        loaded: dict[str, Any] = json.loads(source.backend_tokenizer.to_str())
        return loaded
    file = Path(source) / "tokenizer.json"
    try:
        document: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        document.setdefault("added_tokens", [])
        document["added_tokens"] += _configured_tokens(file.with_name("tokenizer_config.json"))
    except (OSError, ValueError) as error:
        raise TokenizerRefused(
            f"There is no readable tokenizer.json in '{source}'.",
            cause=getattr(error, "strerror", None) or str(error),
            solution="Give a folder that holds a fast tokenizer, or save one there "
            "(`AutoTokenizer.from_pretrained(...).save_pretrained(folder)`).",
        ) from error
    return document


def _configured_tokens(file: Path) -> list[dict[str, Any]]:
    """Tokens that a checkpoint adds in its tokenizer's configuration rather than in the file."""
    if not file.is_file():
        return []
    table = json.loads(file.read_text(encoding="utf-8")).get("added_tokens_decoder") or {}
    return [{"id": int(number), "content": token["content"]} for number, token in table.items()]


def _base_tokens(vocab: Any) -> dict[str, int]:
    """BPE and WordPiece list ids by token, Unigram lists (token, score) in the order of ids."""
    if isinstance(vocab, dict):
        return {str(token): int(number) for token, number in vocab.items()}
    return {str(token): number for number, (token, _) in enumerate(vocab)}


def _pair(merge: Any) -> list[str]:
    left, right = merge.split(" ") if isinstance(merge, str) else merge
    return [left, right]


@dataclass(frozen=True, slots=True)
class Coverage:
    """How much of a corpus a teacher with another tokenizer can be asked about.

    `tokens` and `trained` are shares of all tokens and of trained tokens whose string the teacher
    has too; `sequences` is the share of sequences that have no other tokens.
    """

    tokens: float
    trained: float
    sequences: float

    def describe(self) -> str:
        """One line for people."""
        return (
            f"{self.trained:.2%} of trained tokens, {self.tokens:.2%} of all tokens, "
            f"{self.sequences:.2%} of sequences"
        )


@dataclass(frozen=True, slots=True, eq=False)
class VocabularyMap:
    """The way from a student's ids to a teacher's, and back.

    Both tables are None where the tokenizers are the same: ids stay as they are.
    `teacher_id_S` and `student_id_T` are int32, one entry per id of the one, -1 where the other
    has no such token.
    """

    student_size: int
    teacher_size: int
    teacher_id_S: NDArray[np.int32] | None = field(default=None, repr=False)
    student_id_T: NDArray[np.int32] | None = field(default=None, repr=False)

    @classmethod
    def between(cls, student: Vocabulary, teacher: Vocabulary) -> VocabularyMap:
        """The map by token string; the identity where the fingerprints are equal."""
        if student.fingerprint == teacher.fingerprint:
            return cls(student.size, teacher.size)
        return cls(
            student.size,
            teacher.size,
            _table(student, teacher.id_by_token),
            _table(teacher, student.id_by_token),
        )

    def to_teacher(self, example: Example) -> Example | None:
        """The same sequence in the teacher's ids; None where a token has no counterpart."""
        if self.teacher_id_S is None:
            return example
        ids = self.teacher_id_S[example.token_id_T]
        return None if (ids < 0).any() else replace(example, token_id_T=ids)

    def to_student(self, rows: TeacherRows) -> TeacherRows:
        """A teacher's rows in the student's ids; what has no counterpart joins the tail.

        Sampled rows lose such draws: their shares then sum to less than one.
        """
        if self.student_id_T is None:
            return rows
        known_NK = rows.id_NK >= 0
        mapped_NK = np.where(known_NK, self.student_id_T[np.where(known_NK, rows.id_NK, 0)], -1)
        return drop_ids(rows, known_NK & (mapped_NK < 0), mapped_NK.astype(np.int32))

    def coverage(self, examples: Iterable[Example]) -> Coverage:
        """What share of a corpus can be said in the teacher's ids."""
        if self.teacher_id_S is None:
            return Coverage(1.0, 1.0, 1.0)
        tokens = trained = sequences = known_tokens = known_trained = known_sequences = 0
        for example in examples:
            known_T = self.teacher_id_S[example.token_id_T] >= 0
            tokens += len(example)
            known_tokens += int(known_T.sum())
            trained += int(example.trained_T.sum())
            known_trained += int((known_T & example.trained_T).sum())
            sequences += 1
            known_sequences += bool(known_T.all())
        return Coverage(
            known_tokens / max(tokens, 1),
            known_trained / max(trained, 1),
            known_sequences / max(sequences, 1),
        )

    def require(self, examples: Iterable[Example], least: float, teacher: str) -> Coverage:
        """The coverage of a corpus, where it suffices.

        Raises:
            TokenizerRefused: fewer trained tokens, or fewer sequences, than `least` have
                counterparts.
        """
        found = self.coverage(examples)
        if min(found.trained, found.sequences) < least:
            raise TokenizerRefused(
                f"The teacher '{teacher}' has another tokenizer than the student, and too little "
                "of the corpus can be said in it.",
                cause=f"By token string it covers {found.describe()}; "
                f"`capture.vocabulary_coverage` asks for {least:.2%} of trained tokens and of "
                "sequences.",
                solution="Take a teacher of the student's family, or lower "
                "`capture.vocabulary_coverage` and lose the rest.",
            )
        return found


def _table(source: Vocabulary, target: Mapping[str, int]) -> NDArray[np.int32]:
    table = np.full(source.size, -1, np.int32)
    for token, number in source.id_by_token.items():
        table[number] = target.get(token, -1)
    return table


def drop_ids(
    rows: TeacherRows, drop_NK: NDArray[np.bool_], id_NK: NDArray[np.int32] | None = None
) -> TeacherRows:
    """`rows` without the entries marked in `drop_NK`, whose mass joins the tail.

    `id_NK` are new ids for the entries that stay. The order of the rest is kept, gaps move to the
    end. Sampled rows have no tail: what is dropped is lost there.
    """
    ids = np.where(drop_NK, -1, rows.id_NK if id_NK is None else id_NK).astype(np.int32)
    log_p = np.where(drop_NK, -np.inf, rows.log_p_NK).astype(np.float32)
    order = np.argsort(ids < 0, axis=1, kind="stable")
    log_tail_N = rows.log_tail_N
    if rows.kind == "top_k" and drop_NK.any():
        lost_N = np.exp(np.where(drop_NK, rows.log_p_NK, -np.inf).astype(np.float64)).sum(axis=1)
        with np.errstate(divide="ignore"):
            log_tail_N = np.logaddexp(log_tail_N, np.log(lost_N)).astype(np.float32)
    return replace(
        rows,
        id_NK=np.take_along_axis(ids, order, axis=1),
        log_p_NK=np.take_along_axis(log_p, order, axis=1),
        log_tail_N=log_tail_N,
    )
