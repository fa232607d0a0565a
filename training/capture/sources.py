"""What a recipe's teacher rows belong to: the same answer for the capture and for the trainer."""

from __future__ import annotations

from training.capture.identity import teacher_identity
from training.data.tokenised import TokenisedCorpus
from training.recipe import CaptureSettings, TrainRecipe
from training.store.key import CaptureForm, RowsSource


def capture_form(settings: CaptureSettings) -> CaptureForm:
    """What is kept of each row, as the recipe says it."""
    if settings.sampled:
        return CaptureForm.sampled(settings.sampled, settings.seed)
    return CaptureForm.top_k(settings.k, settings.temperatures)


def rows_source(recipe: TrainRecipe, name: str, corpus: TokenisedCorpus) -> RowsSource:
    """The source of teacher `name`'s rows over the student's tokens in `corpus`.

    Raises:
        ModelRefused: the teacher cannot be found.
    """
    shaped_by = corpus.meta["shaped_by"]
    return RowsSource(
        teacher=teacher_identity(recipe.teachers[name]),
        tokenizer_fingerprint=shaped_by["tokenizer_fingerprint"],
        template_fingerprint=shaped_by["template_fingerprint"],
        form=capture_form(recipe.capture),
    )
