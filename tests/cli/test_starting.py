"""Ctrl-C while a command still starts: one word, exit code 130, and no traceback at any moment."""

from __future__ import annotations

import fcntl
import signal
import subprocess
from pathlib import Path

import pytest
from factory import command, end, environment, start_cli

STARTS = {
    "inspect": ["typer.main", "cli.main", "sqlalchemy", "langchain_core"],
    "run": ["pydantic", "langchain_core"],
}


def until_imported(process: subprocess.Popen[str], module: str) -> None:
    """Reads what Python says of its imports until it has that module."""
    assert process.stderr is not None
    # Then a process whose words nobody reads stands still before its start is over.
    if hasattr(fcntl, "F_SETPIPE_SZ"):
        fcntl.fcntl(process.stderr, fcntl.F_SETPIPE_SZ, 4096)
    while line := process.stderr.readline():
        if line.startswith("import time:") and line.rpartition("|")[2].strip() == module:
            return
    pytest.fail(f"it never imported {module}")


@pytest.mark.parametrize(
    ("name", "module"), [(name, module) for name, modules in STARTS.items() for module in modules]
)
def test_ctrl_c_while_a_command_starts_is_one_word(name: str, module: str, tmp_path: Path) -> None:
    words = {"inspect": ["--db", "none.db"], "run": ["none.yaml"]}[name]
    process = start_cli(name, *words, cwd=tmp_path, env=environment(PYTHONPROFILEIMPORTTIME="1"))
    try:
        until_imported(process, module)
        process.send_signal(signal.SIGINT)
        assert process.stdout is not None and process.stderr is not None
        err = process.stderr.read()
        out = process.stdout.read()
        process.wait(60)
    finally:
        end(process)
    said = [line for line in err.splitlines() if not line.startswith("import time:")]
    assert (process.returncode, said, out) == (130, ["Interrupted."], "")


def test_a_command_that_is_to_ignore_ctrl_c_ignores_it(tmp_path: Path) -> None:
    process = subprocess.Popen(
        ["nohup", *command("prompts", "list")],
        cwd=tmp_path, env=environment(PYTHONPROFILEIMPORTTIME="1"),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )  # fmt: skip
    try:
        until_imported(process, "typer.main")
        process.send_signal(signal.SIGINT)
        assert process.stdout is not None and process.stderr is not None
        process.stderr.read()
        out = process.stdout.read()
        process.wait(60)
    finally:
        end(process)
    assert process.returncode == 0
    assert "rewriting/respond" in out
