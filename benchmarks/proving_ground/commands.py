"""Runs `stillhouse` as a user would, with a log, and fails with its last words."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import yaml

from benchmarks.proving_ground.recipes import Document
from benchmarks.support import CHECKOUT

_running: set[subprocess.Popen[bytes]] = set()
_STILLHOUSE = Path(sys.executable).with_name("stillhouse")
_SAID = 1500


class CommandFailed(Exception):
    """A command of a step ended with an error; its text is the end of what it printed."""


def write_recipe(document: Document, path: Path) -> Path:
    """The recipe as a file."""
    path.write_text(yaml.safe_dump(document, sort_keys=False, allow_unicode=True))
    return path


def stillhouse(*arguments: str | Path, log: Path) -> None:
    """One `stillhouse` command; what it prints is added to `log`."""
    run([str(_STILLHOUSE), *map(str, arguments)], log=log)


def python(module: str, *arguments: str | Path, log: Path) -> None:
    """One of our own modules, in a process of its own."""
    run([sys.executable, "-m", module, *map(str, arguments)], log=log)


def run(command: list[str], *, log: Path) -> None:
    """A command, with one thread for arithmetic in each of its processes.

    Steps and ranks share the cores; several threads in each would mostly wait for each other.

    Raises:
        CommandFailed: it ended with another code than 0.
    """
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "LANGSMITH_TRACING": "false",
        "NO_COLOR": "1",
    }
    with log.open("ab") as file:
        file.write(f"$ {' '.join(command)}\n".encode())
        file.flush()
        process = subprocess.Popen(
            command,
            env=environment,
            cwd=CHECKOUT,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
        _running.add(process)
        try:
            code = process.wait()
        finally:
            _running.discard(process)
    if code:
        said = log.read_bytes()[-_SAID:].decode("utf-8", "replace")
        raise CommandFailed(f"{' '.join(command[1:4])} … ended with {code}:\n{said}")


def interrupt_all() -> None:
    """Asks every command that is running to end; SIGINT would be ignored below `nohup … &`."""
    for process in list(_running):
        process.send_signal(signal.SIGTERM)
