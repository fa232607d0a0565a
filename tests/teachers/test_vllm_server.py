"""The managed vLLM server: real processes that play `vllm serve`, and once the real one."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import psutil
import pytest

from teachers.errors import ServerDied
from teachers.vllm_server import CannotStart, VllmServer, VllmServerSettings

ROOT = Path(__file__).resolve().parents[2]

FAKE_VLLM = '''#!{python}
"""Plays `vllm serve`; the variable FAKE says how well."""
import os, signal, subprocess, sys, time
from http.server import BaseHTTPRequestHandler, HTTPServer

fake = os.environ.get("FAKE", "healthy")
print("loading the weights", flush=True)
if "worker" in fake:
    code = "import os, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    code += "os.setsid();" if "escaped" in fake else ""
    worker = subprocess.Popen([sys.executable, "-c", code + "time.sleep(300)"])
    with open(os.environ["WORKER_PID"], "w") as file:
        file.write(str(worker.pid))
if fake == "dies at startup":
    print("ValueError: no room for the cache, decrease VLLM_CPU_KVCACHE_SPACE", flush=True)
    for line in range(40):
        print(f"  frame {{line}}", flush=True)
    raise RuntimeError("engine core initialization failed")
if fake == "never ready":
    time.sleep(300)
if "deaf" in fake:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/die":
            print("OutOfMemoryError: the engine is gone", file=sys.stderr, flush=True)
            print(" - leaked function\\n" * 40, file=sys.stderr, flush=True)
            os._exit(7)
        key = self.headers.get("Authorization") == "Bearer " + os.environ["VLLM_API_KEY"]
        ok = self.path == "/health" or key or fake == "keyless"
        self.send_response(200 if ok else 401)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{{}}")
    def log_message(self, *_):
        pass

time.sleep(0.3)
address = sys.argv[sys.argv.index("--host") + 1], int(sys.argv[sys.argv.index("--port") + 1])
HTTPServer(address, Handler).serve_forever()
'''

PARENT = """
import asyncio, sys
from pathlib import Path
from teachers.vllm_server import VllmServer, VllmServerSettings

async def main():
    settings = VllmServerSettings.model_validate_json(sys.argv[1])
    server = VllmServer(settings, log=Path(sys.argv[2]), grace_s=0.5)
    await server.start()
    print(server.pid, flush=True)
    await asyncio.sleep(300)

asyncio.run(main())
"""


@pytest.fixture
def fake_vllm(tmp_path: Path) -> Path:
    path = tmp_path / "vllm"
    path.write_text(FAKE_VLLM.format(python=sys.executable))
    path.chmod(0o755)
    return path


def settings_of(fake_vllm: Path, fake: str = "healthy", **more: object) -> VllmServerSettings:
    env = {"FAKE": fake, "WORKER_PID": str(fake_vllm.parent / "worker.pid")}
    return VllmServerSettings.model_validate(
        {"model": "org/tiny", "executable": str(fake_vllm), "env": env, **more}
    )


@contextlib.asynccontextmanager
async def running(settings: VllmServerSettings, log: Path) -> AsyncIterator[VllmServer]:
    server = VllmServer(settings, log=log, grace_s=0.5)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


async def get(url: str, key: str | None = None) -> int:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as reply:
        return reply.status


def lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def gone(*pids: int) -> bool:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if not any(lives(pid) for pid in pids):
            return True
        await asyncio.sleep(0.05)
    return False


def worker_pid(fake_vllm: Path) -> int:
    return int((fake_vllm.parent / "worker.pid").read_text())


async def test_a_started_server_answers_at_its_base_url_and_only_to_its_key(
    fake_vllm: Path, tmp_path: Path
) -> None:
    async with running(settings_of(fake_vllm), tmp_path / "vllm.log") as server:
        assert server.base_url.startswith("http://127.0.0.1:")
        assert server.base_url.endswith("/v1")
        assert await get(f"{server.base_url}/models", server.api_key) == 200
        assert await get(f"{server.base_url}/models") == 401


async def test_a_stopped_server_is_gone_and_its_log_stays(fake_vllm: Path, tmp_path: Path) -> None:
    log = tmp_path / "logs" / "vllm.log"
    async with running(settings_of(fake_vllm), log) as server:
        pid = server.pid
    assert pid is not None and not lives(pid)
    with pytest.raises(aiohttp.ClientConnectionError):
        await get(f"{server.base_url}/models")
    assert "loading the weights" in log.read_text()


async def test_the_key_is_seen_in_no_argument_repr_or_log(fake_vllm: Path, tmp_path: Path) -> None:
    log = tmp_path / "vllm.log"
    async with running(settings_of(fake_vllm), log) as server:
        assert server.pid is not None
        arguments = [psutil.Process(server.pid), *psutil.Process().children(recursive=True)]
        seen = "\n".join(" ".join(process.cmdline()) for process in arguments)
        assert "--served-model-name org/tiny" in seen
        assert server.api_key not in seen + repr(server) + repr(server.settings) + log.read_text()


async def test_two_servers_have_different_keys_and_ports(fake_vllm: Path, tmp_path: Path) -> None:
    settings, log = settings_of(fake_vllm), tmp_path / "vllm.log"
    async with running(settings, log) as first, running(settings, log) as second:
        assert first.base_url != second.base_url
        assert await get(f"{first.base_url}/models", second.api_key) == 401


async def test_progress_tells_the_seconds_and_the_newest_line_of_the_log(
    fake_vllm: Path, tmp_path: Path
) -> None:
    told: list[tuple[float, str]] = []
    server = VllmServer(settings_of(fake_vllm), log=tmp_path / "vllm.log")
    await server.start(lambda elapsed_s, line: told.append((elapsed_s, line)))
    await server.stop()
    assert [seconds for seconds, _ in told] == sorted(seconds for seconds, _ in told)
    assert told[-1][1] == "loading the weights"


async def test_death_at_startup_tells_the_root_cause_and_the_end_of_the_log(
    fake_vllm: Path, tmp_path: Path
) -> None:
    server = VllmServer(settings_of(fake_vllm, "dies at startup"), log=tmp_path / "vllm.log")
    with pytest.raises(ServerDied) as caught:
        await server.start()
    cause = caught.value.cause
    assert "status 1" in cause
    assert "ValueError: no room for the cache, decrease VLLM_CPU_KVCACHE_SPACE" in cause
    assert "  frame 39\n" in cause and "frame 2\n" not in cause
    assert cause.rstrip().endswith("RuntimeError: engine core initialization failed")
    assert str(tmp_path / "vllm.log") in caught.value.solution


async def test_a_death_does_not_quote_an_earlier_start_from_the_same_log(
    fake_vllm: Path, tmp_path: Path
) -> None:
    log = tmp_path / "vllm.log"
    log.write_text("KeyError: an error of yesterday\n")
    with pytest.raises(ServerDied) as caught:
        await VllmServer(settings_of(fake_vllm, "dies at startup"), log=log).start()
    assert "yesterday" not in caught.value.cause
    assert log.read_text().startswith("KeyError: an error of yesterday\n")


async def test_watch_raises_when_the_server_dies_later(fake_vllm: Path, tmp_path: Path) -> None:
    async with running(settings_of(fake_vllm), tmp_path / "vllm.log") as server:
        watch = asyncio.create_task(server.watch())
        with pytest.raises(aiohttp.ClientConnectionError):
            await get(server.base_url.replace("/v1", "/die"))
        with pytest.raises(ServerDied) as caught:
            await watch
    assert server.died is caught.value
    assert "status 7" in caught.value.cause
    tail = caught.value.cause.partition("The end of its log:")[2]
    assert "OutOfMemoryError: the engine is gone" in tail


async def test_watch_returns_quietly_when_the_server_is_stopped(
    fake_vllm: Path, tmp_path: Path
) -> None:
    async with running(settings_of(fake_vllm), tmp_path / "vllm.log") as server:
        watch = asyncio.create_task(server.watch())
        await asyncio.sleep(0)
    await watch
    assert server.died is None


async def test_a_server_that_ignores_sigterm_is_killed(fake_vllm: Path, tmp_path: Path) -> None:
    async with running(settings_of(fake_vllm, "deaf"), tmp_path / "vllm.log") as server:
        pid = server.pid
    assert pid is not None and not lives(pid)


@pytest.mark.parametrize("fake", ["worker", "worker, escaped", "worker, deaf"])
async def test_stop_leaves_no_worker_behind(fake: str, fake_vllm: Path, tmp_path: Path) -> None:
    async with running(settings_of(fake_vllm, fake), tmp_path / "vllm.log"):
        worker = worker_pid(fake_vllm)
        assert lives(worker)
    assert not lives(worker)


@pytest.mark.parametrize("fake", ["worker", "worker, escaped"])
async def test_a_server_that_dies_leaves_no_worker_behind(
    fake: str, fake_vllm: Path, tmp_path: Path
) -> None:
    async with running(settings_of(fake_vllm, fake), tmp_path / "vllm.log") as server:
        assert server.pid is not None
        psutil.Process(server.pid).kill()
        with pytest.raises(ServerDied, match="not running") as caught:
            await server.watch()
        assert not lives(worker_pid(fake_vllm))
    assert "SIGKILL" in caught.value.cause


@pytest.mark.parametrize("fake", ["healthy", "deaf", "worker, escaped"])
async def test_the_server_does_not_outlive_a_parent_killed_with_kill_9(
    fake: str, fake_vllm: Path, tmp_path: Path
) -> None:
    parent = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        PARENT,
        settings_of(fake_vllm, fake).model_dump_json(),
        str(tmp_path / "vllm.log"),
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
    )
    assert parent.stdout is not None
    pids = [int(await parent.stdout.readline())]
    if "worker" in fake:
        pids.append(worker_pid(fake_vllm))
    assert all(lives(pid) for pid in pids)
    parent.kill()
    await parent.wait()
    assert await gone(*pids)


async def test_the_server_does_not_outlive_its_supervisor(fake_vllm: Path, tmp_path: Path) -> None:
    async with running(settings_of(fake_vllm, "worker"), tmp_path / "vllm.log") as server:
        assert server.pid is not None
        pids = server.pid, worker_pid(fake_vllm)
        supervisor = psutil.Process(server.pid).parent()
        assert supervisor is not None and supervisor.pid != psutil.Process().pid
        supervisor.kill()
        with pytest.raises(ServerDied):
            await server.watch()
        assert await gone(*pids)


async def test_a_server_that_is_never_ready_is_given_up_and_ended(
    fake_vllm: Path, tmp_path: Path
) -> None:
    settings = settings_of(fake_vllm, "never ready", startup_timeout_s=0.5)
    server = VllmServer(settings, log=tmp_path / "vllm.log", grace_s=0.5)
    with pytest.raises(ServerDied, match="not running") as caught:
        await server.start()
    assert "startup_timeout_s" in caught.value.cause
    assert server.pid is not None and not lives(server.pid)


async def test_a_cancelled_start_ends_the_server(fake_vllm: Path, tmp_path: Path) -> None:
    settings = settings_of(fake_vllm, "never ready")
    server = VllmServer(settings, log=tmp_path / "vllm.log", grace_s=0.5)
    loading = asyncio.Event()
    start = asyncio.create_task(server.start(lambda _seconds, _line: loading.set()))
    await loading.wait()
    assert server.pid is not None and lives(server.pid)
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    assert not lives(server.pid)


async def test_a_missing_executable_names_the_extras_and_the_make_target(tmp_path: Path) -> None:
    settings = VllmServerSettings(model="org/tiny", executable="no-such-vllm")
    with pytest.raises(CannotStart) as caught:
        await VllmServer(settings, log=tmp_path / "vllm.log").start()
    told = str(caught.value)
    assert "no-such-vllm" in told and "`vllm`" in told and "`vllm-cpu`" in told
    assert caught.value.command == "make vllm-cpu"


async def test_an_executable_that_cannot_be_executed_is_named(tmp_path: Path) -> None:
    broken = tmp_path / "vllm"
    broken.write_text("#!/no/such/interpreter\n")
    broken.chmod(0o755)
    settings = VllmServerSettings(model="org/tiny", executable=str(broken))
    with pytest.raises(CannotStart, match="could not be executed") as caught:
        await VllmServer(settings, log=tmp_path / "vllm.log").start()
    assert str(broken) in caught.value.what


async def test_a_port_that_is_taken_is_refused_before_anything_starts(
    fake_vllm: Path, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        server = VllmServer(settings_of(fake_vllm, port=port), log=tmp_path / "vllm.log")
        with pytest.raises(CannotStart, match=str(port)):
            await server.start()
    assert server.pid is None


async def test_a_server_that_does_not_ask_for_our_key_is_not_taken_for_ours(
    fake_vllm: Path, tmp_path: Path
) -> None:
    server = VllmServer(settings_of(fake_vllm, "keyless"), log=tmp_path / "vllm.log", grace_s=0.5)
    with pytest.raises(CannotStart, match="another server"):
        await server.start()
    assert server.pid is not None and not lives(server.pid)
