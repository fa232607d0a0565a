"""Agreement of our IFEval verdicts with the reference scorer's, on real responses of three models.

The figure: per model and language, the share of instructions with the same verdict, strict and
loose, and the four scores beside the reference's; every disagreement with its cause.

    python -m benchmarks.ifeval_agreement
"""

from __future__ import annotations

import gzip
import json
import time
from pathlib import Path
from typing import Any

from benchmarks.support import shared_data
from evaluation.ifeval.scoring import Followed, check_response, ifeval_metrics, loose_variants

# Found by hand, from the responses and the two scorers; `_cause` looks whether one can be it.
_LETTER = (
    "the letter is a sign (! or #): the reference scorer counted a letter drawn at random in its "
    "place, ours counts the sign"
)
_DETECTED = (
    "the language detector draws at random, and the reference scorer's draw was not seeded; the "
    "text it judged here is one word"
)
_DETECTING = {
    "en:change_case:english_lowercase",
    "en:change_case:english_capital",
    "en:language:response_language",
}


def main() -> dict[str, Any]:
    """Checks every response again."""
    folder, began = shared_data() / "eval" / "ifeval", time.monotonic()
    found = []
    for strict in sorted((folder / "verdicts").glob("*_strict.jsonl.gz")):
        language, _, model = strict.name.removesuffix("_strict.jsonl.gz").partition("_")
        loose = strict.with_name(strict.name.replace("_strict", "_loose"))
        prompts = _lines(folder / f"{language}_input_data.jsonl")
        found.append(_compare(model, language, prompts, _lines(strict), _lines(loose)))
    return {"models": found, "seconds": round(time.monotonic() - began, 1)}


def _compare(
    model: str,
    language: str,
    prompts: list[dict[str, Any]],
    strict: list[dict[str, Any]],
    loose: list[dict[str, Any]],
) -> dict[str, Any]:
    # The verdicts' prompts are in the order of the data; a few were reworded since.
    by_prompt = {row["prompt"]: row for row in prompts}
    ours, theirs, disagreements, total = [], [], [], 0
    agreed = {"strict": 0, "loose": 0}
    for place, (s, row_loose) in enumerate(zip(strict, loose, strict=True)):
        row = by_prompt.get(s["prompt"], prompts[place])
        assert row["instruction_id_list"] == s["instruction_id_list"], s["prompt"]
        ids = row["instruction_id_list"]
        made = check_response(language, row["prompt"], ids, row["kwargs"], s["response"])
        given = Followed(
            tuple(s["follow_instruction_list"]), tuple(row_loose["follow_instruction_list"])
        )
        ours.append(made)
        theirs.append(given)
        total += len(ids)
        for mode in agreed:
            for name, arguments, mine, reference in zip(
                ids, row["kwargs"], getattr(made, mode), getattr(given, mode), strict=True
            ):
                agreed[mode] += mine == reference
                if mine != reference:
                    disagreements.append(
                        {
                            "key": row["key"],
                            "instruction": name,
                            "mode": mode,
                            "ours": mine,
                            "reference": reference,
                            "cause": _cause(name, arguments, s["response"], mode),
                        }
                    )
    scores, reference_scores = ifeval_metrics(ours), ifeval_metrics(theirs)
    return {
        "model": model,
        "language": language,
        "prompts": len(strict),
        "instructions": total,
        "agreement_percent": {mode: round(100 * n / total, 3) for mode, n in agreed.items()},
        "scores": {name: round(value, 3) for name, value in scores.items()},
        "reference_scores": {name: round(value, 3) for name, value in reference_scores.items()},
        "largest_score_difference": round(
            max(abs(scores[name] - reference_scores[name]) for name in scores), 3
        ),
        "disagreements": disagreements,
    }


def _cause(name: str, arguments: dict[str, Any], response: str, mode: str) -> str:
    """The known cause of a disagreement, where what it claims is so."""
    if name == "en:keywords:letter_frequency" and not str(arguments["letter"]).isalpha():
        return _LETTER
    judged = loose_variants(response) if mode == "loose" else [response]
    if name in _DETECTING and any(len(text.split()) == 1 for text in judged):
        return _DETECTED
    return "unexplained"


def _lines(path: Path) -> list[dict[str, Any]]:
    raw = path.read_bytes()
    text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode()
    return [json.loads(line) for line in text.split("\n") if line]


if __name__ == "__main__":
    print(json.dumps(main()))
