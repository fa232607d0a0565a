"""Run a command whose whole process family ends when we do, however we end.

In go a command, its environment and a log file; out comes a `ChildProcess` to wait for and to stop.
Between us and the command stands a supervisor: this same file, run as a script. It starts the
command in a process group of its own, adopts every orphan the command leaves, and ends the family
(SIGTERM, a grace, SIGKILL) when the command ends, when we ask, or when we are gone, be it by
kill -9. It exits once no descendant is left: after `wait` or `stop`, nothing has survived.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

_POLL_S: Final = 0.1
# From linux/prctl.h.
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_CHILD_SUBREAPER: Final = 36


class ChildProcess:
    """A running command and everything it started. Make one with `ChildProcess.start`."""

    def __init__(self, supervisor: asyncio.subprocess.Process, pid: int) -> None:
        self._supervisor = supervisor
        self.pid = pid

    @classmethod
    async def start(
        cls, command: list[str], *, env: dict[str, str], log: Path, grace_s: float
    ) -> ChildProcess:
        """Start `command` with its output appended to `log`.

        Args:
            command: the executable and its arguments; no shell, and no secrets (`ps` shows it).
            env: its whole environment.
            log: an existing folder's file; created where missing, appended to otherwise.
            grace_s: seconds between SIGTERM and SIGKILL when the family is ended.

        Raises:
            OSError: the command could not be executed.
        """
        with log.open("ab") as output:
            supervisor = await asyncio.create_subprocess_exec(
                sys.executable,
                # Isolated: otherwise this folder would lead sys.path and hide standard modules.
                "-I",
                __file__,
                str(grace_s),
                *command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=output,
                env=env,
                start_new_session=True,
            )
        assert supervisor.stdout is not None
        try:
            word, _, rest = (await supervisor.stdout.readline()).decode().strip().partition(" ")
        except asyncio.CancelledError:
            _close_stdin(supervisor)
            raise
        if word != "started":
            await supervisor.wait()
            raise OSError(rest or "the supervisor ended before it started the command")
        return cls(supervisor, int(rest))

    async def wait(self) -> int:
        """The command's exit status (128 + n where signal n ended it), once its family is gone."""
        status = await self._supervisor.wait()
        if status < 0:
            # Someone killed the supervisor, so what is left of the family is ours to end.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            return 128 - status
        return status

    async def stop(self) -> int:
        """End the family and return its exit status; harmless when it has already ended."""
        _close_stdin(self._supervisor)
        return await self.wait()


def _close_stdin(supervisor: asyncio.subprocess.Process) -> None:
    if supervisor.stdin is not None:
        supervisor.stdin.close()


class _Supervisor:
    """The other side: starts the command, watches it and our parent, ends the family."""

    def __init__(self, grace_s: float, command: list[str]) -> None:
        self._grace_s = grace_s
        self._parent = os.getppid()
        self._asked_to_end = False
        self._status: int | None = None
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)
        signal.signal(signal.SIGTERM, self._on_sigterm)
        self._child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr,
            stderr=sys.stderr,
            process_group=0,
            preexec_fn=_die_with_the_supervisor,
        ).pid

    def run(self) -> int:
        """Watch until the command ends or our parent does; end the family; return the status."""
        sys.stdout.write(f"started {self._child}\n")
        sys.stdout.flush()
        while self._family_lives() and self._status is None and not self._must_end():
            pass
        deadline = time.monotonic() + self._grace_s
        self._signal_group(signal.SIGTERM)
        while self._family_lives() and time.monotonic() < deadline:
            time.sleep(_POLL_S)
        while self._family_lives():
            self._signal_group(signal.SIGKILL)
            # Whoever left the group is reached as our own child: killing a process hands us its
            # children, so this ends a family of any depth.
            for pid in _own_children():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(_POLL_S)
        return 0 if self._status is None else self._status

    def _must_end(self) -> bool:
        """Wait a moment; true when our parent closed our stdin, died, or someone sent SIGTERM."""
        readable, _, _ = select.select([sys.stdin], [], [], _POLL_S)
        # A forked sibling can hold our stdin open after our parent died: ask for the parent too.
        return bool(readable) or os.getppid() != self._parent or self._asked_to_end

    def _family_lives(self) -> bool:
        """Bury the dead; true while any descendant (or, off Linux, group member) is left."""
        try:
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return True
                if pid == self._child:
                    code = os.waitstatus_to_exitcode(status)
                    self._status = code if code >= 0 else 128 - code
        except ChildProcessError:
            return self._signal_group(0)

    def _signal_group(self, number: int) -> bool:
        """Send a signal to the command's group; false where the group is empty."""
        try:
            os.killpg(self._child, number)
        except (ProcessLookupError, PermissionError):
            # macOS says "not permitted" of a group that holds nothing but the dead.
            return False
        return True

    def _on_sigterm(self, _number: int, _frame: object) -> None:
        self._asked_to_end = True


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def _die_with_the_supervisor() -> None:
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _own_children() -> list[int]:
    pid = os.getpid()
    try:
        return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def _main() -> int:
    try:
        supervisor = _Supervisor(float(sys.argv[1]), sys.argv[2:])
    except OSError as error:
        sys.stdout.write(f"failed {error}\n")
        return 1
    return supervisor.run()


if __name__ == "__main__":
    sys.exit(_main())
