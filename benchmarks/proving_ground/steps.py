"""Steps cached by content: done once for the same question, however often they are asked for.

In: a step's name, everything that shapes its result (settings, and the steps before it), and the
work that fills a folder. Out: that folder, `WORK/steps/NAME-HASH`, with a `step.json` once it is
done, and how long it took. A step that was killed goes on in its folder: what runs there
(`stillhouse run`, `capture`, `train`) resumes by itself.

Not in the hash: the code of Stillhouse, and the machine. `step.json` keeps the commit at which a
step was done, and the processor; after a change that matters, use another WORK folder.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmarks.proving_ground.commands import interrupt_all
from benchmarks.proving_ground.machine import this_machine
from common.hashing import digest
from common.revision import code_revision

_DONE = "step.json"

Work = Callable[[Path], None]


@dataclass(frozen=True)
class Step:
    """One step. `shape` is JSON; `needs` are done before. `threads`: of the machine's cores."""

    name: str
    shape: dict[str, Any]
    work: Work = field(repr=False, compare=False)
    needs: tuple[Step, ...] = ()
    threads: int = 1

    @cached_property
    def key(self) -> str:
        """Hash of everything that shapes the result."""
        return digest([self.name, self.shape, [need.key for need in self.needs]])

    def folder(self, work: Path) -> Path:
        """Where its result lies once it is done."""
        return work / "steps" / f"{self.name}-{self.key[:12]}"

    def seconds(self, work: Path) -> float | None:
        """How long it took, over all its attempts; None where it is not done."""
        said = self._said(work)
        return float(said["seconds"]) if said else None

    def commit(self, work: Path) -> str | None:
        """At which commit it was done; None where it is not done, or was before that was kept."""
        return self._said(work).get("commit")

    def machine(self, work: Path) -> str | None:
        """On which machine it was done; None where it is not done, or was before that was kept."""
        return self._said(work).get("machine")

    def _said(self, work: Path) -> dict[str, Any]:
        try:
            said: dict[str, Any] = json.loads(
                (self.folder(work) / _DONE).read_text(encoding="utf-8")
            )
        except FileNotFoundError:
            return {}
        return said


@contextlib.contextmanager
def only_one(work: Path) -> Iterator[None]:
    """Holds `work` for this process; the system lets go of it when the process ends.

    Raises:
        SystemExit: another process is at it.
    """
    work.mkdir(parents=True, exist_ok=True)
    with (work / "lock").open("a+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SystemExit(f"another proving ground is at work in {work}") from None
        yield


def everything(steps: Sequence[Step]) -> list[Step]:
    """The steps and all they need, each once, needs first."""
    found: dict[str, Step] = {}

    def add(step: Step) -> None:
        for need in step.needs:
            add(need)
        found.setdefault(step.key, step)

    for step in steps:
        add(step)
    return list(found.values())


def run_steps(
    steps: Sequence[Step], work: Path, cores: int, say: Callable[[str], None]
) -> dict[str, float]:
    """Does what is not done yet, as many at a time as `cores` allow; seconds by name.

    Raises:
        Exception: whatever a step raised; those already running are waited for, the rest is left.
    """
    waiting = [step for step in everything(steps) if step.seconds(work) is None]
    done = {step.key for step in everything(steps)} - {step.key for step in waiting}
    running: dict[Future[None], Step] = {}
    total, free = len(waiting), cores
    failure: BaseException | None = None
    with ThreadPoolExecutor(cores) as pool, _interrupted_with_their_commands():
        while (waiting and failure is None) or running:
            for step in list(waiting) if failure is None else []:
                if not all(need.key in done for need in step.needs):
                    continue
                if (wanted := min(step.threads, cores)) > free:
                    break  # What comes later would keep it waiting for ever.
                waiting.remove(step)
                free -= wanted
                running[pool.submit(_do, step, work)] = step
            finished, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                step = running.pop(future)
                free += min(step.threads, cores)
                if error := future.exception():
                    failure = failure or error
                    say(f"{step.name}: {type(error).__name__}: {error}")
                    continue
                done.add(step.key)
                left = len(waiting) + len(running)
                say(f"[{total - left}/{total}] {step.name} ({step.seconds(work):.0f} s)")
    if failure is not None:
        raise failure
    return {step.name: step.seconds(work) or 0.0 for step in everything(steps)}


@contextlib.contextmanager
def _interrupted_with_their_commands() -> Iterator[None]:
    """Whoever stops this process stops what runs in its steps, which then ends as after Ctrl-C."""
    try:
        yield
    except KeyboardInterrupt:
        interrupt_all()
        raise


def _do(step: Step, work: Path) -> None:
    folder = step.folder(work)
    folder.mkdir(parents=True, exist_ok=True)
    clock = folder / "seconds"
    spent = float(clock.read_text()) if clock.is_file() else 0.0
    began = time.monotonic()
    with _ticking(clock, spent, began):
        step.work(folder)
    said = {"name": step.name, "shape": step.shape, "needs": [need.key for need in step.needs],
            "seconds": spent + time.monotonic() - began, "commit": code_revision(),
            "machine": this_machine()}  # fmt: skip
    part = folder / f"{_DONE}.part"
    part.write_text(json.dumps(said, indent=1, ensure_ascii=False), encoding="utf-8")
    part.replace(folder / _DONE)
    clock.unlink(missing_ok=True)


class _ticking:
    """Keeps a step's clock on disk, so that what a killed attempt took is counted too."""

    def __init__(self, clock: Path, spent: float, began: float) -> None:
        self._clock, self._spent, self._began = clock, spent, began
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._tick, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _tick(self) -> None:
        while not self._stop.wait(5.0):
            part = self._clock.with_suffix(".part")
            part.write_text(str(self._spent + time.monotonic() - self._began))
            part.replace(self._clock)
