"""Runs stages in ranks that are forked from one process, so that tests pay for one start.

    python forked_ranks.py

One JSON object per line on standard input: `spec`, how many `ranks`, and perhaps `limits` (a name
of `resource`'s and its soft limit in bytes; `RLIMIT_DATA` is what may come on top of what the
process has) and `kill_at` (the step after which every rank gets SIGKILL). The answer, one line on
standard output, is the list of the ranks' exit codes.

A rank is `training.engine.worker.main` with the environment that DeepSpeed's launcher gives it.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

import deepspeed  # noqa: F401
import peft  # noqa: F401
import torch

from training.engine import worker


def main() -> None:
    """Answers until standard input ends."""
    torch.set_num_threads(1)
    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        wanted = json.loads(line)
        codes = _run(wanted)
        answers.write(json.dumps(codes) + "\n")
        answers.flush()


def _run(wanted: dict[str, Any]) -> list[int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    ranks = wanted["ranks"]
    pids = [_rank(wanted, rank, ranks, port) for rank in range(ranks)]
    if "kill_at" in wanted:
        _kill(pids, Path(wanted["spec"]).with_name("metrics.jsonl"), wanted["kill_at"])
    codes = {}
    for _ in pids:
        pid, status = os.wait()
        codes[pid] = os.waitstatus_to_exitcode(status)
        if codes[pid]:
            # As the launcher does: what one rank fails at, the others need not wait for.
            for other in set(pids) - codes.keys():
                os.kill(other, 15)
    return [codes[pid] for pid in pids]


def _kill(pids: list[int], metrics: Path, step: int) -> None:
    """Kills them all once that step is written, or one of them has ended by itself."""
    written = f'{{"kind":"step","step":{step},'.encode()
    while os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
        if metrics.exists() and written in metrics.read_bytes():
            break
        time.sleep(0.002)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


def _rank(wanted: dict[str, Any], rank: int, ranks: int, port: int) -> int:
    pid = os.fork()
    if pid:
        return pid
    log = Path(wanted["spec"]).parent / f"rank-{rank}.log"
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(out, 1)
    os.dup2(out, 2)
    os.environ |= {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(ranks),
        "LOCAL_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
    }  # fmt: skip
    for name, limit in wanted.get("limits", {}).items():
        soft = limit + (_data_bytes() if name == "RLIMIT_DATA" else 0)
        resource.setrlimit(getattr(resource, name), (soft, resource.RLIM_INFINITY))
    sys.argv = ["worker", wanted["spec"]]
    code = worker.main()
    sys.stdout.flush()
    os._exit(code)  # taking a forked process down in order costs seconds


def _data_bytes() -> int:
    """What counts against RLIMIT_DATA so far."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmData:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("no VmData")


if __name__ == "__main__":
    main()
