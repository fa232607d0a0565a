"""Runs a simulated teacher as a process of its own: `python -m teachers.simulated --port 0`.

In: settings as JSON. Out: one line of JSON on stdout when it is ready, `{"base_url": …, "pid": …}`.
Ends at SIGTERM or SIGINT, and with `--exit-with-stdin` when its standard input ends: a parent that
holds the other end takes the server with it, however the parent dies.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import orjson

from common.errors import StillhouseError
from teachers.simulated.server import SimulatedServer
from teachers.simulated.settings import SimulatedSettings, parse_settings


def main(arguments: list[str] | None = None) -> int:
    """Serves until told to stop; gives the exit code."""
    options = _parser().parse_args(arguments)
    try:
        settings = parse_settings(options.settings_json)
        _run(_serve(settings, options))
    except StillhouseError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m teachers.simulated", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 for any free port")
    parser.add_argument("--settings-json", default="{}", help="SimulatedSettings as JSON")
    parser.add_argument("--journal", type=Path, help="append the hash of every answered body here")
    parser.add_argument("--exit-with-stdin", action="store_true", help="end when stdin ends")
    return parser


def _run(main: Coroutine[Any, Any, None]) -> None:
    try:
        import uvloop
    except ImportError:
        asyncio.run(main)
    else:
        uvloop.run(main)


async def _serve(settings: SimulatedSettings, options: argparse.Namespace) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        # Windows has no such handlers; there the process is simply ended.
        with contextlib.suppress(NotImplementedError):
            loop.add_signal_handler(number, stop.set)
    server = SimulatedServer(settings, options.journal)
    base_url = await server.start(options.host, options.port)
    if options.exit_with_stdin:
        threading.Thread(target=_watch_stdin, args=(loop, stop), daemon=True).start()
    ready = {"base_url": base_url, "pid": os.getpid()}
    sys.stdout.write(orjson.dumps(ready).decode() + "\n")
    sys.stdout.flush()
    try:
        await stop.wait()
    finally:
        await server.stop()


def _watch_stdin(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    # The descriptor and not sys.stdin: a thread inside a buffered read keeps Python from ending.
    while os.read(0, 4096):
        pass
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(stop.set)


if __name__ == "__main__":
    sys.exit(main())
