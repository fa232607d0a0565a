"""A step of distillation against our own SFT step and against TRL's, on one packed batch, in one run.

A step is forward and backward of the whole model: body, head, loss, gradients of every weight. What
is the same for all (optimizer, clipping) is left out, since it would only bring the ratios nearer to
one; so are DeepSpeed, one process being enough, and the reading of teacher rows, which the feed does
in a thread ahead of the step. Copies of batch and targets to the device are in.

| arm | what it is |
| --- | --- |
| `sft`, `kd` | `training.engine`'s `Trainee`: packed attention, fused head; objectives `ce`, and `tail_bucket` at k = 10, alpha = 0.9 |
| `trl_sft` | TRL's `SFTTrainer.training_step` as it is: best-fit packing, completion-only loss, chunked fused head |
| `trl_sft_compacted` | the same with TRL's own dropping of masked rows before the head, which it turns on for GPUs only (on CUDA `trl_sft` has it) |
| `trl_gkd` | TRL's dense loss, `GKDTrainer.generalized_jsd_loss` at beta = 0 (forward KL), the teacher's logits given and not timed |

All see the same weights (Qwen2 shapes, random, logits with a deviation of 8, vocabulary of 151,936;
the 7B's is 152,064) and the same documents as one row: log-normal lengths (median 150 tokens, sigma
0.5) of which a share, by default 65 %, are prompt and masked. That all do the same work is checked:
SFT losses must agree, and KL with a tail bucket may not exceed dense KL. Without TRL its arms are
left out, and the result says so.

Arms take turns, in an order that is reversed every round; a ratio is the median over rounds of the
two times within a round, beside it the quartiles and the ratio of the fastest times, which other
processes disturb least. On a CPU all is float32 and the body small: `head_share` says how much of
`sft`'s arithmetic is the head's, and at such a share every cost of KD and every masked row weighs
more than at real shapes. `tokens_per_s` counts prompts. `peak_mib` is the most memory allocated above
what lay there before the step (weights, inputs), gradients included: by PyTorch's CUDA allocator, or
by its CPU allocator's events as the profiler has them. `head_transient_mib` is the same for the head
alone, forward, less what it hands to the backward pass, by trained tokens: objective `kd`, every
token trained on, its gradient summed as the recipe's default says (`benchmarks.head_memory`: in
bfloat16 on CUDA, in float32 on a CPU). `mfu` counts 6 FLOPs per
weight and token, the head for trained tokens only.

    python -m benchmarks.kd_step [--quick] [--device cpu|cuda] [--shapes 0.5b,1.5b,7b] [--prompt-share X]
"""  # noqa: E501

from __future__ import annotations

import argparse
import contextlib
import copy
import json
import math
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.head_memory import KD, MIB, WORKSPACE, K, allocated, head_transients
from benchmarks.shapes import SHAPES, bf16_peak, make_model
from benchmarks.trl_steps import TrlSteps, has_trl
from training.data.batch import Batch, make_batch
from training.data.example import Example
from training.engine.attention import ATTENTION
from training.engine.speed import Speed
from training.engine.student import Trainee
from training.losses.objective import Objective
from training.losses.targets import SparseTargets

SFT = Objective("ce")
HEAD_TOKENS = (4096, 8192, 16_384, 32_768)

Step = Callable[[], Tensor]
"""Forward and backward; returns the mean loss."""


def make_documents(tokens: int, prompt_share: float, seed: int = 0) -> list[Example]:
    """Documents of `tokens` tokens together, about `prompt_share` of each a masked prompt."""
    numbers, left = np.random.default_rng(seed), tokens
    made: list[Example] = []
    while left:
        length = max(16, int(150 * np.exp(0.5 * numbers.standard_normal())))
        length = left if left - length < 16 else length
        prompt = int(length * numbers.beta(40 * prompt_share, 40 * (1 - prompt_share)))
        ids = numbers.integers(151_643, size=length).astype(np.int32)
        trained = np.arange(length) >= min(max(prompt, 1), length - 1)
        name = f"d{len(made)}"
        made.append(Example(name, name, name, ids, trained))
        left -= length
    return made


@dataclass(frozen=True)
class Taken:
    """Seconds of each arm in each round."""

    seconds: dict[str, list[float]]

    def quartiles(self, above: str, below: str) -> list[float]:
        """Of `above` over `below` within a round."""
        pairs = zip(self.seconds[above], self.seconds[below], strict=True)
        cuts = statistics.quantiles([a / b for a, b in pairs], n=4, method="inclusive")
        return [round(each, 3) for each in cuts]

    def of_fastest(self, above: str, below: str) -> float:
        """The fastest `above` over the fastest `below`."""
        return round(min(self.seconds[above]) / min(self.seconds[below]), 3)


def take_turns(arms: dict[str, Step], clear: Callable[[], None], device: str, rounds: int) -> Taken:
    """Runs every arm once a round, after one round that does not count."""
    taken = Taken({name: [] for name in arms})
    for number in range(rounds + 1):
        order = list(arms) if number % 2 else list(arms)[::-1]
        for name in order:
            clear()
            began = time.perf_counter()
            arms[name]()
            if device == "cuda":
                torch.cuda.synchronize()
            if number:
                taken.seconds[name].append(time.perf_counter() - began)
    clear()
    return taken


def our_step(
    trainee: Trainee, batch: Batch, targets: Sequence[SparseTargets], goal: Objective, device: str
) -> Step:
    """What the training loop does with a micro-batch, but for DeepSpeed."""

    def step() -> Tensor:
        there = [each.to(torch.device(device)) for each in targets]
        loss, _ = trainee(batch.to(device), there, goal)
        mean = loss / batch.rows
        mean.backward()
        result: Tensor = mean.detach()
        return result

    return step


@torch.no_grad()
def top_k(teacher: Any, batch: Batch, device: str) -> SparseTargets:
    """What a capture of the teacher would have said at the batch's rows, in host memory."""
    there = batch.to(device)
    hidden_1TH = teacher.base_model(
        input_ids=there.token_id_T[None],
        position_ids=there.position_id_T[None],
        use_cache=False,
        cu_length_D1=there.cu_length_D1,
        longest=there.longest,
    ).last_hidden_state
    parts = []
    for rows_C in torch.split(there.row_N, 256):
        log_p_CV = teacher.get_output_embeddings()(hidden_1TH[0, rows_C]).float().log_softmax(-1)
        kept = log_p_CV.topk(K, dim=-1)
        tail_C = torch.log1p(-kept.values.double().exp().sum(dim=1).clamp(max=1))
        parts.append((kept.indices.cpu(), kept.values.cpu(), tail_C.float().cpu()))
    id_NK, log_p_NK, log_tail_N = (torch.cat(part) for part in zip(*parts, strict=True))
    return SparseTargets(id_NK, log_p_NK, log_tail_N, torch.ones(len(id_NK)))


@dataclass(frozen=True)
class Bench:
    """One shape, ready to run: the arms, and what they share. `dense_1TV` is TRL's teacher."""

    arms: dict[str, Step]
    clear: Callable[[], None]
    speed: Speed
    batch: Batch
    target: SparseTargets
    theirs: TrlSteps | None
    dense_1TV: Tensor | None


def prepare(name: str, device: str, documents: Sequence[Example], folder: str) -> Bench:
    """Models with the same weights, a teacher's word, and a step of each kind."""
    batch, cuda = make_batch(documents), device == "cuda"
    model = make_model(SHAPES[name], device, torch.bfloat16 if cuda else torch.float32).train()
    teacher, mine = _another(model), copy.deepcopy(model)
    mine.set_attn_implementation(ATTENTION)
    speed, trainee = Speed.of(mine, cuda=cuda), Trainee(mine, WORKSPACE)
    theirs = TrlSteps(model, documents, folder, device) if has_trl() else None
    dense_1TV = theirs.logits(teacher) if theirs else None
    teacher.set_attn_implementation(ATTENTION)
    target = top_k(teacher, batch, device)
    arms = {
        "sft": our_step(trainee, batch, (), SFT, device),
        "kd": our_step(trainee, batch, (target,), KD, device),
    }
    if theirs is not None and dense_1TV is not None:
        arms["trl_sft"] = theirs.sft
        if not cuda:
            arms["trl_sft_compacted"] = theirs.sft_compacted
        arms["trl_gkd"] = partial(theirs.gkd, dense_1TV)

    def clear() -> None:
        model.zero_grad(set_to_none=True)
        mine.zero_grad(set_to_none=True)

    only_kd = Objective(KD.name, alpha=1.0)
    bucket = float(our_step(trainee, batch, (target,), only_kd, device)())
    _check_same_work(arms, bucket, clear, tolerance=2e-2 if cuda else 1e-4)
    return Bench(arms, clear, speed, batch, target, theirs, dense_1TV)


def _another(model: Any) -> Any:
    """A teacher of the same shape, not far from the student."""
    teacher = copy.deepcopy(model).eval()
    with torch.no_grad():
        for weight in teacher.parameters():
            weight.add_(torch.randn_like(weight) * weight.std(), alpha=0.3)
    return teacher


def _check_same_work(
    arms: dict[str, Step], bucket: float, clear: Callable[[], None], tolerance: float
) -> None:
    """Ends the script where losses say that the arms do different things."""
    losses = {}
    for name, step in arms.items():
        clear()
        losses[name] = float(step())
    sft = [loss for name, loss in losses.items() if "sft" in name]
    apart = max(sft) - min(sft)
    if apart > tolerance or not 0 < bucket <= losses.get("trl_gkd", math.inf) + tolerance:
        sys.exit(f"unequal work: losses {losses}, KL with a tail bucket {bucket}")


def default_tokens(name: str, device: str, *, quick: bool) -> int:
    """Of the packed batch: what fits, without gradient checkpointing, with TRL's dense loss."""
    if device == "cuda":
        return 4096 if name == "7b" else 8192
    return 512 if quick else 1024


def compare(name: str, device: str, options: argparse.Namespace) -> dict[str, Any]:
    """All arms at one shape."""
    cuda = device == "cuda"
    tokens = options.tokens or default_tokens(name, device, quick=options.quick)
    documents = make_documents(tokens, options.prompt_share)
    with tempfile.TemporaryDirectory() as folder:
        bench = prepare(name, device, documents, folder)
        peaks = {}
        for arm, step in bench.arms.items():
            bench.clear()
            peaks[arm] = round(allocated(step, device)[0] / MIB)
        ours = {arm: bench.arms[arm] for arm in ("sft", "kd")}
        taken = take_turns(ours, bench.clear, device, options.rounds)
        rounds = max(2, options.rounds // 3)
        against = take_turns(bench.arms, bench.clear, device, rounds) if bench.theirs else taken
    body, head = bench.speed.body * tokens, bench.speed.head * bench.batch.rows
    medians = {arm: statistics.median(against.seconds[arm]) for arm in bench.arms}
    found: dict[str, Any] = {
        **ratios(taken, against),
        "tokens": tokens,
        "documents": len(documents),
        "trained_tokens": bench.batch.rows,
        "prompt_share": round(1 - bench.batch.rows / tokens, 3),
        "head_share": round(head / (body + head), 3),
        "trl": f"attention: {bench.theirs.attention}" if bench.theirs else "absent, arms left out",
        "seconds": {arm: round(each, 4) for arm, each in medians.items()},
        "tokens_per_s": {arm: round(tokens / each) for arm, each in medians.items()},
        "peak_mib": peaks,
        "teacher_mib": {"kd": _mib(bench.target.id_NK, bench.target.log_p_NK)},
    }
    if bench.dense_1TV is not None:
        found["teacher_mib"]["trl_gkd"] = _mib(bench.dense_1TV)
    if cuda:
        fast = (body + head) / bf16_peak()
        found["mfu"] = {arm: round(fast / each, 3) for arm, each in medians.items()}
    return found


def ratios(ours: Taken, all_arms: Taken) -> dict[str, Any]:
    """Each ratio's median over rounds, its quartiles, and that of the fastest times."""
    pairs = {
        "kd_over_sft": (ours, "kd", "sft"),
        "sft_over_trl": (all_arms, "trl_sft", "sft"),
        "sft_over_trl_compacted": (all_arms, "trl_sft_compacted", "sft"),
        "kd_over_trl_gkd": (all_arms, "trl_gkd", "kd"),
    }
    found: dict[str, Any] = {}
    for name, (taken, above, below) in pairs.items():
        if above in taken.seconds:
            low, median, high = taken.quartiles(above, below)
            found[name], found[f"{name}_quartiles"] = median, [low, high]
            found[f"{name}_of_fastest"] = taken.of_fastest(above, below)
    return found


def _mib(*tensors: Tensor) -> float:
    return round(sum(each.numel() * each.itemsize for each in tensors) / MIB, 1)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Everything that was asked for."""
    device = options.device
    cuda = device == "cuda"
    names = options.shapes.split(",") if options.shapes else (["0.5b"] if cuda else ["small"])
    options.rounds = 4 if options.quick else 16
    shapes = {}
    for name in names:
        shapes[name] = compare(name, device, options)
        counts = HEAD_TOKENS[:: len(HEAD_TOKENS) - 1] if options.quick else HEAD_TOKENS
        shapes[name] |= head_transients(SHAPES[name], counts, device)
    result: dict[str, Any] = {
        "device": torch.cuda.get_device_name() if cuda else f"cpu, {os.cpu_count()} cores",
        "rounds": options.rounds,
        "head_workspace_mib": WORKSPACE // MIB,
    }
    return result | (shapes[names[0]] if len(names) == 1 else {"shapes": shapes})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds, tokens and head sizes")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--shapes", help=f"comma-separated: {', '.join(SHAPES)}")
    parser.add_argument("--prompt-share", type=float, default=0.65)
    parser.add_argument(
        "--tokens", type=int, help="of the packed batch; default 1024, on CUDA 8192, for 7b 4096"
    )
    parsed = parser.parse_args()
    # What libraries print must not come after the last line.
    with contextlib.redirect_stdout(sys.stderr):
        measured = measure(parsed)
    print(json.dumps(measured))
