"""The stage's result: a Hugging Face folder that `vllm serve` and transformers load as it is.

In: the trained engine, partitioned or not. Out: config, weights, tokenizer with its chat template
and generation config, written beside and renamed, so that the folder is whole or not there.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GenerationConfig
from transformers.utils import GENERATION_CONFIG_NAME

from training.engine.disk import first_line, sync_folder, writing
from training.engine.student import add_adapters
from training.errors import ModelRefused
from training.recipe import StudentSettings

_PREFIX = "student."


def save_student(
    engine: Any,
    student: StudentSettings,
    start: str,
    folder: Path,
    *,
    turn_end: int,
    lineage: dict[str, Any],
) -> None:
    """Gathers the weights on rank 0 and writes `folder`; every rank must call this.

    With adapters they are merged into the weights that the stage began with. `turn_end` is the
    token that the student learnt to stop at. `lineage` goes into `stillhouse.json` beside the
    weights: what the model was made from.
    """
    weights = _gathered(engine)
    if dist.get_rank() == 0:
        assert weights is not None
        with writing(f"The model {folder}"):
            _write(weights, student, start, folder, turn_end, lineage)
    dist.barrier()


def _gathered(engine: Any) -> dict[str, Tensor] | None:
    """All weights by their names in the student; under ZeRO-3 collected on rank 0 alone."""
    if engine.zero_optimization_stage() == 3:
        whole = engine._zero3_consolidated_16bit_state_dict()
    elif dist.get_rank() > 0:
        whole = None
    else:
        whole = engine.module.state_dict()
    if whole is None:
        return None
    return {name.removeprefix(_PREFIX): weight.detach().cpu() for name, weight in whole.items()}


def _write(
    weights: dict[str, Tensor],
    student: StudentSettings,
    start: str,
    folder: Path,
    turn_end: int,
    lineage: dict[str, Any],
) -> None:
    revision = student.revision if start == student.model else None
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    model = _fresh(student, start, revision)
    if student.lora is not None:
        adapted = add_adapters(model, student.lora)
        adapted.load_state_dict(weights, strict=True)
        model = adapted.merge_and_unload()
    else:
        model.load_state_dict(weights, strict=True)
    model.config.use_cache = True
    tokenizer = AutoTokenizer.from_pretrained(start, revision=revision)
    # The model writes it too, and what came with its weights need not be valid.
    model.generation_config = generation_config(start, revision, tokenizer, turn_end)
    model.save_pretrained(part)
    tokenizer.save_pretrained(part)
    model.generation_config.save_pretrained(part)
    (part / "stillhouse.json").write_text(json.dumps(lineage, indent=2, ensure_ascii=False))
    sync_folder(part)  # the folder's name may not reach the disk before its weights
    if folder.exists():
        shutil.rmtree(folder)
    part.replace(folder)
    sync_folder(folder)


def _fresh(student: StudentSettings, start: str, revision: str | None) -> Any:
    """A model of the student's shape on the CPU; its weights are about to be replaced, or, under
    adapters, are those that the stage began with."""
    dtype = getattr(torch, student.dtype)
    if student.random_init and start == student.model:
        config = AutoConfig.from_pretrained(start, revision=revision)
        return AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
            config, dtype=dtype
        )
    return AutoModelForCausalLM.from_pretrained(start, revision=revision, dtype=dtype)


def generation_config(
    start: str, revision: str | None, tokenizer: Any, turn_end: int
) -> GenerationConfig:
    """How the student is to generate: as the model that it began with, and to the end of a turn,
    where training ended.

    Raises:
        ModelRefused: the model's own configuration cannot be read.
    """
    try:
        generation = GenerationConfig.from_pretrained(start, revision=revision or "main")
    except (OSError, ValueError, TypeError) as error:
        if (Path(start).expanduser() / GENERATION_CONFIG_NAME).is_file():
            raise ModelRefused(
                f"The generation configuration of '{start}' cannot be read.",
                cause=first_line(error),
                solution=f"Mend or remove {GENERATION_CONFIG_NAME} there.",
            ) from error
        generation = GenerationConfig()  # type: ignore[no-untyped-call]
    generation = _valid(generation)
    known = generation.eos_token_id
    ends = [known] if isinstance(known, int) else list(known or ())
    generation.eos_token_id = list(dict.fromkeys([*ends, turn_end]))
    if generation.pad_token_id is None:
        generation.pad_token_id = tokenizer.pad_token_id
    return generation


def _valid(generation: GenerationConfig) -> GenerationConfig:
    """The same as transformers is willing to write it. A temperature without `do_sample`, which
    many models came with, means sampling; of what makes no sense, only the tokens are kept."""
    tokens = {
        name: getattr(generation, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")
    }
    try:
        generation.validate(strict=True)
        return generation
    except ValueError:
        generation.do_sample = True
    try:
        generation.validate(strict=True)
        return generation
    except ValueError:
        return GenerationConfig(**tokens)  # type: ignore[no-untyped-call]
