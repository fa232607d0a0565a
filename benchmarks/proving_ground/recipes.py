"""The recipes that the proving ground gives to `stillhouse`: for its factory and for its trainer.

In: files and settings. Out: documents that are written as YAML beside what comes of them. They are
ordinary recipes; a user could run each by hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.proving_ground.models import CONTEXT

Document = dict[str, Any]

_AS_IT_STANDS: Document = {
    "expansion": {"enabled": False},
    "rewriting": {"enabled": False},
    "selection": {"enabled": False},
    "verification": {"judge": False, "max_rounds": 0},
}
"""The response alone, and the executable checks: what no check can settle is rejected."""

_RESPONSE: Document = {
    "prompt": "rewriting/as_is",
    "steps_prompt": "rewriting/as_is",
    "chain_of_thought": [],
}


def recorded(name: str, rows: Path, limit: int) -> Document:
    """Brings the first `limit` problems in with the responses that stand beside them."""
    return {
        "name": name,
        "seeds": [{"path": str(rows), "fields": {"reference": "reference"}, "limit": limit}],
        "teacher": "world",
        "teachers": {
            "world": {
                "kind": "recorded",
                "path": str(rows),
                "model": "task-world",
                "terms": {"allows_training": True, "licence": "Apache-2.0"},
            }
        },
        "agents": {**_AS_IT_STANDS, "response": _RESPONSE},
    }


def asked(
    name: str, seeds: Path, limit: int, model: Path, temperature: float, *, on_gpu: bool = False
) -> Document:
    """Asks a model of ours, served by vLLM for the length of the run, and checks what it says."""
    return {
        "name": name,
        "seeds": [{"path": str(seeds), "fields": {"reference": "reference"}, "limit": limit}],
        "teacher": "model",
        "teachers": {
            "model": {
                "kind": "vllm",
                "family": "task-world",
                "terms": {"allows_training": True, "licence": "Apache-2.0"},
                "limits": {"initial_concurrency": 64},
                "server": server(model, on_gpu=on_gpu),
            }
        },
        "agents": {
            **_AS_IT_STANDS,
            "response": {**_RESPONSE, "sampling": {"temperature": temperature, "max_tokens": 96}},
        },
    }


def server(model: Path, *, on_gpu: bool = False) -> Document:
    """vLLM's settings for a small model: on a GPU, which it shares, or tiny on a CPU."""
    both: Document = {
        "model": str(model),
        "served_model_name": "model",
        "dtype": "float32",
        "max_model_len": CONTEXT,
        "seed": 0,
    }
    if on_gpu:
        return {**both, "gpu_memory_utilization": 0.3, "extra_args": ["--max-num-seqs", "256"]}
    return {
        **both,
        "enforce_eager": True,
        "kv_cache_gib": 1,
        "env": {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "TORCH_COMPILE_DISABLE": "1"},
        "extra_args": ["--distributed-executor-backend", "uni", "--max-num-seqs", "64"],
    }


def training(
    name: str,
    *,
    manifest: Path,
    database: Path | None,
    statuses: tuple[str, ...],
    start: Path,
    random_init: bool,
    stage: Mapping[str, Any],
    teachers: Mapping[str, Path],
    capture: Mapping[str, Any],
    output: Path,
    ranks: int,
) -> Document:
    """One stage on one corpus; `teachers` and `capture` matter to KD and to the capture before."""
    corpus: Document = {"manifest": str(manifest), "validation": 0.0, "statuses": list(statuses)}
    if database is not None:
        corpus["db"] = str(database)
    return {
        "name": name,
        "corpus": corpus,
        "data": {"context": CONTEXT},
        "student": {"model": str(start), "dtype": "float32", "random_init": random_init},
        "teachers": {
            each: {"model": str(path), "dtype": "float32"} for each, path in teachers.items()
        },
        "capture": dict(capture),
        "stages": [dict(stage)],
        "engine": {
            "ranks": ranks,
            "zero": 0,
            "tokens_per_micro_batch": 4096,
            "checkpoint_every": 2000,
            "keep_checkpoints": 1,
            "validate_every": 100_000,
        },
        "tracking": {"tensorboard": False},
        "output": str(output),
    }
