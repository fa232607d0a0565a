"""AlpacaEval 2's figures of three models from their real annotations, beside the leaderboard's.

The figure: the differences of win rate, standard error, wins, draws, average length and
length-controlled win rate from the published row; and for every annotation that keeps the judge's
log-probabilities, how far our reading of them is from the published preference.

    python -m benchmarks.alpaca_agreement [--difficulty FILE]
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
from pathlib import Path
from typing import Any

from benchmarks.support import shared_data
from evaluation.alpaca.difficulty import Difficulty, read_difficulty
from evaluation.alpaca.figures import Pair, length_controlled, win_rates
from evaluation.alpaca.judging import preference_of
from teachers.types import Completion

EXACT = ("win_rate", "standard_error", "n_wins", "n_wins_base", "n_draws", "n_total", "avg_length")


def main(difficulty_file: str | None) -> dict[str, Any]:
    """Computes every published row again."""
    folder = shared_data() / "eval" / "alpaca_eval"
    difficulty = read_difficulty(
        difficulty_file or str(folder / "instruction_difficulty_estimated.csv")
    )
    baseline = _read(folder / "gpt4_1106_preview" / "model_outputs.json.gz")
    index = {row["instruction"]: n for n, row in enumerate(baseline)}
    with (folder / "leaderboard.csv").open(encoding="utf-8") as file:
        published = {row[""]: row for row in csv.DictReader(file)}
    models = [_compare(folder, name, row, index, difficulty) for name, row in published.items()]
    return {"difficulty": difficulty.statement, "models": models}


def _compare(
    folder: Path,
    name: str,
    published: dict[str, str],
    index: dict[str, int],
    difficulty: Difficulty,
) -> dict[str, Any]:
    annotations = _read(folder / name / "annotations.json.gz")
    pairs = [
        Pair(index[a["instruction"]], a["output_1"], a["output_2"], a["preference"])
        for a in annotations
    ]
    ours = win_rates(pairs) | length_controlled(pairs, difficulty)
    differences = {key: abs(float(ours[key] or 0) - float(published[key])) for key in EXACT}
    lc = "length_controlled_winrate"
    again = [_reading(a) for a in annotations if a.get("raw_completion")]
    return {
        "model": name,
        "ours": ours,
        "differences": differences,
        "lc_published": float(published[lc]),
        "lc_difference": abs(float(ours[lc] or 0) - float(published[lc])),
        "preferences_read_again": len(again),
        "largest_preference_difference": max(again, default=None),
    }


def _reading(annotation: dict[str, Any]) -> float:
    """How far our reading of the judge's log-probabilities is from the published preference."""
    logprobs = annotation["raw_completion"]["logprobs"]
    read, _ = preference_of(Completion("", logprobs=logprobs), annotation["instruction"])
    assert read is not None, "a published preference was read from these"
    return abs(read - float(annotation["preference"]))


def _read(path: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(gzip.decompress(path.read_bytes()))
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--difficulty", help="another difficulty table, or df_gamed.csv")
    print(json.dumps(main(parser.parse_args().difficulty)))
