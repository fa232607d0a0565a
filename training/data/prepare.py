"""Renders a whole corpus into a folder, once; the next call with the same inputs finds it there.

In: a corpus, a renderer, a split, a folder for such things. Out: a `TokenisedCorpus` in a folder of
its own within it, named by the hash of everything that shaped it. It appears whole or not at all
(write, fsync, rename), and one process at a time writes: others wait and then find it. What is
found is read once and compared with its hashes. Samples pass through in batches, so memory does not
grow with their text.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from transformers import PreTrainedTokenizerBase

from common.hashing import digest
from training.data.chat import ChatRenderer, Rendered
from training.data.chat_template import template_fingerprint
from training.data.corpus import Corpus
from training.data.example import Example
from training.data.flat import FlatWriter
from training.data.record import Record
from training.data.split import Split
from training.data.tokenised import CODED, FORMAT, META, TokenisedCorpus
from training.errors import CorpusRefused
from training.vocabulary import read_vocabulary

_BATCH = 512
_NAMED = 5
_TEMPORARY = ".tmp"


def prepare(
    corpus: Corpus,
    renderer: ChatRenderer,
    split: Split,
    folder: str | Path,
    *,
    progress: Callable[[int, int], None] = lambda done, rows: None,
) -> TokenisedCorpus:
    """The corpus as examples; `progress` is told how many of its rows have been rendered.

    Raises:
        CorpusRefused: nothing is left to train on, the folder cannot be written, or what was
            written there is damaged.
        SampleTooLong: a sample is, and the renderer refuses such.
    """
    folder = Path(folder)
    shaped_by = _shaped_by(corpus, renderer, split)
    final = folder / digest(shaped_by)
    with _errors(folder), _one_writer(folder):
        if not final.exists():
            _write(corpus, renderer, split, final, shaped_by, progress)
    made = TokenisedCorpus.open(final, corpus.difficulty)
    made.verify()
    return made


def _shaped_by(corpus: Corpus, renderer: ChatRenderer, split: Split) -> dict[str, Any]:
    vocabulary = read_vocabulary(renderer.tokenizer)
    return {
        "format": FORMAT,
        "export": corpus.export_id,
        "sha256": corpus.sha256,
        "tokenizer_fingerprint": vocabulary.fingerprint,
        "tokenizer_size": vocabulary.size,
        "tokenizer_behaviour": _behaviour(renderer.tokenizer),
        "template_fingerprint": template_fingerprint(renderer.tokenizer),
        "context": renderer.context,
        "too_long": renderer.too_long,
        "split": split.definition(),
    }


def _behaviour(tokenizer: PreTrainedTokenizerBase) -> str:
    """A hash of how text is cut, which ids alone do not say: normaliser, pre-tokeniser, control."""
    document = json.loads(tokenizer.backend_tokenizer.to_str())
    return digest({k: document.get(k) for k in ("normalizer", "pre_tokenizer", "added_tokens")})


def _write(
    corpus: Corpus,
    renderer: ChatRenderer,
    split: Split,
    final: Path,
    shaped_by: dict[str, Any],
    progress: Callable[[int, int], None],
) -> None:
    new = final.with_name(final.name + _TEMPORARY)
    new.mkdir()
    try:
        with FlatWriter.into(new) as writer:
            made = _Made(writer, split)
            for records in _in_batches(corpus.records(), _BATCH):
                made.add(records, renderer.render(records))
                progress(made.records, corpus.rows)
            files = writer.files()
        _refuse_nothing(corpus, made)
        meta = {
            "format": FORMAT,
            "shaped_by": shaped_by,
            "turn_end": asdict(renderer.turn_end),
            "statuses": dict(corpus.statuses),
            "simulated": corpus.simulated,
            **made.meta(),
            "files": files,
        }
        said = meta | {"digest": digest(meta)}
        with (new / META).open("xb") as file:
            file.write(orjson.dumps(said, option=orjson.OPT_INDENT_2) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        new.replace(final)
    finally:
        shutil.rmtree(new, ignore_errors=True)


@dataclass(slots=True)
class _Tally:
    """A count, with the first few that it counted."""

    count: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, id: str) -> None:
        self.count += 1
        if len(self.first) < _NAMED:
            self.first.append(id)


@dataclass(slots=True)
class _Part:
    """What one part of the split holds."""

    examples: int = 0
    tokens: int = 0
    trained_tokens: int = 0

    def add(self, example: Example) -> None:
        self.examples += 1
        self.tokens += len(example)
        self.trained_tokens += int(example.trained_T.sum())


class _Made:
    """What has been written so far, and what is to be said of it."""

    def __init__(self, writer: FlatWriter, split: Split) -> None:
        self.writer = writer
        self.split = split
        self.records = 0
        self.end = 0
        self.parts = {"train": _Part(), "validation": _Part()}
        self.lost: dict[str, _Tally] = {}
        self.truncated = _Tally()
        self.codes: dict[str, dict[str, int]] = {name: {} for name in CODED}

    def add(self, records: list[Record], rendered: Rendered) -> None:
        by_id = {record.id: (self.records + n, record) for n, record in enumerate(records)}
        for example in rendered.examples:
            self._write(example, *by_id[example.sample_id])
        for lost in rendered.lost:
            self.lost.setdefault(lost.reason, _Tally()).add(lost.id)
        for id in rendered.truncated:
            self.truncated.add(id)
        self.records += len(records)

    def _write(self, example: Example, row: int, record: Record) -> None:
        part = self.split.of(example.family_id)
        self.parts[part].add(example)
        self.end += len(example)
        write, text = self.writer.numbers, self.writer.text
        write("token_id", example.token_id_T.astype("<i4"))
        write("trained", np.packbits(example.trained_T))
        write("ends", np.array([self.end], dtype="<i8"))
        write("held_out", np.array([part == "validation"], dtype=np.int8))
        write("row", np.array([row], dtype="<i8"))
        for name in CODED:
            write(name, np.array([self._code(name, getattr(record, name))], dtype="<i4"))
        text("id", example.id)
        text("sample_id", example.sample_id)
        text("family_id", example.family_id)

    def _code(self, name: str, value: str | None) -> int:
        codes = self.codes[name]
        return -1 if value is None else codes.setdefault(value, len(codes))

    def meta(self) -> dict[str, Any]:
        return {
            "records": self.records,
            "parts": {name: asdict(part) for name, part in self.parts.items()},
            "lost": {reason: asdict(tally) for reason, tally in sorted(self.lost.items())},
            "truncated": asdict(self.truncated),
            "codes": {name: list(codes) for name, codes in self.codes.items()},
        }


def _refuse_nothing(corpus: Corpus, made: _Made) -> None:
    if made.parts["train"].examples:
        return
    counts = [f"{tally.count} {reason}" for reason, tally in sorted(made.lost.items())]
    held_out = made.parts["validation"].examples
    counts += [f"{held_out} held out for validation"] if held_out else []
    raise CorpusRefused(
        f"Nothing of '{corpus.path}' is left to train on.",
        cause=f"Of its {made.records} samples: {', '.join(counts)}.",
        solution="Raise `data.context`, lower `corpus.validation`, or export more samples.",
    )


def _in_batches(records: Iterable[Record], size: int) -> Iterator[list[Record]]:
    source = iter(records)
    while batch := list(islice(source, size)):
        yield batch


@contextlib.contextmanager
def _one_writer(folder: Path) -> Iterator[None]:
    """Alone in `folder`, after clearing what a killed one left; the lock ends with the process."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "prepare.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for left in folder.glob(f"*{_TEMPORARY}"):
            shutil.rmtree(left, ignore_errors=True)
        yield


@contextlib.contextmanager
def _errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CorpusRefused(
            f"The tokenised corpus cannot be written into '{folder}'.",
            cause=f"The system says: {error.strerror}.",
            solution="Free some disk space, or give an `output` that you may write to; nothing was "
            "left behind.",
        ) from error
