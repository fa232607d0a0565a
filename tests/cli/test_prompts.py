"""`stillhouse prompts`: files are listed, shown as they are, and compared with what was used."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import CorpusMaker
from factory import PROMPTS, corpus_of, rows, run, write_recipe

from agents.prompts import PromptError, PromptLibrary
from cli.prompts import diff_command, list_command, show_command
from common.hashing import digest_text
from storage.tables import Prompt, utcnow

NAME = "selection/score"


@pytest.fixture
def prompts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the shipped prompts, in use."""
    folder = tmp_path / "prompts"
    shutil.copytree(PROMPTS, folder)
    monkeypatch.setenv("STILLHOUSE_PROMPTS", str(folder))
    monkeypatch.setenv("COLUMNS", "160")
    return folder


def read(prompts: Path, name: str = NAME) -> str:
    return (prompts / f"{name}.md").read_text(encoding="utf-8")


def write(prompts: Path, text: str, name: str = NAME) -> None:
    (prompts / f"{name}.md").write_text(text, encoding="utf-8")


@pytest.fixture
def diff(database_url: str, capsys: pytest.CaptureFixture[str]) -> Any:
    """What `prompts diff` prints of `database`."""

    def told(name: str = NAME) -> str:
        assert diff_command(name, database_url) == 0
        return capsys.readouterr().out

    return told


def used(corpus: CorpusMaker, text: str, *, kept: bool = True, **columns: Any) -> str:
    """A sample that was scored with this text of the prompt."""
    hashed = digest_text(text)
    if kept:
        corpus.add(Prompt, hash=hashed, name=NAME, version="1", text=text)
    seed = corpus.seed()
    sample = corpus.sample(
        seed, response=None, status="rejected", reason="low_score",
        shaped_by={"select": f"{NAME}#{hashed[:12]}#000000000000"},
    )  # fmt: skip
    corpus.call(seed, sample, "selection", "{}", prompt_name=NAME, prompt_hash=hashed, **columns)
    return sample


def test_every_prompt_is_listed_with_label_hash_and_purpose(
    prompts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert list_command(False) == 0
    told = capsys.readouterr().out
    library = PromptLibrary(prompts)
    for name in library.names():
        prompt = library.get(name)
        (line,) = (row for row in told.splitlines() if row.startswith(f"{prompt.label} "))
        assert prompt.hash[:8] in line
        assert prompt.matter.purpose in line


def test_the_list_as_json_has_whole_hashes_and_inputs(
    prompts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert list_command(True) == 0
    listed = json.loads(capsys.readouterr().out)
    assert listed["faults"] == {}
    by_name = {prompt["name"]: prompt for prompt in listed["prompts"]}
    assert by_name[NAME]["hash"] == digest_text(read(prompts))
    assert "response" in by_name[NAME]["inputs"]


@pytest.mark.parametrize("as_json", [False, True])
def test_a_broken_prompt_is_listed_with_its_fault_and_hides_no_other(
    prompts: Path, capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    write(prompts, "no front matter", "rewriting/broken")
    assert list_command(as_json) == 1
    told = capsys.readouterr().out
    assert "rewriting/broken" in told
    assert "two lines of '---'" in told
    assert "verification/judge" in told


def test_a_shown_prompt_is_its_file_to_the_letter(
    prompts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert show_command(NAME) == 0
    assert capsys.readouterr().out == read(prompts)


def test_an_unknown_prompt_is_an_error_that_names_the_known(prompts: Path) -> None:
    with pytest.raises(PromptError) as caught:
        show_command("selection/scores")
    assert NAME in caught.value.solution


def test_what_the_corpus_never_used_is_said_so(
    prompts: Path, corpus: CorpusMaker, diff: Any
) -> None:
    corpus.sample(corpus.seed())
    assert f"was made with {NAME}" in diff()


def test_an_unchanged_prompt_has_no_difference(
    prompts: Path, corpus: CorpusMaker, diff: Any
) -> None:
    used(corpus, read(prompts))
    told = diff()
    assert "is as it was when the corpus was last made with it" in told
    assert "No sample or seed was made with another text" in told
    assert "@@" not in told


def test_an_edited_prompt_is_compared_line_by_line_with_how_much_hangs_on_it(
    prompts: Path, corpus: CorpusMaker, diff: Any
) -> None:
    old = read(prompts)
    used(corpus, old)
    used(corpus, old, kept=False)
    write(prompts, old.replace("three whole numbers", "three integers"))
    lines = diff().splitlines()
    assert lines[0].startswith(f"--- {NAME}@1 ({digest_text(old)[:8]}")
    assert lines[1].startswith(f"+++ {NAME}@1 ({digest_text(read(prompts))[:8]}, the file)")
    assert "-Give three whole numbers from 0 to 9." in lines
    assert "+Give three integers from 0 to 9." in lines
    assert any(line.startswith("2 samples and 0 seeds made with another text") for line in lines)


def test_the_text_that_was_used_last_is_the_one_compared(
    prompts: Path, corpus: CorpusMaker, diff: Any
) -> None:
    old = read(prompts)
    used(corpus, old.replace("whole", "round"), created_at=utcnow().replace(year=2020))
    used(corpus, old)
    told = diff()
    assert "is as it was" in told
    assert "1 sample and 0 seeds made with another text" in told
    assert "(the file's)" in told


def test_samples_that_were_superseded_are_not_counted(
    prompts: Path, corpus: CorpusMaker, diff: Any
) -> None:
    old = read(prompts)
    used(corpus, old)
    corpus.change("UPDATE sample SET reason = 'superseded'")
    write(prompts, old + "\nBe kind.\n")
    assert "No sample or seed was made with another text" in diff()


def test_a_text_that_no_run_left_is_said_to_be_lost(
    prompts: Path, corpus: CorpusMaker, diff: Any
) -> None:
    used(corpus, "what it was", kept=False)
    told = diff()
    assert "No run left that text" in told
    assert "1 sample and 0 seeds" in told


async def test_a_run_leaves_the_text_of_every_prompt_it_uses(prompts: Path) -> None:
    recipe = write_recipe(prompts.parent / "recipe")
    await run(recipe)
    first = {row["name"]: row for row in rows(corpus_of(recipe), "SELECT * FROM prompt")}
    assert set(first) == {
        "expansion/classify", "expansion/expand", "rewriting/rewrite", "rewriting/respond",
        "rewriting/respond_with_steps", "selection/score", "verification/judge",
    }  # fmt: skip
    assert all(row["text"] == read(prompts, name) for name, row in first.items())
    write(prompts, read(prompts) + "\nBe kind.\n")
    await run(recipe)
    texts = rows(corpus_of(recipe), "SELECT text FROM prompt WHERE name = ?", NAME)
    assert {row["text"] for row in texts} == {first[NAME]["text"], read(prompts)}
    made_with = rows(corpus_of(recipe), "SELECT DISTINCT prompt_hash AS hash FROM agent_call")
    kept = rows(corpus_of(recipe), "SELECT hash FROM prompt")
    assert {row["hash"] for row in made_with} <= {row["hash"] for row in kept}
