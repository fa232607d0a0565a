"""A PostgreSQL server of a benchmark's own: started on a free port, ended after it, and removed
unless it was given a folder to stay in.

Needs PostgreSQL's programs (Debian: `apt-get install postgresql`). As root it runs as the user
`postgres` or `nobody`, since PostgreSQL refuses root.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg


@contextlib.contextmanager
def own_postgres(kept: Path | None = None, shared_buffers: str = "16MB") -> Iterator[str]:
    """The URL of the server's maintenance database; without PostgreSQL the script ends.

    Args:
        kept: a folder, every user may enter the one above it, that keeps the databases for the next
            time; None for one that is removed.
        shared_buffers: the server's setting.
    """
    programs = _programs()
    # Short, because of the socket's path, and open to the server's user.
    folder = Path(tempfile.mkdtemp(prefix="stillhouse-pg-")) if kept is None else kept
    folder.mkdir(exist_ok=True)
    user = _user()
    how: dict[str, Any] = {"cwd": folder}
    if user is not None:
        shutil.chown(folder, user)
        how |= {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []}
    data, port = folder / "data", _free_port()
    server = None
    try:
        with (folder / "server.log").open("wb") as log:
            how |= {"stdout": log, "stderr": subprocess.STDOUT}
            initdb = [
                str(programs / "initdb"),
                "--no-sync",
                "--auth=trust",
                "--username=stillhouse",
            ]
            if not data.exists():
                subprocess.run([*initdb, "-E", "UTF8", "-D", data], check=True, timeout=120, **how)
            settings = {
                "listen_addresses": "127.0.0.1", "port": port, "fsync": "off",
                "unix_socket_directories": folder, "shared_buffers": shared_buffers,
            }  # fmt: skip
            options = [f"--{name}={value}" for name, value in settings.items()]
            server = subprocess.Popen([programs / "postgres", "-D", data, *options], **how)
        url = f"postgresql://stillhouse@127.0.0.1:{port}/postgres"
        _await(url, server)
        yield url
    finally:
        if server is not None:
            # At once where nothing is kept; otherwise with everything written to disk.
            server.send_signal(signal.SIGQUIT if kept is None else signal.SIGINT)
            server.wait(60)
        if kept is None:
            shutil.rmtree(folder, ignore_errors=True)


def _programs() -> Path:
    versions = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    found = sorted(versions, key=lambda path: int(path.parts[-3]))
    if found:
        return found[-1].parent
    on_path = shutil.which("initdb")
    if on_path is None:
        sys.exit("PostgreSQL is not installed; give --postgres URL, or --backend sqlite.")
    return Path(on_path).resolve().parent


def _user() -> str | None:
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return next((name for name in ("postgres", "nobody") if name in names), None)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _await(url: str, server: subprocess.Popen[bytes]) -> None:
    for _ in range(300):
        if server.poll() is not None:
            break
        try:
            psycopg.connect(url).close()
        except psycopg.OperationalError:
            time.sleep(0.1)
        else:
            return
    sys.exit("PostgreSQL did not start.")
