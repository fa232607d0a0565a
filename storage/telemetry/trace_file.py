"""Writes spans to a file as OTLP JSON lines.

In: the spans of some traces. Out: a line with one `TracesData` object, as OpenTelemetry's file
exporter has it (https://opentelemetry.io/docs/specs/otel/protocol/file-exporter/); the Collector's
`otlpjsonfile` receiver reads such files. The file appears whole or not at all.
"""

from __future__ import annotations

import contextlib
import uuid
from base64 import b64decode
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
from google.protobuf.json_format import MessageToDict
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import ReadableSpan

from storage.database import Database
from storage.telemetry.errors import TelemetryRefused

_IDENTIFIERS = ("traceId", "spanId", "parentSpanId")


class TraceFile:
    """A file of traces; `close` puts it in its place, `discard` leaves nothing behind."""

    rejected = 0
    said: str | None = None

    def __init__(self, out: str, database: Database) -> None:
        path = Path(out).expanduser().resolve()
        if path in _files_of(database) or (path.exists() and not path.is_file()):
            raise TelemetryRefused(
                f"'{path}' cannot be replaced by traces.",
                cause="It is the corpus itself, or no ordinary file.",
                solution="Give --out the name of a new file.",
            )
        self.name = str(path)
        self._path = path
        self._new = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.tmp")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._new.open("xb")
        except OSError as error:
            raise self._unwritable(error) from error

    def take(self, spans: Sequence[ReadableSpan]) -> None:
        """Writes the spans as one line.

        Raises:
            TelemetryRefused: the disk does not take it.
        """
        try:
            self._file.write(orjson.dumps(as_otlp_json(spans)) + b"\n")
        except OSError as error:
            raise self._unwritable(error) from error

    def close(self) -> None:
        """The file is whole.

        Raises:
            TelemetryRefused: the disk does not take it.
        """
        try:
            self._file.close()
            self._new.replace(self._path)
        except OSError as error:
            raise self._unwritable(error) from error

    def discard(self) -> None:
        """There is no file, or the old one."""
        with contextlib.suppress(OSError):
            self._file.close()
        self._new.unlink(missing_ok=True)

    def _unwritable(self, error: OSError) -> TelemetryRefused:
        return TelemetryRefused(
            f"The traces cannot be written to '{self._path}'.",
            cause=f"The system says: {error.strerror}.",
            solution="Free some disk space, or give another --out; nothing was left behind.",
        )


def _files_of(database: Database) -> set[Path]:
    if not database.is_sqlite:
        return set()
    corpus = Path(str(database.url.database)).resolve()
    return {corpus.with_name(corpus.name + end) for end in ("", "-wal", "-shm", ".lock")}


def as_otlp_json(spans: Sequence[ReadableSpan]) -> dict[str, Any]:
    """The spans in OTLP's JSON encoding: Protobuf's own, but identifiers in hexadecimal digits and
    enumerations as numbers (https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding)."""
    document: dict[str, Any] = MessageToDict(encode_spans(spans), use_integers_for_enums=True)
    for resource in document.get("resourceSpans", ()):
        for scope in resource.get("scopeSpans", ()):
            for span in scope.get("spans", ()):
                for item in (span, *span.get("links", ())):
                    for name in _IDENTIFIERS:
                        if name in item:
                            item[name] = b64decode(item[name]).hex()
    return document
