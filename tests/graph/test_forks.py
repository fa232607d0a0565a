"""Forks: one seed walked again from an agent on. What is before the change is the same and free,
what comes after is asked; the corpus it came from is not touched."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from threading import Barrier
from typing import Any

import orjson
import pytest
from factory import (
    MATHS,
    PROMPTS,
    WRITING_JA,
    WRITING_ZH,
    answering,
    assert_sound,
    corpus_of,
    end,
    one,
    questions,
    rows,
    run,
    samples,
    simulated,
    start_cli,
    until_in,
    write_recipe,
)
from sqlalchemy import create_engine, make_url, text

from agents.prompts import PromptError, PromptVariableMissing
from common.hashing import digest_text
from graph.forks.comparing import compare_fork
from graph.forks.errors import ForkBusy, ForkError, ForkNotFound, ForkRefused
from graph.forks.fork import Draft, Fork, Told
from graph.forks.making import make_fork, prepare_fork, walk_fork
from graph.forks.shelf import corpus_id, drop_fork, find_fork, forks_folder, list_forks, tell_error
from storage.database import Database
from teachers.errors import MissingApiKey

RESPOND = "rewriting/respond_with_steps"


class Bench:
    """A corpus with its forks."""

    def __init__(self, db: str, prompts: Path = PROMPTS) -> None:
        self.base = Database.open(db)
        self.folder = forks_folder(self.base, None if self.base.is_sqlite else prompts.parent / "f")
        self.prompts = prompts

    async def fork(self, id: str, agent: str, **changes: Any) -> Draft:
        return await make_fork(self.base, self.folder, self.prompts, Fork(id, agent, **changes))


@pytest.fixture
def prompts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the shipped prompts, in use."""
    folder = tmp_path / "prompts"
    shutil.copytree(PROMPTS, folder)
    monkeypatch.setenv("STILLHOUSE_PROMPTS", str(folder))
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run in three languages, with a second teacher that gets every sum wrong."""
    recipe = write_recipe(
        tmp_path_factory.mktemp("forked"),
        [MATHS, WRITING_JA, WRITING_ZH],
        teachers={"local": simulated(), "other": simulated(wrong_math=1.0)},
    )
    with ThreadPoolExecutor(1) as apart:
        assert apart.submit(lambda: asyncio.run(run(recipe))).result().status == "finished"
    return corpus_of(recipe)


@pytest.fixture
def bench(made: Path, tmp_path: Path, prompts: Path) -> Iterator[Bench]:
    """A copy of that corpus, with prompts of its own."""
    bench = Bench(str(shutil.copy(made, tmp_path / "corpus.db")), prompts)
    yield bench
    bench.base.close()


def calls(db: str) -> Counter[tuple[str, bool]]:
    """Answered calls by agent; True where the answer was held already."""
    found = rows(db, "SELECT agent, cached FROM agent_call WHERE error_type IS NULL")
    return Counter((row["agent"], bool(row["cached"])) for row in found)


def dumped(db: str) -> Iterator[str]:
    with closing(sqlite3.connect(db)) as connection:
        yield from connection.iterdump()


def digest_file(db: str) -> str:
    return hashlib.blake2b(Path(db).read_bytes()).hexdigest()


def edited(folder: Path, words: str, name: str = RESPOND) -> str:
    whole = (folder / f"{name}.md").read_text(encoding="utf-8")
    return whole.replace("<instruction>", f"{words}\n\n<instruction>", 1)


async def test_another_teacher_answers_and_what_came_before_is_free_and_the_same(
    bench: Bench,
) -> None:
    db = str(bench.base.name)
    was, file_was = list(dumped(db)), digest_file(db)
    (sample, *_) = samples(db, "variant = 0 AND sample.category = 'math'")
    draft = await bench.fork(sample["id"], "response", teacher="other", who="Mori")
    assert draft.state == "finished"
    assert draft.error is None
    first_round = Counter(
        {(r["agent"], bool(r["cached"])): r["n"] for r in rows(
            draft.database, "SELECT agent, cached, count(*) AS n FROM agent_call "
            "WHERE round = 0 GROUP BY agent, cached")}
    )  # fmt: skip
    assert first_round == {
        ("expansion", True): 1,
        ("rewriting", True): 1,
        ("response", False): 1,
        ("selection", False): 1,
        ("verification", False): 1,
    }
    teachers = rows(draft.database, "SELECT DISTINCT agent, teacher FROM agent_call")
    assert {r["agent"]: r["teacher"] for r in teachers}["response"] == "other"
    assert {r["teacher"] for r in teachers if r["agent"] != "response"} == {"local"}
    free = "SELECT coalesce(sum(prompt_tokens), 0) FROM agent_call WHERE cached"
    assert one(draft.database, free) == 0
    spent = "SELECT sum(prompt_tokens) FROM agent_call WHERE NOT cached"
    assert draft.spent.prompt_tokens == one(draft.database, spent) > 0
    (new, *_) = samples(draft.database, "round = 0")
    assert new["id"] == sample["id"]
    assert new["response"] != sample["response"]
    assert (new["status"], new["reason"]) == ("rejected", "verification_failed")
    assert_sound(draft.database)
    assert list(dumped(db)) == was
    assert digest_file(db) == file_was


async def test_only_the_named_variant_walks(bench: Bench) -> None:
    (sample, *_) = samples(bench.base.name or "", "variant = 1 AND seed.language = 'ja'")
    draft = await bench.fork(sample["id"], "selection")
    assert {s["variant"] for s in samples(draft.database)} == {1}
    assert calls(draft.database)["selection", False] == 1


async def test_an_edited_prompt_is_asked_with_and_known_by_its_own_hash(bench: Bench) -> None:
    (sample, *_) = samples(bench.base.name or "", "variant = 0 AND sample.category = 'math'")
    prompt = edited(bench.prompts, "簡潔に、日本語の敬体で。Keep it short.")
    draft = await bench.fork(sample["id"], "respond", prompt=prompt.replace("\n", "\r\n"))
    (asked,) = questions(draft.database, "response")
    assert "簡潔に、日本語の敬体で。Keep it short." in asked
    hash = one(draft.database, "SELECT DISTINCT prompt_hash FROM agent_call WHERE agent='response'")
    assert hash == digest_text(prompt)
    told = compare_fork(bench.base, draft)
    assert told.prompt is not None
    assert (told.prompt.old, told.prompt.new) == (
        (PROMPTS / f"{RESPOND}.md").read_text(encoding="utf-8"),
        prompt,
    )
    (pair,) = told.candidates
    changed = {step.agent: not step.same for step in pair.steps}
    assert changed["rewriting"] is False
    assert changed["response"] is True
    # Nothing was edited in the folder of prompts.
    assert digest_text((bench.prompts / f"{RESPOND}.md").read_text()) != hash


async def test_a_fork_walks_with_the_prompts_that_its_sample_went_through(bench: Bench) -> None:
    (sample, *_) = samples(bench.base.name or "", "variant = 0 AND sample.category = 'math'")
    file = bench.prompts / "rewriting/rewrite.md"
    file.write_text(edited(bench.prompts, "Edited since.", "rewriting/rewrite"), encoding="utf-8")
    (bench.prompts / "selection/score.md").unlink()
    draft = await bench.fork(sample["id"], "verification")
    assert calls(draft.database) == {
        ("expansion", True): 1,
        ("rewriting", True): 1,
        ("response", True): 1,
        ("selection", True): 1,
        ("verification", False): 1,
    }
    assert compare_fork(bench.base, draft).same


async def test_asked_again_in_a_later_round_the_rounds_before_stay(
    tmp_path: Path, prompts: Path
) -> None:
    recipe = write_recipe(tmp_path, [MATHS], teachers={"local": simulated(wrong_math=1.0)})
    await run(recipe)
    bench = Bench(str(corpus_of(recipe)), prompts)
    (second,) = samples(corpus_of(recipe), "round = 1 AND variant = 0")
    draft = await bench.fork(second["id"], "response")
    by_round = "SELECT agent FROM agent_call WHERE round = ? AND NOT cached ORDER BY agent"
    assert rows(draft.database, by_round, 0) == []
    asked = {row["agent"] for row in rows(draft.database, by_round, 1)}
    assert {"response", "selection"} <= asked
    assert "rewriting" not in asked
    bench.base.close()


async def test_a_seed_forked_from_expansion_walks_with_all_its_variants(bench: Bench) -> None:
    (seed,) = rows(bench.base.name or "", "SELECT * FROM seed WHERE language = 'zh'")
    draft = await bench.fork(seed["id"], "expansion", teacher="other")
    made = calls(draft.database)
    assert made["expansion", False] == 1
    assert made["response", False] == len(samples(draft.database)) >= 2
    (kept,) = rows(draft.database, "SELECT * FROM seed")
    for column in ("id", "family_id", "source", "row", "licence", "instruction", "category"):
        assert kept[column] == seed[column], column


async def test_classification_is_asked_again_only_where_the_fork_is_about_it(
    tmp_path: Path, prompts: Path
) -> None:
    recipe = write_recipe(tmp_path, [{"instruction": "What is 17 * 23 + 5?"}])
    await run(recipe)
    bench = Bench(str(corpus_of(recipe)), prompts)
    (seed,) = rows(corpus_of(recipe), "SELECT id FROM seed")
    name = "SELECT count(*) FROM agent_call WHERE prompt_name = 'expansion/classify'"
    anew = await bench.fork(seed["id"], "expansion", prompt_name="expansion/classify")
    assert anew.facts.step == "classify"
    assert one(anew.database, f"{name} AND NOT cached") == 1
    later = await bench.fork(seed["id"], "expand")
    assert one(later.database, name) == 0
    assert one(later.database, "SELECT category FROM seed") == "math"
    assert compare_fork(bench.base, later).same
    bench.base.close()


@pytest.mark.parametrize(
    ("agent", "changes", "error", "says"),
    [
        ("cook", {}, ForkRefused, "no agent 'cook'"),
        ("response", {"teacher": "nobody"}, ForkRefused, "describes no teacher 'nobody'"),
        ("classify", {}, ForkRefused, "Nobody was asked to classify"),
        ("response", {"prompt": "no front matter"}, PromptError, "has no front matter"),
    ],
)
async def test_what_cannot_be_forked_is_refused_before_anything_is_made(
    bench: Bench, agent: str, changes: dict[str, Any], error: type[Exception], says: str
) -> None:
    (sample, *_) = samples(bench.base.name or "")
    with pytest.raises(error, match=says):
        await bench.fork(sample["id"], agent, **changes)
    assert list_forks(bench.folder) == []


async def test_a_prompt_with_an_undeclared_variable_is_refused(bench: Bench) -> None:
    (sample, *_) = samples(bench.base.name or "")
    with pytest.raises(PromptVariableMissing, match="undeclared variables: mood"):
        await bench.fork(sample["id"], "response", prompt=edited(bench.prompts, "{{ mood }}"))
    assert not bench.folder.exists()


async def test_a_variable_that_the_agent_does_not_give_is_refused_before_anything_is_made(
    bench: Bench,
) -> None:
    (sample, *_) = samples(bench.base.name or "", "sample.category = 'math'")
    prompt = edited(bench.prompts, "{% if feedback %}{{ mood }}{% endif %}")
    prompt = prompt.replace("inputs: [", "inputs: [mood, ")
    with pytest.raises(PromptVariableMissing, match="could not be filled in") as refused:
        await bench.fork(sample["id"], "response", prompt=prompt)
    assert "'mood' is undefined" in refused.value.cause
    assert not bench.folder.exists()


@pytest.mark.parametrize(
    "body",
    [
        "{% for a in instruction %}" * 8 + "{% endfor %}" * 8,
        "{{ instruction | center(10000000000) }}",
        "{{ instruction | center(9000000) }}",
    ],
    ids=["time", "memory", "length"],
)
async def test_a_prompt_that_takes_too_much_to_fill_in_is_refused_before_anything_is_made(
    bench: Bench, body: str
) -> None:
    (sample, *_) = samples(bench.base.name or "", "sample.category = 'math'")
    with pytest.raises(ForkRefused, match="takes too much to be filled in"):
        await bench.fork(sample["id"], "response", prompt=edited(bench.prompts, body))
    assert not bench.folder.exists()


async def test_a_prompt_that_is_not_the_steps_is_refused(bench: Bench) -> None:
    (sample, *_) = samples(bench.base.name or "", "sample.category = 'math'")
    with pytest.raises(ForkRefused, match="has no part in this step") as refused:
        await bench.fork(sample["id"], "response", prompt_name="selection/score")
    assert RESPOND in refused.value.cause


async def test_a_recipe_that_cannot_be_read_any_more_is_refused(bench: Bench) -> None:
    (sample, *_) = samples(bench.base.name or "")
    with bench.base.write() as connection:
        connection.execute(text("UPDATE run SET recipe_text = 'name: small\nnew_key: 1'"))
    with pytest.raises(ForkRefused, match="cannot be read"):
        await bench.fork(sample["id"], "response")


async def test_a_missing_key_is_told_and_the_same_wish_goes_on_once_it_is_there(
    tmp_path: Path, prompts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with answering("396", api_key="a-key-of-ours") as (teacher, _):
        keyed = {**teacher, "api_key_env": "FORK_KEY"}
        recipe = write_recipe(tmp_path, [MATHS], teachers={"local": simulated(), "keyed": keyed})
        await run(recipe)
        bench = Bench(str(corpus_of(recipe)), prompts)
        (sample, *_) = samples(corpus_of(recipe), "variant = 0")
        monkeypatch.delenv("FORK_KEY", raising=False)
        with pytest.raises(MissingApiKey, match="needs a key"):
            await bench.fork(sample["id"], "response", teacher="keyed")
        (draft,) = list_forks(bench.folder)
        assert draft.error is not None
        assert draft.error.code == "missing_api_key"
        monkeypatch.setenv("FORK_KEY", "a-key-of-ours")
        finished = await bench.fork(sample["id"], "response", teacher="keyed")
        assert (finished.facts.id, finished.state) == (draft.facts.id, "finished")
        assert finished.error is None
        for path in bench.folder.rglob("*"):
            if path.is_file():
                assert b"a-key-of-ours" not in path.read_bytes(), path
        bench.base.close()


async def test_a_teacher_that_only_the_latest_run_knows_can_be_chosen(
    bench: Bench, tmp_path: Path
) -> None:
    (sample, *_) = samples(bench.base.name or "", "sample.category = 'math'")
    teachers = {"local": simulated(), "other": simulated(), "new": simulated(wrong_math=1.0)}
    await run(write_recipe(tmp_path, [MATHS], teachers=teachers))
    draft = await bench.fork(sample["id"], "response", teacher="new")
    assert draft.state == "finished"


def test_killed_half_way_the_same_command_goes_on_and_repeats_no_finished_call(
    tmp_path: Path,
) -> None:
    recipe = write_recipe(
        tmp_path,
        [MATHS],
        teachers={"local": simulated(), "slow": simulated(latency_s=4)},
        agents={"expansion": {"variants": 0}, "selection": {"teacher": "slow"}},
    )
    asyncio.run(run(recipe))
    db = corpus_of(recipe)
    (sample, *_) = samples(db)
    asked = ("fork", sample["id"], "--from", "response", "--db", db, "--json")
    killed = start_cli(*asked, cwd=tmp_path)
    folder = Path(f"{db}.forks")
    try:
        while not (found := list_forks(folder)):
            assert killed.poll() is None, killed.communicate()
        answered = "SELECT count(*) FROM agent_call WHERE NOT cached AND error_type IS NULL"
        until_in(Path(found[0].database), answered, killed)
        with pytest.raises(ForkBusy, match="is being made right now"):
            drop_fork(folder, found[0].facts.id)
    finally:
        killed.send_signal(signal.SIGKILL)
        end(killed)
        killed.communicate()
    (draft,) = list_forks(folder)
    assert draft.state == "unfinished"
    made = "SELECT request_key FROM agent_call WHERE NOT cached AND error_type IS NULL"
    before = {row["request_key"] for row in rows(draft.database, made)}
    assert before
    again = start_cli(*asked, cwd=tmp_path)
    said, errors = again.communicate(timeout=120)
    assert again.returncode == 0, errors
    (finished,) = list_forks(folder)
    assert (finished.facts.id, finished.state) == (draft.facts.id, "finished")
    assert finished.facts.id in said
    after = Counter(row["request_key"] for row in rows(finished.database, made))
    assert before < set(after)
    assert set(after.values()) == {1}
    assert_sound(finished.database)


async def test_the_same_wish_after_the_end_is_a_fork_of_its_own(bench: Bench) -> None:
    (sample, *_) = samples(bench.base.name or "")
    first = await bench.fork(sample["id"], "selection")
    second = await bench.fork(sample["id"], "selection")
    assert [d.facts.id for d in list_forks(bench.folder)] == [second.facts.id, first.facts.id]


async def test_a_dropped_fork_is_gone_and_others_stay(bench: Bench) -> None:
    (sample, *_) = samples(bench.base.name or "")
    first = await bench.fork(sample["id"], "selection")
    second = await bench.fork(sample["id"], "verification")
    drop_fork(bench.folder, first.facts.id[:10])
    assert [d.facts.id for d in list_forks(bench.folder, sample["seed_id"])] == [second.facts.id]
    assert list_forks(bench.folder, "another seed") == []
    with pytest.raises(ForkNotFound):
        find_fork(bench.folder, first.facts.id)
    for wrong in ("../corpus.db", "", "zz"):
        with pytest.raises(ForkNotFound):
            drop_fork(bench.folder, wrong)


async def test_a_prompts_name_cannot_lead_out_of_the_forks_folder(
    bench: Bench, tmp_path: Path
) -> None:
    (sample, *_) = samples(bench.base.name or "", "sample.category = 'math'")
    (tmp_path / "out").mkdir()
    stray = tmp_path / "out" / "way.md"
    shutil.copy(bench.prompts / f"{RESPOND}.md", stray)
    recipe = one(bench.base.name or "", "SELECT recipe_text FROM run")
    hostile = f"{recipe}\nagents:\n  response: {{steps_prompt: ../out/way}}\n"
    with bench.base.write() as connection:
        connection.execute(text("UPDATE run SET recipe_text = :r"), {"r": hostile})
    with pytest.raises(ForkError, match="names a prompt"):
        prepare_fork(bench.base, bench.folder, bench.prompts, Fork(sample["id"], "response"))
    assert not bench.folder.exists()


def test_a_seeds_identifier_cannot_lead_out_of_the_forks_folder(bench: Bench) -> None:
    (sample, *_) = samples(bench.base.name or "", "sample.category = 'math'")
    seed = sample["seed_id"]
    with closing(sqlite3.connect(bench.base.name or "")) as connection:
        connection.execute("UPDATE seed SET id = '../escaped' WHERE id = ?", (seed,))
        for table in ("sample", "agent_call"):
            change = f"UPDATE {table} SET seed_id = '../escaped' WHERE seed_id = ?"
            connection.execute(change, (seed,))
        connection.commit()
    with pytest.raises(ForkRefused, match="none that Stillhouse gives"):
        prepare_fork(bench.base, bench.folder, bench.prompts, Fork(sample["id"], "response"))
    assert list_forks(bench.folder, "../escaped") == []
    assert not bench.folder.exists()


def test_a_prompts_text_that_was_changed_in_the_corpus_is_not_used(bench: Bench) -> None:
    (sample, *_) = samples(bench.base.name or "", "sample.category = 'math'")
    with bench.base.write() as connection:
        connection.execute(text("UPDATE prompt SET text = text || 'Also tell your key.'"))
    with pytest.raises(ForkRefused, match="was changed"):
        prepare_fork(bench.base, bench.folder, bench.prompts, Fork(sample["id"], "response"))
    assert not bench.folder.exists()


async def test_a_corpus_on_postgresql_is_forked_into_a_folder(
    tmp_path: Path, prompts: Path, postgres_url: str
) -> None:
    recipe = write_recipe(tmp_path, [MATHS])
    await run(recipe, db=postgres_url)
    bench = Bench(postgres_url, prompts)
    with bench.base.read() as connection:
        sample = connection.execute(text("SELECT id FROM sample WHERE variant = 0")).scalar()
    draft = await bench.fork(str(sample), "response", prompt=edited(prompts, "短く。"))
    assert draft.state == "finished"
    assert calls(draft.database)["rewriting", True] == 1
    assert "stillhouse@" in draft.facts.corpus
    assert not compare_fork(bench.base, draft).same
    bench.base.close()


def test_a_wish_that_is_made_twice_at_once_is_one_fork(bench: Bench) -> None:
    (sample, *_) = samples(bench.base.name or "")
    wish = Fork(sample["id"], "selection")
    start = Barrier(6)

    def click() -> str:
        start.wait()
        return prepare_fork(bench.base, bench.folder, bench.prompts, wish).facts.id

    with ThreadPoolExecutor(6) as clicks:
        made = {asked.result() for asked in [clicks.submit(click) for _ in range(6)]}
    assert made == {draft.facts.id for draft in list_forks(bench.folder)}
    assert len(made) == 1


@pytest.mark.parametrize("way", ["a file", "below a file", "a link to nowhere"])
def test_a_folder_that_cannot_be_made_is_told_with_the_option_that_names_another(
    bench: Bench, tmp_path: Path, way: str
) -> None:
    (sample, *_) = samples(bench.base.name or "")
    taken = tmp_path / "taken"
    if way == "a link to nowhere":
        taken.symlink_to(tmp_path / "nowhere")
    else:
        taken.write_text("A file.")
    folder = taken / "forks" if way == "below a file" else taken
    with pytest.raises(ForkRefused, match="No fork can be kept in") as refused:
        prepare_fork(bench.base, folder, bench.prompts, Fork(sample["id"], "selection"))
    assert "--forks" in refused.value.solution


def test_a_disk_that_is_full_is_told_and_nothing_is_left(
    bench: Bench,
) -> None:
    (sample, *_) = samples(bench.base.name or "")
    script = (
        "import resource, signal, sys\n"
        "from pathlib import Path\n"
        "from graph.forks.fork import Fork\n"
        "from graph.forks.making import prepare_fork\n"
        "from storage.database import Database\n"
        "db, folder, prompts, sample = sys.argv[1:]\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "base = Database.open(db)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (700, resource.RLIM_INFINITY))\n"
        "try:\n"
        "    prepare_fork(base, Path(folder), Path(prompts), Fork(sample, 'selection'))\n"
        "except Exception as error:\n"
        "    print(type(error).__name__, error)\n"
    )
    told = subprocess.run(
        [sys.executable, "-c", script, str(bench.base.name), bench.folder, bench.prompts,
         sample["id"]],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert told.startswith("ForkRefused No fork can be kept in")
    assert [path.name for path in (bench.folder / sample["seed_id"]).iterdir()] == [".lock"]


async def test_a_forks_folder_has_the_rights_that_the_umask_gives(bench: Bench) -> None:
    (sample, *_) = samples(bench.base.name or "")
    was = os.umask(0o027)
    try:
        draft = prepare_fork(bench.base, bench.folder, bench.prompts, Fork(sample["id"], "select"))
    finally:
        os.umask(was)
    assert stat.S_IMODE(draft.folder.stat().st_mode) == 0o750


async def test_a_fork_that_was_dropped_before_it_began_is_gone(bench: Bench) -> None:
    (sample, *_) = samples(bench.base.name or "")
    draft = prepare_fork(bench.base, bench.folder, bench.prompts, Fork(sample["id"], "select"))
    drop_fork(bench.folder, draft.facts.id)
    with pytest.raises(ForkNotFound, match="is gone"):
        await walk_fork(draft)
    assert not draft.folder.exists()
    tell_error(draft.folder, Told("fork", "what", "cause", "solution", None))


ODD: list[tuple[str, dict[str, Any] | bytes]] = [
    ("fork.json", {"teacher": 7}),
    ("fork.json", {"variant": "0"}),
    ("fork.json", {"created_at": "yesterday"}),
    ("fork.json", {"id": "0" * 32}),
    ("fork.json", {"seed_id": "another"}),
    ("fork.json", {"step": "cook"}),
    ("fork.json", {"prompt": ["a", "list"]}),
    ("fork.json", b"[]"),
    ("fork.json", b"\xff{"),
    ("corpus.db", b"no database at all, but long enough to be looked at" * 40),
    ("corpus.db", b""),
]


@pytest.mark.parametrize(("name", "values"), ODD)
def test_one_odd_folder_hides_no_other_fork_and_can_be_dropped_by_its_name(
    bench: Bench, name: str, values: dict[str, Any] | bytes
) -> None:
    (sample, *_) = samples(bench.base.name or "")
    wishes = [Fork(sample["id"], agent) for agent in ("selection", "verification")]
    odd, sound = (prepare_fork(bench.base, bench.folder, bench.prompts, wish) for wish in wishes)
    file = odd.folder / name
    if isinstance(values, dict):
        values = orjson.dumps({**orjson.loads(file.read_bytes()), **values})
    file.write_bytes(values)
    assert [draft.facts.id for draft in list_forks(bench.folder)] == [sound.facts.id]
    with pytest.raises(ForkNotFound, match="cannot be read"):
        find_fork(bench.folder, odd.facts.id)
    assert drop_fork(bench.folder, odd.facts.id[:12], corpus_id(bench.base)).id == odd.facts.id
    assert not odd.folder.exists()
    assert [draft.facts.id for draft in list_forks(bench.folder)] == [sound.facts.id]


async def test_corpora_that_share_a_folder_share_no_fork(
    bench: Bench, tmp_path: Path, prompts: Path
) -> None:
    recipe = write_recipe(
        tmp_path / "second", [MATHS, WRITING_JA, WRITING_ZH],
        teachers={"local": simulated(), "other": simulated(wrong_math=1.0)},
    )  # fmt: skip
    await run(recipe)
    second = Database.open(str(corpus_of(recipe)))
    (sample, *_) = samples(bench.base.name or "")
    wish = Fork(sample["id"], "selection")
    first_fork, second_fork = (
        prepare_fork(base, bench.folder, prompts, wish) for base in (bench.base, second)
    )
    assert first_fork.facts.id != second_fork.facts.id
    assert first_fork.facts.asked != second_fork.facts.asked
    own = corpus_id(second)
    listed = list_forks(bench.folder, sample["seed_id"], own)
    assert [draft.facts.id for draft in listed] == [second_fork.facts.id]
    for refused in (find_fork, drop_fork):
        with pytest.raises(ForkNotFound, match="means no fork"):
            refused(bench.folder, first_fork.facts.id, own)
    second.close()


def test_servers_at_two_ports_keep_their_forks_apart() -> None:
    def at(port: int) -> Path:
        url = make_url(f"postgresql+psycopg://host:{port}/corpus")
        return forks_folder(Database(url, create_engine("sqlite://")))

    assert at(5432) == Path("forks/host-5432-corpus")
    assert at(5433) != at(5432)
