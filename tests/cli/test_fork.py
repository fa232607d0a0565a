"""`stillhouse fork`: old and new with every changed word marked; drafts listed, saved, dropped."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from factory import (
    MATHS,
    PROMPTS,
    WRITING_ZH,
    cli,
    corpus_of,
    environment,
    last_line,
    one,
    run,
    samples,
    simulated,
    write_recipe,
)

from cli.fork import Asked, fork_command
from cli.fork_view import _show_part
from cli.story_steps import Page
from common.hashing import digest_text
from graph.forks.comparing import Part
from graph.forks.errors import ForkNotFound, ForkRefused, PromptNotSaved

NAME = "rewriting/respond"
NOTHING = Asked(None, None, None, None, False, None, None, None, None, None, None, False, None)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run."""
    recipe = write_recipe(
        tmp_path_factory.mktemp("forked"),
        [MATHS, WRITING_ZH],
        teachers={"local": simulated(), "other": simulated(wrong_math=1.0)},
        agents={"expansion": {"variants": 0}},
    )
    with ThreadPoolExecutor(1) as apart:
        assert apart.submit(lambda: asyncio.run(run(recipe))).result().status == "finished"
    return corpus_of(recipe)


@pytest.fixture
def db(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of it, with prompts of its own and a wide page."""
    shutil.copytree(PROMPTS, tmp_path / "prompts")
    monkeypatch.setenv("STILLHOUSE_PROMPTS", str(tmp_path / "prompts"))
    monkeypatch.setenv("COLUMNS", "160")
    yield Path(shutil.copy(made, tmp_path / "corpus.db"))


def ask(db: Path, capsys: pytest.CaptureFixture[str], **options: Any) -> str:
    """What the command prints."""
    asked = Asked(**{**{f: getattr(NOTHING, f) for f in Asked.__slots__}, **options})
    assert fork_command(str(db), asked, False) == 0
    return capsys.readouterr().out


def writing(db: Path) -> str:
    """The Chinese sample."""
    return str(samples(db, "sample.category = 'writing'")[0]["id"])


def edited(db: Path, words: str = "请写得短一些。") -> Path:
    """A file with an edited prompt."""
    text = (db.parent / "prompts" / f"{NAME}.md").read_text(encoding="utf-8")
    path = db.parent / "mine.md"
    path.write_text(text.replace("<instruction>", f"{words}\n<instruction>", 1), encoding="utf-8")
    return path


def test_in_a_pipe_changed_words_are_marked_without_colour(db: Path) -> None:
    prompt = edited(db)
    asked = ("fork", writing(db)[:12], "--from", "response", "--prompt", prompt, "--db", db)
    told = cli(*asked, cwd=db.parent, env=environment(NO_COLOR="1", USER="Mori"))
    assert told.returncode == 0, told.stderr
    assert "\x1b" not in told.stdout
    assert "changed     prompt rewriting/respond edited" in told.stdout
    assert "by          Mori" in told.stdout
    assert "{+请写得短一些。" in told.stdout
    assert "as before   rewriting" in told.stdout
    assert "▸ response" in told.stdout
    assert "stillhouse fork --drop" in told.stdout


def test_as_json_everything_is_there_word_for_word(db: Path) -> None:
    (sample, *_) = samples(db, "sample.category = 'math'")
    asked = ("fork", sample["id"], "--from", "response", "--teacher", "other", "--db", db, "--json")
    told = last_line(cli(*asked, cwd=db.parent).stdout)
    assert told["state"] == "finished"
    assert told["fork"]["teacher"] == "other"
    assert told["spent"]["calls"] > 0
    (first, *_) = told["candidates"]
    responses = {part["label"]: part for part in first["parts"]}["response"]
    assert responses["old"] == sample["response"]
    assert responses["new"] != sample["response"]
    listed = last_line(cli("fork", "--list", "--db", db, "--json", cwd=db.parent).stdout)
    assert [entry["fork"]["id"] for entry in listed["forks"]] == [told["fork"]["id"]]


def test_forks_are_listed_by_sample_saved_and_dropped(
    db: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prompt = edited(db)
    ask(db, capsys, id=writing(db), agent="response", prompt=str(prompt))
    listed = ask(db, capsys, list=True, id=writing(db))
    assert "finished, of sample" in listed
    assert "prompt rewriting/respond edited; 3 calls" in listed
    fork = listed.split()[0]
    other = str(samples(db, "sample.category = 'math'")[0]["id"])
    assert "There are no forks" in ask(db, capsys, list=True, id=other)
    file = db.parent / "prompts" / f"{NAME}.md"
    was = file.read_text(encoding="utf-8")
    assert "The next run redoes" in ask(db, capsys, save=fork)
    expected = prompt.read_text(encoding="utf-8").replace("version: 1", "version: 2", 1)
    assert file.read_text(encoding="utf-8") == expected
    kept = "SELECT text FROM prompt WHERE hash = ?"
    assert one(db, kept, digest_text(was)) == was
    with pytest.raises(PromptNotSaved, match="has this text already"):
        ask(db, capsys, save=fork)
    said = ask(db, capsys, save=fork, name="rewriting/brief")
    assert "agents.response.prompt: rewriting/brief" in said
    assert "is gone" in ask(db, capsys, drop=fork)
    with pytest.raises(ForkNotFound):
        ask(db, capsys, show=fork)


def test_a_newer_file_is_shown_and_replaced_only_by_who_names_it(
    db: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ask(db, capsys, id=writing(db), agent="response", prompt=str(edited(db)))
    fork = ask(db, capsys, list=True).split()[0]
    file = db.parent / "prompts" / f"{NAME}.md"
    theirs = file.read_text(encoding="utf-8") + "\nSomebody's newer line.\n"
    file.write_text(theirs, encoding="utf-8")
    with pytest.raises(PromptNotSaved, match="has changed") as refused:
        ask(db, capsys, save=fork)
    shown = capsys.readouterr().out
    assert "Somebody's newer line." in shown
    assert "{+请写得短一些。" in shown
    assert f"--over {digest_text(theirs)[:8]}" in (refused.value.command or "")
    with pytest.raises(PromptNotSaved, match="has changed"):
        ask(db, capsys, save=fork, over="0" * 8)
    assert file.read_text(encoding="utf-8") == theirs
    ask(db, capsys, save=fork, over=digest_text(theirs)[:8])
    assert "请写得短一些。" in file.read_text(encoding="utf-8")
    assert one(db, "SELECT text FROM prompt WHERE hash = ?", digest_text(theirs)) == theirs


def test_forks_can_lie_elsewhere(db: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ask(db, capsys, id=writing(db), agent="verify", forks=str(db.parent / "apart"))
    assert len(list((db.parent / "apart").iterdir())) == 1
    assert not Path(f"{db}.forks").exists()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "not said what to fork"),
        ({"agent": "response", "prompt": "nowhere.md"}, "cannot be read"),
    ],
)
def test_what_is_missing_is_said(
    db: Path, capsys: pytest.CaptureFixture[str], options: dict[str, Any], says: str
) -> None:
    with pytest.raises(ForkRefused, match=says):
        ask(db, capsys, id=writing(db), **options)


def test_a_hostile_answer_cannot_act_in_the_terminal() -> None:
    page = Page(80, False)
    hostile = "\x1b[31mred\x1b]0;title\x07 [bold]markup[/bold] \u202eturned"
    _show_part(page, Part("answer", "plain", hostile))
    told = "\n".join(line.plain for line in page.lines)
    assert "\x1b" not in told
    assert "\u202e" not in told
    assert "[bold]markup[/bold]" in told
    assert json.dumps(told)
