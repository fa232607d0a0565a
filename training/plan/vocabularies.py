"""Whether teacher and student mean the same by an id, as far as configurations can tell.

In: two `Source`s. Out: a `VocabularyCheck`. Widths of embeddings are no identity: ids are shared
where the tokenizers are the same, whatever the padding; see `training.vocabulary` for what a
capture then does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from training.plan.sources import Source

Verdict = Literal["same", "different", "unknown"]


@dataclass(frozen=True, slots=True)
class VocabularyCheck:
    """One student × teacher pair. `shared_width` is the number of rows both embeddings have."""

    teacher: str
    verdict: Verdict
    student_width: int
    teacher_width: int
    text: str

    @property
    def shared_width(self) -> int:
        """Ids below it exist on both sides."""
        return min(self.student_width, self.teacher_width)


def check_vocabulary(student: Source, teacher: Source, name: str) -> VocabularyCheck:
    """Compares a recipe's student with its teacher called `name`."""
    verdict = _verdict(student, teacher)
    if verdict == "same":
        text = _same(student, teacher)
    elif verdict == "different":
        text = (
            "different tokenizers: ids are mapped by token string at capture, which refuses where "
            "too little of the corpus can be said in the teacher's tokens"
        )
    else:
        without = " and ".join(each.name for each in (student, teacher) if not each.fingerprint)
        text = (
            f"cannot be told without the tokenizer of {without}; the capture compares them before "
            "it begins"
        )
    widths = student.shape.vocabulary, teacher.shape.vocabulary
    return VocabularyCheck(name, verdict, *widths, text=text)


def _verdict(student: Source, teacher: Source) -> Verdict:
    """Fingerprints are proof; without both of them, one family of known models will do."""
    if student.fingerprint and teacher.fingerprint:
        return "same" if student.fingerprint == teacher.fingerprint else "different"
    return "same" if student.family and student.family == teacher.family else "unknown"


def _same(student: Source, teacher: Source) -> str:
    """No capture keeps a teacher's padded id; the student's own stay in its softmax, as they do
    when it is served (docs/distillation.md)."""
    tokens = student.tokens or 0
    of_teacher, of_student = (max(0, each.shape.vocabulary - tokens) for each in (teacher, student))
    fates = []
    if of_teacher:
        fates.append(f"the teacher's {of_teacher:,} padded ids are never taught")
    if of_student:
        ids = "" if of_teacher else " padded ids"
        fates.append(f"the student's {of_student:,}{ids} stay in its softmax")
    text = f"one tokenizer of {tokens:,} tokens, all of them shared"
    return f"{text}; {', '.join(fates)}" if fates else text
