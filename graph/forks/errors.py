"""What can go wrong with a fork, each with its cause and its solution."""

from __future__ import annotations

from common.errors import StillhouseError


class ForkError(StillhouseError):
    """A fork could not be made, found or dropped."""

    code = "fork"


class ForkRefused(ForkError):
    """What was asked for cannot be forked; nothing was made and nothing spent."""

    code = "fork_refused"


class ForkNotFound(ForkError):
    """No fork answers to that name."""

    code = "fork_not_found"


class ForkBusy(ForkError):
    """The fork is being made right now."""

    code = "fork_busy"


class PromptNotSaved(ForkError):
    """The edited prompt was not written; the file is as it was. `newer` is the file's text where
    somebody edited it since."""

    code = "prompt_not_saved"
    newer: str | None = None
