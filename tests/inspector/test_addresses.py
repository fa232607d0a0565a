"""Addresses and hosts that nobody meant: each is answered in words, and never by a fault."""

from __future__ import annotations

import base64
import json
import sqlite3
import time
from contextlib import closing
from http.client import HTTPResponse
from pathlib import Path

import pytest
from factory import end, environment, one, start_cli
from inspecting import Served, served
from visiting import Visitor, said

from inspector.errors import HostUnknown
from inspector.rendering import static_version
from inspector.serving import _listen
from inspector.settings import read_settings
from inspector.visible import visible

TOKEN = "a-token-of-sufficient-length"
HUGE = 2**64


def counted(visitor: Visitor, path: str) -> HTTPResponse:
    """A page, once what it shows has been counted."""
    while "<h1>Counting" in said(answer := visitor.open(path)):
        time.sleep(0.05)
    return answer


def place(*parts: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode().rstrip("=")


@pytest.mark.parametrize("path", [
    f"/samples?sort=score&after={place(HUGE, 'a')}",
    f"/samples?sort=score&after={place(-HUGE, 'a')}",
    f"/samples?sort=round&after={place(True, 'a')}", f"/samples?after={place(None, 'a')}x",
    f"/samples?sort=reason&after={place('a', chr(0))}",
    "/samples?score_from=" + "9" * 5000, "/samples?score_to=%C2%B2", "/samples?score_from=28",
    f"/exports/x?at={HUGE}", f"/exports/x?at={10**30}", f"/evaluations/x?after={HUGE}",
    f"/evaluations/x?after=-{HUGE}",
])  # fmt: skip
def test_a_number_beyond_every_column_is_a_bad_question(site: Served, path: str) -> None:
    answer = site.ask("GET", path)
    assert answer.status == 400
    assert "<h1>" in said(answer)


def test_a_score_may_begin_with_zeros(site: Served) -> None:
    assert site.ask("GET", "/samples?score_from=" + "0" * 5000 + "9").status == 200


@pytest.mark.parametrize("path", ["/prompts/none/such", "/?recipe=none", "/samples/ffffffff",
                                  "/exports/none", "/evaluations/none"])  # fmt: skip
def test_what_is_not_there_is_not_found(site: Served, path: str) -> None:
    assert counted(Visitor(site), path).status == 404


def test_a_fault_is_a_page_that_tells_nothing_of_the_inside(site: Served, db: Path) -> None:
    with closing(sqlite3.connect(db)) as connection:
        connection.execute("UPDATE sample SET updated_at = 'S3CRET is no time'")
        connection.commit()
    answer = site.ask("GET", "/samples")
    assert answer.status == 500
    assert "The page could not be made." in said(answer)
    assert "S3CRET" not in said(answer)
    assert "default-src 'none'" in str(answer.getheader("content-security-policy"))
    assert answer.getheader("cache-control") == "no-store"


def test_styles_are_kept_by_their_version_and_pages_are_not(site: Served) -> None:
    kept = site.ask("GET", f"/static/style.css?{static_version()}").getheader("cache-control")
    assert "immutable" in str(kept)
    for path in ("/static/style.css", "/static/style.css?other", "/samples",
                 f"/static/nothing?{static_version()}",
                 f"/samples?{static_version()}"):  # fmt: skip
        assert site.ask("GET", path).getheader("cache-control") == "no-store", path


def test_a_prompt_file_that_cannot_be_read_says_so(
    db: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "prompts" / "rewriting").mkdir(parents=True)
    (tmp_path / "prompts" / "rewriting" / "broken.md").write_bytes(b"\xff\xfe\xff")
    monkeypatch.setenv("STILLHOUSE_PROMPTS", str(tmp_path / "prompts"))
    with served(db) as site:
        visitor = Visitor(site)
        assert "cannot be read" in said(counted(visitor, "/prompts"))
        answer = counted(visitor, "/prompts/rewriting/broken")
        assert answer.status == 200
        assert "cannot be read" in said(answer)


@pytest.mark.parametrize(("host", "url"), [
    ("0.0.0.0", "http://127.0.0.1:8321/"), ("::", "http://[::1]:8321/"),
    ("[::1]", "http://[::1]:8321/"), ("::1", "http://[::1]:8321/"),
    ("localhost", "http://localhost:8321/"), ("192.0.2.1", "http://192.0.2.1:8321/"),
])  # fmt: skip
def test_the_address_that_is_printed_is_answered(
    host: str, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INSPECTOR_TOKEN", TOKEN)
    settings = read_settings(host, 8321, "INSPECTOR_TOKEN")
    assert settings.url == url
    assert url.removeprefix("http://").rpartition(":")[0].strip("[]") in settings.names


def test_a_name_without_an_address_is_not_blamed_on_the_port(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("INSPECTOR_TOKEN", TOKEN)
    settings = read_settings("no-such-host.invalid", 0, "INSPECTOR_TOKEN")
    with pytest.raises(HostUnknown) as unknown:
        _listen(settings)
    assert "port" not in str(unknown.value).lower()


def test_listening_on_all_addresses_says_how_to_come_from_elsewhere(
    db: Path, tmp_path: Path
) -> None:
    process = start_cli(
        "inspect", "--db", db, "--host", "0.0.0.0", "--port", "0", "--token-env", "INSPECTOR_TOKEN",
        cwd=tmp_path, env=environment(INSPECTOR_TOKEN=TOKEN),
    )  # fmt: skip
    try:
        assert process.stdout
        lines = [process.stdout.readline() for _ in range(2)]
    finally:
        end(process)
    assert "http://127.0.0.1:" in lines[0]
    assert "--allow-host" in lines[1]


@pytest.mark.parametrize("hidden", [0xE000, 0xF8FF, 0xF0000, 0x10FFFD, 0x2800, 0x16FE4, 0x1D159,
                                    0x13430, 0x13455])  # fmt: skip
def test_characters_without_ink_or_meaning_are_named(hidden: int) -> None:
    assert visible(f"a{chr(hidden)}b") == f"a⟦U+{hidden:04X}⟧b"


def test_the_queue_of_a_corpus_that_can_only_be_read_offers_no_decision(
    db: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample = one(db, "SELECT id FROM sample WHERE status = 'held' LIMIT 1")
    monkeypatch.setattr("storage.database.is_read_only", lambda path: True)
    with served(db) as site:
        visitor = Visitor(site)
        told = said(visitor.open(f"/review/{sample}"))
        assert "can only be read here" in told
        assert "<textarea" not in told
        visitor.open("/login")
        answer = visitor.send(f"/review/{sample}", {"decision": "accept", "reviewer": "Mori"})
        assert answer.status == 403
        assert "can only be read here" in said(answer)
