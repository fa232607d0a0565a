"""How a run can end early, and what stops it."""

from __future__ import annotations

from common.errors import StillhouseError


class RunStopping(Exception):
    """Raised where a teacher call would begin after the run was asked to stop; never an error."""


class SeedsMissing(StillhouseError):
    """There is nothing to work on."""

    code = "seeds_missing"
