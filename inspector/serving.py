"""Serves the inspector until Ctrl-C.

In: a database and settings. Out: the process's exit code. Says the address first; a port that is
taken is an error with its solution.
"""

from __future__ import annotations

import gc
import socket
from collections.abc import Callable
from dataclasses import replace

import uvicorn

from inspector.app import make_app
from inspector.captures import RowsReader
from inspector.errors import AddressInUse, HostUnknown, InspectorError
from inspector.settings import Settings
from storage.database import Database


def serve(
    db: str,
    settings: Settings,
    on_ready: Callable[[str, str], None],
    rows: RowsReader | None = None,
) -> None:
    """Opens the corpus and serves it until the process is told to end.

    Args:
        db: a SQLite file or a PostgreSQL URL.
        settings: where to listen, and who may ask.
        on_ready: gets the address, once it can be opened, and what the corpus is called.
        rows: reads captured rows, where they are to be shown.

    Raises:
        StorageError: the corpus cannot be opened.
        AddressInUse: the address cannot be listened on.
        HostUnknown: the host's name leads to no address.
    """
    database = Database.open(db)
    try:
        listening = _listen(settings)
    except InspectorError:
        database.close()
        raise
    settings = replace(settings, port=listening.getsockname()[1])
    config = uvicorn.Config(
        make_app(database, settings, rows),
        log_level="warning",
        access_log=False,
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=2,
    )
    _keep_what_was_imported()
    on_ready(settings.url, str(database.name))
    uvicorn.Server(config).run(sockets=[listening])


def _keep_what_was_imported() -> None:
    """A quarter of a million objects, most of them from the libraries that forks walk with, live as
    long as the process. Every full garbage collection would go through them all again, and the page
    that meets one would wait for it, 0.2 s."""
    gc.collect()
    gc.freeze()


def _listen(settings: Settings) -> socket.socket:
    try:
        found = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise HostUnknown(
            f"There is no address under the name {settings.host}.",
            cause=f"The system says: {getattr(error, 'strerror', None) or error}",
            solution="Give --host an address of this machine; --allow-host names further ones "
            "under which it is reached.",
            command="stillhouse inspect --host 127.0.0.1",
        ) from error
    try:
        family, kind, protocol, _, address = found[0]
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        # From here on whoever comes is answered, if only once the pages are ready.
        listening.listen(100)
    except OSError as error:
        raise AddressInUse(
            f"The inspector cannot listen on {settings.host}, port {settings.port}.",
            cause=f"The system says: {error.strerror or error}",
            solution="Give another --port (0 takes any free one), or end what holds it.",
            command="stillhouse inspect --port 0",
        ) from error
    return listening
