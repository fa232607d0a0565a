"""How a teacher call can fail. Each kind says whether another attempt can help, and where.

`retryable` faults are worth another attempt by the same request (transport, 5xx, cut bodies);
`billed` faults came after the request was sent and may have been paid for;
`overload` faults say that the endpoint has too much to do, so the limiter lets fewer in;
`RateLimited` belongs to the limiter and never counts as a failed attempt; `fatal` faults concern
every further call (wrong key, no quota, unreachable server), so the run stops and keeps its place.
"""

from __future__ import annotations

from typing import ClassVar

from common.errors import StillhouseError


class TeacherError(StillhouseError):
    """Something went wrong between an agent and its teacher."""

    code: ClassVar[str] = "teacher_error"
    retryable: ClassVar[bool] = False
    billed: ClassVar[bool] = False
    overload: ClassVar[bool] = False
    fatal: ClassVar[bool] = False


class TransportFault(TeacherError):
    """The connection broke, timed out, or the body ended early or was not JSON."""

    code = "transport"
    retryable = True
    billed = True


class Unreachable(TransportFault):
    """No connection could be made at all."""

    code = "unreachable"
    billed = False
    fatal = True


class ServerFault(TeacherError):
    """The server answered 5xx (or 408/409), or 200 with an error object inside."""

    code = "server_error"
    retryable = True


class TimedOut(TransportFault):
    """No connection, or no whole answer, within the time that the recipe allows."""

    code = "timed_out"
    overload = True


class ServerOverloaded(ServerFault):
    """The server answered 503, 504 or 529: it has more to do than it can."""

    code = "server_overloaded"
    overload = True


class RateLimited(TeacherError):
    """429: come back after `retry_after_s` seconds (None: the server did not say)."""

    code = "rate_limited"

    def __init__(
        self,
        what: str,
        *,
        cause: str,
        solution: str,
        command: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(what, cause=cause, solution=solution, command=command)
        self.retry_after_s = retry_after_s


class QuotaExhausted(TeacherError):
    """The account has no credit left; waiting does not help."""

    code = "quota_exhausted"
    fatal = True


class AuthenticationFailed(TeacherError):
    """401 or 403: the key is missing, wrong, or not allowed to use the model."""

    code = "authentication"
    fatal = True


class MissingApiKey(TeacherError):
    """The environment variable that should hold a teacher's key is not set."""

    code = "missing_api_key"
    fatal = True


class ModelNotFound(TeacherError):
    """404: the endpoint does not know the model (or the URL lacks its `/v1`)."""

    code = "model_not_found"
    fatal = True


class BadRequest(TeacherError):
    """Another 4xx: this request cannot be answered as it stands."""

    code = "bad_request"


class ContextExceeded(BadRequest):
    """The prompt and the answer's room do not fit the model's context."""

    code = "context_exceeded"


class SchemaFailure(TeacherError):
    """No valid structured answer after the complaints the recipe allows."""

    code = "schema_failure"


class EmptyAnswer(TeacherError):
    """The teacher answered with nothing, again and again."""

    code = "empty_answer"


class NotRecorded(TeacherError):
    """The recorded teacher holds no answer to this prompt."""

    code = "not_recorded"


class BudgetReached(TeacherError):
    """The next call does not fit under the budget's cap."""

    code = "budget_reached"
    fatal = True


class ServerDied(TeacherError):
    """A managed server ended while it was needed; `cause` holds its log's tail."""

    code = "server_died"
    fatal = True
