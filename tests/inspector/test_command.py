"""`stillhouse inspect` as people start it: it says where it is, answers, and ends with Ctrl-C."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

from factory import end, environment, start_cli


def test_the_command_serves_until_ctrl_c(db: Path, tmp_path: Path) -> None:
    process = start_cli(
        "inspect", "--db", db, "--port", "0", cwd=tmp_path, env=environment(COLUMNS="400")
    )
    try:
        assert process.stdout
        line = process.stdout.readline()
        url = re.search(r"http://127\.0\.0\.1:\d+/", line)
        assert url, line
        assert db.name in line
        assert process.stdout.readline().strip() == "Ctrl-C ends it."
        with urllib.request.urlopen(f"{url[0]}samples", timeout=60) as answer:
            assert answer.status == 200
            assert "verification_failed" in answer.read().decode().replace("<wbr>", "")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    finally:
        end(process)
    assert "Traceback" not in err
    assert process.returncode in (0, 130, -signal.SIGINT)


_COUNTED = """
import atexit, gc
atexit.register(lambda: print("for the collector:", len(gc.get_objects())))
from cli.main import main
main()
"""


def test_what_was_imported_is_nothing_to_the_garbage_collector(db: Path, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", _COUNTED, "inspect", "--db", db, "--port", "0"],
        cwd=tmp_path, env=environment(COLUMNS="400"), stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout
        url = re.search(r"http://127\.0\.0\.1:\d+/", process.stdout.readline())
        assert url
        for page in ("", "samples", "review", "prompts"):
            with urllib.request.urlopen(f"{url[0]}{page}", timeout=60) as answer:
                assert answer.status == 200
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=60)
    finally:
        end(process)
    counted = re.search(r"for the collector: (\d+)", out)
    assert counted
    # The imports alone are a quarter of a million.
    assert int(counted[1]) < 50_000
