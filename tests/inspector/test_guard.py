"""Nobody but the corpus's own people gets an answer; no page of another site changes anything."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import pytest
from factory import cli, environment, one
from inspecting import Served, served

from inspector.errors import InspectorExposed
from inspector.settings import read_settings

TOKEN = "a-token-of-sufficient-length"
FORM = "application/x-www-form-urlencoded"


def held(db: Path) -> str:
    return str(one(db, "SELECT id FROM sample WHERE status = 'held' ORDER BY id LIMIT 1"))


def cookie_and_fields(site: Served, path: str) -> tuple[str, dict[str, str]]:
    """A visitor's cookie, and the hidden fields of the page's forms."""
    answer = site.ask("GET", path)
    cookie = str(answer.getheader("set-cookie")).partition(";")[0]
    hidden = re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', answer.said)  # type: ignore[attr-defined]
    return cookie, dict(hidden)


def host_of(site: Served) -> str:
    return urlsplit(site.url).netloc


def decisions(db: Path) -> int:
    return int(one(db, "SELECT count(*) FROM review"))


def post(site: Served, path: str, fields: dict[str, str], **headers: str) -> int:
    sent = {"Content_Type": FORM, "Host": host_of(site), "Origin": site.url, **headers}
    return site.ask("POST", path, urlencode(fields), **sent).status


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8321", "127.0.0.1.evil.example",
                                  "localhost.", "", "[::1", "0.0.0.0"])  # fmt: skip
def test_a_request_addressed_to_another_name_is_refused(site: Served, host: str) -> None:
    answer = site.ask("GET", "/samples", Host=host)
    assert answer.status in (400, 421)
    assert "verification_failed" not in answer.said  # type: ignore[attr-defined]


@pytest.mark.parametrize("host", ["localhost:1", "127.0.0.1", "[::1]:80", "LOCALHOST"])
def test_this_machines_own_names_are_answered_on_any_port(site: Served, host: str) -> None:
    assert site.ask("GET", "/static/style.css", Host=host).status == 200


def test_a_decision_needs_the_pages_own_word_cookie_and_origin(site: Served) -> None:
    path = f"/review/{held(site.db)}"
    cookie, fields = cookie_and_fields(site, path)
    fields |= {"decision": "accept", "reviewer": "Mori"}
    _, another = cookie_and_fields(site, path)
    wrong = {
        "no origin": ({"Origin": ""}, fields),
        "another origin": ({"Origin": "http://evil.example"}, fields),
        "an opaque origin": ({"Origin": "null"}, fields),
        "another port": ({"Origin": "http://127.0.0.1:1"}, fields),
        "another site": ({"Sec_Fetch_Site": "cross-site"}, fields),
        "a sister site": ({"Sec_Fetch_Site": "same-site"}, fields),
        "no word": ({}, {**fields, "word": ""}),
        "another visitor's word": (
            {},
            {**fields, "word": another["word"]},
        ),
    }
    for what, (headers, sent) in wrong.items():
        assert post(site, path, sent, Cookie=cookie, **headers) in (400, 403), what
        assert decisions(site.db) == 0, what
    assert post(site, path, fields) == 400
    assert post(site, path, fields, Cookie=cookie) == 303
    assert decisions(site.db) == 1


def test_asking_alone_changes_nothing(site: Served) -> None:
    sample = held(site.db)
    before = site.db.read_bytes()
    for path in ("/", "/samples", f"/samples/{sample}", "/review", f"/review/{sample}", "/prompts",
                 "/evaluations", f"/review/{sample}?decision=accept&reviewer=x"):  # fmt: skip
        assert site.ask("GET", path).status in (200, 303)
    assert site.ask("GET", "/review/undo/x").status == 405
    assert site.db.read_bytes() == before


def test_every_answer_forbids_foreign_scripts_frames_and_guesses(site: Served) -> None:
    for path in ("/", "/nothing", "/static/live.js", "/samples?sort=nothing"):
        answer = site.ask("GET", path)
        policy = str(answer.getheader("content-security-policy"))
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert answer.getheader("x-content-type-options") == "nosniff"
        assert answer.getheader("x-frame-options") == "DENY"
        assert answer.getheader("access-control-allow-origin") is None


def test_no_page_holds_a_style_or_script_of_its_own(site: Served) -> None:
    for path in ("/", "/samples", f"/review/{held(site.db)}", "/prompts", "/evaluations"):
        text = str(site.ask("GET", path).said)  # type: ignore[attr-defined]
        assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:", text), path
        assert all(" src=" in tag for tag in re.findall(r"<script[^>]*>", text)), path


@pytest.fixture
def guarded(db: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    monkeypatch.setenv("INSPECTOR_TOKEN", TOKEN)
    with served(db, token_env="INSPECTOR_TOKEN") as running:
        yield running


def test_where_a_token_is_set_nothing_is_shown_without_it(guarded: Served) -> None:
    answer = guarded.ask("GET", "/samples?status=held")
    assert answer.status == 303
    assert answer.getheader("location") == "/login?onwards=%2Fsamples%3Fstatus%3Dheld"
    assert guarded.ask("POST", "/review/x", "", Origin=guarded.url).status == 401
    assert guarded.ask("GET", "/", Authorization="Bearer wrong").status == 303
    assert guarded.ask("GET", "/", Authorization=f"Bearer {TOKEN}").status == 200
    assert (
        guarded.ask(
            "GET", "/", Cookie=f"stillhouse_session_{urlsplit(guarded.url).port}=guess"
        ).status
        == 303
    )
    assert TOKEN not in str(answer.said)  # type: ignore[attr-defined]


@pytest.mark.parametrize("next", ["//evil.example", "/\\evil.example", "https://evil.example", ""])
def test_signing_in_leads_to_no_other_site(guarded: Served, next: str) -> None:
    cookie, fields = cookie_and_fields(guarded, "/login")
    sent = {"word": fields["word"], "token": TOKEN, "next": next}
    answer = guarded.ask(
        "POST", "/login", urlencode(sent), Content_Type=FORM, Origin=guarded.url, Cookie=cookie
    )
    assert (answer.status, answer.getheader("location")) == (303, "/")
    session = str(answer.getheader("set-cookie"))
    assert "HttpOnly" in session
    assert "SameSite=lax" in session
    assert TOKEN not in session
    signed = f"{cookie}; {session.partition(';')[0]}"
    assert guarded.ask("GET", "/samples", Cookie=signed).status == 200


def test_a_wrong_token_signs_nobody_in(guarded: Served) -> None:
    cookie, fields = cookie_and_fields(guarded, "/login")
    sent = {"word": fields["word"], "token": f"{TOKEN}x", "next": "/"}
    assert post(guarded, "/login", sent, Cookie=cookie) == 401


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_beyond_loopback_it_starts_only_with_a_token(
    host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InspectorExposed, match="open to every machine"):
        read_settings(host, 0, None)
    monkeypatch.setenv("INSPECTOR_TOKEN", "short")
    with pytest.raises(InspectorExposed, match="cannot be used"):
        read_settings(host, 0, "INSPECTOR_TOKEN")
    monkeypatch.setenv("INSPECTOR_TOKEN", TOKEN)
    settings = read_settings(host, 0, "INSPECTOR_TOKEN", ["Desk.example"])
    assert settings.token == TOKEN
    assert "desk.example" in settings.names
    assert not settings.names & {"0.0.0.0", "::"}


def test_a_token_given_in_place_of_its_variable_is_not_repeated() -> None:
    with pytest.raises(InspectorExposed) as refused:
        read_settings("127.0.0.1", 0, "s3cret-token/value")
    assert "s3cret" not in str(refused.value)


def test_the_command_refuses_to_be_open_and_says_how(db: Path, tmp_path: Path) -> None:
    done = cli("inspect", "--db", db, "--host", "0.0.0.0", cwd=tmp_path, env=environment())
    assert done.returncode == 2
    assert "--token-env" in done.stderr
