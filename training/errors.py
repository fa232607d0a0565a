"""Every error of the trainer that a user can cause, each with a stable code."""

from __future__ import annotations

from common.errors import StillhouseError


class TrainingError(StillhouseError):
    """Anything the trainer refuses or cannot go on with."""

    code = "training"


class CorpusRefused(TrainingError):
    """The exported corpus is missing, empty, or no longer what its manifest says."""

    code = "corpus_refused"


class SampleTooLong(TrainingError):
    """A sample is longer than the context, and the recipe says `too_long: refuse`."""

    code = "sample_too_long"


class TemplateRefused(TrainingError):
    """The student's chat template cannot give training text that equals serving text."""

    code = "template_refused"


class TokenizerRefused(TrainingError):
    """Teacher and student do not share a vocabulary, or rows belong to another tokenizer."""

    code = "tokenizer_refused"


class RowsRefused(TrainingError):
    """Teacher rows are missing, stale or corrupt; training never falls back to plain loss."""

    code = "rows_refused"


class CaptureError(TrainingError):
    """A capture cannot be made or continued."""

    code = "capture"


class ModelRefused(TrainingError):
    """A model cannot be found, loaded, or is not of a kind that the trainer knows."""

    code = "model_refused"


class NotFinite(TrainingError):
    """A loss or gradient is NaN or infinite; training stopped at the last good checkpoint."""

    code = "not_finite"


class OutOfMemory(TrainingError):
    """A rank ran out of memory; the message names the setting to turn."""

    code = "out_of_memory"


class CheckpointRefused(TrainingError):
    """A checkpoint is broken, or belongs to other data or another recipe."""

    code = "checkpoint_refused"


class LaunchFailed(TrainingError):
    """The ranks could not be started, or one died without a typed error."""

    code = "launch_failed"
