"""Who stays signed in, on which inspector, and how much may be sent to one."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit

import pytest
from factory import one
from inspecting import Served, served
from playwright.sync_api import Browser, expect
from visiting import FORM, Visitor, said

from inspector.bodies import LONGEST_BODY
from inspector.sessions import LIFE_S, Sessions
from storage.database import parse_url
from storage.locking import shown_url

TOKEN = "a-token-of-sufficient-length"


@pytest.fixture
def guarded(db: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    monkeypatch.setenv("INSPECTOR_TOKEN", TOKEN)
    with served(db, token_env="INSPECTOR_TOKEN") as running:
        yield running


def test_two_inspectors_on_one_host_have_sign_ins_of_their_own(guarded: Served) -> None:
    with served(guarded.db, token_env="INSPECTOR_TOKEN") as other:
        visitor = Visitor(guarded)
        visitor.sign_in(TOKEN)
        visitor.site = other
        assert visitor.ask("GET", "/samples").status == 303
        visitor.sign_in(TOKEN)
        assert visitor.ask("GET", "/samples").status == 200
        visitor.site = guarded
        assert visitor.ask("GET", "/samples").status == 200


def test_signing_out_ends_what_was_copied_too(guarded: Served) -> None:
    visitor, another = Visitor(guarded), Visitor(guarded)
    visitor.sign_in(TOKEN)
    another.sign_in(TOKEN)
    copied = dict(visitor.cookies)
    visitor.open("/samples")
    assert visitor.send("/logout", {}).status == 303
    visitor.cookies = copied
    assert visitor.ask("GET", "/samples").status == 303
    assert another.ask("GET", "/samples").status == 200


def test_a_sign_in_lasts_for_its_time_and_no_longer() -> None:
    now = [0.0]
    sessions = Sessions(lambda: now[0])
    mine = sessions.begin()
    now[0] = LIFE_S - 1
    assert sessions.is_good(mine)
    now[0] = LIFE_S
    assert not sessions.is_good(mine)
    assert not sessions.is_good("")


def test_behind_a_proxy_that_encrypts_cookies_stay_encrypted(guarded: Served) -> None:
    plain = guarded.ask("GET", "/login")
    assert "Secure" not in str(plain.getheader("set-cookie"))
    proxied = guarded.ask("GET", "/login", X_Forwarded_Proto="https")
    assert "; Secure" in str(proxied.getheader("set-cookie"))
    visitor = Visitor(guarded)
    visitor.open("/login")
    host = urlsplit(guarded.url).netloc
    answer = visitor.send("/login", {"token": TOKEN}, Origin=f"https://{host}")
    assert "; Secure" in str(answer.getheader("set-cookie"))


@pytest.mark.parametrize("path", ["/loginx", "/login/", "/staticx", "/samples"])
def test_only_the_very_addresses_of_signing_in_are_open(guarded: Served, path: str) -> None:
    answer = guarded.ask("GET", path)
    assert answer.status == 303
    assert str(answer.getheader("location")).startswith("/login?")


@pytest.mark.parametrize("path", ["/login", "/static/nothing"])
def test_before_signing_in_no_page_says_what_the_corpus_is_called(
    guarded: Served, path: str
) -> None:
    assert guarded.db.name not in said(guarded.ask("GET", path))
    visitor = Visitor(guarded)
    visitor.sign_in(TOKEN)
    assert guarded.db.name in said(visitor.ask("GET", path))


def test_a_databases_name_holds_no_secret() -> None:
    url = "postgresql://me:s3cret@host/corpus?password=s3cret&sslpassword=s3cret"
    assert shown_url(parse_url(url)) == "postgresql+psycopg://me:***@host/corpus"


def test_a_link_from_another_site_finds_its_visitor_signed_in(
    guarded: Served, browser: Browser, tmp_path: Path
) -> None:
    context = browser.new_context(base_url=guarded.url)
    mine, link = context.new_page(), context.new_page()
    mine.goto(f"/review/{held(guarded.db)}")
    mine.locator("#token").fill(TOKEN)
    mine.locator("main").get_by_role("button").click()
    expect(mine.locator("#reviewer")).to_be_visible()
    # A file is a site of its own.
    page = tmp_path / "chat.html"
    page.write_text(f'<a href="{guarded.url}/samples?status=held">look</a>')
    link.goto(page.as_uri())
    link.get_by_role("link").click()
    expect(link.get_by_role("heading", level=1)).to_have_text("Samples")
    # The page that was open meanwhile is still good.
    mine.locator("#reviewer").fill("Mori")
    mine.get_by_role("button", name="Accept").click()
    expect(mine.get_by_role("status")).to_contain_text("to be accepted")
    context.close()


@pytest.mark.parametrize(("method", "headers"), [
    ("POST", {"Sec_Fetch_Site": "cross-site"}),
    ("GET", {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Dest": "image"}),
    ("GET", {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Dest": "iframe"}),
])  # fmt: skip
def test_other_sites_cannot_make_a_visitor_into_another(
    site: Served, method: str, headers: dict[str, str]
) -> None:
    assert site.ask(method, "/samples", **headers).getheader("set-cookie") is None
    assert site.ask("GET", "/samples").getheader("set-cookie") is not None


def held(db: Path) -> str:
    return str(one(db, "SELECT id FROM sample WHERE status = 'held' ORDER BY id LIMIT 1"))


@pytest.mark.parametrize(("path", "length"), [
    ("/review/x", LONGEST_BODY + 1), ("/login", 8_001), ("/review/undo/x", LONGEST_BODY + 1),
    ("/login", 10**12),
])  # fmt: skip
def test_a_body_that_says_it_is_too_long_is_not_read(site: Served, path: str, length: int) -> None:
    # Only the headers are sent: an answer shows that nobody waits for more.
    assert " 413 " in first_line(site, path, f"Content-Length: {length}", b"")


def test_a_body_that_says_no_length_is_counted(site: Served) -> None:
    chunk = b"a" * 65_536
    chunks = b"%x\r\n%s\r\n" % (len(chunk), chunk) * (LONGEST_BODY // len(chunk) + 2)
    assert " 413 " in first_line(site, "/review/x", "Transfer-Encoding: chunked", chunks)


def first_line(site: Served, path: str, header: str, body: bytes) -> str:
    host = urlsplit(site.url)
    head = (f"POST {path} HTTP/1.1\r\nHost: {host.netloc}\r\nOrigin: {site.url}\r\n"
            f"Content-Type: {FORM}\r\n{header}\r\n\r\n")  # fmt: skip
    with socket.create_connection((host.hostname, host.port), timeout=20) as connection:
        # The server may answer, and close, before all of it is sent.
        sending = Thread(target=send_all, args=(connection, head.encode() + body), daemon=True)
        sending.start()
        return connection.makefile("rb").readline().decode()


def send_all(connection: socket.socket, data: bytes) -> None:
    try:
        connection.sendall(data)
    except OSError:
        return


@pytest.mark.parametrize("kind", ["multipart/form-data; boundary=x", "application/json", ""])
def test_only_forms_of_the_one_kind_are_read(site: Served, kind: str) -> None:
    visitor = Visitor(site)
    visitor.open("/review")
    assert visitor.send("/review/x", {"decision": "accept"}, Content_Type=kind).status == 415


def test_a_form_with_too_many_fields_is_refused(site: Served) -> None:
    visitor = Visitor(site)
    visitor.open("/review")
    fields = {f"n{n}": "" for n in range(60)}
    answer = visitor.send("/review/x", fields)
    assert answer.status == 400
    assert "form cannot be read" in said(answer)
