"""The fields of a form that a page of ours sent, as texts.

In: a request's body, whose length the guard has limited. Out: `Fields`. What was sent empty is the
empty text, and what was not sent is None: an emptied field is something else than a missing one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import parse_qsl

from fastapi import Depends, Request

from inspector.errors import BadQuestion

_MOST_FIELDS = 50


@dataclass(frozen=True, slots=True)
class Fields:
    """A form's fields by name; the last of a name counts."""

    values: Mapping[str, str]

    def text(self, name: str) -> str:
        """A field's text; empty where it was not sent."""
        return self.values.get(name, "")

    def given(self, name: str) -> str | None:
        """A field's text; None where it was not sent."""
        return self.values.get(name)


async def read_fields(request: Request) -> Fields:
    """The fields of a form.

    Raises:
        BadQuestion: the body is no form of ours.
    """
    try:
        # No encoding of ours has half characters, and no database of ours a character zero.
        body = (await request.body()).decode("ascii")
        pairs = parse_qsl(
            body, keep_blank_values=True, errors="replace", max_num_fields=_MOST_FIELDS
        )
    except ValueError as error:
        raise BadQuestion(
            "The form cannot be read.",
            cause="It is not what a browser sends for one of the pages here.",
            solution="Go back and use the page's own fields.",
        ) from error
    return Fields({name: text.replace("\0", "\ufffd") for name, text in pairs})


FormFields = Annotated[Fields, Depends(read_fields)]
