"""Where evaluated models come from, and how much of a benchmark was in their corpus, in words.

In: stored evaluations. Out: a line of lineage for each (evaluation ← training run ← export ← rows),
and a table of contamination.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath

from evaluation.report.content import Cell, Table, readable
from evaluation.report.stored import Stored

_SPANS = 5


def lineage_line(evaluation: Stored, name: str) -> str:
    """From the evaluation back to the rows that the model was trained on. Of paths the last two
    parts are told: a page may be handed on."""
    row, origin = evaluation.row, evaluation.origin
    line = f"{name}: evaluation {evaluation.id[:12]}, {row['created_at']:%Y-%m-%d}"
    line += f", commit {row['code_revision']}" if row["code_revision"] else ""
    if origin is None:
        revision = f" at revision {row['revision']}" if row["revision"] else ""
        return readable(
            f"{line} ← {row['served']}{revision}, which no training run of this corpus made"
        )
    line += f" ← {_end(origin['output'])}, by training run {origin['id'][:12]} ({origin['stage']})"
    if origin["export"] is None:
        return readable(f"{line} ← an export that this corpus does not know")
    return readable(
        f"{line} ← export {origin['export'][:12]}, {_end(origin['path'])} ← {origin['rows']:,} "
        f"rows, hash {origin['content_hash'][:12]}"
    )


def contamination_table(evaluations: Sequence[Stored], names: Sequence[str]) -> Table:
    """How many of the benchmark's items are in the training corpus, by kind of match."""
    rows = []
    for evaluation, name in zip(evaluations, names, strict=True):
        found = evaluation.row["contamination"]
        if found is None:
            rows.append((Cell(name), Cell("not looked for"), Cell("–")))
            continue
        kinds = f"{found['exact']} word for word, {found['inside']} amid others, "
        rows.append(
            (
                Cell(name),
                Cell(f"{found['found']} of {found['items']}", f"{kinds}{found['near']} near",
                     tone="doubt" if found["found"] else ""),
                Cell(f"{found['samples']:,} samples", readable(found["corpus"])),
            )
        )  # fmt: skip
    head = ("model", "items found", "looked through")
    data = [
        {"model": name, "evaluation": each.id, "contamination": each.row["contamination"]}
        for each, name in zip(evaluations, names, strict=True)
    ]
    return Table("Contamination of the training corpus", head, tuple(rows), "contamination", data)


def contamination_notes(evaluations: Sequence[Stored], names: Sequence[str]) -> list[str]:
    """The first matches, with what was found where."""
    notes = []
    for evaluation, name in zip(evaluations, names, strict=True):
        found = evaluation.row["contamination"] or {}
        for match in found.get("matches", ())[:_SPANS]:
            span = match["spans"][0] if match["spans"] else ""
            notes.append(
                readable(
                    f"{name}: item {match['item']} ({match['of']}) is {match['kind']} in the "
                    f"{match['where']} of sample {match['sample'][:12]}: “{span[:120]}”"
                )
            )
    return notes


def _end(path: str | None) -> str:
    return "/".join(PurePath(path).parts[-2:]) if path else "a folder"
