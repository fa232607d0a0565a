"""What the tests of capture share: examples, a plain reference, an export."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from common.hashing import digest
from storage.export import EXPORT_VERSION
from training.data.example import Example

SENTENCE = "the farmer gives apples to her neighbours by the sea in the evening light"
WORDS = tuple(SENTENCE.split())


def make_examples(lengths: Sequence[int], vocabulary: int, seed: int = 0) -> list[Example]:
    numbers = np.random.default_rng(seed)
    made = []
    for index, length in enumerate(lengths):
        ids = numbers.integers(vocabulary, size=length).astype(np.int32)
        trained = np.arange(length) > length // 3
        made.append(Example(f"e{index}", f"sample-{index}", f"f{index}", ids, trained))
    return made


def log_p_of(model: PreTrainedModel, example: Example, vocabulary: int) -> torch.Tensor:
    """Plain float64 log-probabilities at the predicting positions, one sequence at a time."""
    ids = torch.from_numpy(example.token_id_T.astype(np.int64))[None]
    with torch.no_grad():
        logits = model(input_ids=ids, use_cache=False).logits[0]
    return logits[torch.from_numpy(example.row_N), :vocabulary].log_softmax(-1)


def reference(folder: Path) -> Any:
    """The checkpoint in float64 with transformers' plain attention."""
    return AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float64, attn_implementation="eager"
    ).eval()


def write_export(folder: Path, count: int, words: Sequence[str]) -> Path:
    """An export of `count` samples as `stillhouse export` writes it; returns its manifest."""
    lines = []
    for index in range(count):
        numbers = np.random.default_rng(index)
        said = " ".join(numbers.choice(words, size=4 + index % 9))
        asked = {"role": "user", "content": f"Say number {index}."}
        meta = {"id": f"sample-{index}", "family_id": f"family-{index}", "recipe": "r"}
        meta |= {"status": "accepted", "category": "writing", "language": "en"}
        messages = [asked, {"role": "assistant", "content": said}]
        lines.append(orjson.dumps({"messages": messages, "meta": meta}) + b"\n")
    raw = b"".join(lines)
    (folder / "export.jsonl").write_bytes(raw)
    said = {
        "file": "export.jsonl",
        "format": "messages",
        "reasoning": "inline",
        "filters": {
            "recipe": None,
            "status": ["accepted"],
            "allow_simulated": False,
            "terms": "unknown",
        },
        "rows": count,
        "sha256": hashlib.sha256(raw).hexdigest(),
        "export_version": EXPORT_VERSION,
    }
    manifest = folder / "export.jsonl.manifest.json"
    manifest.write_bytes(orjson.dumps({"export": digest(said), **said}))
    return manifest
