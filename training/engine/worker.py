"""One rank: what `deepspeed` starts, once per device.

In: the path of a stage's spec. Out: the trained stage in its folder. An error that the user can
mend is left in a file for the parent process, which shows it (`training.engine.last_words`).

    deepspeed --num_accelerators 2 --module training.engine.worker FOLDER/stage.json
"""

from __future__ import annotations

import os
import sys
import traceback
from contextlib import nullcontext, suppress
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from common.errors import StillhouseError
from training.data.tokenised import TokenisedCorpus
from training.engine import last_words
from training.engine.deepspeed_config import deepspeed_config
from training.engine.device import on_gpus
from training.engine.feed import Feed
from training.engine.loop import StageLoop, resume_point
from training.engine.memory_errors import explained, is_out_of_memory
from training.engine.optimizer import make_optimizer
from training.engine.saving import save_student
from training.engine.schedules import held_out_schedule, training_schedule
from training.engine.spec import StageSpec
from training.engine.speed import Speed
from training.engine.student import Trainee, load_student
from training.engine.teaching import Teaching
from training.engine.tether import end_with_others
from training.errors import LaunchFailed
from training.report.metrics import METRICS_FILE, MetricsWriter
from training.report.reading import Record, read_metrics

MIB = 2**20
COLLECTIVE_TIMEOUT = timedelta(minutes=30)


def connect() -> None:
    """Joins the other ranks: NCCL where there are GPUs, gloo elsewhere."""
    import deepspeed

    cuda = on_gpus()
    if not cuda:
        # A shared-memory all-reduce for inference, which training never calls; building it takes
        # a compiler and most of a minute.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    _let_the_compiler_sleep()
    deepspeed.init_distributed("nccl" if cuda else "gloo", timeout=COLLECTIVE_TIMEOUT)


def _let_the_compiler_sleep() -> None:
    """With ZeRO, DeepSpeed asks whether the optimizer is a Muon. Importing that decorates functions
    with `torch.compile`, which loads the compiler: seconds per rank, for what training never calls.
    """
    from deepspeed.runtime import compiler

    whole = compiler.compile
    compiler.compile = lambda: lambda function: function
    try:
        with suppress(ImportError):  # another version may have none
            import_module("deepspeed.runtime.zero.muon.original_muon")
    finally:
        compiler.compile = whole


def open_stage(spec: StageSpec) -> tuple[Any, Feed]:
    """The stage's DeepSpeed engine and this rank's feed."""
    recipe, stage = spec.recipe, spec.stage
    if dist.get_world_size() != recipe.engine.ranks:
        raise LaunchFailed(
            f"{dist.get_world_size()} ranks were started, not {recipe.engine.ranks} as the recipe "
            "says.",
            cause="The hostfile names another number of devices.",
            solution="Set engine.ranks to the number of devices on all hosts together.",
        )
    engine = _engine(spec)
    corpus = TokenisedCorpus.open(spec.corpus)
    world = dist.get_world_size()
    teaching = Teaching.open(spec.teaching) if spec.teaching else None
    taught_E = teaching.taught_E if teaching else None
    feed = Feed(
        corpus,
        training_schedule(corpus, recipe, stage, world, taught_E),
        held_out=held_out_schedule(corpus, recipe, world, taught_E),
        teaching=teaching,
        rank=dist.get_rank(),
        device=engine.device,
    )
    return engine, feed


def train_stage(spec: StageSpec) -> None:
    """Trains one stage on this rank, together with the others, and saves its model."""
    engine, feed = open_stage(spec)
    start = resume_point(spec, engine)
    speed = Speed.of(engine.module.student, cuda=engine.device.type == "cuda")
    with _metrics(spec, feed, start) if dist.get_rank() == 0 else nullcontext() as metrics:
        steps = StageLoop(spec, engine, feed, metrics, speed).run(start)
        save_student(
            engine,
            spec.recipe.student,
            spec.start,
            spec.folder / "model",
            turn_end=feed.corpus.meta["turn_end"]["id"],
            lineage=spec.lineage,
        )
        if metrics is not None:
            metrics.event("end", step=steps)


def _metrics(spec: StageSpec, feed: Feed, start: int) -> MetricsWriter:
    changed = _changed(spec, start) if start else {}
    writer = MetricsWriter(
        spec.folder,
        spec.recipe.tracking,
        run_name=f"{spec.recipe.name}/{spec.name}",
        config=spec.recipe.text(),
        resume_at=start + 1 if start else 0,
    )
    begun: dict[str, Any] = {
        "steps": feed.schedule.steps,
        "ranks": dist.get_world_size(),
        "settings": spec.adjustable,
    }
    if changed:
        begun["changed"] = changed
    writer.event("begin", step=start, **begun)
    return writer


def _changed(spec: StageSpec, start: int) -> dict[str, list[Any]]:
    """What is set otherwise than for the steps until `start`: [before, now], by its name."""
    file = spec.folder / METRICS_FILE
    records: list[Record] = read_metrics(file) if file.exists() else []
    begun = [each for each in records if each.get("name") == "begin" and each["step"] <= start]
    before = begun[-1].get("settings", {}) if begun else {}
    now = spec.adjustable
    return {name: [old, now.get(name)] for name, old in before.items() if old != now.get(name)}


def _engine(spec: StageSpec) -> Any:
    import deepspeed

    recipe, stage, cuda = spec.recipe, spec.stage, on_gpus()
    config = deepspeed_config(recipe.engine, stage, recipe.student, cuda=cuda)
    keep: Any = None
    fresh = recipe.student.random_init and spec.start == recipe.student.model
    if recipe.engine.zero == 3 and not fresh:
        from transformers.integrations.deepspeed import HfDeepSpeedConfig

        # While this object lives, transformers loads weights straight into their partitions.
        keep = HfDeepSpeedConfig(config)  # type: ignore[no-untyped-call]
    torch.manual_seed(stage.seed)
    student = load_student(recipe.student, spec.start, seed=stage.seed)
    workspace = recipe.engine.head_workspace_mib * MIB
    trainee = Trainee(student, workspace, recipe.engine.head_accumulation)
    optimizer = make_optimizer(trainee, stage, recipe.engine, cuda=cuda)
    engine, *_ = deepspeed.initialize(model=trainee, optimizer=optimizer, config=config)
    del keep
    if recipe.engine.zero == 0 and recipe.student.dtype == "bfloat16":
        # Without ZeRO, DeepSpeed's wrapper makes AdamW's states by a step without gradients, which
        # the bias correction would count (FP16_UnfusedOptimizer.initialize_optimizer_states).
        engine.optimizer.optimizer.state.clear()
    return engine


def main() -> int:
    """Trains; a typed error becomes a file for the parent, and any error exit code 1."""
    # The launcher adds --local_rank before our own argument.
    spec = StageSpec.read(Path(sys.argv[-1]))
    rank = os.environ.get("RANK", "0")
    end_with_others(spec.folder)
    done = False
    try:
        last_words.reserve(spec.folder, rank)
        _train(spec)
        done = True
    except StillhouseError as error:
        _print(error)
        last_words.leave(error, spec.folder, rank)
    except BaseException as error:
        _print(error)
        raise
    finally:
        if not done:
            # At once: an orderly end would wait for ranks that wait for this one.
            os._exit(1)
    last_words.release(spec.folder, rank)
    dist.destroy_process_group()
    return 0


def _train(spec: StageSpec) -> None:
    try:
        connect()
        train_stage(spec)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise explained(error, spec.recipe) from error


def _print(error: BaseException) -> None:
    # The log lies in the stage's folder, whose disk may be what failed.
    with suppress(OSError):
        traceback.print_exception(error)
        sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
