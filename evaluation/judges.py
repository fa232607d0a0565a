"""Asks a judge, and tells a judge that cannot answer from one that could not just now.

In: the conversation that asks for a verdict. Out: the judge's completion, or the code of what keeps
it from ever answering (the pair does not fit its context, say). That is no verdict on the model:
the benchmark leaves it out and says so. What may pass is raised, and the item is asked again.
"""

from __future__ import annotations

from collections.abc import Sequence

from evaluation.benchmark import JUDGE, Asker
from teachers.errors import TeacherError
from teachers.types import Completion, Message, Sampling


async def ask_judge(
    asker: Asker, messages: Sequence[Message], sampling: Sampling, *, prompt: str
) -> tuple[Completion | None, str | None]:
    """The completion, else the error's code.

    Raises:
        TeacherError: one that another attempt, or another moment, may not meet.
    """
    try:
        reply = await asker.ask(JUDGE, messages, sampling, prompt=prompt)
    except TeacherError as error:
        if error.fatal or error.retryable:
            raise
        return None, error.code
    return reply.completion, None
