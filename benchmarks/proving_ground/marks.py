"""Marks one model's exam: what it answered, how likely right answers are to it, how sure it is.

In: the model's folder, the exam's file, the database in which it sat the exam. Out: a JSON file.

- `accuracy`: the share of problems whose greedy answer the executable checks accepted.
- `nll`: mean negative log-likelihood, in nats per response token (the turn's end included), of the
  world's own responses to the exam; `entropy`: of the model's distribution at the same places.
- `agreement`: how often its most probable next token there is the one of the response;
  `confidence`: the mean probability that it gives that token.
- `ece`: expected calibration error of its most probable next token at those places, in 15 bins of
  equal width (Guo and others, arXiv 1706.04599). A response is one of several right ones, drawn by
  the world's law, so a calibrated model is right as often as it is sure.

    python -m benchmarks.proving_ground.marks MODEL EXAM.jsonl EXAM.db RESULT.json
"""

from __future__ import annotations

import json
import sqlite3
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

BINS = 15
_BATCH = 32
# The one failure that is the model's own: it counts as a wrong answer.
_SAID_NOTHING = "empty_answer"


def main(model: str, exam: str, database: str, result: str) -> None:
    """Writes the marks."""
    with Path(exam).open(encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    said = {**accuracies(Path(database)), **likelihoods(model, rows)}
    Path(result).write_text(json.dumps(said, ensure_ascii=False, indent=1), encoding="utf-8")


def accuracies(database: Path) -> dict[str, Any]:
    """Accuracy over all problems, and by family, language and level; and each problem's outcome."""
    query = (
        "SELECT seed.meta, seed.language, sample.id, sample.status, sample.reason, sample.response"
        " FROM seed JOIN sample ON sample.seed_id = seed.id ORDER BY seed.ordinal"
    )
    right: dict[str, list[bool]] = defaultdict(list)
    items = []
    with closing(sqlite3.connect(database)) as connection:
        for meta, language, sample, status, reason, response in connection.execute(query):
            if status not in ("accepted", "rejected") and reason != _SAID_NOTHING:
                raise SystemExit(f"sample {sample} of the exam is {status}: {reason}")
            told, good = json.loads(meta), status == "accepted"
            for group in ("all", f"family:{told['family']}", f"language:{language}",
                          f"level:{told['level']}"):  # fmt: skip
                right[group].append(good)
            items.append({"id": sample, "family": told["family"], "level": told["level"],
                          "right": good, "response": response})  # fmt: skip
    shares = {group: sum(each) / len(each) for group, each in right.items()}
    return {"accuracy": shares.pop("all"), "groups": shares, "items": items}


@torch.inference_mode()
def likelihoods(model: str, rows: Iterable[dict[str, Any]]) -> dict[str, float]:
    """NLL, entropy and calibration error at the responses' tokens."""
    tokenizer: Any = AutoTokenizer.from_pretrained(model)
    causal: Any = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    nll = entropy = 0.0
    confidences, hits = [], []
    for log_p_NV, label_N in _responses(causal.eval(), tokenizer, list(rows)):
        nll -= float(log_p_NV.gather(1, label_N[:, None]).sum())
        entropy -= float((log_p_NV.exp() * log_p_NV).sum())
        best = log_p_NV.max(dim=1)
        confidences.append(best.values.exp())
        hits.append(best.indices == label_N)
    confidence_N, hit_N = torch.cat(confidences), torch.cat(hits)
    return {
        "nll": nll / len(hit_N),
        "entropy": entropy / len(hit_N),
        "ece": calibration_error(confidence_N, hit_N),
        "agreement": float(hit_N.float().mean()),
        "confidence": float(confidence_N.double().mean()),
        "tokens": len(hit_N),
    }


def calibration_error(confidence_N: Tensor, hit_N: Tensor) -> float:
    """Expected calibration error over `BINS` equal bins of confidence."""
    bin_N = (confidence_N * BINS).long().clamp(max=BINS - 1)
    gap = torch.zeros(BINS, dtype=torch.float64)
    gap.index_add_(0, bin_N, confidence_N.double() - hit_N.double())
    return float(gap.abs().sum() / len(hit_N))


def _responses(
    model: Any, tokenizer: Any, rows: list[dict[str, Any]]
) -> Iterator[tuple[Tensor, Tensor]]:
    """Log-probabilities [N, V] and labels [N] of response tokens, a batch of problems at a time."""
    texts = []
    for row in rows:
        turn = [{"role": "user", "content": row["prompt"]}]
        prompt = tokenizer.apply_chat_template(
            turn, add_generation_prompt=True, tokenize=True, return_dict=False
        )
        response = tokenizer(row["response"], add_special_tokens=False)["input_ids"]
        texts.append((prompt, [*response, tokenizer.eos_token_id]))
    texts.sort(key=lambda pair: len(pair[0]) + len(pair[1]))
    for begin in range(0, len(texts), _BATCH):
        some = texts[begin : begin + _BATCH]
        longest = max(len(a) + len(b) for a, b in some)
        ids = torch.full((len(some), longest), tokenizer.pad_token_id)
        for place, (prompt, response) in enumerate(some):
            ids[place, : len(prompt) + len(response)] = torch.tensor(prompt + response)
        log_p_BTV = model(ids).logits.log_softmax(dim=-1)
        for place, (prompt, response) in enumerate(some):
            rows_N = slice(len(prompt) - 1, len(prompt) + len(response) - 1)
            yield log_p_BTV[place, rows_N], torch.tensor(response)


if __name__ == "__main__":
    main(*sys.argv[1:])
