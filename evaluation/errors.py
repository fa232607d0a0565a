"""What can go wrong with an evaluation, each with its cause and its solution."""

from __future__ import annotations

from common.errors import StillhouseError


class EvaluationError(StillhouseError):
    """An evaluation cannot be made as it was asked for."""

    code = "evaluation"


class DataMissing(EvaluationError):
    """A benchmark's questions, prompts or tables are not where they were looked for."""

    code = "evaluation_data"


class JudgeMissing(EvaluationError):
    """The benchmark needs a judge, and none was named."""

    code = "judge_missing"
