"""Where the checkout's data lies: prompts and recipes are files beside the packages, not code."""

from __future__ import annotations

import os
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent


def prompts_folder() -> Path:
    """The prompt files: `$STILLHOUSE_PROMPTS` where it is set, else the checkout's `prompts/`."""
    return Path(os.environ.get("STILLHOUSE_PROMPTS") or CHECKOUT / "prompts")
