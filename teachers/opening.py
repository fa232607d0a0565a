"""Opens the teachers that a run needs: starts servers, checks that they answer, builds gateways.

In: the recipe's teachers by name. Out: a `Fleet` with one `Gateway` per teacher. Teachers on one
endpoint share its limiter. A managed server's death is announced through `died`. `close` ends what
was started.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from teachers.budget import Budget
from teachers.chat import TeacherChat
from teachers.config import (
    OpenAITeacher,
    RecordedTeacher,
    SimulatedTeacher,
    TeacherSettings,
    VllmTeacher,
)
from teachers.errors import MissingApiKey, ModelNotFound, ServerDied, TeacherError, TimedOut
from teachers.gateway import Backend, CompletionCache, Gateway
from teachers.identity import endpoint_identity, recorded_backend
from teachers.limiter import AdaptiveLimiter, LimitSettings
from teachers.simulated.child import SimulatedChild
from teachers.vllm_server import VllmServer

# A server at work may be slow to list its models, however little patience it is met with.
LEAST_PATIENCE_S = 10.0


class LimitsDiffer(TeacherError):
    """Two teachers at one endpoint ask for different limits."""

    code = "limits_differ"
    fatal = True


class Fleet:
    """All teachers of one run, by name."""

    def __init__(
        self,
        settings: Mapping[str, TeacherSettings],
        budget: Budget,
        cache: CompletionCache,
        log_folder: Path,
    ) -> None:
        self._settings = settings
        self._budget = budget
        self._cache = cache
        self._log_folder = log_folder
        self._limiters: dict[str, AdaptiveLimiter] = {}
        self._opening: list[TeacherSettings] = []
        self._servers: list[VllmServer | SimulatedChild] = []
        self._watchers: list[asyncio.Task[None]] = []
        self.gateways: dict[str, Gateway] = {}
        # What each teacher's endpoint lists, for `teacher check`.
        self.models: dict[str, list[dict[str, Any]]] = {}
        self.died = asyncio.Event()
        self.death: TeacherError | None = None

    async def open(self, names: Sequence[str]) -> None:
        """Opens these teachers, one after the other; raises what keeps one from answering."""
        self._opening = [self._settings[name] for name in names]
        for name in names:
            self.gateways[name] = await self._open(name, self._settings[name])

    async def _open(self, name: str, settings: TeacherSettings) -> Gateway:
        match settings:
            case OpenAITeacher():
                return await self._endpoint(name, settings, settings.base_url, settings.api_key_env)
            case VllmTeacher(server=None, base_url=str(url)):
                return await self._endpoint(name, settings, url, settings.api_key_env)
            case VllmTeacher():
                return await self._managed_vllm(name, settings)
            case SimulatedTeacher(base_url=str(url)):
                return await self._endpoint(name, settings, url, None)
            case SimulatedTeacher():
                child = SimulatedChild(settings.simulation)
                self._servers.append(child)
                url = await child.start()
                return await self._endpoint(name, settings, url, None)
            case RecordedTeacher():
                backend = recorded_backend(name, settings)
                return self._gateway(name, settings, backend.identity, backend)
        raise TypeError(f"no way to open a {type(settings).__name__}")

    async def _managed_vllm(self, name: str, settings: VllmTeacher) -> Gateway:
        assert settings.server is not None, "the settings demand a server or a base_url"
        server = VllmServer(settings.server, log=self._log_folder / f"{name}.log")
        self._servers.append(server)
        url = await server.start()
        self._watchers.append(asyncio.create_task(self._watch(server)))
        return await self._endpoint(name, settings, url, None, server.api_key)

    async def _watch(self, server: VllmServer) -> None:
        try:
            await server.watch()
        except ServerDied as death:
            self.death = death
            self.died.set()

    async def _endpoint(
        self,
        name: str,
        settings: TeacherSettings,
        url: str,
        key_env: str | None,
        key: str | None = None,
    ) -> Gateway:
        if key_env is not None:
            key = os.environ.get(key_env, "").strip()
            if not key:
                raise MissingApiKey(
                    f"Teacher '{name}' needs a key, and there is none.",
                    cause=f"The environment variable {key_env} is not set.",
                    solution=f"Set it before the run: export {key_env}=…",
                    command=f"stillhouse teacher check {name}",
                )
        chat = TeacherChat.for_teacher(
            name=name,
            base_url=url,
            model=settings.model_name,
            api_key=key,
            api_key_env=key_env,
            timeout_s=settings.timeout_s,
            extra_body=settings.extra_body or None,
            return_token_ids=getattr(settings, "return_token_ids", False),
        )
        gateway = self._gateway(name, settings, endpoint_identity(settings), chat, limited_by=url)
        # Known already, so that `close` closes it even if it does not answer now.
        self.gateways[name] = gateway
        await self._ask_for_models(name, settings, chat)
        return gateway

    async def _ask_for_models(
        self, name: str, settings: TeacherSettings, chat: TeacherChat
    ) -> None:
        """One question before thousands: an address nobody answers at, or a key that is refused,
        should be known now. A server that lists no models, in whatever way, is still a server."""
        patience_s = max(settings.retry.unreachable_patience_s, LEAST_PATIENCE_S)
        try:
            async with asyncio.timeout(patience_s):
                self.models[name] = await chat.list_models()
        except TimeoutError:
            raise TimedOut(
                f"Teacher '{name}' did not list its models within {patience_s:g} s.",
                cause=f"A connection was made, but {chat.openai_api_base} does not answer.",
                solution="Look at the server's log, or correct the teacher's base_url.",
                command=f"stillhouse teacher check {name}",
            ) from None
        except ModelNotFound:
            return
        except TeacherError as error:
            if error.fatal or isinstance(error, TimedOut):
                raise

    def _gateway(
        self,
        name: str,
        settings: TeacherSettings,
        identity: str,
        backend: Backend,
        limited_by: str | None = None,
    ) -> Gateway:
        limiter = self._limiter(limited_by or name, name, settings)
        simulated = isinstance(settings, SimulatedTeacher)
        return Gateway(
            name=name,
            endpoint=identity,
            model=settings.model_name,
            revision=getattr(settings, "revision", None),
            backend=backend,
            limiter=limiter,
            budget=self._budget,
            cache=self._cache,
            retry=settings.retry,
            prices=settings.prices,
            structured_mode=settings.structured,
            contribution=settings.terms.contribution(
                name, settings.model_name, simulated=simulated
            ),
            family=settings.family,
        )

    def _limiter(self, endpoint: str, name: str, settings: TeacherSettings) -> AdaptiveLimiter:
        """The endpoint's limiter, which its teachers share: those who set limits must agree."""
        limiter = self._limiters.get(endpoint)
        unset = LimitSettings()
        if limiter is None:
            here = [s for s in self._opening if getattr(s, "base_url", None) == endpoint]
            asked = [s.limits for s in (settings, *here) if s.limits != unset]
            limits = asked[0] if asked else unset
            limiter = self._limiters[endpoint] = AdaptiveLimiter(limits)
        if settings.limits not in (unset, limiter.settings):
            raise LimitsDiffer(
                f"Teacher '{name}' has other limits than another teacher at {endpoint}.",
                cause="Teachers at one address share one queue, so that together they keep to it.",
                solution="Give both the same `limits`, or set them for one only.",
            )
        return limiter

    def warnings(self, writer: str | None, judge: str | None) -> list[str]:
        """What a careful user would want to know before the run: a judge of its own family."""
        if writer is None or judge is None:
            return []
        families = self.gateways[writer].family, self.gateways[judge].family
        if writer == judge or (families[0] is not None and families[0] == families[1]):
            return [
                f"the judge ('{judge}') is of the same model family as the teacher who writes the "
                f"responses ('{writer}'); judges favour their own kind"
            ]
        return []

    async def close(self) -> None:
        """Closes connections and stops the servers that were started."""
        for watcher in self._watchers:
            watcher.cancel()
        await asyncio.gather(*self._watchers, return_exceptions=True)
        for gateway in self.gateways.values():
            await gateway.close()
        await asyncio.gather(*(server.stop() for server in self._servers))
