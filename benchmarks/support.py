"""What the benchmark scripts share: running the command line as users do, and its result."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parent.parent
STILLHOUSE = Path(sys.executable).with_name("stillhouse")


@dataclass(frozen=True)
class Finished:
    """A process that ended: its exit code, user + system CPU, wall clock, and what it printed."""

    code: int
    cpu_s: float
    wall_s: float
    out: str
    err: str

    @property
    def last_line(self) -> str:
        """The last line of standard output."""
        return self.out.strip().splitlines()[-1]

    def json(self) -> dict[str, Any]:
        """The object on the last line."""
        value: dict[str, Any] = json.loads(self.last_line)
        return value


def run(command: list[str], folder: Path, *, check: bool = True) -> Finished:
    """Runs a process to its end in `folder`."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    environment = {**os.environ, "LANGSMITH_TRACING": "false"}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    wall = time.monotonic() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if check and done.returncode:
        sys.exit(f"{command} failed:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Finished(done.returncode, cpu, wall, done.stdout, done.stderr)


def stillhouse(arguments: list[str], folder: Path, *, check: bool = True) -> Finished:
    """Runs the command line."""
    return run([str(STILLHOUSE), *arguments], folder, check=check)


def shared_data() -> Path:
    """The real data's folder; ends the script with a reason where it is absent."""
    folder = Path(os.environ.get("STILLHOUSE_DATA") or CHECKOUT.parent / "shared" / "data")
    if not folder.is_dir():
        sys.exit(f"The real data is not at {folder}; set STILLHOUSE_DATA to where it is.")
    return folder
