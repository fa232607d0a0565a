"""The engine that we own: a transformers forward over packed examples, prefill only.

In: examples. Out: their rows. Examples lie one after another without padding and do not see each
other; the body's hidden states are cut to the predicting rows before the head, and the head gives
what is kept of them chunk by chunk (`head.RowHead`). While a batch is copied from the device, the
next one is computed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import AutoModelForCausalLM

from training.capture.engine import Scored, batches, check_examples, check_finite
from training.capture.head import RowHead, RowScores
from training.data.batch import Batch, make_batch
from training.data.example import Example
from training.engine.attention import ATTENTION
from training.errors import ModelRefused, OutOfMemory, TokenizerRefused
from training.recipe import TeacherModelSettings
from training.store.key import CaptureForm, TeacherIdentity, token_ids_hash
from training.store.rows import TeacherRows

_PROBE_TOKENS = 8


@dataclass(frozen=True, slots=True, eq=False)
class _Flight:
    """A batch whose scores are on their way to the host."""

    indices: list[int]
    scores: RowScores
    landed: torch.cuda.Event | None


class TorchEngine:
    """A teacher in this process.

    Args:
        model: a causal language model as `load_teacher` gives it, on its device.
        identity: who it is.
        form: what is kept.
        vocabulary: ids of its tokenizer; the head's further, padded ids have probability zero.
        tokens_per_batch: bounds the body's activations.
        workspace_mib: bounds the logits of a chunk; None takes what is fast on the device.

    Raises:
        ModelRefused: its logits are not its head's product.
        OutOfMemory: the workspace does not fit.
        TokenizerRefused: its head is narrower than its tokenizer.
    """

    def __init__(
        self,
        model: Any,
        identity: TeacherIdentity,
        form: CaptureForm,
        *,
        vocabulary: int,
        tokens_per_batch: int = 16_384,
        workspace_mib: int | None = None,
    ) -> None:
        self.identity = identity
        self._form = form
        self._vocabulary = vocabulary
        self._tokens_per_batch = tokens_per_batch
        self._model = model
        self._device = torch.device(model.device)
        self._context = getattr(model.config, "max_position_embeddings", None)
        with _naming_the_knob():
            self._head = self._make_head(workspace_mib)
            self._check_seam()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        del self._model, self._head
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def score(self, examples: Sequence[Example]) -> Iterator[tuple[int, Scored]]:
        """See `engine.Engine.score`."""
        check_examples(examples, self.identity, vocabulary=self._vocabulary, context=self._context)
        flight: _Flight | None = None
        for indices in batches(examples, self._tokens_per_batch):
            with _naming_the_knob():
                following = self._launch(indices, examples)
            if flight is not None:
                yield from self._land(flight, examples)
            flight = following
        if flight is not None:
            yield from self._land(flight, examples)

    def _make_head(self, workspace_mib: int | None) -> RowHead:
        head = self._model.get_output_embeddings()
        if not isinstance(head, torch.nn.Linear):
            raise ModelRefused(
                f"The teacher '{self.identity.model}' cannot be captured by the torch engine.",
                cause=f"A {type(self._model).__name__} has no plain linear output head.",
                solution="Use `engine: vllm`, or a model of the Qwen2, Qwen3 or Llama kind.",
            )
        if len(head.weight) < self._vocabulary:
            raise TokenizerRefused(
                f"The tokenizer of '{self.identity.model}' has {self._vocabulary} tokens, its head "
                f"{len(head.weight)} rows.",
                cause="Tokenizer and weights are not of one model.",
                solution="Put the right tokenizer into the teacher's folder.",
            )
        return RowHead(
            head.weight.detach()[: self._vocabulary],
            None if head.bias is None else head.bias.detach()[: self._vocabulary],
            k=self._form.k,
            temperatures=self._form.temperatures,
            workspace_mib=workspace_mib or (256 if self._device.type == "cpu" else 1024),
        )

    def _packed(self, examples: Sequence[Example]) -> tuple[Batch, dict[str, Any]]:
        """A packed batch on the device, and how the model's forward takes it."""
        batch = make_batch(examples).to(self._device, non_blocking=True)
        return batch, {
            "input_ids": batch.token_id_T[None],
            "position_ids": batch.position_id_T[None],
            "use_cache": False,
            "cu_length_D1": batch.cu_length_D1,
            "longest": batch.longest,
        }

    @torch.inference_mode()
    def _launch(self, indices: list[int], examples: Sequence[Example]) -> _Flight:
        members = [examples[index] for index in indices]
        batch, inputs = self._packed(members)
        hidden_1TH = self._model.base_model(**inputs).last_hidden_state
        hidden_NH = hidden_1TH[0].index_select(0, batch.row_N)
        del hidden_1TH
        if self._form.kind == "sampled":
            uniform_ND = torch.from_numpy(np.concatenate([self._uniform(each) for each in members]))
            scores = self._head.draws(hidden_NH, batch.label_N, uniform_ND.to(self._device))
        else:
            scores = self._head.top_k(hidden_NH, batch.label_N)
        return _Flight(indices, *_to_host(scores))

    def _uniform(self, example: Example) -> NDArray[np.float64]:
        """The numbers in [0, 1) that decide an example's draws, whatever it is scored with."""
        seed = [self._form.seed or 0, int(token_ids_hash(example), 16)]
        numbers = np.random.Generator(np.random.Philox(np.random.SeedSequence(seed)))
        return numbers.integers(2**32, size=(len(example.row_N), self._form.k)) / 2**32

    def _land(self, flight: _Flight, examples: Sequence[Example]) -> Iterator[tuple[int, Scored]]:
        if flight.landed is not None:
            flight.landed.synchronize()
        scores, begin = flight.scores, 0
        id_NK, log_p_NK = scores.id_NK.numpy(), scores.log_p_NK.numpy()
        log_tail_N, nll_N = scores.log_tail_N.numpy(), scores.nll_N.numpy()
        log_z_TN = scores.log_z_TN.numpy()
        for index in flight.indices:
            part = slice(begin, begin + len(examples[index].row_N))
            begin = part.stop
            log_z = {
                temperature: z_N[part].copy()
                for temperature, z_N in zip(self._form.temperatures, log_z_TN, strict=True)
            }
            # Copies, so that one kept example does not keep its whole batch's memory.
            rows = TeacherRows(
                id_NK=id_NK[part].copy(),
                log_p_NK=log_p_NK[part].copy(),
                log_tail_N=log_tail_N[part].copy(),
                log_z=log_z,
                kind=self._form.kind,
            )
            scored = Scored(rows, nll_N[part].copy())
            yield index, check_finite(examples[index], scored, self.identity)

    @torch.inference_mode()
    def _check_seam(self) -> None:
        """That body and head, taken apart, are the model: some scale or cap logits in between."""
        ids = np.arange(_PROBE_TOKENS, dtype=np.int32) * 97 % self._vocabulary
        probe = Example("probe", "probe", "probe", ids, np.ones(_PROBE_TOKENS, bool))
        _, inputs = self._packed([probe])
        whole_TV = self._model(**inputs).logits[0, :, : self._vocabulary].float()
        parts_TV = torch.cat(
            [
                self._head.logits(hidden_1H)[:, : self._vocabulary].clone()
                for hidden_1H in self._model.base_model(**inputs).last_hidden_state[0][:, None]
            ]
        )
        allowed = 0.02 * whole_TV.abs().max() + 1e-3
        # Where either side is NaN this is no mismatch: the rows themselves will say so.
        if bool(((whole_TV - parts_TV).abs().amax() > allowed).item()):
            raise ModelRefused(
                f"The teacher '{self.identity.model}' cannot be captured by the torch engine.",
                cause=f"The logits of a {type(self._model).__name__} are not the plain product of "
                "its last hidden states and its head (they are scaled or capped).",
                solution="Use `engine: vllm` for this teacher.",
            )


def load_teacher(settings: TeacherModelSettings) -> Any:
    """The teacher in its dtype on its device: `cuda` where there is one, unless it names another.

    Raises:
        ModelRefused: it cannot be found or read, or is no causal language model.
        OutOfMemory: it does not fit.
    """
    device = _device(settings)
    try:
        with _naming_the_knob():
            model: Any = AutoModelForCausalLM.from_pretrained(
                settings.model,
                revision=settings.revision,
                dtype=getattr(torch, settings.dtype),
                attn_implementation=ATTENTION,
            )
            return model.to(device).eval()
    except (OSError, ValueError, KeyError) as error:
        raise ModelRefused(
            f"The teacher '{settings.model}' cannot be loaded.",
            cause=(str(error).strip() or type(error).__name__).splitlines()[0],
            solution="Give a folder with config.json and weights, or the name (and revision) of a "
            "model that the hub (or its local cache) has.",
        ) from error


def _device(settings: TeacherModelSettings) -> torch.device:
    name = settings.device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=name).device
    # Which of them it is depends on how torch was built.
    except (RuntimeError, AssertionError) as error:
        raise ModelRefused(
            f"There is no device '{name}' for the teacher '{settings.model}'.",
            cause=str(error).splitlines()[0],
            solution="Set the teacher's `device` to `cuda`, `cuda:1`, … or `cpu`, or leave it out.",
        ) from error


def _to_host(scores: RowScores) -> tuple[RowScores, torch.cuda.Event | None]:
    """The scores on the host; from CUDA through pinned memory, whole when the event has passed."""

    def copied(tensor: Tensor) -> Tensor:
        return tensor.to("cpu", non_blocking=True)

    host = RowScores(
        id_NK=copied(scores.id_NK),
        log_p_NK=copied(scores.log_p_NK),
        log_tail_N=copied(scores.log_tail_N),
        log_z_TN=copied(scores.log_z_TN),
        nll_N=copied(scores.nll_N),
    )
    if not scores.id_NK.is_cuda:
        return host, None
    landed = torch.cuda.Event()  # type: ignore[no-untyped-call]
    landed.record()
    return host, landed


@contextlib.contextmanager
def _naming_the_knob() -> Iterator[None]:
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        # A CPU's allocator says it with a plain RuntimeError.
        plain = not isinstance(error, torch.OutOfMemoryError | MemoryError)
        if plain and "allocate memory" not in str(error):
            raise
        raise OutOfMemory(
            "The capture ran out of memory.",
            cause=(str(error).strip() or type(error).__name__).splitlines()[0],
            solution="Lower `capture.tokens_per_batch` (halve it), or give the teacher a smaller "
            "dtype or a larger device. What was captured before is kept.",
        ) from error
