"""The one shape of every error a user can cause: what happened, why, what to do, the next command.

Rooms subclass `StillhouseError` and give each kind a stable `code`; the code is what lands in the
`reason` and `error_type` columns of the corpus, so it must never carry free text. The command line
renders the parts; nothing else formats them.
"""

from __future__ import annotations

from typing import ClassVar


class StillhouseError(Exception):
    """An error with a cause and a solution.

    Args:
        what: what happened, in one sentence, naming the file, teacher, key or row concerned.
        cause: why it happened, as far as is known.
        solution: what the user can do about it.
        command: the next command to type, where there is one.
    """

    code: ClassVar[str] = "error"
    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, *, cause: str, solution: str, command: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.cause = cause
        self.solution = solution
        self.command = command

    def __str__(self) -> str:
        parts = [self.what, f"Cause: {self.cause}", f"Solution: {self.solution}"]
        if self.command:
            parts.append(f"Next: {self.command}")
        return "\n".join(parts)
