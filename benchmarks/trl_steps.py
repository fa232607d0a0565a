"""TRL's steps on a packed batch, for `benchmarks.kd_step`: its own trainer, packing, loss code.

In: a model, and documents as `Example`s that fit one row. Out: `TrlSteps`, whose methods each do
one forward and backward pass. Nothing of TRL is written anew: documents become a tokenised data set
with TRL's completion mask, `SFTTrainer` packs it (best-fit decreasing, padding-free), collates it
and takes the step (`training_step`). Settings are the kindest that TRL 1.16 has here: its default
loss (fused head, chunked), no gradient checkpointing, no autocast where weights are 16-bit already,
flash attention where it is installed and SDPA elsewhere.
"""

from __future__ import annotations

import importlib
import importlib.util
import runpy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from benchmarks.support import CHECKOUT
from training.data.example import Example


def has_trl() -> bool:
    """Whether TRL (and the data sets it needs) can be imported here."""
    return all(importlib.util.find_spec(name) for name in ("trl", "datasets"))


class TrlSteps:
    """TRL around `model`; `rows` are the tokens trained on."""

    def __init__(self, model: Any, documents: Sequence[Example], folder: str, device: str) -> None:
        from transformers.utils.import_utils import is_flash_attn_2_available

        self.attention = "sdpa"
        if device == "cuda" and is_flash_attn_2_available():
            self.attention = "flash_attention_2"
        model.set_attn_implementation(self.attention)
        self.trainer = _trainer(model, documents, folder, device)
        self.model = self.trainer.model
        # What the training loop sets before it takes a step.
        self.trainer.current_gradient_accumulation_steps = 1
        (self.inputs,) = self.trainer.get_train_dataloader()
        self.rows = int((self.inputs["labels"][:, 1:] != -100).sum())

    def sft(self) -> Tensor:
        """`SFTTrainer.training_step`: the mean loss over the rows."""
        loss: Tensor = self.trainer.training_step(self.model, dict(self.inputs), self.rows)
        return loss

    def sft_compacted(self) -> Tensor:
        """The same with masked rows dropped before the head, as TRL does on GPUs only."""
        with _compacting():
            return self.sft()

    def gkd(self, teacher_logits_1TV: Tensor) -> Tensor:
        """Dense distillation given the teacher's logits: forward KL, beta 0, the cheapest of GKD.

        `GKDTrainer` itself neither packs nor passes position ids, so its loss is called on the
        packed forward pass of the SFT trainer's model.
        """
        gkd: Any = importlib.import_module("trl.experimental.gkd")
        inputs = dict(self.inputs)
        labels = inputs.pop("labels")
        logits = self.model(**inputs, use_cache=False).logits
        loss = gkd.GKDTrainer.generalized_jsd_loss(
            student_logits=logits[:, :-1],
            teacher_logits=teacher_logits_1TV[:, :-1],
            labels=labels[:, 1:],
            beta=0,
            num_items_in_batch=self.rows,
        )
        del logits
        loss.backward()
        result: Tensor = loss.detach()
        return result

    @torch.no_grad()
    def logits(self, teacher: Any) -> Tensor:
        """Another model's logits at the packed batch: [1, T, V]."""
        inputs = {name: value for name, value in self.inputs.items() if name != "labels"}
        logits: Tensor = teacher(**inputs, use_cache=False).logits
        return logits


def _trainer(model: Any, documents: Sequence[Example], folder: str, device: str) -> Any:
    from datasets import Dataset, disable_progress_bars

    trl: Any = importlib.import_module("trl")
    disable_progress_bars()
    columns = {
        "input_ids": [each.token_id_T.tolist() for each in documents],
        "completion_mask": [each.trained_T.astype(int).tolist() for each in documents],
    }
    script = CHECKOUT / "recipes" / "vllm-cpu" / "make_checkpoint.py"
    arguments = trl.SFTConfig(
        output_dir=folder,
        use_cpu=device == "cpu",
        bf16=False,
        gradient_checkpointing=False,
        packing=True,
        packing_strategy="bfd",
        max_length=sum(map(len, documents)),
        completion_only_loss=True,
        per_device_train_batch_size=1,
        report_to="none",
        disable_tqdm=True,
    )
    return trl.SFTTrainer(
        model=model,
        args=arguments,
        train_dataset=Dataset.from_dict(columns),
        processing_class=runpy.run_path(str(script))["make_tokenizer"](),
    )


@contextmanager
def _compacting() -> Iterator[None]:
    utils: Any = importlib.import_module("trl.trainer.utils")
    asked = utils._use_triton
    # Only `add_fused_lm_head` reads this name, to decide whether masked rows are dropped.
    utils._use_triton = lambda device: True
    try:
        yield
    finally:
        utils._use_triton = asked
