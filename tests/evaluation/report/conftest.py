"""The corpus that tests of comparisons and reports share."""

from __future__ import annotations

from pathlib import Path

import pytest
from evaluated_corpus import build_corpus


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The database; beside it lies everything that made it."""
    for name in ("lm_eval", "alpaca_eval", "matplotlib"):
        pytest.importorskip(name)
    return build_corpus(tmp_path_factory.mktemp("evaluations"))
