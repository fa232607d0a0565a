"""Where a password or a key may stand in the address of a server, and what only looks like it."""

from __future__ import annotations

import pytest

from common.credentials import holds_password


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://me:hush@localhost/corpus",
        "postgresql://localhost/corpus?password=hush",
        "postgresql:///corpus?host=localhost&user=me&password=hush",
        "https://localhost/v1?api_key=hush",
        "https://localhost/v1?api-version=2&access_token=hush",
        "host=localhost dbname=corpus user=me password=hush",
        "dbname = corpus password = 'hush hush'",
    ],
)
def test_a_password_in_an_address_is_seen(text: str) -> None:
    assert holds_password(text)


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://me@localhost/corpus?sslmode=require",
        "postgresql:///corpus?host=localhost",
        "https://localhost/v1?api-version=2",
        "host=localhost dbname=corpus",
        "Write a form with a field password = '' and say why.",
        "http://[broken",
        "",
    ],
)
def test_what_holds_none_is_let_through(text: str) -> None:
    assert not holds_password(text)
