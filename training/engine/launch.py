"""Starts the ranks of a stage with DeepSpeed's launcher and stays until they are done.

In: a stage's spec. Out: its folder filled, records of its metrics handed on as they come, or a
typed error: the one that a rank left, or `LaunchFailed` with the last lines that the ranks printed.
If this process dies, the ranks notice and end too (`training.engine.tether`).
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

from common.credentials import names_credential
from training.engine import last_words
from training.engine.device import VARIABLE, on_gpus
from training.engine.disk import writing
from training.engine.spec import SPEC, StageSpec
from training.errors import CheckpointRefused, LaunchFailed, TrainingError
from training.report.metrics import METRICS_FILE
from training.report.reading import MetricsTail, Record

LOG = "ranks.log"
_POLL_S = 0.2
_GRACE_S = 20.0
# What the system says of a full disk or quota; with less than this free, it need not say it.
_FULL = ("No space left on device", "Disk quota exceeded")
_FULL_BYTES = 1 << 20


def launch(
    spec: StageSpec,
    on_record: Callable[[Record], None] = lambda record: None,
) -> None:
    """Trains the stage, whose folder the caller holds; returns when every rank has ended well.

    Raises:
        TrainingError: of any kind, as a rank wrote it.
        CheckpointRefused: the disk is full.
        LaunchFailed: a rank died without a word, or DeepSpeed is not installed.
    """
    if find_spec("deepspeed") is None:
        raise LaunchFailed(
            "Training needs DeepSpeed.",
            cause="The package deepspeed is not installed here.",
            solution="Install the trainer's packages.",
            command="make train",
        )
    with writing(f"The folder {spec.folder}"):
        last_words.clear(spec.folder)
        spec.write()
    log = spec.folder / LOG
    said_before = log.stat().st_size if log.exists() else 0
    follower = _Follower(spec.folder / METRICS_FILE)
    with _ranks(spec) as process:
        while process.poll() is None:
            for record in follower.read():
                on_record(record)
            time.sleep(_POLL_S)
        for record in follower.read():
            on_record(record)
        if process.returncode:
            raise _why(spec, process.returncode, said_before)


def _command(spec: StageSpec) -> list[str]:
    engine = spec.recipe.engine
    command = [sys.executable, "-m", "deepspeed.launcher.runner", "--quiet"]
    if engine.hostfile is not None:
        command += ["--hostfile", engine.hostfile]
    else:
        command += ["--hostfile", os.devnull, *_devices(engine.ranks)]
        command += ["--master_addr", "127.0.0.1", "--master_port", str(_free_port())]
    return [*command, "--module", "training.engine.worker", str(spec.folder / SPEC)]


def _devices(ranks: int) -> list[str]:
    """How many devices, or which: DeepSpeed takes the first ones whatever CUDA_VISIBLE_DEVICES
    says, unless they are named to it."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    if not visible or not on_gpus():
        return ["--num_accelerators", str(ranks)]
    names = [name.strip() for name in visible.split(",")]
    if len(names) < ranks or not all(name.isdecimal() for name in names):
        raise LaunchFailed(
            f"{ranks} ranks cannot have the devices '{visible}'.",
            cause="CUDA_VISIBLE_DEVICES names too few, or not by number.",
            solution="Name as many GPUs as engine.ranks says, by their numbers.",
        )
    return ["--include", "localhost:" + ",".join(names[:ranks])]


def _environment(spec: StageSpec) -> dict[str, str]:
    environment = {**os.environ, "TOKENIZERS_PARALLELISM": "false"}
    if spec.recipe.engine.hostfile is not None:
        # The launcher writes variables into ssh's arguments, where everybody can read them.
        environment = {k: v for k, v in environment.items() if not names_credential(k)}
    else:
        environment.setdefault("GLOO_SOCKET_IFNAME", "lo")
        environment.setdefault("NCCL_SOCKET_IFNAME", "lo")
    if not on_gpus():
        environment[VARIABLE] = "cpu"
        cores = len(os.sched_getaffinity(0))
        environment.setdefault("OMP_NUM_THREADS", str(max(1, cores // spec.recipe.engine.ranks)))
    return environment


@contextmanager
def _ranks(spec: StageSpec) -> Iterator[subprocess.Popen[bytes]]:
    """The launcher in a process group of its own, which ends with this block in any case."""
    command, environment = _command(spec), _environment(spec)
    with ExitStack() as stack:
        with writing(f"The log {spec.folder / LOG}"):
            log = stack.enter_context((spec.folder / LOG).open("ab"))
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Asks first. The launcher starts each node's ranks in the same process group."""
    if process.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_S)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _why(spec: StageSpec, code: int, said_before: int = 0) -> TrainingError:
    """The error that a rank left, or what the log and the disk tell. `said_before`: bytes of the
    log that are of earlier runs."""
    left = last_words.left_in(spec.folder)
    if left is not None:
        return left
    log = spec.folder / LOG
    lines = log.read_bytes()[said_before:].decode("utf-8", errors="replace").splitlines()
    telling = [line for line in lines if "Error" in line or "error:" in line] or lines
    last = telling[-1].strip()[-500:] if telling else "They printed nothing."
    what = f"The ranks of stage '{spec.name}' ended with exit code {code}."
    free = shutil.disk_usage(spec.folder).free
    if free < _FULL_BYTES or any(words in line for line in lines for words in _FULL):
        return CheckpointRefused(
            f"{what} The disk of {spec.folder} is full.",
            cause=f"{free:,} bytes are free there. {last}",
            solution="Free some disk space and run the same command again: it goes on from the "
            "last whole checkpoint.",
            command="df -h",
        )
    killed = "killed" in " ".join(lines[-40:]).lower() or code in (-9, 137, 247)
    return LaunchFailed(
        what,
        cause=last,
        solution="A rank was killed, perhaps for memory: lower engine.tokens_per_micro_batch, or "
        "run the same command to go on from the last checkpoint."
        if killed
        else f"Read {log}; the same command goes on from the last checkpoint.",
    )


class _Follower:
    """What the ranks write from now on: a resumed run first rewrites what is there already."""

    def __init__(self, file: Path) -> None:
        self._tail = MetricsTail(file)
        self._known = {record["time"] for record in self._tail.read() if _begins(record)}
        self._begun = False

    def read(self) -> Iterator[Record]:
        for record in self._tail.read():
            self._begun |= _begins(record) and record["time"] not in self._known
            if self._begun:
                yield record


def _begins(record: Record) -> bool:
    return bool(record["kind"] == "event" and record["name"] == "begin")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
