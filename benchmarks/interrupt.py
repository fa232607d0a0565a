"""How long a run takes to end after Ctrl-C, at several moments, with a slow teacher; then resumes.

python -m benchmarks.interrupt [--quick]
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from benchmarks.support import CHECKOUT, STILLHOUSE, stillhouse

MOMENTS_S = (0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 8.0)


def main(moments: tuple[float, ...]) -> dict[str, object]:
    """Interrupts one run after another on one database, and lets the last one finish."""
    waits = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        slow = ["--set", "teachers.rehearsal.simulation.latency_s=1.5"]
        command = ["run", str(CHECKOUT / "recipes" / "quickstart"), "--db", "i.db"]
        for moment in moments:
            process = subprocess.Popen(
                [str(STILLHOUSE), *command, *slow],
                cwd=folder,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            time.sleep(moment)
            began = time.monotonic()
            process.send_signal(signal.SIGINT)
            process.wait()
            waits.append(round(time.monotonic() - began, 2))
        finished = stillhouse([*command, "--json"], folder).json()
        checked = stillhouse(["doctor", "--db", "i.db"], folder, check=False)
    return {
        "seconds_to_end": waits,
        "worst_s": max(waits),
        "resumed_status": finished["status"],
        "seeds": finished["seeds"],
        "doctor_green": checked.code == 0,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="three moments")
    quick = parser.parse_args().quick
    print(json.dumps(main(MOMENTS_S[1:6:2] if quick else MOMENTS_S)))
