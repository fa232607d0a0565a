"""A simulated teacher as a child process of the run that rehearses with it.

It is given its settings, says where it listens, and ends when its standard input closes: with the
run, even after `kill -9`.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys

import orjson

from teachers.errors import ServerDied
from teachers.simulated.settings import SimulatedSettings


class SimulatedChild:
    """Starts and stops `python -m teachers.simulated`."""

    def __init__(self, settings: SimulatedSettings) -> None:
        self._settings = settings
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> str:
        """Its base URL, once it listens."""
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "teachers.simulated",
            "--port",
            "0",
            "--settings-json",
            self._settings.model_dump_json(),
            "--exit-with-stdin",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            # Ctrl-C is for the run, which then ends this process itself.
            start_new_session=True,
        )
        assert self._process.stdout is not None, "it was asked for as a pipe"
        line = await self._process.stdout.readline()
        if not line:
            raise ServerDied(
                "The simulated teacher ended before it listened.",
                cause=f"Its exit status is {await self._process.wait()}; see its message above.",
                solution="Check the settings under `simulation:`.",
            )
        base_url: str = orjson.loads(line)["base_url"]
        return base_url

    async def stop(self, *, grace_s: float = 1.0) -> None:
        """Closes its input, and ends it where that does not suffice."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        assert process.stdin is not None, "it was asked for as a pipe"
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), grace_s)
        except TimeoutError:
            # It may have ended just now.
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
