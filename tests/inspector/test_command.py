"""`stillhouse inspect` as people start it: it says where it is, answers, and ends with Ctrl-C."""

from __future__ import annotations

import re
import signal
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
