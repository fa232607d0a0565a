"""IFEval's 541 prompts with gpt-4o-mini's real responses, brought in by the recorded teacher.

The figure: how many seeds have exactly one sample whose response is the recorded one, byte for
byte.

    python -m benchmarks.recorded_ifeval [--quick]
"""

from __future__ import annotations

import argparse
import gzip
import json
import sqlite3
import tempfile
from pathlib import Path

from benchmarks.support import shared_data, stillhouse

RECIPE = """
name: ifeval-recorded
seeds:
  - {{path: {seeds}, language: en, category: other, licence: Apache-2.0}}
teacher: recording
teachers:
  recording:
    kind: recorded
    path: {recording}
    model: gpt-4o-mini-2024-07-18
agents:
  expansion: {{enabled: false}}
  rewriting: {{enabled: false}}
  response: {{prompt: rewriting/as_is, steps_prompt: rewriting/as_is}}
  selection: {{enabled: false}}
  verification: {{enabled: false}}
gates: {{duplicates: false}}
"""


def main(quick: bool) -> dict[str, object]:
    """Runs it and compares every response with the recording."""
    data = shared_data() / "eval" / "ifeval"
    recording = data / "verdicts" / "en_gpt-4o-mini-2024-07-18_strict.jsonl.gz"
    with gzip.open(recording, "rt", encoding="utf-8") as file:
        recorded = {row["prompt"]: row["response"] for row in map(json.loads, file)}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        text = RECIPE.format(seeds=data / "en_input_data.jsonl", recording=recording)
        (folder / "recipe.yaml").write_text(text)
        limit = ["--limit", "50"] if quick else []
        ran = stillhouse(["run", "recipe.yaml", "--db", "r.db", "--json", *limit], folder)
        print(ran.out)
        rows = sqlite3.connect(folder / "r.db").execute(
            "SELECT seed.instruction, count(sample.id), min(sample.response), min(sample.status)"
            " FROM seed LEFT JOIN sample ON sample.seed_id = seed.id GROUP BY seed.id"
        )
        seeds = unchanged = 0
        for instruction, samples, response, status in rows:
            seeds += 1
            unchanged += samples == 1 and status == "accepted" and response == recorded[instruction]
    return {"seeds": seeds, "unchanged": unchanged, "seconds": round(ran.wall_s, 1)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="50 prompts")
    print(json.dumps(main(parser.parse_args().quick)))
