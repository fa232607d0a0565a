"""Writes what the world gives to the pipeline: seeds, recorded answers, an exam, a tokenizer.

In: how many problems. Out, in a folder:

| file | what |
| --- | --- |
| `school.jsonl` | train problems with one right response each: what models are first taught |
| `seeds.jsonl` | other train problems, without responses: what the factory is run on |
| `exam.jsonl` | test problems: neither their contents nor their phrasings occur above |
| `untrained/SIZE/` | configuration and tokenizer of a model to be trained from scratch |
"""

from __future__ import annotations

import json
import random
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from benchmarks.proving_ground.models import Size, make_tokenizer, write_untrained
from benchmarks.proving_ground.world.draw import World, right_response
from benchmarks.proving_ground.world.family import Problem
from common.hashing import digest

SCHOOL, SEEDS, EXAM, UNTRAINED = "school.jsonl", "seeds.jsonl", "exam.jsonl", "untrained"
_TOKENIZER_TEXTS = 6000
_SAMPLE_KEYS = ("instruction", "input", "response", "reference", "category", "language", "licence")


def fingerprint(seed: int, families: Sequence[str], levels: Sequence[int], size: Size) -> str:
    """Hash of what the world says and what models are made of: a change of either is another
    world's materials."""
    world, words = World(seed, families, levels), random.Random("fingerprint")
    some = world.problems(96, "train") + world.problems(96, "test")
    rows = [_row(each, right_response(each, words)) for each in some]
    tokenizer = make_tokenizer((row[k] for row in rows for k in ("prompt", "response")), 512)
    config = size.config(tokenizer).to_dict()
    config.pop("transformers_version", None)
    return digest([rows, tokenizer.chat_template, config, _TOKENIZER_TEXTS])


def write_materials(
    folder: Path,
    *,
    school: int,
    seeds: int,
    exam: int,
    vocabulary: int,
    sizes: Mapping[str, Size],
    seed: int,
    families: Sequence[str],
    levels: Sequence[int],
) -> None:
    """See the module; the same numbers give the same bytes."""
    world, words = World(seed, families, levels), random.Random(f"responses {seed}")
    taught = [_row(each, right_response(each, words)) for each in world.problems(school, "train")]
    _write(folder / SCHOOL, taught)
    _write(folder / SEEDS, (_row(each) for each in world.problems(seeds, "train")))
    tested = world.problems(exam, "test")
    _write(folder / EXAM, (_row(each, right_response(each, words)) for each in tested))
    known = taught[:_TOKENIZER_TEXTS]
    tokenizer = make_tokenizer(
        (row[k] for row in known for k in ("prompt", "response")), vocabulary
    )
    for name, size in sizes.items():
        write_untrained(folder / UNTRAINED / name, tokenizer, size)


def write_subset(database: Path, path: Path, seeds: int) -> None:
    """Accepted answers to the first `seeds` seeds of a corpus, as a recorded teacher reads them."""
    query = (
        "SELECT sample.instruction, sample.input, sample.response, seed.reference, seed.category,"
        " seed.language, seed.licence FROM seed JOIN sample ON sample.seed_id = seed.id"
        " WHERE sample.status = 'accepted' AND seed.ordinal <"
        " (SELECT min(ordinal) FROM seed) + ? ORDER BY seed.ordinal"
    )
    with closing(sqlite3.connect(database)) as connection:
        rows = connection.execute(query, (seeds,)).fetchall()
    _write(path, (_asked(dict(zip(_SAMPLE_KEYS, row, strict=True))) for row in rows))


def write_matched(database: Path, path: Path) -> None:
    """First answers, right or wrong, as many per family, language and level as were found right.

    Each of them with the instruction it answers, as a recorded teacher reads them; drawn at random
    among all first answers of the corpus.
    """
    query = (
        "SELECT sample.instruction, sample.input, sample.response, seed.reference, seed.category,"
        " seed.language, seed.licence, seed.meta, sample.status"
        " FROM seed JOIN sample ON sample.seed_id = seed.id"
        " WHERE sample.status IN ('accepted', 'rejected') AND sample.response <> ''"
        " ORDER BY seed.ordinal"
    )
    groups: dict[tuple[str, str, int], list[dict[str, Any]]] = defaultdict(list)
    right: Counter[tuple[str, str, int]] = Counter()
    with closing(sqlite3.connect(database)) as connection:
        for *values, meta, status in connection.execute(query):
            row = dict(zip(_SAMPLE_KEYS, values, strict=True))
            told = json.loads(meta)
            group = (told["family"], row["language"], told["level"])
            groups[group].append({**row, "family": told["family"], "level": told["level"]})
            right[group] += status == "accepted"
    numbers = random.Random("matched")
    _write(path, (_asked(row) for group, count in sorted(right.items())
                  for row in numbers.sample(groups[group], count)))  # fmt: skip


def _asked(row: dict[str, Any]) -> dict[str, Any]:
    given = row["input"]
    return {"prompt": f"{row['instruction']}\n\n{given}" if given else row["instruction"], **row}


def _row(problem: Problem, response: str | None = None) -> dict[str, Any]:
    row = {
        "prompt": problem.prompt,
        "instruction": problem.instruction,
        "input": problem.input,
        "reference": problem.reference,
        "category": problem.category,
        "language": problem.language,
        "licence": "Apache-2.0",
        "family": problem.family,
        "level": problem.level,
    }
    return row if response is None else {**row, "response": response}


def _write(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
