"""Sends spans to an OTLP/HTTP receiver, and says in plain words what it made of them.

In: spans. Out: requests, by OpenTelemetry's own exporter: it reads the headers, certificates,
compression and patience from the `OTEL_EXPORTER_OTLP_…` variables and tries again where a receiver
is busy. That exporter says no more than whether it worked; what the receiver said is read from its
connection. Credentials come from the environment alone and are in no message of ours.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import orjson
import requests
from google.protobuf.message import DecodeError, EncodeError
from google.rpc.status_pb2 import Status
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult

from storage.telemetry.errors import (
    ReceiverRefused,
    ReceiverUnauthorised,
    ReceiverUnreachable,
    TelemetryRefused,
)
from storage.telemetry.variables import HEADERS, read_headers

TRACES_PATH = "v1/traces"
_PROTOBUF, _JSON = "application/x-protobuf", "application/json"
_BASE = "OTEL_EXPORTER_OTLP_ENDPOINT"
_WHOLE = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
_MOST_WORDS = 300


def endpoint_of(given: str | None, environment: Mapping[str, str] = os.environ) -> str:
    """Where traces go: what was given, or what OpenTelemetry's variables say. The path is added to
    all but `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`, as its specification has it.

    Raises:
        TelemetryRefused: nothing says where, or it is no address, or it holds a credential.
    """
    whole = environment.get(_WHOLE)
    base = given or (None if whole else environment.get(_BASE))
    url = base or whole
    if not url:
        raise TelemetryRefused(
            "Nothing says where the traces should go.",
            cause=f"Neither --endpoint nor --out was given, and {_BASE} is not set.",
            solution="Give a receiver's address, or a file.",
            command="stillhouse export-traces --endpoint http://localhost:6006",
        )
    named = "--endpoint" if given else _WHOLE if base is None else _BASE
    try:
        parts = urlsplit(url)
        known = parts.scheme in ("http", "https") and parts.hostname and (parts.port or 1)
        more = "@" in parts.netloc or "?" in url or "#" in url
    except ValueError:
        known = more = False
    # An address that is refused is not shown: what it is not to hold may stand anywhere in it.
    if more:
        raise TelemetryRefused(
            f"The address in {named} holds more than an address.",
            cause="It has a name before the host, or something after a question mark or #. "
            "Credentials stand there, and addresses land in shell histories and logs.",
            solution=f"Leave that out; a credential goes into a header in {HEADERS[1]}.",
        )
    if not known:
        raise TelemetryRefused(
            f"What {named} says is not the address of a receiver.",
            cause="It does not begin with http:// or https:// and a host.",
            solution="Give an address such as http://localhost:6006.",
        )
    if base is None or parts.path.rstrip("/").endswith(f"/{TRACES_PATH}"):
        return parts.geturl()
    return parts._replace(path=f"{parts.path.rstrip('/')}/{TRACES_PATH}").geturl()


class _Session(requests.Session):
    """Keeps what came back last: an answer, or why there was none."""

    answer: requests.Response | None = None
    failure: Exception | None = None

    def request(self, *places: Any, **options: Any) -> requests.Response:
        """As `requests.Session` does it."""
        self.answer = self.failure = None
        try:
            self.answer = super().request(*places, **options)
        except Exception as error:
            self.failure = error
            raise
        return self.answer


class Receiver:
    """A receiver at an address; `close` when done. `rejected` counts the spans that it left out of
    requests that it took, `said` is its last word on them.

    Raises:
        TelemetryRefused: a variable for OpenTelemetry's exporter cannot be read.
    """

    def __init__(self, url: str) -> None:
        self.name = url
        self.rejected = 0
        self.said: str | None = None
        self._headers = read_headers(os.environ)
        # Its words would come between ours.
        logging.getLogger("opentelemetry").addHandler(logging.NullHandler())
        self._session = _Session()
        self._exporter = OTLPSpanExporter(endpoint=url, session=self._session)

    def take(self, spans: Sequence[ReadableSpan]) -> None:
        """Sends the spans in one request.

        Raises:
            ReceiverUnreachable: nobody answered.
            ReceiverUnauthorised: 401 or 403.
            ReceiverRefused: any other answer that is not a receiver's, or not a good one; or
                nothing could be sent.
        """
        self._session.answer = self._session.failure = None
        taken = self._exporter.export(spans) is SpanExportResult.SUCCESS
        answer = self._session.answer
        if answer is None:
            raise self._no_answer(self._session.failure or _not_made(spans))
        # The exporter takes a redirection for success.
        if not taken or not 200 <= answer.status_code < 300:
            raise self._bad_answer(answer)
        self._read(answer)

    def close(self) -> None:
        """Lets go of the connection."""
        self._session.close()

    def discard(self) -> None:
        """The same: what was sent cannot be taken back."""
        self.close()

    def _read(self, answer: requests.Response) -> None:
        kind = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        try:
            if kind == _JSON:
                said = orjson.loads(answer.content or b"{}")
                partial = said.get("partialSuccess") if isinstance(said, dict) else None
                partial = partial if isinstance(partial, dict) else {}
                rejected = int(partial.get("rejectedSpans") or 0)
                words = str(partial.get("errorMessage") or "")
            elif kind in (_PROTOBUF, "") or not answer.content:
                read = ExportTraceServiceResponse.FromString(answer.content).partial_success
                rejected, words = read.rejected_spans, read.error_message
            else:
                raise ValueError(kind)
        except (DecodeError, ValueError) as error:
            raise ReceiverRefused(
                f"What answers at {self.name} is not an OTLP receiver.",
                cause=f"It said yes with {kind or 'bytes'} that no OTLP receiver sends.",
                solution="Correct the endpoint: the address of a web page is often another one.",
            ) from error
        self.rejected += rejected
        self.said = self._safe(words) or self.said

    def _no_answer(self, failure: Exception) -> ReceiverRefused | ReceiverUnreachable:
        if not isinstance(failure, requests.ConnectionError | requests.Timeout):
            # The words of others may hold a header.
            words = str(failure) if type(failure) in (OSError, ValueError) else ""
            return ReceiverRefused(
                f"A trace was not sent to {self.name}.",
                cause=self._safe(f"{type(failure).__name__} in OpenTelemetry's exporter. {words}"),
                solution="Look at the variables OTEL_EXPORTER_OTLP_…; where a text is too long, "
                "leave the texts out with --no-content.",
            )
        return ReceiverUnreachable(
            f"Nobody answers at {self.name}.",
            cause=self._safe(_innermost(failure)),
            solution="Start the receiver, or correct --endpoint; OTEL_EXPORTER_OTLP_TIMEOUT says "
            "how many seconds it may take.",
        )

    def _bad_answer(self, answer: requests.Response) -> ReceiverRefused | ReceiverUnauthorised:
        status = answer.status_code
        if status in (401, 403):
            return ReceiverUnauthorised(
                f"{self.name} does not take our credentials ({status}).",
                cause=f"It refused the headers in {HEADERS[1]}."
                if self._headers
                else f"{HEADERS[1]} is not set, so no credential was sent.",
                solution="Set that variable to name=value, as the receiver's documentation says; "
                "a space in the value is written as %20.",
            )
        words = self._safe(_words(answer))
        if 300 <= status < 400 or status in (404, 405):
            return ReceiverRefused(
                f"{self.name} does not take traces ({status}).",
                cause=words or "The path is not that of an OTLP receiver.",
                solution=f"Correct the endpoint: /{TRACES_PATH} is added to it unless it ends so. "
                "Phoenix: http://localhost:6006; Langfuse: https://HOST/api/public/otel.",
            )
        return ReceiverRefused(
            f"{self.name} refused the traces ({status}).",
            cause=words or f"It said {answer.reason or 'no more than that'}.",
            solution="Look at the receiver's log; send again when it is well: traces that arrived "
            "keep their identifiers.",
        )

    def _safe(self, words: str) -> str:
        """Somebody else's words, shortened, and without what the headers hold."""
        for value in self._headers.values():
            for secret in (value, *value.split()):
                if len(secret) > 5:
                    words = words.replace(secret, "…")
        line = " ".join(words.split())
        return line if len(line) <= _MOST_WORDS else f"{line[:_MOST_WORDS]}…"


def _not_made(spans: Sequence[ReadableSpan]) -> Exception:
    """Why no request was made of the spans: the exporter says it in its log alone."""
    try:
        size = encode_spans(spans).ByteSize()
    except (AttributeError, TypeError, ValueError, EncodeError) as error:
        return error
    return ValueError(f"A request of {size:,} bytes is more than it sends.")


def _words(answer: requests.Response) -> str:
    """What an OTLP receiver says of a failure (`google.rpc.Status`), or the text of the answer."""
    kind = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind == _PROTOBUF:
        try:
            return str(Status.FromString(answer.content).message)
        except DecodeError:
            return ""
    return "" if kind == "text/html" else answer.content[: 4 * _MOST_WORDS].decode(errors="replace")


def _innermost(failure: BaseException) -> str:
    """The reason itself, without the layers that wrapped it (and named our address again)."""
    reason: Any = failure
    while True:
        inner = getattr(reason, "reason", None) or next(
            (part for part in getattr(reason, "args", ()) if isinstance(part, BaseException)), None
        )
        if not isinstance(inner, BaseException):
            break
        reason = inner
    return f"{type(reason).__name__}: {reason}"
