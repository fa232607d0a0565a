"""One rank: what `deepspeed` starts, once per device.

In: the path of a stage's spec. Out: the trained stage in its folder. An error that the user can
mend is written to `error-<rank>.json` for the parent process, which shows it.

    deepspeed --num_accelerators 2 --module training.engine.worker FOLDER/stage.json
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from common.errors import StillhouseError
from training.data.tokenised import TokenisedCorpus
from training.engine.deepspeed_config import deepspeed_config
from training.engine.feed import Feed
from training.engine.loop import StageLoop, resume_point
from training.engine.memory_errors import explained
from training.engine.optimizer import make_optimizer
from training.engine.saving import save_student
from training.engine.schedules import held_out_schedule, training_schedule
from training.engine.spec import StageSpec
from training.engine.speed import Speed
from training.engine.student import Trainee, load_student
from training.engine.teaching import Teaching
from training.engine.tether import end_with_others
from training.errors import LaunchFailed
from training.report.metrics import MetricsWriter

MIB = 2**20
COLLECTIVE_TIMEOUT = timedelta(minutes=30)


def connect() -> None:
    """Joins the other ranks: NCCL where there are GPUs, gloo elsewhere."""
    import deepspeed

    cuda = torch.cuda.is_available()
    if not cuda:
        # A shared-memory all-reduce for inference, which training never calls; building it takes
        # a compiler and most of a minute.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    deepspeed.init_distributed("nccl" if cuda else "gloo", timeout=COLLECTIVE_TIMEOUT)


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
    writer = MetricsWriter(
        spec.folder,
        spec.recipe.tracking,
        run_name=f"{spec.recipe.name}/{spec.name}",
        config=spec.recipe.text(),
        resume_at=start + 1 if start else 0,
    )
    writer.event("begin", step=start, steps=feed.schedule.steps, ranks=dist.get_world_size())
    return writer


def _engine(spec: StageSpec) -> Any:
    import deepspeed

    recipe, stage, cuda = spec.recipe, spec.stage, torch.cuda.is_available()
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
    end_with_others(spec.folder)
    done = False
    try:
        _train(spec)
        done = True
    except StillhouseError as error:
        _leave(error, spec.folder / f"error-{os.environ.get('RANK', '0')}.json")
    finally:
        if not done:
            # At once: an orderly end would wait for ranks that wait for this one.
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)
    dist.destroy_process_group()
    return 0


def _train(spec: StageSpec) -> None:
    try:
        connect()
        train_stage(spec)
    except (RuntimeError, MemoryError) as error:
        raise explained(error, spec.recipe) from error


def _leave(error: StillhouseError, file: Path) -> None:
    said = {
        "code": error.code,
        "what": error.what,
        "cause": error.cause,
        "solution": error.solution,
        "command": error.command,
    }
    part = file.with_suffix(".part")
    part.write_text(json.dumps(said, ensure_ascii=False), encoding="utf-8")
    part.replace(file)


if __name__ == "__main__":
    sys.exit(main())
