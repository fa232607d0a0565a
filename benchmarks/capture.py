"""Capture's engines against the plain loop, on one model and the same sequences, in one run.

The model is random and Qwen2-shaped with Qwen2.5's vocabulary of 151,936; on a CPU with a small
body in float32, on CUDA with the shapes of Qwen2.5 in bfloat16. Its logits are spread until ten
ids hold most of the mass, as a trained teacher's do.

The plain loop is what EasyDistill-like scripts do, done with care: batches of 8 (CPU: 4) sequences
in the corpus's order, padded to the longest, one forward (SDPA attention, no cache), log-softmax of
all logits in float32, top k on the host. On CUDA it is also timed with the top k on the device, and
gets a part of the sequences (32, and 128), since it would take many minutes for all.

The torch engine and the plain loop take turns, and so does who begins. vLLM claims most of a GPU's
memory while it lives, so for it the plain loop is timed before and after, alone on the device, and
the mean of the two is what a run is compared with. All three must say the same, or the script ends.

Lengths are drawn as real ones are: half as GSM8K's questions and worked answers (log-normal, median
51 and 66 tokens, sigma 0.36 and 0.49), half as IFEval's prompts with gpt-4o-mini's responses
(median 42 and 185, sigma 0.42 and 1.22; words, digits and signs counted as tokens), plus 29 tokens
of ChatML and Qwen2.5's default system prompt; responses of at least 8 and at most 1,500 tokens
(CPU: 512, so that the plain loop fits into memory).

`tokens_per_s` counts all real tokens, prompts included, padding not. `mfu` counts what the engine
has to compute (body for every token, head for response tokens) against a bfloat16 product measured
in the same run. Bytes are of a store's shards against JSONL of {id: prob} per response token.

    python -m benchmarks.capture [--quick] [--device cpu|cuda] [--shapes 0.5b,1.5b,7b] [--no-vllm]
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import os
import runpy
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM

from benchmarks.shapes import SHAPES, VOCABULARY, bf16_peak, make_model
from benchmarks.support import CHECKOUT
from training.capture.engine import Scored
from training.capture.torch_engine import TorchEngine
from training.capture.vllm_engine import VllmEngine
from training.data.example import Example
from training.engine.attention import ATTENTION
from training.recipe import TeacherModelSettings
from training.store.key import CaptureForm, RowsSource, TeacherIdentity
from training.store.report import store_report
from training.store.store import RowStore
from training.store.writer import ShardWriter

K = 10
PART = 32  # sequences that the plain loop gets on CUDA
TEMPLATE_TOKENS = 29


def make_examples(count: int, longest: int, seed: int = 0) -> list[Example]:
    """Sequences with lengths as the module's text says."""
    numbers = np.random.default_rng(seed)
    made = []
    for index in range(count):
        prompt, response = ((51, 0.36), (66, 0.49)) if index % 2 else ((42, 0.42), (185, 1.22))
        asked = int(prompt[0] * np.exp(prompt[1] * numbers.standard_normal()))
        said = int(response[0] * np.exp(response[1] * numbers.standard_normal()))
        before, length = TEMPLATE_TOKENS + asked, min(max(said, 8), longest)
        ids = numbers.integers(VOCABULARY, size=before + length).astype(np.int32)
        trained = np.arange(before + length) >= before
        made.append(Example(f"e{index}", f"s{index}", f"f{index}", ids, trained))
    return made


@torch.inference_mode()
def vanilla(
    model: Any, examples: Sequence[Example], batch: int, *, topk_on_host: bool
) -> list[tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]:
    """The plain loop: log-probabilities and ids of the k highest at every predicting row."""
    model.set_attn_implementation("sdpa")
    kept = []
    for begin in range(0, len(examples), batch):
        some = examples[begin : begin + batch]
        longest = max(len(each) for each in some)
        ids, mask = torch.zeros(2, len(some), longest, dtype=torch.int64)
        for row, each in enumerate(some):
            ids[row, : len(each)] = torch.from_numpy(each.token_id_T)
            mask[row, : len(each)] = 1
        inputs = {"input_ids": ids.to(model.device), "attention_mask": mask.to(model.device)}
        log_p = model(**inputs, use_cache=False).logits.float().log_softmax(-1)
        top, top_ids = (log_p.cpu() if topk_on_host else log_p).topk(K, dim=-1)
        del log_p
        top, top_ids = top.cpu(), top_ids.cpu()
        for row, each in enumerate(some):
            kept.append((top[row, each.row_N].numpy(), top_ids[row, each.row_N].numpy()))
    return kept


@dataclass(frozen=True)
class Race:
    """Two ways to do the same, timed in turn so that a busy machine slows both alike.

    Speeds are tokens per second of each one's fastest run; `ratio` is the median of the pairs'.
    """

    ours: float
    theirs: float
    ratio: float

    @classmethod
    def of(cls, ours: Sequence[float], theirs: Sequence[float], tokens: tuple[int, int]) -> Race:
        """From the seconds of each pair of runs."""
        speeds = [
            (tokens[0] / a, tokens[1] / b) for a, b in zip(ours, theirs, strict=True)
        ]  # fmt: skip
        return cls(
            ours=max(pair[0] for pair in speeds),
            theirs=max(pair[1] for pair in speeds),
            ratio=statistics.median(pair[0] / pair[1] for pair in speeds),
        )


def race(
    ours: Callable[[], Any], theirs: Callable[[], Any], tokens: tuple[int, int], repeats: int
) -> Race:
    """Times both `repeats` times, in turns, each beginning every other time. Both end with their
    results on the host."""
    taken: dict[Callable[[], Any], list[float]] = {ours: [], theirs: []}
    for number in range(repeats):
        for work in (ours, theirs) if number % 2 == 0 else (theirs, ours):
            taken[work].append(seconds(work))
    return Race.of(taken[ours], taken[theirs], tokens)


def seconds(work: Callable[[], Any]) -> float:
    """Wall-clock time of one run."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def identity(engine: str, dtype: str) -> TeacherIdentity:
    """Who the random model is."""
    return TeacherIdentity("random", "0", engine, dtype)


def compare(name: str, device: str, examples: list[Example], repeats: int) -> dict[str, Any]:
    """The torch engine and the plain loop on one shape."""
    shape, cuda = SHAPES[name], device == "cuda"
    dtype = dtype_of(device)
    model = make_model(shape, device, dtype)
    model.set_attn_implementation(ATTENTION)
    form, who = CaptureForm.top_k(K), identity("torch", str(dtype).removeprefix("torch."))
    # The plain loop knows nothing of padded ids: give both the whole width.
    engine = TorchEngine(model, who, form, vocabulary=shape.width)
    count = PART if cuda else len(examples)

    def ours() -> list[tuple[int, Scored]]:
        model.set_attn_implementation(ATTENTION)
        return list(engine.score(examples))

    def against(share: int, *, topk_on_host: bool) -> Race:
        """Ours on all sequences, the plain loop on the first `share` of them."""
        some = examples[:share]

        def theirs() -> Any:
            return vanilla(model, some, 8 if cuda else 4, topk_on_host=topk_on_host)

        _same_work(scored, theirs(), device)
        return race(ours, theirs, (count_tokens(examples), count_tokens(some)), repeats)

    if cuda:
        torch.cuda.reset_peak_memory_stats()
    scored = dict(ours())
    peak = torch.cuda.max_memory_allocated() / 2**30 if cuda else None
    found = said("torch", against(count, topk_on_host=True))
    if cuda:
        kinder = against(128, topk_on_host=False)
        flops = shape.flops(examples) / count_tokens(examples)
        found |= {
            "torch_over_vanilla_with_topk_on_device": round(kinder.ratio, 2),
            "mfu": round(flops * max(found["torch_tokens_per_s"], kinder.ours) / bf16_peak(), 3),
            "peak_gib": peak and round(peak, 1),
        }
    return found | stored(RowsSource(who, "0" * 32, "0" * 32, form), shape.width, examples, scored)


def said(engine: str, result: Race) -> dict[str, Any]:
    """A race's figures, under the engine's name."""
    return {
        f"{engine}_over_vanilla": round(result.ratio, 2),
        f"{engine}_tokens_per_s": round(result.ours),
        "vanilla_tokens_per_s": round(result.theirs),
    }


def count_tokens(examples: Sequence[Example]) -> int:
    """All of them, prompts included."""
    return sum(map(len, examples))


def _same_work(scored: dict[int, Scored], plain: list[Any], device: str) -> None:
    """Ends the script where the two do not say the same. Logits of 32 and more have steps of 0.25
    in bfloat16; rows of another position would be off by whole nats."""
    for index, (log_p, _) in enumerate(plain):
        apart = np.abs(scored[index].rows.log_p_NK - log_p).mean()
        if apart > (0.2 if device == "cuda" else 1e-4):
            sys.exit(f"engine and plain loop differ by {apart} nats at example {index}")


def stored(
    source: RowsSource, width: int, examples: list[Example], scored: dict[int, Scored]
) -> dict[str, Any]:
    """Bytes per response token, in shards and as JSONL, and what the codec changed."""
    lines = rows_counted = 0
    with tempfile.TemporaryDirectory() as folder:
        with ShardWriter(folder, source, width) as writer:
            for index, example in enumerate(examples):
                rows = scored[index].rows
                writer.append(example, rows, float(scored[index].nll_N.sum()))
                for ids, log_p in zip(rows.id_NK, np.exp(rows.log_p_NK), strict=True):
                    said = dict(zip(map(str, ids), map(float, log_p), strict=True))
                    lines += len(json.dumps(said)) + 1
                rows_counted += len(rows)
        total = store_report(RowStore.open(folder)).total
    assert total.kept_mass is not None
    return {
        "bytes_per_token": round(total.bytes_per_row, 2),
        "jsonl_bytes_per_token": round(lines / rows_counted, 1),
        "codec_kl": float(f"{total.codec_error['1.0'].mean:.3g}"),
        "kept_mass": round(total.kept_mass.mean, 3),
    }


def with_vllm(name: str, device: str, examples: list[Example], repeats: int) -> dict[str, Any]:
    """vLLM, once it is warm, against the plain loop on the same weights; never both on a device."""
    cuda = device == "cuda"
    some = examples[: PART if cuda else len(examples)]
    with tempfile.TemporaryDirectory() as folder:
        save_model(name, device, folder)
        release()
        before, plain = plain_runs(folder, device, some, repeats)
        release()
        ours, scored = vllm_runs(folder, device, examples, repeats)
        after, _ = plain_runs(folder, device, some, repeats)
        release()
    _same_work(scored, plain, device)
    theirs = [statistics.mean(pair) for pair in zip(before, after, strict=True)]
    return said("vllm", Race.of(ours, theirs, (count_tokens(examples), count_tokens(some))))


def dtype_of(device: str) -> torch.dtype:
    """What a model is computed in."""
    return torch.bfloat16 if device == "cuda" else torch.float32


def save_model(name: str, device: str, folder: str) -> None:
    """Puts a shape's random checkpoint, with some tokenizer, into a folder."""
    script = CHECKOUT / "recipes" / "vllm-cpu" / "make_checkpoint.py"
    make_model(SHAPES[name], device, dtype_of(device)).save_pretrained(folder)
    runpy.run_path(str(script))["make_tokenizer"]().save_pretrained(folder)


def release() -> None:
    """Gives the device back what a function that has ended held there, for another process."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def plain_runs(
    folder: str, device: str, examples: list[Example], repeats: int
) -> tuple[list[float], list[Any]]:
    """Seconds of the plain loop, loaded for the purpose, and what it said; once unmeasured."""
    auto: Any = AutoModelForCausalLM
    model = auto.from_pretrained(folder, dtype=dtype_of(device)).to(device).eval()

    def work() -> list[Any]:
        return vanilla(model, examples, 8 if device == "cuda" else 4, topk_on_host=True)

    kept = work()
    return [seconds(work) for _ in range(repeats)], kept


def vllm_runs(
    folder: str, device: str, examples: list[Example], repeats: int
) -> tuple[list[float], dict[int, Scored]]:
    """Seconds of the vLLM engine, and what it said; once unmeasured."""
    dtype = str(dtype_of(device)).removeprefix("torch.")
    settings = TeacherModelSettings.model_validate({"model": folder, "dtype": dtype})
    width = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))["vocab_size"]
    form, who = CaptureForm.top_k(K), identity("vllm", dtype)
    with VllmEngine(settings, who, form, vocabulary=width) as engine:
        scored = dict(engine.score(examples))
        taken = [seconds(lambda: list(engine.score(examples))) for _ in range(repeats)]
    return taken, scored


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Everything that was asked for."""
    device = arguments.device
    cuda = device == "cuda"
    count = (256 if arguments.quick else 2048) if cuda else (16 if arguments.quick else 32)
    repeats = 3
    examples = make_examples(count, 1500 if cuda else 512)
    tokens, rows = count_tokens(examples), sum(len(each.row_N) for each in examples)
    result: dict[str, Any] = {
        "device": torch.cuda.get_device_name() if cuda else f"cpu, {os.cpu_count()} cores",
        "sequences": count,
        "tokens": tokens,
        "response_share": round(rows / tokens, 3),
    }
    names = arguments.shapes.split(",") if arguments.shapes else (["0.5b"] if cuda else ["small"])
    shapes = {}
    for name in names:
        shapes[name] = compare(name, device, examples, repeats)
        release()
    for name in names if arguments.vllm else []:
        shapes[name] = with_vllm(name, device, examples, repeats) | shapes[name]
    return result | (shapes[names[0]] if len(names) == 1 else {"shapes": shapes})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer sequences")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--shapes", help=f"comma-separated: {', '.join(SHAPES)}")
    parser.add_argument("--no-vllm", dest="vllm", action="store_false")
    parsed = parser.parse_args()
    # What libraries print must not come after the last line.
    with contextlib.redirect_stdout(sys.stderr):
        measured = measure(parsed)
    print(json.dumps(measured))
