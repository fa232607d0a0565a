"""Capture's engines against the plain loop, on one model and the same sequences, in one run.

The model is random and Qwen2-shaped with Qwen2.5's vocabulary of 151,936; on a CPU with a small
body in float32, on CUDA with the shapes of Qwen2.5 in bfloat16. Its logits are spread until ten
ids hold most of the mass, as a trained teacher's do.

The plain loop is what EasyDistill-like scripts do, done with care: batches of 8 (CPU: 4) sequences
in the corpus's order, padded to the longest, one forward (SDPA attention, no cache), log-softmax of
all logits in float32, top k on the host. On CUDA it is also timed with the top k on the device, and
gets a part of the sequences (32, and 128), since it would take many minutes for all.

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
import json
import os
import runpy
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM, Qwen2Config

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
TEMPLATE_TOKENS = 29
VOCABULARY = 151_665  # ids that Qwen2.5's tokenizer has; the rest of the width is padding


@dataclass(frozen=True)
class Shape:
    """A Qwen2 model: hidden size, layers, intermediate size, heads, key-value heads."""

    hidden: int
    layers: int
    intermediate: int
    heads: int
    kv_heads: int
    width: int = 151_936
    tied: bool = True

    def config(self) -> Qwen2Config:
        """As transformers takes it."""
        return Qwen2Config(
            vocab_size=self.width,
            hidden_size=self.hidden,
            intermediate_size=self.intermediate,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            num_key_value_heads=self.kv_heads,
            max_position_embeddings=8192,
            tie_word_embeddings=self.tied,
        )

    def flops(self, examples: Sequence[Example]) -> float:
        """What has to be computed: the body for every token, the head for predicting rows."""
        kv = self.hidden * self.kv_heads // self.heads
        weights = 2 * self.hidden * (self.hidden + kv) + 3 * self.hidden * self.intermediate
        tokens = sum(len(each) for each in examples)
        squares = sum(len(each) ** 2 for each in examples)
        rows = sum(len(each.row_N) for each in examples)
        # Causal attention: half of the two products of T × T × hidden.
        body = self.layers * (2 * weights * tokens + 2 * self.hidden * squares)
        return float(body + 2 * self.hidden * VOCABULARY * rows)


SHAPES = {
    "small": Shape(256, 4, 1024, 4, 2),
    "0.5b": Shape(896, 24, 4864, 14, 2),
    "1.5b": Shape(1536, 28, 8960, 12, 2),
    "7b": Shape(3584, 28, 18_944, 28, 4, width=152_064, tied=False),
}


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


def make_model(shape: Shape, device: str, dtype: torch.dtype) -> Any:
    """Random weights whose logits have a deviation of 8."""
    torch.manual_seed(0)
    auto: Any = AutoModelForCausalLM
    with torch.device(device):
        model = auto.from_config(shape.config(), dtype=dtype)
    with torch.no_grad():
        model.model.norm.weight.fill_(8 / (0.02 * shape.hidden**0.5))
    return model.eval()


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


def race(
    ours: Callable[[], Any], theirs: Callable[[], Any], tokens: tuple[int, int], repeats: int
) -> Race:
    """Times both `repeats` times, alternating. Both end with their results on the host."""
    pairs = [(tokens[0] / seconds(ours), tokens[1] / seconds(theirs)) for _ in range(repeats)]
    return Race(
        ours=max(pair[0] for pair in pairs),
        theirs=max(pair[1] for pair in pairs),
        ratio=statistics.median(pair[0] / pair[1] for pair in pairs),
    )


def seconds(work: Callable[[], Any]) -> float:
    """Wall-clock time of one run."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def bf16_peak() -> float:
    """FLOP/s of a large bfloat16 product on this GPU, the best of ten."""
    a = torch.randn(8192, 8192, dtype=torch.bfloat16, device="cuda")
    best = float("inf")
    for _ in range(10):
        torch.cuda.synchronize()
        began = time.perf_counter()
        for _ in range(10):
            a @ a
        torch.cuda.synchronize()
        best = min(best, (time.perf_counter() - began) / 10)
    return 2 * 8192**3 / best


def identity(engine: str, dtype: str) -> TeacherIdentity:
    """Who the random model is."""
    return TeacherIdentity("random", "0", engine, dtype)


def compare(name: str, device: str, examples: list[Example], repeats: int) -> dict[str, Any]:
    """The torch engine and the plain loop on one shape."""
    shape, cuda = SHAPES[name], device == "cuda"
    dtype = torch.bfloat16 if cuda else torch.float32
    model = make_model(shape, device, dtype)
    model.set_attn_implementation(ATTENTION)
    form, who = CaptureForm.top_k(K), identity("torch", str(dtype).removeprefix("torch."))
    # The plain loop knows nothing of padded ids: give both the whole width.
    engine = TorchEngine(model, who, form, vocabulary=shape.width)

    def ours() -> list[tuple[int, Scored]]:
        model.set_attn_implementation(ATTENTION)
        return list(engine.score(examples))

    def against(share: int, *, topk_on_host: bool) -> Race:
        """Ours on all sequences, the plain loop on the first `share` of them."""
        some = examples[:share]

        def theirs() -> Any:
            return vanilla(model, some, 8 if cuda else 4, topk_on_host=topk_on_host)

        _same_work(scored, theirs(), tolerance=0.1 if cuda else 1e-4)
        return race(ours, theirs, (count_tokens(examples), count_tokens(some)), repeats)

    if cuda:
        torch.cuda.reset_peak_memory_stats()
    scored = dict(ours())
    peak = torch.cuda.max_memory_allocated() / 2**30 if cuda else None
    found = said("torch", against(32 if cuda else len(examples), topk_on_host=True))
    if cuda:
        kinder = against(128, topk_on_host=False)
        flops = shape.flops(examples) / count_tokens(examples)
        found |= {
            "torch_over_vanilla_with_topk_on_device": round(kinder.ratio, 2),
            "mfu": round(flops * max(found["torch_tokens_per_s"], kinder.ours) / bf16_peak(), 3),
            "peak_gib": peak and round(peak, 1),
        }
    else:
        found |= stored(who, form, examples, scored)
    return found


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


def _same_work(scored: dict[int, Scored], plain: list[Any], tolerance: float) -> None:
    """Ends the script where the two do not say the same."""
    for index, (log_p, _) in enumerate(plain):
        apart = np.abs(scored[index].rows.log_p_NK - log_p).mean()
        if apart > tolerance:
            sys.exit(f"engine and plain loop differ by {apart} nats at example {index}")


def stored(
    who: TeacherIdentity, form: CaptureForm, examples: list[Example], scored: dict[int, Scored]
) -> dict[str, Any]:
    """Bytes per response token, in shards and as JSONL, and what the codec changed."""
    source = RowsSource(who, "0" * 32, "0" * 32, form)
    lines = rows_counted = 0
    with tempfile.TemporaryDirectory() as folder:
        with ShardWriter(folder, source, 151_936) as writer:
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
    """vLLM against the plain loop on the same weights, once it is warm."""
    cuda = device == "cuda"
    dtype = torch.bfloat16 if cuda else torch.float32
    model = make_model(SHAPES[name], device, dtype)
    dtype_name = str(dtype).removeprefix("torch.")
    script = CHECKOUT / "recipes" / "vllm-cpu" / "make_checkpoint.py"
    some = examples[: 32 if cuda else len(examples)]
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        runpy.run_path(str(script))["make_tokenizer"]().save_pretrained(folder)
        settings = TeacherModelSettings.model_validate({"model": folder, "dtype": dtype_name})
        form, width = CaptureForm.top_k(K), SHAPES[name].width
        with VllmEngine(settings, identity("vllm", dtype_name), form, vocabulary=width) as engine:
            list(engine.score(examples[:8]))
            result = race(
                lambda: list(engine.score(examples)),
                lambda: vanilla(model, some, 8 if cuda else 4, topk_on_host=True),
                (count_tokens(examples), count_tokens(some)),
                repeats,
            )
    return said("vllm", result)


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
    shapes = {name: compare(name, device, examples, repeats) for name in names}
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
