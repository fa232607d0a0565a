"""From an exam's score back to the seeds that its model learnt from, in SQL.

In: the exam's database, and the corpora that the model and its teacher learnt from. Out: `Link`s:
each a statement of `lineage_queries` and what it returned. Two things are not the database's to
say and are read from files: which rows an export holds (its file), and which captured rows a KD
stage was taught by (`teaching.json` beside the model, and the keys in the shards of its store).
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.proving_ground import lineage_queries as queries
from training.store.key import RowsSource
from training.store.shard import Shard
from training.store.store import RowStore

Row = dict[str, Any]


@dataclass(frozen=True)
class Link:
    """One statement, and the rows that it returned; `note` is what else is known of them."""

    title: str
    query: str
    rows: tuple[Row, ...]
    note: str = ""


@dataclass
class _Trail:
    """An open connection, and the links found so far."""

    database: sqlite3.Connection
    links: list[Link] = field(default_factory=list)

    def follow(
        self, title: str, query: str, note: Callable[[Sequence[Row]], str] | None = None,
        **values: Any,
    ) -> list[Row]:  # fmt: skip
        """Asks, keeps the link, returns its rows.

        Raises:
            LookupError: there are none.
        """
        rows = [dict(row) for row in self.database.execute(query, values)]
        if not rows:
            raise LookupError(f"{title}: no rows of\n{query}\nwith {values}")
        said = "" if note is None else note(rows)
        self.links.append(Link(title, query, tuple(rows), said))
        return rows


def trace_back(exam: Path, corpora: Sequence[Path]) -> list[Link]:
    """Follows the tables.

    Args:
        exam: the database of the exam that the model sat.
        corpora: the databases behind the model and its teachers, in any order.

    Raises:
        LookupError: a link is missing, or an export's file holds other rows than SQL finds.
    """
    main, lessons, school = _homes(exam, corpora)
    with _opened(main) as database:
        for name, path in (("exam", exam), ("lessons", lessons), ("school", school)):
            database.execute(f"ATTACH DATABASE ? AS {name}", (f"file:{path}?mode=ro",))
        trail = _Trail(database)
        trail.follow(
            "The score: how many of the exam's problems the model has right", queries.SCORE
        )
        item = trail.follow(
            "One item of it: the first that is right, on level 2 or above, of the family with the "
            "largest share of right answers there", queries.ITEM, _right,
        )[0]  # fmt: skip
        run = trail.follow(
            "The training run that left the model which sat the exam (:exam_run is the item's "
            "run_id)", queries.SAT, exam_run=item["run_id"],
        )[0]  # fmt: skip
        chain = trail.follow(
            "That run (:run), and each run before it whose output it began with", queries.CHAIN,
            run=run["id"],
        )  # fmt: skip
        _to_seeds(trail, chain, item["family"])
    return trail.links


def _to_seeds(trail: _Trail, chain: Sequence[Row], family: str) -> None:
    """From the runs to the exports they read, the samples in them, and whose words those are."""
    exports = trail.follow(
        "The export that each run read", queries.EXPORTS,
        exports=json.dumps([run["export_id"] for run in chain]),
    )  # fmt: skip
    ours = next(each for each in exports if each["id"] == chain[0]["export_id"])
    trail.follow(
        "The samples in the first run's export (:export)", queries.MEMBERS,
        lambda rows: _proved(trail.database, ours, rows), export=ours["id"],
    )  # fmt: skip
    ancestors = trail.follow(
        "Those of the item's family (:family), each with its seed's file and line, the call that "
        "answered, and the teacher's rows that this run was taught by (:keys)",
        queries.ANCESTORS, _taught, export=ours["id"], family=family,
        keys=json.dumps(taught_by(Path(chain[0]["output"]))),
    )  # fmt: skip
    last = chain[-1]
    if last["database"] == "lessons":
        trail.follow(
            "Before that, in the base model's export (:export): lessons of the same family",
            queries.LESSONS, export=last["export_id"], family=family,
        )  # fmt: skip
    trail.follow(
        "The teacher that answered (:call): the run that made it, and the export it read",
        queries.TEACHER, call=ancestors[0]["call"],
    )  # fmt: skip


def taught_by(model: Path) -> list[str]:
    """The keys of the teacher rows that a KD stage was taught by; none of another stage.

    `teaching.json` says which store, teachers and form of capture the stage had; rows of other
    captures in the same corpus have other keys.
    """
    told = model.parent / "teaching.json"
    if not told.is_file():
        return []
    said = json.loads(told.read_text(encoding="utf-8"))
    sources = [RowsSource.from_dict(each) for each in said["sources"]]
    with closing(RowStore.open(said["store"])) as store:
        shards = [shard for shard in store.shards if shard.source in sources]
    return [key for keys in map(Shard.keys, shards) for key in keys]


def _right(rows: Sequence[Row]) -> str:
    return "" if rows[0]["correct"] else "a wrong one, since none there is right"


def _taught(rows: Sequence[Row]) -> str:
    taught = sum(row["shard"] is not None for row in rows)
    return f"{taught:,} of them with rows of the teacher"


def _proved(database: sqlite3.Connection, export: Row, rows: Sequence[Row]) -> str:
    """Holds the rows that SQL found to those in the exported file."""
    query = "SELECT path FROM export WHERE id = ?"
    path = Path(database.execute(query, (export["id"],)).fetchone()[0])
    with path.open("rb") as file:
        written = {json.loads(line)["meta"]["id"] for line in file}
    found = {row["id"] for row in rows}
    if found != written or len(written) != export["rows"]:
        raise LookupError(f"{path} holds {len(written)} samples, SQL finds {len(found)}")
    return "the same ids as in the exported file"


def _homes(exam: Path, corpora: Sequence[Path]) -> tuple[Path, Path, Path]:
    """The databases with the runs that left the model, the base before it, and the teacher."""
    with _opened(exam) as database:
        asked = database.execute("SELECT recipe_text FROM run").fetchone()[0]
    main, recipe = _home(corpora, asked, "model: ")
    start = "student:\n  model: "
    lessons = main
    while lessons == main and (found := _find(corpora, recipe, start)):
        lessons, recipe = found
    with _opened(main) as database:
        answered = database.execute("SELECT recipe_text FROM run").fetchone()[0]
    return main, lessons, _home(corpora, answered, "model: ")[0]


def _home(corpora: Sequence[Path], text: str, before: str) -> tuple[Path, str]:
    found = _find(corpora, text, before)
    if found is None:
        raise LookupError(f"no corpus has the run behind a model in:\n{text}")
    return found


def _find(corpora: Sequence[Path], text: str, before: str) -> tuple[Path, str] | None:
    """The corpus with the finished run whose output `text` names after `before`, and its recipe."""
    query = (
        "SELECT recipe_text FROM training_run WHERE status = 'finished'"
        " AND instr(?, ? || output || char(10))"
    )
    for path in corpora:
        with _opened(path) as database:
            row = database.execute(query, (text, before)).fetchone()
        if row is not None:
            return path, row[0]
    return None


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        database.row_factory = sqlite3.Row
        yield database
