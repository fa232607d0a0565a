"""Whether teacher and student mean the same by an id, as far as configurations can tell.

In: two `Source`s. Out: a `VocabularyCheck`. Widths of embeddings are no identity: ids are shared
where the tokenizers are the same, whatever the padding; see `training.vocabulary` for what a
capture then does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from training.plan.sources import Source


@dataclass(frozen=True, slots=True)
class VocabularyCheck:
    """One student × teacher pair. `shared_width` is the number of rows both embeddings have."""

    teacher: str
    verdict: Literal["same", "different", "unknown"]
    student_width: int
    teacher_width: int
    tokens: int | None
    text: str

    @property
    def shared_width(self) -> int:
        """Ids below it exist on both sides."""
        return min(self.student_width, self.teacher_width)


def check_vocabulary(student: Source, teacher: Source, name: str) -> VocabularyCheck:
    """Compares a recipe's student with its teacher called `name`."""
    widths = student.shape.vocabulary, teacher.shape.vocabulary
    if student.tokenizer is None or teacher.tokenizer is None:
        verdict, text = "unknown", _unknown(student, teacher)
    elif student.tokenizer == teacher.tokenizer:
        verdict, text = "same", _same(student, teacher)
    elif student.found != teacher.found:
        # One is known by its family, the other by a fingerprint: these cannot be compared.
        verdict, text = "unknown", _unknown(student, teacher)
    else:
        verdict = "different"
        text = (
            "different tokenizers: ids are mapped by token string at capture, which refuses where "
            "too little of the corpus can be said in the teacher's tokens"
        )
    return VocabularyCheck(name, verdict, *widths, tokens=student.tokens, text=text)  # type: ignore[arg-type]


def _same(student: Source, teacher: Source) -> str:
    ours, theirs = student.shape.vocabulary, teacher.shape.vocabulary
    text = f"one tokenizer of {student.tokens:,} tokens"
    if ours == theirs:
        return f"{text}: all {ours:,} ids are shared"
    text += f": ids below {min(ours, theirs):,} are shared"
    owner = "teacher" if theirs > ours else "student"
    return f"{text}; {abs(ours - theirs):,} padded ids of the {owner} are left out"


def _unknown(student: Source, teacher: Source) -> str:
    without = [e.name for e in (student, teacher) if e.found != "config.json" or not e.tokenizer]
    return (
        "cannot be told without the tokenizer of " + " and ".join(without or [teacher.name]) + "; "
        "the capture compares them before it begins"
    )
