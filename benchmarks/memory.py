"""Peak memory of a large simulated run against a small one's, and how fast its database answers.

20,000 seeds against 1,000, one variant each, through all four agents; peak resident
set of the factory's own process. Then `status` and `trace` are timed on the large database.

    python -m benchmarks.memory [--quick] [--seeds N]
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import subprocess
import tempfile
import time
from pathlib import Path

import psutil

from benchmarks.support import STILLHOUSE, stillhouse

RECIPE = """
name: memory
seeds: [seeds.jsonl]
teacher: rehearsal
teachers:
  rehearsal:
    kind: simulated
    limits: {initial_concurrency: 64}
    simulation: {wrong_math: 0.1}
agents:
  expansion: {variants: 1}

"""


def peak_of(folder: Path, seeds: int, db: str) -> tuple[float, float]:
    """Runs `seeds` seeds; peak resident MiB of the factory's process, and seconds."""
    with (folder / "seeds.jsonl").open("w") as file:
        for number in range(seeds):
            row = {
                "instruction": f"What is {number} + {number * 7 % 1009}?",
                "category": "math",
                "language": "en",
            }
            file.write(json.dumps(row) + "\n")
    (folder / "recipe.yaml").write_text(RECIPE)
    began = time.monotonic()
    process = subprocess.Popen(
        [str(STILLHOUSE), "run", "recipe.yaml", "--db", db],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    peak = 0
    watched = psutil.Process(process.pid)
    while process.poll() is None:
        try:
            peak = max(peak, watched.memory_info().rss)
        except psutil.NoSuchProcess:
            break
        time.sleep(0.02)
    if process.wait():
        raise SystemExit(f"the run of {seeds} seeds ended with status {process.returncode}")
    return peak / 2**20, time.monotonic() - began


def main(small: int, large: int) -> dict[str, object]:
    """Both runs, then the two questions."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        small_mib, _ = peak_of(folder, small, "small.db")
        large_mib, seconds = peak_of(folder, large, "large.db")
        connection = sqlite3.connect(folder / "large.db")
        (sample,) = connection.execute("SELECT id FROM sample WHERE round = 1 LIMIT 1").fetchone()
        (samples,) = connection.execute("SELECT count(*) FROM sample").fetchone()
        (calls,) = connection.execute("SELECT count(*) FROM agent_call").fetchone()
        connection.close()
        status = stillhouse(["status", "--db", "large.db"], folder)
        trace = stillhouse(["trace", sample, "--db", "large.db"], folder)
    return {
        "small_seeds": small,
        "large_seeds": large,
        "samples": samples,
        "calls": calls,
        "small_peak_mib": round(small_mib, 1),
        "large_peak_mib": round(large_mib, 1),
        "growth_mib": round(large_mib - small_mib, 1),
        "status_s": round(status.wall_s, 2),
        "trace_s": round(trace.wall_s, 2),
        "large_run_s": round(seconds, 1),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="1,000 seeds against 300")
    parser.add_argument("--seeds", type=int, default=20_000)
    arguments = parser.parse_args()
    sizes = (300, 1000) if arguments.quick else (1000, arguments.seeds)
    print(json.dumps(main(*sizes)))
