"""A real OTLP/HTTP receiver on 127.0.0.1 for tests: keeps what it is sent, answers as it is told.

In: requests of OpenTelemetry's exporter. Out: `spans`, decoded by OpenTelemetry's own Protobuf
classes, in the order in which they came; `bodies`, `paths` and `headers` of the requests.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span

PROTOBUF = "application/x-protobuf"


@dataclass
class Otlp:
    """The receiver. `status`, `body`, `content_type` and `further` headers are what it answers; to
    the first requests it says the statuses in `first`."""

    url: str = ""
    status: int = 200
    body: bytes = ExportTraceServiceResponse().SerializeToString()
    content_type: str = PROTOBUF
    further: dict[str, str] = field(default_factory=dict)
    first: list[int] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    @property
    def requests(self) -> list[ExportTraceServiceRequest]:
        """Everything it was sent."""
        return [ExportTraceServiceRequest.FromString(body) for body in self.bodies]

    @property
    def spans(self) -> list[Span]:
        """Every span it was sent."""
        return [
            span
            for request in self.requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def partly(self, rejected: int, words: str) -> None:
        """From now on it leaves so many spans of each request out, and says why."""
        partial = ExportTracePartialSuccess(rejected_spans=rejected, error_message=words)
        self.body = ExportTraceServiceResponse(partial_success=partial).SerializeToString()


@contextmanager
def receiving() -> Iterator[Otlp]:
    """A receiver for as long as the block lasts."""
    otlp = Otlp()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            otlp.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            otlp.paths.append(self.path)
            otlp.headers.append({name.lower(): value for name, value in self.headers.items()})
            self.send_response(otlp.first.pop(0) if otlp.first else otlp.status)
            self.send_header("Content-Type", otlp.content_type)
            self.send_header("Content-Length", str(len(otlp.body)))
            for name, value in otlp.further.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(otlp.body)

        def log_message(self, format: str, *values: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    otlp.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield otlp
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def said_of(thing: Any) -> dict[str, Any]:
    """The attributes of a span, an event or a resource as a dictionary."""
    return {pair.key: _value(pair.value) for pair in thing.attributes}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(item) for item in value.array_value.values]
    return getattr(value, kind)


def children(spans: list[Span], parent: Span) -> list[Span]:
    """The spans directly below one."""
    return [
        span
        for span in spans
        if span.trace_id == parent.trace_id and span.parent_span_id == parent.span_id
    ]
