"""What a recipe's teacher rows belong to: the same answer for the capture and for the trainer.

In: a recipe, the rendered corpus, one of the recipe's teachers. Out: the `RowsSource` that rows are
keyed by, and the way between the corpus's token ids and the teacher's. No weights are loaded.
"""

from __future__ import annotations

from training.capture.identity import TeacherFiles, find_tokenizer, teacher_identity
from training.data.tokenised import TokenisedCorpus
from training.errors import TokenizerRefused
from training.recipe import CaptureSettings, TrainRecipe
from training.store.key import CaptureForm, RowsSource
from training.vocabulary import VocabularyMap, read_vocabulary


def capture_form(settings: CaptureSettings) -> CaptureForm:
    """What is kept of each row, as the recipe says it."""
    if settings.sampled:
        return CaptureForm.sampled(settings.sampled, settings.seed)
    return CaptureForm.top_k(settings.k, settings.temperatures)


def rows_source(recipe: TrainRecipe, name: str, corpus: TokenisedCorpus) -> RowsSource:
    """The source of teacher `name`'s rows over the student's tokens in `corpus`.

    Ids in the rows are the student's too, whichever tokenizer the teacher has.

    Raises:
        ModelRefused, TokenizerRefused: the teacher cannot be found, or a part of it cannot.
    """
    shaped_by = corpus.meta["shaped_by"]
    return RowsSource(
        teacher=teacher_identity(recipe.teachers[name]),
        tokenizer_fingerprint=shaped_by["tokenizer_fingerprint"],
        template_fingerprint=shaped_by["template_fingerprint"],
        form=capture_form(recipe.capture),
    )


def vocabulary_map(
    recipe: TrainRecipe, corpus: TokenisedCorpus, files: TeacherFiles
) -> VocabularyMap:
    """The way between the corpus's token ids and a teacher's.

    Raises:
        TokenizerRefused: the tokenizers differ, and one cannot be read, or the corpus was rendered
            with another than the student's, or draws are asked for.
    """
    rendered_with = corpus.meta["shaped_by"]["tokenizer_fingerprint"]
    teacher = read_vocabulary(files.folder)
    if rendered_with == teacher.fingerprint:
        return VocabularyMap.between(teacher, teacher)
    if recipe.capture.sampled:
        raise TokenizerRefused(
            f"Draws of the teacher '{files.identity.model}' cannot be used for this student.",
            cause="Their tokenizers differ, and a draw without a counterpart would be lost.",
            solution="Use a top-k objective with this teacher, or one of the student's family.",
        )
    student = read_vocabulary(find_tokenizer(recipe.student))
    if rendered_with != student.fingerprint:
        raise TokenizerRefused(
            f"The corpus was not tokenised with the tokenizer of '{recipe.student.model}'.",
            cause="The fingerprints of the two differ.",
            solution="Prepare the corpus again with this recipe.",
        )
    return VocabularyMap.between(student, teacher)
