"""Four real seed files in four shapes through the whole factory into one database.

All 175 Self-Instruct tasks, 300 of GSM8K, 200 LCCD dialogues and 100 ShareGPT conversations, with
the simulated teacher; then `doctor`, whose verdict is the figure.

    python -m benchmarks.real_seeds [--quick]
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from benchmarks.support import shared_data, stillhouse

RECIPE = """
name: real-seeds
seeds:
  - {{path: {data}/seeds/self_instruct_175.jsonl, licence: Apache-2.0}}
  - {{path: {data}/seeds/gsm8k_alpaca_1500.json, category: math, licence: MIT, limit: {gsm8k}}}
  - {{path: {data}/seeds/lccd_toy.json, split: train, category: chat, licence: MIT, limit: {lccd}}}
  - {{path: {data}/seeds/sharegpt_dummy.json, licence: Apache-2.0}}
teacher: rehearsal
teachers:
  rehearsal:
    kind: simulated
    simulation: {{wrong_math: 0.1, server_error: 0.02, malformed_json: 0.02}}
agents:
  expansion: {{variants: 1}}
"""


def main(quick: bool) -> dict[str, object]:
    """Runs it and reads `doctor`."""
    sizes = {"gsm8k": 20, "lccd": 20} if quick else {"gsm8k": 300, "lccd": 200}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "recipe.yaml").write_text(RECIPE.format(data=shared_data(), **sizes))
        ran = stillhouse(["run", "recipe.yaml", "--db", "real.db", "--json"], folder)
        checked = stillhouse(["doctor", "--db", "real.db", "--json"], folder, check=False)
        print(ran.out)
        print(checked.out)
    result = ran.json()
    return {
        "seeds": result["seeds"],
        "samples": result["samples"],
        "reasons": result["reasons"],
        "bad_rows": result["bad_rows"],
        "doctor_green": checked.code == 0,
        "seconds": round(ran.wall_s, 1),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="20 of each large file")
    print(json.dumps(main(parser.parse_args().quick)))
