"""Saving a fork's prompt: whole or not at all, never over somebody's work, and nothing is lost."""

from __future__ import annotations

import asyncio
import shutil
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from factory import MATHS, PROMPTS, assert_sound, corpus_of, one, run, samples, write_recipe

from agents.prompts import PromptError
from common.hashing import digest_text
from graph.forks.errors import PromptNotSaved
from graph.forks.fork import Draft, Fork
from graph.forks.front_matter import as_next_version, is_same_prompt
from graph.forks.making import prepare_fork
from graph.forks.saving import save_prompt
from storage.database import Database

NAME = "rewriting/respond_with_steps"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of one seed."""
    recipe = write_recipe(
        tmp_path_factory.mktemp("saved"), [MATHS], agents={"expansion": {"variants": 0}}
    )
    with ThreadPoolExecutor(1) as apart:
        assert apart.submit(lambda: asyncio.run(run(recipe))).result().status == "finished"
    return corpus_of(recipe)


@pytest.fixture
def corpus(made: Path, tmp_path: Path) -> Iterator[Database]:
    """A copy of its corpus."""
    database = Database.open(str(shutil.copy(made, tmp_path / "corpus.db")))
    yield database
    database.close()


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    """A copy of the shipped prompts."""
    return Path(shutil.copytree(PROMPTS, tmp_path / "prompts"))


def edited(corpus: Database, prompts: Path, words: str = "短く。") -> Draft:
    """A prepared fork with an edited prompt."""
    (sample, *_) = samples(corpus.name or "")
    text = (prompts / f"{NAME}.md").read_text(encoding="utf-8")
    wish = Fork(sample["id"], "response", prompt=f"{text}\n{words}\n")
    return prepare_fork(corpus, prompts.parent / "forks", prompts, wish)


def raised(draft: Draft) -> str:
    """The edited prompt as it is saved."""
    return str(draft.facts.prompt).replace("version: 1", "version: 2", 1)


def test_the_new_text_is_there_whole_with_the_old_files_rights(
    corpus: Database, prompts: Path
) -> None:
    file = prompts / f"{NAME}.md"
    file.chmod(0o640)
    draft = edited(corpus, prompts)
    saved = save_prompt(corpus, prompts, draft)
    assert file.read_text(encoding="utf-8") == raised(draft)
    assert saved.hash == digest_text(file.read_text(encoding="utf-8"))
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert [path.name for path in file.parent.iterdir() if path.name.startswith(".")] == []


def test_a_replaced_text_that_no_run_used_is_in_the_corpus_afterwards(
    corpus: Database, prompts: Path
) -> None:
    file = prompts / f"{NAME}.md"
    unused = file.read_text(encoding="utf-8") + "\nNobody was asked with this.\n"
    file.write_text(unused, encoding="utf-8")
    save_prompt(corpus, prompts, edited(corpus, prompts), over=digest_text(unused))
    name = str(corpus.name)
    assert one(name, "SELECT text FROM prompt WHERE hash = ?", digest_text(unused)) == unused
    assert_sound(name)


def test_a_replaced_text_that_a_run_used_is_kept_once(corpus: Database, prompts: Path) -> None:
    count = "SELECT count(*) FROM prompt"
    before = one(corpus.name or "", count)
    save_prompt(corpus, prompts, edited(corpus, prompts))
    assert one(corpus.name or "", count) == before


@pytest.mark.parametrize("before", [True, False], ids=["before the fork", "after it"])
def test_somebodys_newer_edit_is_replaced_only_by_who_says_which(
    corpus: Database, prompts: Path, before: bool
) -> None:
    file = prompts / f"{NAME}.md"
    theirs = file.read_text(encoding="utf-8") + "\nTheirs.\n"
    draft = None if before else edited(corpus, prompts)
    file.write_text(theirs, encoding="utf-8")
    draft = draft or edited(corpus, prompts)
    for over in (None, "", digest_text(theirs)[:7], digest_text("another text")):
        with pytest.raises(PromptNotSaved, match="has changed") as refused:
            save_prompt(corpus, prompts, draft, over=over)
        assert refused.value.newer == theirs
    assert file.read_text(encoding="utf-8") == theirs
    save_prompt(corpus, prompts, draft, over=digest_text(theirs)[:8])
    assert file.read_text(encoding="utf-8") == raised(draft)
    kept = one(corpus.name or "", "SELECT text FROM prompt WHERE hash = ?", digest_text(theirs))
    assert kept == theirs
    with pytest.raises(PromptNotSaved, match="has this text already"):
        save_prompt(corpus, prompts, draft)


@pytest.mark.parametrize(
    ("mine", "theirs", "saved"),
    [
        ("version: 1", "version: 1", "version: 2"),
        ("version: 1", "version: 7", "version: 8"),
        ("version: 3", "version: 1", "version: 3"),
        ("version:   1  # ours", "version: 1", "version: 2"),
    ],
)
def test_a_saved_prompt_has_a_version_above_the_one_it_replaces(
    prompts: Path, mine: str, theirs: str, saved: str
) -> None:
    text = (prompts / f"{NAME}.md").read_text(encoding="utf-8") + "\nversion: 1\n"
    edited = text.replace("version: 1", mine, 1)
    made = as_next_version(NAME, edited, text.replace("version: 1", theirs, 1))
    assert made == text.replace("version: 1", saved, 1)
    assert is_same_prompt(made, edited)
    assert not is_same_prompt(made, edited + "More.")


def test_a_file_that_changed_since_is_left_alone(corpus: Database, prompts: Path) -> None:
    draft = edited(corpus, prompts)
    file = prompts / f"{NAME}.md"
    theirs = file.read_text(encoding="utf-8") + "\nTheirs.\n"
    file.write_text(theirs, encoding="utf-8")
    with pytest.raises(PromptNotSaved, match="has changed"):
        save_prompt(corpus, prompts, draft)
    assert file.read_text(encoding="utf-8") == theirs
    file.unlink()
    with pytest.raises(PromptNotSaved, match="no file any more"):
        save_prompt(corpus, prompts, draft)


def test_a_read_only_file_is_refused_with_what_to_do(corpus: Database, prompts: Path) -> None:
    draft = edited(corpus, prompts)
    file = prompts / f"{NAME}.md"
    was = file.read_text(encoding="utf-8")
    file.chmod(0o444)
    with pytest.raises(PromptNotSaved, match="cannot be written") as refused:
        save_prompt(corpus, prompts, draft)
    assert "$STILLHOUSE_PROMPTS" in refused.value.solution
    assert file.read_text(encoding="utf-8") == was


def test_under_a_name_of_its_own_it_says_the_recipes_line_and_takes_no_ones_place(
    corpus: Database, prompts: Path
) -> None:
    draft = edited(corpus, prompts)
    saved = save_prompt(corpus, prompts, draft, "rewriting/mine")
    assert saved.recipe_line == "agents.response.steps_prompt: rewriting/mine"
    mine = (prompts / "rewriting/mine.md").read_text(encoding="utf-8")
    assert mine == str(draft.facts.prompt).replace("respond_with_steps", "mine", 1)
    assert (prompts / f"{NAME}.md").read_text(encoding="utf-8") == draft.facts.old_prompt
    with pytest.raises(PromptNotSaved, match="already"):
        save_prompt(corpus, prompts, draft, "rewriting/mine")
    with pytest.raises(PromptNotSaved, match="already"):
        save_prompt(corpus, prompts, draft, "selection/score")


@pytest.mark.parametrize("name", ["../out", "a/../../b", "/etc/passwd", "plain", "a/b.md", "a/b/c"])
def test_a_name_leads_to_no_other_place(corpus: Database, prompts: Path, name: str) -> None:
    with pytest.raises(PromptNotSaved, match="no name for a prompt"):
        save_prompt(corpus, prompts, edited(corpus, prompts), name)


def test_without_an_edit_there_is_nothing_to_save(corpus: Database, prompts: Path) -> None:
    (sample, *_) = samples(corpus.name or "")
    text = (prompts / f"{NAME}.md").read_text(encoding="utf-8")
    folder = prompts.parent / "forks"
    same = prepare_fork(corpus, folder, prompts, Fork(sample["id"], "response", prompt=text))
    assert same.facts.prompt is None
    with pytest.raises(PromptNotSaved, match="no edited prompt"):
        save_prompt(corpus, prompts, same)


def test_a_text_that_is_no_prompt_never_becomes_a_fork(corpus: Database, prompts: Path) -> None:
    (sample, *_) = samples(corpus.name or "")
    for text in ("", "---\nname: x\n---\n{{ instruction }}", "\n---\n"):
        with pytest.raises(PromptError):
            wish = Fork(sample["id"], "response", prompt=text)
            prepare_fork(corpus, prompts.parent / "forks", prompts, wish)
