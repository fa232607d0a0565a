"""DeepSpeed's configuration for a stage: ZeRO stage, offload, precision, clipping.

Accumulation is ours: a step has as many micro-batches as its samples need, and the trainer says
which one ends it. DeepSpeed only needs to know that there may be several (it keeps no accumulation
buffer for offloaded gradients otherwise), so `gradient_accumulation_steps` is 2 and never divides:
the loss is divided once, by the step's trained tokens.
"""

from __future__ import annotations

from typing import Any

from training.recipe import EngineSettings, StageSettings, StudentSettings


def precision_warning(engine: EngineSettings, student: StudentSettings) -> str | None:
    """What a user should know of the way in which gradients add up; None where all is well."""
    if engine.zero > 0 or student.dtype != "bfloat16":
        return None
    return (
        "engine.zero: 0 sums the gradients of a bfloat16 student in bfloat16, where small parts of "
        "them get lost; from ZeRO 1 on they are summed in float32, on one rank too"
    )


def deepspeed_config(
    engine: EngineSettings, stage: StageSettings, student: StudentSettings, *, cuda: bool
) -> dict[str, Any]:
    """The configuration as DeepSpeed documents it (deepspeed.ai/docs/config-json)."""
    zero: dict[str, Any] = {
        "stage": engine.zero,
        "contiguous_gradients": True,
        "overlap_comm": cuda and engine.zero >= 2,
        "stage3_gather_16bit_weights_on_model_save": True,
    }
    if engine.offload_optimizer:
        zero["offload_optimizer"] = {"device": "cpu", "pin_memory": cuda}
    if engine.offload_parameters:
        zero["offload_param"] = {"device": "cpu", "pin_memory": cuda}
    bf16 = student.dtype == "bfloat16"
    config: dict[str, Any] = {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 2,
        "gradient_clipping": stage.clip,
        "bf16": {"enabled": bf16},
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": 2**62,
        "wall_clock_breakdown": False,
    }
    if bf16 and engine.zero > 0:
        # Summed in bf16, a gradient loses its small parts as micro-batches add up.
        config["data_types"] = {"grad_accum_dtype": "fp32"}
    return config
