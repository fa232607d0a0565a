"""How much of a benchmark stands in the training corpus, with the spans that matched.

In: the benchmark's items; the corpus's samples, or exported files. Out: a `Contamination`: items
whose words are in a sample as they stand (`exact`: the whole text; `inside`: amid other words), and
near-duplicates (`near`: runs of at least `ngram` equal tokens cover at least `share` of the item).
A token is a word, or one character of a script that does not space its words; width, case,
punctuation and spacing do not count. Items shorter than `ngram` tokens match as a whole or not at
all. What is looked for are the item's prompt and its gold answer; where, a sample's instruction
(with its input, before and after rewriting) and its response.
"""

from __future__ import annotations

import hashlib
import re
import threading
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import chain, takewhile
from pathlib import Path
from typing import Any, Literal

import orjson
from sqlalchemy import select

from common.hashing import digest
from evaluation.benchmark import Item
from evaluation.errors import DataMissing
from evaluation.lineage import Lineage, TrainedOn
from evaluation.settings import ContaminationSettings
from storage.database import Database
from storage.tables import Sample, table_of

_sample_t = table_of(Sample)
# Characters of Thai, Lao, Khmer, Myanmar, kana, Bopomofo and Han stand for themselves.
_TOKEN = re.compile(
    r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3041-\u312f\u31a0-\u31ff"
    r"\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]|"
    r"[^\W_\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3041-\u312f\u3400-\u9fff]+"
)
_EXCERPT_CHARACTERS = 300
MATCHES_KEPT = 200
Kind = Literal["exact", "inside", "near"]
_ORDER: dict[str, int] = {"exact": 0, "inside": 1, "near": 2}


@dataclass(frozen=True, slots=True)
class Match:
    """One item found in one sample. `share` is how much of the item's tokens is covered, `spans`
    are the item's words that matched, `of` says which of the item's texts (`prompt` or `gold`),
    `where` in which of the sample's (`instruction` or `response`)."""

    item: str
    sample: str
    kind: Kind
    of: str
    where: str
    share: float
    spans: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Contamination:
    """What was found. Each item counts once, by its worst match; `matches` are at most the first
    `MATCHES_KEPT` of those. `corpus` says in words what was looked through."""

    items: int
    samples: int
    corpus: str
    ngram: int
    share: float
    exact: int
    inside: int
    near: int
    matches: tuple[Match, ...]

    @property
    def found(self) -> int:
        """Items that are in the corpus in one way or another."""
        return self.exact + self.inside + self.near

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self) | {"found": self.found}


@dataclass(frozen=True, slots=True)
class Text:
    """One text of a sample."""

    sample: str
    where: str
    text: str


def tokens_of(text: str) -> list[tuple[str, int, int]]:
    """The text's tokens, folded, each with where it begins and ends in the folded text."""
    return [(m.group(), m.start(), m.end()) for m in _TOKEN.finditer(fold(text))]


def fold(text: str) -> str:
    """The text without differences of width and case."""
    return unicodedata.normalize("NFKC", text).casefold()


def find_contamination(
    items: Sequence[Item],
    database: Database,
    settings: ContaminationSettings,
    lineage: Lineage | None,
    cancelled: threading.Event | None = None,
) -> Contamination:
    """Looks for the items in the files that the settings name, else in the exports that the model
    was trained on, else in the database. Once `cancelled` is set it stops with what it has.

    Raises:
        DataMissing: a file cannot be read as an export.
    """
    texts, said = _looked_through(database, settings, lineage)
    if cancelled is not None:
        texts = takewhile(lambda _: not cancelled.is_set(), texts)
    return match_items(items, texts, settings, said)


def _looked_through(
    database: Database, settings: ContaminationSettings, lineage: Lineage | None
) -> tuple[Iterable[Text], str]:
    """The texts, and in words where they are from."""
    if settings.files:
        said = ", ".join(Path(name).name for name in settings.files)
        return _texts_of_files(settings.files), said
    if lineage is None or not lineage.exports:
        said = "accepted samples of the corpus database"
        return _texts_of_corpus(database, ("accepted",), None), said
    places, texts = [], []
    for export in lineage.exports:
        if _is_as_written(export):
            places.append(f"{export.path.name}, which the model was trained on")
            texts.append(_texts_of_files([str(export.path)]))
            continue
        places.append(
            f"{', '.join(export.statuses)} samples now in the corpus of "
            f"{export.recipe or 'every recipe'}, in the place of {export.path.name}, which the "
            "model was trained on and which is no longer there as it was"
        )
        texts.append(_texts_of_corpus(database, export.statuses, export.recipe))
    if lineage.unknown:
        places.append(f"not what {', '.join(lineage.unknown)} was trained on, which is not known")
    return chain(*texts), "; ".join(places)


def _is_as_written(export: TrainedOn) -> bool:
    try:
        with export.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == export.sha256
    except OSError:
        return False


def match_items(
    items: Sequence[Item], texts: Iterable[Text], settings: ContaminationSettings, corpus: str
) -> Contamination:
    """Goes once through `texts`, keeping each item's worst match."""
    index = _Index(items, settings.ngram, settings.share)
    seen: set[str] = set()
    for text in texts:
        seen.add(text.sample)
        index.look(text)
    worst = sorted(index.worst.values(), key=lambda m: (_ORDER[m.kind], -m.share, m.item))
    kinds = [match.kind for match in worst]
    return Contamination(
        items=len(items),
        samples=len(seen),
        corpus=corpus,
        ngram=settings.ngram,
        share=settings.share,
        exact=kinds.count("exact"),
        inside=kinds.count("inside"),
        near=kinds.count("near"),
        matches=tuple(worst[:MATCHES_KEPT]),
    )


@dataclass(frozen=True, slots=True)
class _Sought:
    """One text that is looked for, as tokens with their places; `items` are those that have it."""

    items: list[str]
    of: str
    folded: str
    tokens: tuple[tuple[str, int, int], ...]
    words: list[str]


class _Index:
    """The benchmark's n-grams: small, so that a corpus of any size streams past it."""

    def __init__(self, items: Sequence[Item], ngram: int, share: float) -> None:
        self._ngram, self._share = ngram, share
        self._sought: dict[tuple[str, str], _Sought] = {}
        self._grams: dict[tuple[str, ...], list[tuple[_Sought, int]]] = {}
        self.worst: dict[str, Match] = {}
        for item in items:
            for of, text in (("prompt", item.prompt), ("gold", item.gold or "")):
                self._add(item.key, of, text)
        # `ngram`, and the lengths below it that some short text has; longest first.
        self._lengths = sorted({len(gram) for gram in self._grams}, reverse=True)

    def _add(self, item: str, of: str, text: str) -> None:
        if (known := self._sought.get((of, text))) is not None:
            known.items.append(item)
            return
        tokens = tuple(tokens_of(text))
        # Two or three words stand everywhere; a short gold answer says nothing.
        if len(tokens) < (3 if of == "prompt" else self._ngram):
            return
        words = [token for token, _, _ in tokens]
        sought = self._sought[of, text] = _Sought([item], of, fold(text), tokens, words)
        width = min(self._ngram, len(words))
        for start in range(len(words) - width + 1):
            gram = tuple(words[start : start + width])
            self._grams.setdefault(gram, []).append((sought, start))

    def look(self, text: Text) -> None:
        """Looks for every item in one text."""
        words = [token for token, _, _ in tokens_of(text.text)]
        runs: dict[int, tuple[_Sought, set[int]]] = {}
        for width in self._lengths:
            for place in range(len(words) - width + 1):
                for sought, start in self._grams.get(tuple(words[place : place + width]), ()):
                    runs.setdefault(id(sought), (sought, set()))[1].add(start)
        for sought, starts in runs.values():
            width = min(self._ngram, len(sought.tokens))
            # Most have one run in common with many texts, and are not looked at closer.
            if len(starts) * width >= self._share * len(sought.tokens):
                places = {start + n for start in starts for n in range(width)}
                self._judge(sought, places, words, text)

    def _judge(self, sought: _Sought, places: set[int], words: list[str], text: Text) -> None:
        share = len(places) / len(sought.tokens)
        if share < self._share:
            return
        kind: Kind
        if words == sought.words:
            kind = "exact"
        elif share == 1.0 and _stands_in(sought.words, words):
            kind = "inside"
        else:
            kind = "near"
        share = round(share, 4)
        rank = (_ORDER[kind], -share)
        for item in sought.items:
            before = self.worst.get(item)
            if before is None or rank < (_ORDER[before.kind], -before.share):
                spans = _spans(sought, places)
                where = text.where
                self.worst[item] = Match(item, text.sample, kind, sought.of, where, share, spans)


def _stands_in(part: list[str], words: list[str]) -> bool:
    return any(
        words[place : place + len(part)] == part
        for place, word in enumerate(words)
        if word == part[0]
    )


def _spans(sought: _Sought, places: set[int]) -> tuple[str, ...]:
    """The item's covered stretches, as words."""
    spans, ordered = [], sorted(places)
    start = 0
    for end in range(1, len(ordered) + 1):
        if end < len(ordered) and ordered[end] == ordered[end - 1] + 1:
            continue
        begin, finish = sought.tokens[ordered[start]][1], sought.tokens[ordered[end - 1]][2]
        spans.append(sought.folded[begin:finish][:_EXCERPT_CHARACTERS])
        start = end
    return tuple(spans)


def _texts_of_corpus(
    database: Database, statuses: Sequence[str], recipe: str | None
) -> Iterator[Text]:
    c = _sample_t.c
    query = select(c.id, c.instruction, c.original_instruction, c.input, c.response)
    query = query.where(c.status.in_(statuses))
    if recipe is not None:
        query = query.where(c.recipe == recipe)
    with database.read() as connection:
        rows = connection.execution_options(yield_per=1000).execute(query)
        for sample, instruction, original, extra, response in rows:
            for words in dict.fromkeys(each for each in (instruction, original) if each):
                yield Text(sample, "instruction", f"{words}\n{extra}" if extra else words)
            if response:
                yield Text(sample, "response", response)


def _texts_of_files(files: Sequence[str]) -> Iterator[Text]:
    for name in files:
        try:
            with Path(name).open("rb") as file:
                for number, line in enumerate(file, 1):
                    if line.strip():
                        yield from _texts_of_row(orjson.loads(line), f"{Path(name).name}:{number}")
        except (OSError, orjson.JSONDecodeError, AttributeError) as error:
            raise DataMissing(
                f"The file {name} cannot be looked through.",
                cause=str(error),
                solution="Give a JSONL file as `stillhouse export` writes it, in any of its "
                "formats.",
            ) from error


def _texts_of_row(row: dict[str, Any], place: str) -> Iterator[Text]:
    sample = str((row.get("meta") or {}).get("id") or place)
    turns = row.get("messages") or row.get("conversations")
    if turns is None:
        asked = [row.get("instruction") or "", row.get("input") or ""]
        yield Text(sample, "instruction", "\n".join(part for part in asked if part))
        yield Text(sample, "response", row.get("output") or "")
        return
    for turn in turns:
        who, said = turn.get("role") or turn.get("from"), turn.get("content") or turn.get("value")
        where = "instruction" if who in ("user", "human") else "response"
        if said and who != "system":
            yield Text(sample, where, said)


def items_hash(items: Sequence[Item]) -> str:
    """One hash over every item's key and words."""
    return digest([[item.key, item.prompt] for item in items])
