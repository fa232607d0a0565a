"""Bad input through the command line: each ends in a clear error with its cause and its solution,
an exit code that is not 0, no traceback, and nothing lost."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest
from factory import (
    MATHS,
    PROMPTS,
    WRITING,
    assert_sound,
    cli,
    end,
    environment,
    last_line,
    one,
    outcomes,
    samples,
    simulated,
    start_cli,
    sums,
    until_in,
    write_recipe,
    write_seeds,
)

Done = subprocess.CompletedProcess[str]


def refused(done: Done, *said: str, code: int = 1) -> None:
    """The command ended as every error of a user's should."""
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert "Error: " in done.stderr
    assert "\n  Cause     " in done.stderr
    assert "\n  Solution  " in done.stderr
    for words in said:
        assert words in done.stderr


def run(folder: Path, *arguments: str | Path, **options: Any) -> Done:
    return cli("run", folder, "--db", folder / "corpus.db", *arguments, cwd=folder, **options)


def test_a_malformed_row_is_named_by_its_line_and_the_rest_goes_on(tmp_path: Path) -> None:
    lines: list[Any] = [MATHS, '{"instruction": "never closed', WRITING, '{"instruction": ""}', "7"]
    write_recipe(tmp_path, lines)
    done = run(tmp_path, "--json")
    assert done.returncode == 0, done.stderr
    assert "2 seeds from 5 rows" in done.stdout
    assert "3 bad rows" in done.stdout
    for row in (2, 4, 5):
        assert f"row {row}: " in done.stdout
    assert last_line(done.stdout)["seeds"]["done"] == 2
    assert last_line(done.stdout)["bad_rows"] == 3
    assert_sound(tmp_path / "corpus.db")


def test_an_empty_seed_file_is_named(tmp_path: Path) -> None:
    write_recipe(tmp_path, [])
    refused(run(tmp_path), "seeds.jsonl")


def test_a_missing_seed_file_is_named_and_what_is_there_is_kept(tmp_path: Path) -> None:
    write_recipe(tmp_path, [MATHS])
    assert run(tmp_path).returncode == 0
    before = outcomes(tmp_path / "corpus.db")
    refused(run(tmp_path, "--seeds", "nowhere.jsonl"), "nowhere.jsonl")
    assert outcomes(tmp_path / "corpus.db") == before
    assert_sound(tmp_path / "corpus.db")


def test_a_file_without_one_usable_row_says_so(tmp_path: Path) -> None:
    write_recipe(tmp_path, [{"instruction": ""}, {"instruction": " "}])
    done = run(tmp_path)
    refused(done, "not one usable seed", "2 rows")
    assert "row 1: " in done.stdout


def test_an_unknown_key_of_a_recipe_names_the_nearest(tmp_path: Path) -> None:
    write_recipe(tmp_path, agents={"expansion": {"variant": 3}})
    refused(run(tmp_path), "agents.expansion.variant", "Did you mean 'variants'?")
    assert not (tmp_path / "corpus.db").exists()


def test_a_set_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    write_recipe(tmp_path)
    refused(run(tmp_path, "--set", "gates.quotas={math: 3"), "gates.quotas={math: 3", "YAML")


def test_a_missing_recipe_is_named(tmp_path: Path) -> None:
    refused(cli("run", "nowhere.yaml", cwd=tmp_path), "nowhere.yaml", "stillhouse run recipes/")


def test_a_limit_of_nothing_is_a_wrong_use_of_the_command(tmp_path: Path) -> None:
    write_recipe(tmp_path)
    done = run(tmp_path, "--limit", "0")
    assert done.returncode == 2
    assert "--limit" in done.stderr


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    """A copy of the prompts that a test may spoil."""
    return Path(shutil.copytree(PROMPTS, tmp_path / "prompts"))


def spoil(path: Path, before: str, after: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert before in text
    path.write_text(text.replace(before, after), encoding="utf-8")


def test_a_prompt_that_uses_an_undeclared_variable_is_named_before_anything_is_spent(
    tmp_path: Path, prompts: Path
) -> None:
    spoil(prompts / "selection/score.md", "{{ response }}", "{{ response }} for {{ audience }}")
    write_recipe(tmp_path, [MATHS])
    done = run(tmp_path, env=environment(STILLHOUSE_PROMPTS=str(prompts)))
    refused(done, "selection/score", "audience", "stillhouse prompts show selection/score")
    assert run(tmp_path).returncode == 0


def test_a_prompt_that_declares_a_variable_nobody_gives_is_named_and_nothing_is_lost(
    tmp_path: Path, prompts: Path
) -> None:
    spoil(prompts / "selection/score.md", "inputs: [", "inputs: [audience, ")
    spoil(prompts / "selection/score.md", "{{ response }}", "{{ response }} for {{ audience }}")
    write_recipe(tmp_path, sums(8))
    done = run(tmp_path, env=environment(STILLHOUSE_PROMPTS=str(prompts)))
    refused(done, "selection/score", "'audience' is undefined", "Use only the inputs")
    db = tmp_path / "corpus.db"
    assert_sound(db, pending=True)
    kept = one(db, "SELECT count(*) FROM completion")
    done = run(tmp_path, "--json")
    assert last_line(done.stdout)["calls"]["cached"] > 0
    assert one(db, "SELECT count(*) FROM completion") > kept
    assert_sound(db)


def test_a_prompt_file_that_cannot_be_read_is_named(tmp_path: Path, prompts: Path) -> None:
    spoil(prompts / "selection/score.md", "{% if input %}", "{% if input")
    write_recipe(tmp_path, [MATHS])
    done = run(tmp_path, env=environment(STILLHOUSE_PROMPTS=str(prompts)))
    refused(done, "score.md", "template")


def test_a_missing_prompt_lists_the_known_ones(tmp_path: Path) -> None:
    write_recipe(tmp_path, [MATHS])
    done = run(tmp_path, "--set", "agents.selection.prompt=selection/scores")
    refused(done, "'selection/scores'", "selection/score,")


def api(**settings: Any) -> dict[str, Any]:
    return {"kind": "openai", "base_url": "http://127.0.0.1:9/v1", "model": "m", **settings}


def test_a_missing_key_is_named_by_its_variable(tmp_path: Path) -> None:
    write_recipe(tmp_path, teacher="api", teachers={"api": api(api_key_env="SOME_API_KEY")})
    done = run(tmp_path, env=environment(SOME_API_KEY=None))
    refused(done, "'api'", "SOME_API_KEY", "stillhouse teacher check api")
    assert one(tmp_path / "corpus.db", "SELECT count(*) FROM seed WHERE status='pending'") == 6
    assert_sound(tmp_path / "corpus.db", pending=True)


def test_a_key_that_stands_in_the_recipe_is_refused_and_not_shown(tmp_path: Path) -> None:
    secret = "sk-0123456789-very-secret"
    write_recipe(tmp_path, teachers={"api": api(api_key=secret)})
    done = run(tmp_path)
    refused(done, "teachers.api.api_key", "api_key_env")
    assert secret not in done.stdout + done.stderr
    assert not (tmp_path / "corpus.db").exists()


def test_a_teacher_that_nobody_names_needs_no_key(tmp_path: Path) -> None:
    write_recipe(tmp_path, [MATHS], teachers={"api": api(api_key_env="SOME_API_KEY")})
    assert run(tmp_path, env=environment(SOME_API_KEY=None)).returncode == 0


def test_an_unreachable_teacher_is_named_with_the_command_that_checks_it(tmp_path: Path) -> None:
    write_recipe(tmp_path, teachers={"away": api()})
    done = run(tmp_path, "--set", "agents.verification.teacher=away")
    refused(done, "'away'", "127.0.0.1:9", "stillhouse teacher check away")
    assert_sound(tmp_path / "corpus.db", pending=True)
    assert run(tmp_path).returncode == 0
    assert_sound(tmp_path / "corpus.db")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[tuple[Path, Callable[[str], None]]]:
    """A file system of 1 MiB, and a way to change its size."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(*options: str) -> None:
        subprocess.run(
            ["mount", *options, "tmpfs", str(folder)], check=True, capture_output=True, timeout=10
        )

    try:
        mount("-t", "tmpfs", "-o", "size=1m")
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mounting a small file system is not permitted here")
    yield folder, lambda size: mount("-o", f"remount,size={size}")
    subprocess.run(["umount", "-l", str(folder)], check=True, timeout=10)


def test_a_full_disk_stops_the_run_and_once_there_is_room_it_goes_on(
    tmp_path: Path, small_disk: tuple[Path, Callable[[str], None]]
) -> None:
    disk, resize = small_disk
    write_recipe(tmp_path, sums(60))
    db = disk / "corpus.db"
    arguments: list[str | Path] = ["run", tmp_path, "--db", db, "--json"]
    done = cli(*arguments, cwd=tmp_path)
    refused(done, "cannot grow", "Free some disk space")
    assert last_line(done.stdout)["error"] == "storage_full"
    resize("64m")
    assert_sound(db, pending=True)
    kept = one(db, "SELECT count(*) FROM completion")
    assert kept > 0
    done = cli(*arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = last_line(done.stdout)
    assert found["seeds"]["done"] == 60
    assert one(db, "SELECT count(*) FROM completion") == kept + found["calls"]["made"]
    assert_sound(db)


def test_a_disk_that_is_full_from_the_start_is_reported_so(
    tmp_path: Path, small_disk: tuple[Path, Callable[[str], None]]
) -> None:
    disk, _ = small_disk
    with contextlib.suppress(OSError), (disk / "ballast").open("wb") as file:
        file.write(bytes(2 * 2**20))
    write_recipe(tmp_path, [MATHS])
    done = cli("run", tmp_path, "--db", disk / "corpus.db", cwd=tmp_path)
    refused(done, "disk")


def test_a_limit_on_file_sizes_stops_the_run_which_then_goes_on(tmp_path: Path) -> None:
    write_recipe(tmp_path, sums(40))
    room = 700_000
    done = run(
        tmp_path,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (room, room)),
    )
    refused(done, "cannot grow")
    db = tmp_path / "corpus.db"
    assert_sound(db, pending=True)
    assert one(db, "SELECT count(*) FROM seed WHERE status = 'pending'") > 0
    done = run(tmp_path)
    assert done.returncode == 0, done.stderr
    assert_sound(db)


def test_a_database_of_another_schema_version_is_refused_and_not_touched(tmp_path: Path) -> None:
    write_recipe(tmp_path, [MATHS])
    assert run(tmp_path).returncode == 0
    db = tmp_path / "corpus.db"
    with closing(sqlite3.connect(db)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()
    before = db.read_bytes()
    refused(run(tmp_path), "corpus.db", "9999")
    assert db.read_bytes() == before


def test_somebody_elses_database_is_refused_and_not_touched(tmp_path: Path) -> None:
    write_recipe(tmp_path, [MATHS])
    db = tmp_path / "corpus.db"
    with closing(sqlite3.connect(db)) as connection:
        connection.execute("CREATE TABLE recipes (cake TEXT)")
    before = db.read_bytes()
    refused(run(tmp_path), "corpus.db", "recipes")
    assert db.read_bytes() == before


def test_a_file_that_is_no_database_is_refused_and_not_touched(tmp_path: Path) -> None:
    write_recipe(tmp_path, [MATHS])
    db = tmp_path / "corpus.db"
    db.write_text("Dear diary, " * 1000)
    refused(run(tmp_path), "corpus.db")
    assert db.read_text() == "Dear diary, " * 1000


def test_a_second_run_on_one_database_is_refused_while_the_first_goes_on(tmp_path: Path) -> None:
    write_recipe(tmp_path, sums(4), teachers={"local": simulated(latency_s=0.2)})
    db = tmp_path / "corpus.db"
    first = start_cli("run", tmp_path, "--db", db, "--json", cwd=tmp_path)
    try:
        until_in(db, "SELECT count(*) FROM agent_call", first)
        (teacher,) = psutil.Process(first.pid).children()
        # While its teacher is stopped the first run cannot end before the second has begun.
        teacher.suspend()
        second = run(tmp_path)
        teacher.resume()
        refused(second, "Another run is writing", str(first.pid), "stillhouse status")
        assert first.poll() is None
        out, err = first.communicate(timeout=60)
    finally:
        end(first)
    assert (first.returncode, err) == (0, "")
    assert last_line(out)["seeds"] == {"pending": 0, "done": 4, "failed": 0}
    assert one(db, "SELECT count(*) FROM run") == 1
    assert_sound(db)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    write_recipe(tmp_path, [MATHS])
    # Where not even root may write: below a file.
    (tmp_path / "file").write_text("no folder")
    places = [tmp_path / "file" / "corpus.db", tmp_path / "file" / "below" / "corpus.db"]
    if os.geteuid() != 0:
        (tmp_path / "closed").mkdir(mode=0o500)
        places.append(tmp_path / "closed" / "corpus.db")
    for place in places:
        refused(cli("run", tmp_path, "--db", place, cwd=tmp_path), str(place))


def test_a_database_server_that_is_not_there_is_named(tmp_path: Path) -> None:
    write_recipe(tmp_path, [MATHS])
    done = cli("run", tmp_path, "--db", "postgresql://me@127.0.0.1:9/corpus", cwd=tmp_path)
    refused(done, "postgresql", "127.0.0.1:9")


def test_a_recorded_teacher_without_its_file_is_named(tmp_path: Path) -> None:
    tape = {"kind": "recorded", "path": "tape.jsonl", "model": "m"}
    write_recipe(tmp_path, [MATHS], teachers={"tape": tape})
    refused(run(tmp_path, "--set", "agents.response.teacher=tape"), "tape.jsonl")


def test_prompts_that_were_not_recorded_fail_their_samples_and_not_the_run(
    tmp_path: Path,
) -> None:
    tape = {"kind": "recorded", "path": "tape.jsonl", "model": "m"}
    row = {"prompt": WRITING["instruction"], "response": "The lighthouse stands there. It shines."}
    write_seeds(tmp_path / "tape.jsonl", [row])
    off = {"enabled": False}
    response = {"teacher": "tape", "prompt": "rewriting/as_is", "chain_of_thought": []}
    write_recipe(
        tmp_path,
        [MATHS, WRITING],
        agents={"expansion": off, "rewriting": off, "selection": off, "response": response},
        teachers={"tape": tape},
    )
    done = run(tmp_path, "--json")
    assert done.returncode == 0, done.stderr
    ends = {s["category"]: (s["status"], s["reason"]) for s in samples(tmp_path / "corpus.db")}
    assert ends == {"math": ("failed", "not_recorded"), "writing": ("accepted", "verified")}
    assert last_line(done.stdout)["samples"]["failed"] == 1
    assert_sound(tmp_path / "corpus.db")
