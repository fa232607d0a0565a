"""Replay and fork in a real browser: made from a form, watched, read side by side, saved, dropped;
nothing of it reaches the corpus but the text that a saved prompt replaces."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from urllib.parse import urlencode

import pytest
from axe_playwright_python.sync_playwright import Axe
from factory import (
    MATHS,
    PROMPTS,
    WRITING_JA,
    corpus_of,
    one,
    rows,
    run,
    samples,
    simulated,
    write_recipe,
)
from inspecting import Served, served, shown
from playwright.sync_api import Browser, Page, expect

from common.hashing import digest_text
from graph.forks.fork import Draft, Fork
from graph.forks.making import prepare_fork, walk_fork
from graph.forks.shelf import find_fork, list_forks
from storage.database import Database

RESPOND = "rewriting/respond"
MARK = "pwned"
HOSTILE = (
    f"</textarea></pre><script>document.title='{MARK}'</script>"
    f"<img src=x onerror=\"document.title='{MARK}'\">\u202eturned\u202c {{% raw %}}{{{{ 7*7 }}}}"
    "{% endraw %}"
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with a second teacher that gets every sum wrong, and a slow one."""
    recipe = write_recipe(
        tmp_path_factory.mktemp("forked"),
        [MATHS, WRITING_JA],
        teachers={
            "local": simulated(),
            "other": simulated(wrong_math=1.0),
            "slow": simulated(latency_s=60),
            "keyed": {
                "kind": "openai",
                "base_url": "http://127.0.0.1:9/v1",
                "model": "fixed",
                "api_key_env": "STILLHOUSE_TEST_NO_KEY",
            },
        },
        agents={"expansion": {"variants": 0}},
    )
    with ThreadPoolExecutor(1) as apart:
        assert apart.submit(lambda: asyncio.run(run(recipe))).result().status == "finished"
    return corpus_of(recipe)


@pytest.fixture
def prompts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the shipped prompts, in use."""
    monkeypatch.setenv("STILLHOUSE_PROMPTS", str(tmp_path / "prompts"))
    return Path(shutil.copytree(PROMPTS, tmp_path / "prompts"))


@pytest.fixture
def site(db: Path, prompts: Path) -> Iterator[Served]:
    """The inspector on a copy of the corpus, with prompts of its own."""
    with served(db) as running:
        yield running


def sample_of(site: Served, category: str) -> dict[str, str]:
    return samples(site.db, "sample.category = ?", category)[0]


def drafts(site: Served) -> list[Draft]:
    return list_forks(Path(f"{site.db}.forks"))


def fork(site: Served, prompts: Path, category: str, agent: str, prompt: str | None = None) -> str:
    """A finished fork, made without the pages."""
    database = Database.open(str(site.db))
    wish = Fork(sample_of(site, category)["id"], agent, prompt=prompt)

    async def go() -> str:
        draft = prepare_fork(database, Path(f"{site.db}.forks"), prompts, wish)
        await walk_fork(draft)
        return draft.facts.id

    with ThreadPoolExecutor(1) as apart:
        id = apart.submit(lambda: asyncio.run(go())).result()
    database.close()
    return id


def finished(page: Page) -> None:
    """Waits until the fork that is shown is done."""
    expect(page.get_by_text("Done. It is kept as a draft")).to_be_visible(timeout=120_000)


def test_from_an_agents_card_with_an_edited_prompt_to_a_new_version_of_it(
    page: Page, site: Served, prompts: Path
) -> None:
    file = prompts / f"{RESPOND}.md"
    was = file.read_text(encoding="utf-8")
    corpus = Path(site.db).read_bytes()
    sample = sample_of(site, "writing")
    page.goto(f"/samples/{sample['id']}")
    page.get_by_role("link", name="Replay from here… (response)").click()
    text = page.get_by_label(f"The prompt {RESPOND}")
    expect(text).to_have_value(was)
    assert "The file is the same text" in shown(page)
    edited = was.replace("<instruction>", "やさしい言葉で。\n<instruction>", 1)
    text.fill(edited)
    page.get_by_label("Your name").fill("森 Mori")
    page.get_by_role("button", name="Ask again").click()
    finished(page)
    (draft,) = drafts(site)
    assert (draft.facts.who, draft.facts.prompt) == ("森 Mori", edited)
    assert "As before: rewriting" in shown(page)
    expect(page.locator("ins").first).to_contain_text("やさしい言葉で。")
    assert draft.spent.calls > 0
    assert f"{draft.spent.prompt_tokens:,}" in shown(page)
    assert Path(site.db).read_bytes() == corpus
    assert file.read_text(encoding="utf-8") == was
    page.get_by_role("button", name=f"Save as a new version of {RESPOND}").click()
    expect(page.get_by_text("This text is the prompt's file now")).to_be_visible()
    assert file.read_text(encoding="utf-8") == edited.replace("version: 1", "version: 2", 1)
    page.goto(f"/samples/{sample['id']}")
    expect(page.get_by_role("link", name=draft.facts.id[:12])).to_be_visible()
    page.get_by_role("button", name="Discard fork").click()
    expect(page.get_by_role("heading", name="Forks")).to_have_count(0)
    assert drafts(site) == []


def test_another_teachers_answer_stands_beside_the_old_one(page: Page, site: Served) -> None:
    sample = sample_of(site, "math")
    page.goto(f"/samples/{sample['id'][:10]}/fork?from=response&teacher=other")
    expect(page.get_by_label("Who plays response")).to_have_value("other")
    page.get_by_role("button", name="Ask again").click()
    finished(page)
    (draft,) = drafts(site)
    assert draft.facts.change == "teacher local → other"
    assert "accepted verified → rejected verification_failed" in shown(page).replace("\n", " ")
    answer = page.locator("figure", has_text="answer, new").first
    expect(answer).to_be_visible()
    (new, *_) = samples(draft.database, "round = 0")
    assert new["response"] != sample["response"]


def test_two_forks_at_once_each_end_as_what_they_are(
    page: Page, browser: Browser, site: Served
) -> None:
    context = browser.new_context(base_url=site.url)
    second = context.new_page()
    for opened, category in ((page, "math"), (second, "writing")):
        opened.goto(f"/samples/{sample_of(site, category)['id']}/fork?from=selection")
    for opened in (page, second):
        opened.get_by_role("button", name="Ask again").click()
    for opened in (page, second):
        finished(opened)
        assert "Everything came out as before" in shown(opened)
    context.close()
    assert {draft.facts.sample_id for draft in drafts(site)} == {
        sample_of(site, category)["id"] for category in ("math", "writing")
    }


def test_a_fork_can_be_stopped_and_a_stopped_one_discarded(page: Page, site: Served) -> None:
    sample = sample_of(site, "math")
    page.goto(f"/samples/{sample['id']}/fork?from=response&teacher=slow")
    page.get_by_role("button", name="Ask again").click()
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_text("It was stopped before its end")).to_be_visible(timeout=120_000)
    expect(page.get_by_role("button", name="Go on")).to_be_visible()
    page.get_by_role("button", name="Discard this draft").click()
    expect(page).to_have_url(f"{site.url}/samples/{sample['id']}")
    assert drafts(site) == []


def test_a_prompt_that_cannot_be_used_is_told_and_what_was_typed_stays(
    page: Page, site: Served
) -> None:
    page.goto(f"/samples/{sample_of(site, 'writing')['id']}/fork?from=response")
    text = page.get_by_label(f"The prompt {RESPOND}")
    broken = text.input_value() + "\n{{ mood }} と {% if"
    text.fill(broken)
    page.get_by_role("button", name="Ask again").click()
    expect(page.get_by_role("alert")).to_contain_text("cannot be read")
    expect(text).to_have_value(broken)
    assert drafts(site) == []


def test_a_variable_that_no_agent_gives_is_told_on_the_form(page: Page, site: Served) -> None:
    page.goto(f"/samples/{sample_of(site, 'writing')['id']}/fork?from=response")
    text = page.get_by_label(f"The prompt {RESPOND}")
    typed = text.input_value().replace("inputs: [", "inputs: [mood, ") + "\n{{ mood }}"
    text.fill(typed)
    page.get_by_role("button", name="Ask again").click()
    expect(page.get_by_role("alert")).to_contain_text("could not be filled in")
    expect(page.get_by_role("alert")).to_contain_text("Use only the inputs that the agent gives")
    expect(text).to_have_value(typed)
    assert drafts(site) == []


def test_what_stops_a_fork_is_told_with_its_solution(page: Page, site: Served) -> None:
    page.goto(f"/samples/{sample_of(site, 'writing')['id']}/fork?from=response&teacher=keyed")
    page.get_by_role("button", name="Ask again").click()
    expect(page.get_by_role("alert")).to_contain_text("needs a key", timeout=120_000)
    expect(page.get_by_role("alert")).to_contain_text("STILLHOUSE_TEST_NO_KEY")
    expect(page.get_by_role("button", name="Go on")).to_be_visible()


def test_an_odd_fork_hides_neither_the_list_nor_its_samples_page(
    page: Page, site: Served, prompts: Path
) -> None:
    ids = [fork(site, prompts, "writing", agent) for agent in ("selection", "verification")]
    odd, sound = (find_fork(Path(f"{site.db}.forks"), id) for id in ids)
    file = odd.folder / "fork.json"
    file.write_text(file.read_text().replace('"created_at": "', '"created_at": 7, "was": "'))
    for path in ("/forks", f"/samples/{odd.facts.sample_id}"):
        answer = page.goto(path)
        assert answer is not None
        assert answer.status == 200
        assert sound.facts.id[:12] in shown(page)
        assert odd.facts.id[:12] not in shown(page)
    answer = page.goto(f"/forks/{odd.facts.id}")
    assert answer is not None
    assert answer.status == 404


def test_the_inspector_ends_although_a_fork_hangs(site: Served, prompts: Path) -> None:
    database = Database.open(str(site.db))
    wish = Fork(sample_of(site, "writing")["id"], "response")
    draft = prepare_fork(database, Path(f"{site.db}.forks"), prompts, wish)
    database.close()
    hung = draft.folder / "hung"
    loops = "{% for a in instruction %}" * 12 + "{% endfor %}" * 12
    file = draft.folder / "prompts" / f"{RESPOND}.md"
    file.write_text(file.read_text(encoding="utf-8") + loops, encoding="utf-8")
    script = (
        "import sys, threading, time\n"
        "from pathlib import Path\n"
        "from agents.prompts import Prompt\n"
        "from graph.forks.shelf import find_fork\n"
        "from inspector import fork_desk\n"
        "fork_desk._GRACE_S = 0.5\n"
        "folder, id, hung = sys.argv[1:]\n"
        "render = Prompt.render\n"
        "def noted(self, variables):\n"
        "    if self.name == 'rewriting/respond':\n"
        "        Path(hung).touch()\n"
        "    return render(self, variables)\n"
        "Prompt.render = noted\n"
        "desk = fork_desk.ForkDesk()\n"
        "desk.begin(find_fork(Path(folder), id))\n"
        "while not Path(hung).exists():\n"
        "    assert desk.under_way(id) is not None\n"
        "    time.sleep(0.05)\n"
        "desk.close()\n"
        "assert desk.under_way(id) is not None\n"
        "print('closed')\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script, f"{site.db}.forks", draft.facts.id, hung],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert (ended.returncode, ended.stdout) == (0, "closed\n"), ended.stderr


def test_a_file_that_changed_since_is_not_written_over(
    page: Page, site: Served, prompts: Path
) -> None:
    file = prompts / f"{RESPOND}.md"
    was = file.read_text(encoding="utf-8")
    id = fork(site, prompts, "writing", "response", was.replace("<instruction>", "短く。\n", 1))
    page.goto(f"/forks/{id}")
    theirs = was + "\nSomebody else's line."
    file.write_text(theirs, encoding="utf-8")
    page.get_by_role("button", name="Save as a new version").click()
    assert "has changed" in shown(page)
    assert file.read_text(encoding="utf-8") == theirs
    page.goto(f"/forks/{id}")
    assert "somebody has edited it since" in shown(page)
    assert "Somebody else's line." in shown(page)
    # The browser itself asks for the confirmation.
    page.get_by_role("button", name="Save as a new version").click()
    expect(page).to_have_url(f"{site.url}/forks/{id}")
    assert file.read_text(encoding="utf-8") == theirs
    later = theirs + "\nAnd one more."
    file.write_text(later, encoding="utf-8")
    page.get_by_label("Replace the file as it is shown here").check()
    page.get_by_role("button", name="Save as a new version").click()
    assert "has changed" in shown(page)
    assert file.read_text(encoding="utf-8") == later
    page.goto(f"/forks/{id}")
    page.get_by_text("Save under another name").click()
    page.get_by_label("Name, such as").fill("rewriting/short")
    page.get_by_role("button", name="Save", exact=True).click()
    assert "agents.response.prompt: rewriting/short" in shown(page)
    assert (prompts / "rewriting/short.md").exists()


def test_a_text_that_no_run_used_is_kept_before_it_is_replaced(
    page: Page, site: Served, prompts: Path
) -> None:
    file = prompts / f"{RESPOND}.md"
    unused = file.read_text(encoding="utf-8") + "\nNever run."
    file.write_text(unused, encoding="utf-8")
    page.goto(f"/samples/{sample_of(site, 'writing')['id']}/fork?from=response")
    assert "The file has been edited since" in shown(page)
    id = fork(site, prompts, "writing", "response", unused.replace("Never run.", "短く。"))
    page.goto(f"/forks/{id}")
    page.get_by_label("Replace the file as it is shown here").check()
    page.get_by_role("button", name="Save as a new version").click()
    expect(page.get_by_text("This text is the prompt's file now")).to_be_visible()
    kept = one(site.db, "SELECT text FROM prompt WHERE hash = ?", digest_text(unused))
    assert kept == unused


@pytest.mark.parametrize("path", ["/samples/{sample}/fork", "/forks/{fork}/again",
                                  "/forks/{fork}/drop", "/forks/{fork}/save",
                                  "/forks/{fork}/stop"])  # fmt: skip
def test_nothing_is_forked_saved_or_dropped_for_another_site(
    site: Served, prompts: Path, path: str
) -> None:
    sample = sample_of(site, "writing")["id"]
    database = Database.open(str(site.db))
    wish = Fork(sample, "response", prompt=(prompts / f"{RESPOND}.md").read_text() + "\nMine.")
    draft = prepare_fork(database, Path(f"{site.db}.forks"), prompts, wish)
    database.close()
    form = {"from": "response", "teacher": "other", "text": "x", "name": "rewriting/new"}
    body = urlencode(form)
    address = path.format(sample=sample, fork=draft.facts.id)
    kind = "application/x-www-form-urlencoded"
    foreign = site.ask("POST", address, body, Content_Type=kind, Origin="http://evil.example",
                       Cookie="stillhouse_visitor=x")  # fmt: skip
    assert foreign.status == 403
    wordless = site.ask("POST", address, body, Content_Type=kind, Origin=site.url,
                        Cookie="stillhouse_visitor=x")  # fmt: skip
    assert wordless.status == 400
    (left,) = drafts(site)
    assert (left.facts.id, left.state) == (draft.facts.id, "unfinished")
    assert not (prompts / "rewriting/new.md").exists()


def test_hostile_words_are_only_words_on_every_page_of_a_fork(
    browser: Browser, site: Served, prompts: Path
) -> None:
    prompt = (prompts / f"{RESPOND}.md").read_text(encoding="utf-8")
    id = fork(site, prompts, "writing", "response", f"{prompt}\n{HOSTILE}\n")
    draft = find_fork(Path(f"{site.db}.forks"), id)
    for file in (str(site.db), draft.database):
        with closing(sqlite3.connect(file)) as connection:
            for table, column in (("sample", "response"), ("sample", "instruction"),
                                  ("completion", "content"), ("score", "rationale"),
                                  ("sample", "detail"), ("agent_call", "teacher")):  # fmt: skip
                connection.execute(f"UPDATE {table} SET {column} = ?", (f"{HOSTILE} {len(file)}",))
            connection.commit()
    happened: list[str] = []
    context = browser.new_context(base_url=site.url)
    page = context.new_page()
    page.on("dialog", lambda dialog: happened.append(dialog.message))
    page.on("pageerror", lambda error: happened.append(str(error)))
    page.on("request", lambda request: happened.append(request.url)
            if not request.url.startswith(site.url) else None)  # fmt: skip
    sample = sample_of(site, "writing")["id"]
    form = f"/samples/{sample}/fork?from=select"
    for path in (f"/forks/{id}", "/forks", f"/samples/{sample}", form):
        answer = page.goto(path)
        assert answer is not None
        assert answer.status == 200, path
        page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
        assert MARK not in page.title(), path
        assert page.locator("img, svg script, iframe").count() == 0, path
        assert "\u202e" not in page.locator("main").inner_text(), path
    page.goto(f"/forks/{id}")
    assert "<script>document.title=" in page.locator("main").inner_text()
    context.close()
    assert happened == []


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_axe_finds_nothing_and_everything_fits_a_narrow_page(
    browser: Browser, site: Served, prompts: Path, scheme: str, width: int
) -> None:
    prompt = (prompts / f"{RESPOND}.md").read_text(encoding="utf-8")
    id = fork(site, prompts, "writing", "response", f"{prompt}\nやさしい言葉で。\n")
    sample = sample_of(site, "writing")
    context = browser.new_context(
        base_url=site.url,
        viewport={"width": width, "height": 800},
        color_scheme=scheme,  # type: ignore[arg-type]
        bypass_csp=True,
    )
    page = context.new_page()
    form = f"/samples/{sample['id']}/fork?from=response"
    seed = f"/seeds/{sample['seed_id']}"
    for path in (f"/forks/{id}", "/forks", form, f"/samples/{sample['id']}", seed, None):
        if path is None:
            # The last: somebody has edited the file, and saving asks for a confirmation.
            (prompts / f"{RESPOND}.md").write_text(f"{prompt}\nTheirs.\n", encoding="utf-8")
            path = f"/forks/{id}"
        page.goto(path)
        page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
        found = Axe().run(page).response["violations"]
        assert [(fault["id"], fault["nodes"][0]["html"][:200]) for fault in found] == [], path
        wide = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        assert wide <= 0, path
    context.close()


def test_without_scripts_the_page_of_a_fork_refreshes_itself(
    browser: Browser, site: Served
) -> None:
    context = browser.new_context(base_url=site.url, java_script_enabled=False)
    page = context.new_page()
    page.goto(f"/samples/{sample_of(site, 'math')['id']}/fork?from=selection")
    page.get_by_role("button", name="Ask again").click()
    finished(page)
    context.close()
    (draft,) = drafts(site)
    assert rows(draft.database, "SELECT status FROM seed") == [{"status": "done"}]
