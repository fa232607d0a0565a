"""Which revision of the code is running, for the run's row: from git, where there is a checkout."""

from __future__ import annotations

import subprocess
from functools import cache

from common.paths import CHECKOUT


@cache
def code_revision() -> str | None:
    """The commit, with `+` when files were changed since; None outside a git checkout."""
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*"],
            cwd=CHECKOUT,
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return described.stdout.strip() or None
