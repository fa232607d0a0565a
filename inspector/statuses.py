"""With which status of HTTP an error is told.

In: an error. Out: a number; 500 for what the visitor cannot help.
"""

from __future__ import annotations

from common.errors import StillhouseError
from graph.forks.errors import ForkError, ForkNotFound
from inspector.errors import BadQuestion
from storage.errors import DatabaseReadOnly, NotFound
from storage.review import ReviewRefused

_STATUS: tuple[tuple[type[StillhouseError], int], ...] = (
    (NotFound, 404),
    (BadQuestion, 400),
    (ReviewRefused, 409),
    (ForkNotFound, 404),
    (ForkError, 409),
    (DatabaseReadOnly, 403),
)


def status_of(error: StillhouseError) -> int:
    """The status of an answer that tells this error."""
    return next((code for kind, code in _STATUS if isinstance(error, kind)), 500)
