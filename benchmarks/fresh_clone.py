"""What a newcomer meets: a fresh clone, `make run`, a corpus; seconds for install and run together.

Clones the checkout's HEAD into an empty folder, with pip's cache as it is on this machine, and
reads the corpus that `make run` leaves. `--test` then runs `make test` there as well.

    python -m benchmarks.fresh_clone [--quick] [--test]
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.support import CHECKOUT


def make(target: str, folder: Path) -> tuple[float, str]:
    """Runs a make target as a newcomer would, outside any virtual environment."""
    environment = {k: v for k, v in os.environ.items() if k not in ("VIRTUAL_ENV", "MAKEFLAGS")}
    began = time.monotonic()
    done = subprocess.run(
        ["make", target], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"make {target} failed:\n{done.stdout[-5000:]}\n{done.stderr[-5000:]}")
    return time.monotonic() - began, done.stdout


def main(test: bool) -> dict[str, object]:
    """Clones, runs, counts."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "stillhouse"
        subprocess.run(["git", "clone", "-q", str(CHECKOUT), str(folder)], check=True)
        seconds, printed = make("run", folder)
        print(printed)
        rows = sqlite3.connect(folder / "quickstart.db").execute(
            "SELECT status, count(*) FROM sample GROUP BY status"
        )
        result: dict[str, object] = {
            "make_run_s": round(seconds, 1),
            "samples": dict(rows.fetchall()),
        }
        if test:
            seconds, printed = make("test", folder)
            result["make_test_s"] = round(seconds, 1)
            result["tests"] = printed.strip().splitlines()[-1].strip("= ")
    return result


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="the same: it has no smaller form")
    parser.add_argument("--test", action="store_true", help="also `make test`, minutes more")
    print(json.dumps(main(parser.parse_args().test)))
