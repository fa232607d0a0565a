"""CPU time per teacher call of the whole factory process, against a bare LangGraph script.

Both run as processes of their own against one local zero-fault server with 100 ms latency, one
after the other in the same run: 1,000 seeds, four calls each, 64 at a time. The factory runs as
users run it (`stillhouse run`), with its database, cache, limits, retries, budget and checks on.
Times are user + system of the whole process, imports included.

    python -m benchmarks.factory_overhead [--quick] [--seeds N]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from pathlib import Path

from benchmarks.bare_langgraph import INSTRUCTION
from benchmarks.support import run, stillhouse
from teachers.simulated.child import SimulatedChild
from teachers.simulated.settings import SimulatedSettings

HERE = Path(__file__).resolve().parent
CONCURRENCY = 64
CALLS_PER_SEED = 4


def recipe(base_url: str) -> str:
    """Four calls a seed: rewrite, respond, select, verify; caps on, so that they are paid for."""
    bound = "sampling: {max_tokens: 512}"
    return f"""
name: overhead
seeds: [seeds.jsonl]
teacher: local
teachers:
  local:
    kind: simulated
    base_url: {base_url}
    limits: {{initial_concurrency: {CONCURRENCY}, max_concurrency: {CONCURRENCY}}}
budget: {{tokens: 1000000000, calls: 1000000}}
agents:
  expansion: {{variants: 0, {bound}}}
  rewriting: {{{bound}}}
  response: {{{bound}}}
  selection: {{{bound}}}
  verification: {{{bound}, max_rounds: 0}}
run: {{seeds_in_flight: {CONCURRENCY}}}
"""


def write_seeds(path: Path, count: int) -> None:
    """Seeds whose category and language are given, so that none needs a call to be classified."""
    with path.open("w") as file:
        for number in range(count):
            seed = {
                "instruction": INSTRUCTION.format(number),
                "category": "writing",
                "language": "en",
            }
            file.write(json.dumps(seed) + "\n")


async def measure(seeds: int) -> dict[str, float]:
    """One measurement of both."""
    child = SimulatedChild(SimulatedSettings(latency_s=0.1))
    base_url = await child.start()
    try:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "recipe.yaml").write_text(recipe(base_url))
            write_seeds(folder / "seeds.jsonl", seeds)
            bare = [sys.executable, str(HERE / "bare_langgraph.py"), base_url]
            theirs = await asyncio.to_thread(run, [*bare, str(seeds), str(CONCURRENCY)], folder)
            command = ["run", "recipe.yaml", "--db", "overhead.db", "--json"]
            ours = await asyncio.to_thread(stillhouse, command, folder)
    finally:
        await child.stop()
    calls = ours.json()["calls"]["made"]
    if not calls == seeds * CALLS_PER_SEED == int(theirs.last_line):
        sys.exit(f"unequal work: {calls} calls against {theirs.last_line}")
    return {
        "cpu_ms_per_call": round(ours.cpu_s / calls * 1e3, 3),
        "bare_cpu_ms_per_call": round(theirs.cpu_s / calls * 1e3, 3),
        "ratio": round(ours.cpu_s / theirs.cpu_s, 3),
        "seeds": seeds,
        "calls": calls,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="300 seeds, under 50 s")
    parser.add_argument("--seeds", type=int, default=1000)
    arguments = parser.parse_args()
    print(json.dumps(asyncio.run(measure(300 if arguments.quick else arguments.seeds))))
