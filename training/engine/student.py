"""The student: loaded or made anew, with packed attention and a head that computes the loss.

In: the recipe's student and the folder (or hub name) to begin with. Out: a `Trainee`, the module
that DeepSpeed wraps: it maps one packed micro-batch to a summed loss and per-row figures. The loss
is computed inside the output head's own `forward`, so that ZeRO-3 gathers the head's weight there
as for any module, and the weight may be tied to the embedding. What no rank could train is told
from the configuration, by `check_student`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM

from training.data.batch import Batch
from training.engine.attention import ATTENTION
from training.errors import ModelRefused
from training.losses.fused import Accumulate, RowStats, fused_linear_loss
from training.losses.objective import Objective
from training.losses.targets import SparseTargets
from training.plan.models import positions_of
from training.recipe import LoraSettings, StudentSettings


class LossHead(nn.Module):
    """An output head that, given labels, computes the loss without ever showing its logits."""

    def __init__(self, head: nn.Linear, workspace_bytes: int, accumulate: Accumulate) -> None:
        super().__init__()
        if head.bias is not None:
            raise ModelRefused(
                "The student's output head has a bias.",
                cause="Its logits are not a plain product with the head's weight.",
                solution="Take a student of the Qwen2, Qwen3 or Llama kind.",
            )
        self.weight: nn.Parameter = head.weight
        self.workspace_bytes: int = workspace_bytes
        self.accumulate: Accumulate = accumulate

    def forward(
        self, hidden_NH: Tensor, label_N: Tensor, targets: Sequence[SparseTargets], goal: Objective
    ) -> tuple[Tensor, ...]:
        """The summed loss (a scalar), then the fields of `RowStats`, each [N]."""
        loss, stats = fused_linear_loss(
            hidden_NH,
            self.weight,
            label_N,
            targets,
            goal,
            workspace_bytes=self.workspace_bytes,
            accumulate=self.accumulate,
        )
        return (loss, *(getattr(stats, field.name) for field in fields(stats)))


class Trainee(nn.Module):
    """What DeepSpeed trains: `student` with its head replaced by a `LossHead`."""

    def __init__(
        self, student: nn.Module, workspace_bytes: int, accumulate: Accumulate = "weight"
    ) -> None:
        super().__init__()
        self.student = student
        base = _causal_model(student)
        self._base = [base]  # in a list, so that its weights are not registered a second time
        head = base.get_output_embeddings()
        if not isinstance(head, nn.Linear):
            raise ModelRefused(
                f"A {type(base).__name__} cannot be trained.",
                cause="It has no plain linear output head.",
                solution="Take a causal language model of the Qwen2, Qwen3 or Llama kind.",
            )
        base.set_output_embeddings(LossHead(head, workspace_bytes, accumulate))

    def forward(
        self, batch: Batch, targets: Sequence[SparseTargets], goal: Objective
    ) -> tuple[Tensor, RowStats]:
        """The loss summed over the micro-batch's rows, and the rows' figures.

        Masked rows are dropped before the head: it sees [N, H], never [T, H].
        """
        base = self._base[0]
        hidden_1TH = base.base_model(
            input_ids=batch.token_id_T[None],
            position_ids=batch.position_id_T[None],
            use_cache=False,
            cu_length_D1=batch.cu_length_D1,
            longest=batch.longest,
        ).last_hidden_state
        hidden_NH = hidden_1TH[0].index_select(0, batch.row_N)
        loss, *figures = base.get_output_embeddings()(hidden_NH, batch.label_N, targets, goal)
        return loss, RowStats(*figures)


def _causal_model(student: nn.Module) -> Any:
    """The causal model itself, from under its adapters where it has some."""
    inner = getattr(student, "get_base_model", None)
    return student if inner is None else inner()


def check_student(settings: StudentSettings, config: Any, *, tokens: int, context: int) -> None:
    """Refuses, before a rank is started, a student that could not be trained as the recipe says.

    Args:
        settings: the recipe's student.
        config: its configuration, as transformers reads it.
        tokens: the highest id of its tokenizer plus one.
        context: the longest sequence that the recipe lets in.

    Raises:
        ModelRefused: it cannot; says what to change.
    """
    text = config.get_text_config()
    if text.vocab_size < tokens:
        raise ModelRefused(
            f"The embedding of '{settings.model}' is narrower than its tokenizer.",
            cause=f"It has {text.vocab_size:,} rows, and the tokenizer's ids reach {tokens - 1:,}.",
            solution="Take the tokenizer that the model was made with, or widen the embedding "
            "(`resize_token_embeddings`).",
        )
    positions = positions_of(text.to_dict())
    if positions and context > positions:
        raise ModelRefused(
            f"A context of {context:,} tokens is more than '{settings.model}' has positions for.",
            cause=f"Its configuration says {positions:,}; beyond them it says nothing of use.",
            solution="Lower `data.context`, or configure longer positions (`rope_parameters`, such "
            "as YaRN) in the model's config.json.",
            command=f"stillhouse train all RECIPE --set data.context={positions}",
        )
    if getattr(text, "attention_dropout", 0.0):
        raise ModelRefused(
            f"'{settings.model}' is configured with attention dropout.",
            cause=f"`attention_dropout` is {text.attention_dropout}; packed attention has none.",
            solution="Set `attention_dropout` to 0 in the model's config.json.",
        )
    if settings.lora is not None and settings.lora.targets != "all-linear":
        _check_targets(settings, config, settings.lora.targets)


def _check_targets(settings: StudentSettings, config: Any, targets: Sequence[str]) -> None:
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
    head = model.get_output_embeddings()
    names = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and module is not head
    ]
    # As peft matches them: a module's own name, or the end of it.
    strange = [
        each for each in targets if not any(f".{name}".endswith(f".{each}") for name in names)
    ]
    if strange:
        known = sorted({name.rpartition(".")[2] for name in names})
        raise ModelRefused(
            f"'{settings.model}' has no projections called {', '.join(strange)}.",
            cause="`student.lora.targets` names them; of the head, which computes the loss, no "
            "adapters are made.",
            solution=f"Name some of {', '.join(known)}, or say `all-linear`.",
        )


def load_student(settings: StudentSettings, start: str, *, seed: int) -> Any:
    """The model to train, in the recipe's dtype, on the CPU (or partitioned, under ZeRO-3).

    `start` is where its weights come from: the recipe's model, or what the stage before left.

    Raises:
        ModelRefused: it cannot be found or read, or is no causal language model.
    """
    fresh = settings.random_init and start == settings.model
    revision = settings.revision if start == settings.model else None
    dtype = getattr(torch, settings.dtype)
    try:
        if fresh:
            torch.manual_seed(seed)
            config = AutoConfig.from_pretrained(start, revision=revision)
            model = AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
                config, dtype=dtype, attn_implementation=ATTENTION
            )
        else:
            model = AutoModelForCausalLM.from_pretrained(
                start, revision=revision, dtype=dtype, attn_implementation=ATTENTION
            )
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise ModelRefused(
            f"The student '{start}' cannot be loaded.",
            cause=str(error).splitlines()[0] if str(error) else type(error).__name__,
            solution="Give a folder with config.json and weights, or the name of a model that the "
            "hub (or its local cache) has.",
        ) from error
    model.config.use_cache = False
    if settings.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    if settings.lora is not None:
        model = add_adapters(model, settings.lora)
    return model


def add_adapters(model: Any, lora: LoraSettings) -> Any:
    """The model with low-rank adapters, everything else frozen (arXiv 2106.09685)."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=lora.targets,
        task_type="CAUSAL_LM",
    )
    return get_peft_model(model, config)
