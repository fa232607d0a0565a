"""Where the inspector listens, and who may ask it.

In: the command's options. Out: `Settings`, or the reason why these would be unsafe. Loopback is
open to whoever uses this machine; anywhere else a token has to be shown first.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass

from inspector.errors import InspectorExposed

SHORTEST_TOKEN = 16
_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")
# What means every address of this machine, and the one of them to open here.
_ALL = {"0.0.0.0": "127.0.0.1", "::": "::1"}
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Settings:
    """`token` is asked of every visitor where it is set. `names` are the host names, in lower case
    and without port, that requests may be addressed to."""

    host: str
    port: int
    token: str | None
    names: frozenset[str]

    @property
    def url(self) -> str:
        """The address to open on this machine."""
        host = _ALL.get(self.host, self.host)
        host = f"[{host}]" if ":" in host else host
        return f"http://{host}:{self.port}/"

    @property
    def is_everywhere(self) -> bool:
        """Whether it listens on all of this machine's addresses."""
        return self.host in _ALL


def read_settings(
    host: str, port: int, token_env: str | None, names: Sequence[str] = ()
) -> Settings:
    """Checks the options.

    Args:
        host: the address to listen on.
        port: 0 means any free one.
        token_env: the environment variable that holds the token.
        names: further host names under which visitors reach this machine.

    Raises:
        InspectorExposed: other machines could ask without a token, or the token is none.
    """
    token = _token(token_env)
    host = host.strip().strip("[]")
    if token is None and not is_loopback(host):
        raise InspectorExposed(
            f"The inspector would be open to every machine that reaches {host}.",
            cause="It shows the whole corpus and takes decisions, and no token is set.",
            solution="Keep to 127.0.0.1 (and reach it through `ssh -L`), or put a token into an "
            "environment variable and name that with --token-env.",
            command="stillhouse inspect --host 127.0.0.1",
        )
    known = {name.strip().lower().strip("[]") for name in (*_LOOPBACK_NAMES, host, *names)}
    return Settings(host, port, token, frozenset(known - {*_ALL, ""}))


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _token(variable: str | None) -> str | None:
    if variable is None:
        return None
    if not _ENV_NAME.fullmatch(variable):
        # Perhaps the token itself was given: it must not be repeated here.
        raise InspectorExposed(
            "--token-env does not name an environment variable.",
            cause="Names have letters, digits and underscores only.",
            solution="Put the token into a variable and give the variable's name.",
            command="stillhouse inspect --token-env STILLHOUSE_TOKEN",
        )
    token = os.environ.get(variable, "")
    if len(token) < SHORTEST_TOKEN:
        found = "is not set" if not token else f"holds {len(token)} characters"
        raise InspectorExposed(
            f"The token in ${variable} cannot be used.",
            cause=f"The variable {found}; a token has {SHORTEST_TOKEN} characters or more.",
            solution="Make one and start again in the same shell.",
            command=f"export {variable}=$(python3 -c 'import secrets; "
            "print(secrets.token_urlsafe())')",
        )
    return token
