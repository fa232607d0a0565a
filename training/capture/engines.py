"""Opens a recipe's teacher with the engine that it names; torch or vLLM is imported only then."""

from __future__ import annotations

from training.capture.engine import Engine
from training.recipe import TeacherModelSettings
from training.store.key import CaptureForm, TeacherIdentity


def open_engine(
    settings: TeacherModelSettings,
    identity: TeacherIdentity,
    form: CaptureForm,
    *,
    vocabulary: int,
    tokens_per_batch: int,
) -> Engine:
    """The teacher's engine, loaded.

    Args:
        vocabulary: ids of the teacher's tokenizer.
        tokens_per_batch: tokens that go through the model, or to vLLM, at a time.

    Raises:
        CaptureError, ModelRefused, TokenizerRefused, OutOfMemory: see the engines.
    """
    if settings.engine == "vllm":
        from training.capture.vllm_engine import VllmEngine

        return VllmEngine(
            settings, identity, form, vocabulary=vocabulary, tokens_per_batch=tokens_per_batch
        )
    from training.capture.torch_engine import TorchEngine, load_teacher

    return TorchEngine(
        load_teacher(settings),
        identity,
        form,
        vocabulary=vocabulary,
        tokens_per_batch=tokens_per_batch,
    )
